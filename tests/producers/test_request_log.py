"""What the log says of requests: by the names that their answers and their events have, and no more than can be read."""

from __future__ import annotations

import re
from typing import Any

import httpx
import pytest
from structlog.testing import capture_logs

from foldline.adapters.consumer import KafkaLogReader
from foldline.adapters.pool import Database
from foldline.domain.keys import partition_of
from foldline.logs import ABOUT, library, name_what_it_is_about
from foldline.settings import Settings
from producers.gateway.figures import Figures
from producers.gateway.metrics import Metrics
from producers.gateway.telemetry import FAILURES_A_SECOND, Requests, Told
from tests.producers.conftest import Gateway, NewOrg, gateway_of

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
NAMES = {"trace_id": "4bf92f3577b34da6a3ce929d0e0e4736", "span_id": "00f067aa0ba902b7"}


def requests(lines: list[Any]) -> list[Any]:
    return [line for line in lines if line["event"] in ("request", "request failed")]


def headers_of(settings: Settings, key: bytes) -> list[dict[str, bytes]]:
    """The headers of the events of an item, in order."""
    records = KafkaLogReader(settings).read("items", partition_of(key, settings.partitions), 0, 2**62)
    return [dict(record.headers()) for record in records if record.key() == key]  # type: ignore[attr-defined]


def test_a_request_has_one_name_everywhere(stage: Settings, new_org: NewOrg) -> None:
    org = new_org()
    with (
        gateway_of(stage.model_copy(update={"log_level": "debug"})) as gateway,
        gateway.client(org.secret_key) as client,
        capture_logs() as lines,
    ):
        client.headers["traceparent"] = TRACE
        answer = client.post("/v1/ingest/items/upsert", json=[{"item_id": "named", "item_type": "t"}] * 3)
        refused = client.post("/v1/ingest/items/upsert", json=[])
        nowhere = client.get("/v1/nowhere/private-id")
    request_id = answer.headers["X-Request-Id"]
    assert re.fullmatch("[0-9a-f]{32}", request_id)
    queued, wrong, missed = requests(lines)
    assert queued.pop("ms") > 0
    assert queued == {
        "event": "request", "log_level": "debug", "method": "POST", "route": "/v1/ingest/items/upsert", "status": 202,
        "records": 3, "request_id": request_id, "operation_id": answer.json()["data"]["operation_id"], "org_id": org.org_id,
        **NAMES,
    }  # fmt: skip
    assert (wrong["status"], wrong["request_id"]) == (400, refused.headers["X-Request-Id"])
    assert (missed["status"], missed["route"], missed["request_id"]) == (404, "unknown", nowhere.headers["X-Request-Id"])
    assert "private-id" not in str(lines)
    events = headers_of(stage, f"{org.org_id}:named".encode())
    assert [event["ce_id"] for event in events] == [f"{request_id}-{number}".encode() for number in range(3)]
    assert {event["traceparent"] for event in events} == {TRACE.encode()}


def test_only_failures_are_said_unless_more_is_asked_for(gateway: Gateway, new_org: NewOrg) -> None:
    room, free = gateway.parts.room, gateway.parts.room.free
    with gateway.client(new_org().secret_key) as client, capture_logs() as lines:
        item = {"item_id": "A", "item_type": "t"}
        assert client.post("/v1/ingest/items/upsert", json=item).status_code == 202
        room.free = 0  # as much to do as it can hold
        try:
            answer = client.post("/v1/ingest/items/upsert", json=item)
        finally:
            room.free = free
    (failed,) = requests(lines)
    assert (answer.status_code, failed["log_level"], failed["status"]) == (503, "warning", 503)
    assert failed["request_id"] == answer.headers["X-Request-Id"]
    assert failed["reason"].startswith("The gateway has as much to do as it can hold")


def test_a_failure_that_nobody_expected_names_its_request(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway.parts, "reader", None)
    with gateway.client() as client, capture_logs(processors=[name_what_it_is_about]) as lines:
        answer = client.get("/readyz")
    assert answer.status_code == 500
    (unexpected,) = (line for line in lines if line["event"] == "unexpected failure")
    assert unexpected["request_id"] == answer.headers["X-Request-Id"]


def test_failures_beyond_a_few_a_second_are_counted() -> None:
    now = [0.0]
    told = Requests(Metrics(Figures(Database(Settings(), "test"))), log_all=False, clock=lambda: now[0])
    with capture_logs() as lines:
        for second, failures in ((1.0, 35), (2.9, 1), (3.0, 1)):
            now[0] = second
            for _ in range(failures):
                told.end(told.begin({}, {}), "GET", "/readyz", 503)
    assert [line.get("left_out") for line in lines] == [None] * FAILURES_A_SECOND + [25, None]
    ABOUT.set(None)


def test_every_line_names_what_it_is_about() -> None:
    told = Told(TRACE)
    ABOUT.set(told)
    try:
        with capture_logs(processors=[name_what_it_is_about]) as lines:
            library.warning("Kafka is slow")
            library.warning("another's", request_id="own")
    finally:
        ABOUT.set(None)
    assert lines[0] == {"event": "Kafka is slow", "log_level": "warning", "request_id": told.request_id, **NAMES}
    assert lines[1]["request_id"] == "own"


def test_every_answer_has_the_name_of_its_request(gateway: Gateway) -> None:
    with httpx.Client(base_url=gateway.url, trust_env=False) as client:
        assert "X-Request-Id" in client.get("/healthz").headers
        assert "X-Request-Id" in client.get("/sign-in").headers
