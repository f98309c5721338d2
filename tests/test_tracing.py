"""Traces: who asks gets them, from the request to the commit; who does not pays nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from structlog.testing import capture_logs

from foldline.adapters.memory import MemoryRecord
from foldline.adapters.pool import Database
from foldline.domain.errors import Unreachable
from foldline.logs import ABOUT
from foldline.otel import MOST_REQUESTS, OtelSpans, provider
from foldline.settings import Settings
from foldline.steps import Steps
from foldline.tracing import asked_for, tracing
from processors.traces import BatchTraces
from producers.gateway.figures import Figures
from producers.gateway.metrics import Metrics
from producers.gateway.telemetry import Requests
from projections.state import Commit, Move

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SENT, UNSAMPLED = f"00-{TRACE}-{SPAN}-01", f"00-{TRACE}-{SPAN}-00"
TOPICS = {"items": "items.upserts.v1", "users": "users.upserts.v1"}


class Headed(MemoryRecord):
    """A record that came with headers."""

    def __init__(self, offset: int, traceparent: str | None) -> None:
        super().__init__(TOPICS["items"], 0, offset, b"", b"", 0)
        self._headers = None if traceparent is None else [("ce_id", b"1"), ("traceparent", traceparent.encode())]

    def headers(self) -> list[tuple[str, bytes]] | None:
        return self._headers


@pytest.fixture
def exported() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def spans(exported: InMemorySpanExporter) -> OtelSpans:
    made = TracerProvider()
    made.add_span_processor(SimpleSpanProcessor(exported))
    return OtelSpans(made)


def batch(start: int, end: int) -> Commit:
    return Commit({("items", 0): Move(start, end, end - 1, b"")}, {("items", 0): []}, [])


@pytest.mark.parametrize(
    ("environment", "asked"),
    [
        ({}, False),
        ({"OTEL_SERVICE_NAME": "x", "OTEL_TRACES_SAMPLER": "always_on"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://collector:4318/v1/traces"}, True),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, True),
        ({"OTEL_TRACES_EXPORTER": ""}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318", "OTEL_TRACES_EXPORTER": "none"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318", "OTEL_SDK_DISABLED": "TRUE"}, False),
    ],
)
def test_the_environment_asks(environment: Mapping[str, str], asked: bool) -> None:
    assert asked_for(environment) is asked


def test_who_does_not_ask_imports_nothing() -> None:
    program = (
        "import sys, foldline.cli.process, processors.runners.faust, producers.gateway.server as gateway\n"
        "from foldline.tracing import tracing\n"
        "assert tracing('gateway') is None\n"
        "assert not {'foldline.otel', 'opentelemetry.sdk'} & sys.modules.keys()\n"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    subprocess.run([sys.executable, "-c", program], env=environment, check=True)


def test_who_asks_without_the_packages_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "foldline.otel", None)
    with capture_logs() as lines:
        assert tracing("gateway", {"OTEL_TRACES_EXPORTER": "otlp"}) is None
    assert "install foldline[otel]" in lines[0]["event"]


def test_an_exporter_that_is_not_installed_is_an_error() -> None:
    with pytest.raises(Unreachable, match="asks for otlp_proto_grpc"):
        provider("gateway", {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"})


@pytest.mark.parametrize(("environment", "name"), [({}, "foldline-gateway"), ({"OTEL_SERVICE_NAME": "mine"}, "mine")])
def test_a_service_has_its_name(environment: dict[str, str], name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable, value in environment.items():
        monkeypatch.setenv(variable, value)
    made = provider("gateway", {"OTEL_TRACES_EXPORTER": "console", **environment})
    assert made.resource.attributes["service.name"] == name
    made.shutdown()


def test_a_request_is_a_span_in_the_callers_trace_and_its_events_carry_it_on(
    spans: OtelSpans, exported: InMemorySpanExporter
) -> None:
    requests = Requests(Metrics(Figures(Database(Settings(), "test"))), log_all=False, spans=spans)
    told = requests.begin({}, {b"traceparent": SENT.encode()})
    told.org_id, told.operation_id, told.records = "org_1", "op_1", 3
    requests.end(told, "POST", "/v1/ingest/items/upsert", 202)
    alone = requests.begin({}, {b"traceparent": b"not one"})
    requests.end(alone, "GET", "/readyz", 503)
    requests.end(requests.begin({}, {b"traceparent": UNSAMPLED.encode()}), "GET", "/readyz", 200)  # as the caller says
    ABOUT.set(None)

    first, second = exported.get_finished_spans()
    assert first.context is not None
    assert first.parent is not None
    assert (first.name, first.kind) == ("POST /v1/ingest/items/upsert", SpanKind.SERVER)
    assert (f"{first.context.trace_id:032x}", f"{first.parent.span_id:016x}") == (TRACE, SPAN)
    assert told.traceparent == f"00-{TRACE}-{first.context.span_id:016x}-01"
    assert dict(first.attributes or {}) == {
        "http.request.method": "POST", "http.route": "/v1/ingest/items/upsert", "http.response.status_code": 202,
        "foldline.request_id": told.request_id, "foldline.org_id": "org_1", "foldline.operation_id": "op_1",
        "foldline.records": 3,
    }  # fmt: skip
    assert (second.parent, second.status.status_code) == (None, StatusCode.ERROR)
    assert second.context is not None
    assert (
        alone.traceparent
        == f"00-{second.context.trace_id:032x}-{second.context.span_id:016x}-{second.context.trace_flags:02x}"
    )


def test_a_commit_ends_what_a_request_began(spans: OtelSpans, exported: InMemorySpanExporter) -> None:
    traces = BatchTraces(TOPICS, spans)  # type: ignore[arg-type]
    other = f"00-{'ab' * 16}-{'cd' * 8}-03"
    given = [SENT, None, UNSAMPLED, SENT, other, "00-" + "0" * 32 + f"-{SPAN}-01", "nonsense"]
    traces.delivers([Headed(100 + place, traceparent) for place, traceparent in enumerate(given)])
    traces.committed(batch(100, 104), 1000.0, 1000.5)
    traces.committed(batch(104, 107), 1000.5, 1001.0)

    commit, fold, second_commit, second = exported.get_finished_spans()
    assert (commit.name, fold.name, commit.parent) == ("commit", "fold items.upserts.v1", None)
    assert (commit.start_time, commit.end_time) == (1000 * 10**9, 1000 * 10**9 + 5 * 10**8)
    assert [f"{link.context.trace_id:032x}" for link in commit.links] == [TRACE]
    assert dict(commit.attributes or {}) == {
        "foldline.records": 4, "foldline.states": 0, "foldline.dead_letters": 0, "foldline.requests": 1,
    }  # fmt: skip
    assert fold.context is not None
    assert fold.parent is not None
    assert (f"{fold.context.trace_id:032x}", f"{fold.parent.span_id:016x}", fold.kind) == (TRACE, SPAN, SpanKind.CONSUMER)
    assert [link.context for link in fold.links] == [commit.context]
    assert fold.end_time == commit.end_time
    attributes = dict(fold.attributes or {})
    assert (attributes["messaging.kafka.offset"], attributes["messaging.batch.message_count"]) == (100, 2)
    assert second.context is not None
    assert second_commit.context is not None
    assert f"{second.context.trace_id:032x}" == "ab" * 16
    assert [link.context for link in second.links] == [second_commit.context]


def test_what_was_not_committed_is_delivered_again_and_told_of_once(
    spans: OtelSpans, exported: InMemorySpanExporter
) -> None:
    traces = BatchTraces(TOPICS, spans)  # type: ignore[arg-type]
    traces.delivers([Headed(5, SENT), Headed(6, SENT)])
    traces.failed(batch(5, 7), 1.0, Unreachable("away"))
    traces.begins(Steps())
    traces.delivers([Headed(4, SENT), Headed(5, SENT), Headed(6, SENT)])  # 4 was folded before
    traces.committed(batch(5, 7), 2.0, 3.0)
    traces.committed(batch(7, 9), 3.0, 4.0)
    (fold,) = (span for span in exported.get_finished_spans() if span.name != "commit")
    assert dict(fold.attributes or {})["messaging.batch.message_count"] == 2


def test_a_batch_of_many_requests_has_so_many_spans_and_counts_the_rest(
    spans: OtelSpans, exported: InMemorySpanExporter
) -> None:
    traces = BatchTraces(TOPICS, spans)  # type: ignore[arg-type]
    traces.delivers([Headed(offset, f"00-{offset + 1:032x}-{SPAN}-01") for offset in range(1000)])
    traces.committed(batch(0, 1000), 1.0, 2.0)
    commit, *folds = exported.get_finished_spans()
    assert (len(folds), len(commit.links), dict(commit.attributes or {})["foldline.requests"]) == (
        MOST_REQUESTS, MOST_REQUESTS, 1000,
    )  # fmt: skip
