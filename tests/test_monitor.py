"""The little HTTP server of services that have no other: what it answers, and that it leaves nothing behind."""

from __future__ import annotations

import gc
import http.client
import json
import socket
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
from prometheus_client import CollectorRegistry

from foldline.domain.errors import Unreachable
from foldline.monitor import TIMEOUT_SECONDS, monitored
from processors.metrics import Metrics
from processors.watch import Watch
from projections.lag import PartitionLag


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes


class Monitor:
    def __init__(self, url: str) -> None:
        self.port = int(url.rpartition(":")[2])
        self.wrong: str | None = None

    def ask(self, path: str, method: str = "GET", **headers: str) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
            answer = connection.getresponse()
            return Answer(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())
        finally:
            connection.close()


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(Watch())


@pytest.fixture
def monitor(metrics: Metrics) -> Iterator[Monitor]:
    found: list[Monitor] = []
    checks = {"/healthz": lambda: None, "/readyz": lambda: found[0].wrong}
    with monitored("127.0.0.1", 0, metrics.registry, checks) as url:
        found.append(Monitor(url))
        yield found[0]


def envelope(answer: Answer) -> Any:
    assert answer.headers["content-type"] == "application/json"
    return json.loads(answer.body)


def test_what_is_answered(monitor: Monitor) -> None:
    scraped = monitor.ask("/metrics")
    assert (scraped.status, scraped.headers["content-type"].split(";")[0]) == (200, "text/plain")
    assert b'foldline_records_folded_total{kind="items"} 0.0\n' in scraped.body
    assert monitor.ask("/metrics", Accept_Encoding="gzip").headers["content-encoding"] == "gzip"

    alive = monitor.ask("/healthz")
    assert (alive.status, envelope(alive)) == (200, {"success": True, "message": "Alive", "data": {"status": "ok"}})
    assert (monitor.ask("/readyz").status, monitor.ask("/readyz", "HEAD")[::2]) == (200, (200, b""))
    monitor.wrong = "Kafka is away"
    refused = monitor.ask("/readyz")
    assert (refused.status, envelope(refused)) == (
        503,
        {"success": False, "message": "Kafka is away", "data": None, "error": "Kafka is away", "error_count": 1},
    )
    assert [monitor.ask("/").status, monitor.ask("/favicon.ico").status, monitor.ask("/metrics/x", "POST").status] == [
        404
    ] * 3
    assert [monitor.ask(path, "POST").status for path in ("/metrics", "/healthz")] == [405] * 2


def test_a_place_that_is_taken_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(Unreachable, match=rf"cannot be served on 127.0.0.1:{port}: .* FOLDLINE_METRICS_PORT"):
            monitored("127.0.0.1", port, CollectorRegistry(), {}).__enter__()


def test_who_asks_slowly_holds_nobody_up(monitor: Monitor) -> None:
    slow = [socket.create_connection(("127.0.0.1", monitor.port)) for _ in range(20)]
    try:
        for connection in slow:
            connection.sendall(b"GET /metrics HT")
        assert monitor.ask("/healthz").status == 200
        slow[0].settimeout(TIMEOUT_SECONDS + 10)
        assert slow[0].recv(1) == b""  # and is cut off
    finally:
        for connection in slow:
            connection.close()


def test_scrapes_leave_no_object_behind(monitor: Monitor, metrics: Metrics) -> None:
    """A processor looks for no cycles: what a scrape left in one would stay for ever."""
    metrics.lags = [PartitionLag("items.upserts.v1", partition, partition, 0.5) for partition in range(12)]

    def scrape(times: int) -> None:
        for _ in range(times):
            assert monitor.ask("/metrics", Accept_Encoding="gzip").status == 200
            assert monitor.ask("/readyz").status == 200
            assert monitor.ask("/nowhere").status == 404

    scrape(10)
    gc.collect()
    gc.disable()
    try:
        before = len(gc.get_objects())
        scrape(500)
        left, garbage = len(gc.get_objects()) - before, gc.collect()
    finally:
        gc.enable()
    assert garbage == 0
    assert left < 100  # a thread may still end
