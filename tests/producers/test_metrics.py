"""How full a gateway is, and what it knows of the pipeline behind it."""

from __future__ import annotations

import asyncio
import random
import re
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import NamedTuple

import httpx
import psycopg
import pytest
from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.registry import Collector

from foldline.adapters.pool import Database
from foldline.domain.records import KINDS
from foldline.embedded.processes import until
from foldline.settings import Settings
from producers.gateway.bodies import REQUEST_BYTES
from producers.gateway.figures import FRESH_SECONDS, STATUSES, WAIT_SECONDS, Figures
from producers.gateway.metrics import LOOP_SECONDS, REQUEST_SECONDS, Answers, Metrics
from tests.producers.conftest import Gateway, NewOrg, as_role, gateway_of
from tests.producers.test_outages import behind_a_proxy


class Scrape(NamedTuple):
    text: str

    def value(self, series: str) -> float | None:
        found = re.search(rf"^{re.escape(series)} (\S+)$", self.text, re.MULTILINE)
        return None if found is None else float(found[1])


def scrape(client: httpx.Client) -> Scrape:
    answer = client.get("/metrics")
    assert answer.status_code == 200
    return Scrape(answer.text)


@pytest.fixture
def fresh(stage: Settings) -> Iterator[Gateway]:
    """A gateway that nobody else uses, as a user of the database that may do no more than it has to."""
    with gateway_of(as_role(stage, "foldline_gateway")) as running:
        yield running


def test_what_is_under_way_is_shown(fresh: Gateway, new_org: NewOrg) -> None:
    key = new_org().secret_key
    with ExitStack() as stack, fresh.client() as anyone:
        idle = scrape(anyone)
        assert idle.value("foldline_http_requests_in_flight") == 1  # the scrape itself
        assert idle.value("foldline_pending_bytes") == 0
        assert idle.value("foldline_pending_limit_bytes") == 32768 * 1024
        assert idle.value("foldline_producer_queue_limit_records") == 200_000
        assert idle.value("foldline_database_limit_connections") == 8
        connections = idle.value("foldline_http_connections") or 0
        for _ in range(3):
            sender = stack.enter_context(socket.create_connection(("127.0.0.1", fresh.port)))
            head = f"POST /v1/ingest/items/upsert HTTP/1.1\r\nHost: x\r\nX-API-KEY: {key}\r\nContent-Length: 1000\r\n\r\n["
            sender.sendall(head.encode())
        assert until(lambda: scrape(anyone).value("foldline_pending_bytes") == 3 * (REQUEST_BYTES + 1000), 10)
        busy = scrape(anyone)
        assert busy.value("foldline_http_requests_in_flight") == 4
        assert busy.value("foldline_http_connections") == connections + 3
    with fresh.client() as anyone:
        assert until(lambda: scrape(anyone).value("foldline_http_requests_in_flight") == 1, 10)
        assert scrape(anyone).value("foldline_pending_bytes") == 0


def test_answers_are_counted_as_the_library_counts() -> None:
    registry = CollectorRegistry()
    requests = Counter("foldline_http_requests", "", ("method", "route", "status"), registry=registry)
    times = Histogram("foldline_http_request_seconds", "", ("route",), buckets=REQUEST_SECONDS, registry=registry)
    records = Counter("foldline_records_accepted", "", ("kind",), registry=registry)
    answers, chance = Answers(), random.Random(1)
    for kind in KINDS:
        records.labels(kind).inc(3)
        answers.records[kind] += 3
    for _ in range(500):
        route, status = chance.choice(["a", "b"]), chance.choice([200, 503])
        seconds = chance.choice([*REQUEST_SECONDS, 0.0, 31.0, chance.random()])
        requests.labels("GET", route, str(status)).inc()
        times.labels(route).observe(seconds)
        answers.count("GET", route, status, seconds)

    def shown(collector: Collector) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
        samples = [sample for family in collector.collect() for sample in family.samples]
        found = {(one.name, frozenset(one.labels.items())): one.value for one in samples}
        return {name: value for name, value in found.items() if not name[0].endswith("_created")}

    assert shown(answers) == pytest.approx(shown(registry))
    assert len(shown(answers)) == 4 + 2 * (len(REQUEST_SECONDS) + 3) + 2


def test_a_loop_that_is_held_up_is_seen() -> None:
    async def held_up() -> Metrics:
        metrics = Metrics(Figures(Database(Settings(), "test")))
        metrics.open()
        await asyncio.sleep(0)
        time.sleep(LOOP_SECONDS + 0.6)  # noqa: ASYNC251
        await asyncio.sleep(0.01)
        metrics.close()
        return metrics

    metrics = asyncio.run(held_up())
    value = metrics.registry.get_sample_value
    assert value("foldline_event_loop_delay_seconds_count") == 1
    assert value("foldline_event_loop_delay_seconds_bucket", {"le": "0.5"}) == 0


def test_the_pipeline_is_shown_also_where_no_processor_runs(stage: Settings, fresh: Gateway) -> None:
    with psycopg.connect(stage.database_url, autocommit=True) as control, fresh.client() as anyone:
        control.execute("INSERT INTO foldline_control.lag (at, records, seconds) VALUES (now(), 41, 1.5)")
        shown = scrape(anyone)
        assert shown.value("foldline_log_lag_records") == 41
        assert shown.value("foldline_log_lag_seconds") == 1.5
        assert shown.value("foldline_log_partitions") == 6
        assert {status for status in STATUSES if shown.value(f'foldline_imports{{status="{status}"}}') is None} == set()
        assert shown.value("foldline_import_seconds") is not None

        # A sample that is too old says nothing of now.
        control.execute("DELETE FROM foldline_control.lag WHERE at > now() - interval '1 min'")
        control.execute("INSERT INTO foldline_control.lag (at, records, seconds) VALUES (now() - interval '2 min', 7, 7)")
        assert until(lambda: scrape(anyone).value("foldline_log_lag_records") is None, FRESH_SECONDS + 5)
        assert scrape(anyone).value("foldline_log_partitions") == 6


def test_a_scrape_does_not_wait_for_a_database_that_hangs(stage: Settings) -> None:
    with behind_a_proxy(stage) as (gateway, proxy), gateway.client() as anyone:
        proxy.freeze()
        began = time.monotonic()
        shown = scrape(anyone)
        assert time.monotonic() - began < WAIT_SECONDS + 1
        assert shown.value("foldline_log_partitions") is None
        assert shown.value("foldline_http_requests_in_flight") == 1


def test_openmetrics_is_given_to_who_asks_for_it(gateway: Gateway) -> None:
    with gateway.client() as anyone:
        answer = anyone.get("/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})
        assert answer.headers["content-type"].startswith("application/openmetrics-text")
        assert answer.text.endswith("# EOF\n")
