"""Spans by OpenTelemetry's SDK, which reads its own variables: endpoint, headers, sampler, resource, limits.

Imported only where traces are asked for: `foldline.tracing`.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from importlib.metadata import entry_points, version

from opentelemetry.context import Context
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    set_span_in_context,
)

from foldline.domain.errors import Unreachable
from foldline.logs import log_libraries
from foldline.tracing import Attributes, Folded, RequestSpan

# So many requests of a batch have a span of their own, and a link; the others are counted.
MOST_REQUESTS = 128
CLOSE_SECONDS = 3.0


def provider(service: str, environment: Mapping[str, str]) -> TracerProvider:
    """A provider that sends spans in batches, from a thread of its own. Raises `Unreachable` for an exporter that is not
    installed."""
    log_libraries("opentelemetry")
    given = Resource.create({SERVICE_VERSION: version("foldline")})
    named = "OTEL_SERVICE_NAME" in environment or f"{SERVICE_NAME}=" in environment.get("OTEL_RESOURCE_ATTRIBUTES", "")
    made = TracerProvider(resource=given if named else given.merge(Resource({SERVICE_NAME: f"foldline-{service}"})))
    for name in (environment.get("OTEL_TRACES_EXPORTER", "").strip() or "otlp").split(","):
        made.add_span_processor(BatchSpanProcessor(_exporter(name.strip(), environment)))
    return made


def _exporter(name: str, environment: Mapping[str, str]) -> SpanExporter:
    if name == "otlp":
        protocol = environment.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL") or environment.get("OTEL_EXPORTER_OTLP_PROTOCOL")
        name = "otlp_proto_grpc" if protocol == "grpc" else "otlp_proto_http"
    found = list(entry_points(group="opentelemetry_traces_exporter", name=name))
    if not found:
        raise Unreachable(f"OTEL_TRACES_EXPORTER asks for {name}, which is not installed")
    exporter: SpanExporter = found[0].load()()
    return exporter


class OtelSpans:
    """`Spans` on a provider."""

    def __init__(self, made: TracerProvider) -> None:
        self._provider = made
        self._tracer = made.get_tracer("foldline", version("foldline"))

    def request(self, traceparent: str | None) -> RequestSpan:
        parent = Context() if traceparent is None else _within(traceparent)
        return _Request(self._tracer.start_span("request", parent, SpanKind.SERVER))

    def batch(self, folded: Sequence[Folded], began: float, ended: float, attributes: Attributes) -> None:
        shown = folded[:MOST_REQUESTS]
        links = [Link(_context(one.traceparent)) for one in shown]
        counted: dict[str, str | int] = {**attributes, "foldline.requests": len(folded)}
        commit = self._tracer.start_span("commit", Context(), SpanKind.INTERNAL, counted, links, _ns(began))
        commit.end(_ns(ended))
        for one in shown:
            told: dict[str, str | int] = {
                "messaging.system": "kafka",
                "messaging.operation.type": "process",
                "messaging.operation.name": "fold",
                "messaging.destination.name": one.topic,
                "messaging.destination.partition.id": str(one.partition),
                "messaging.kafka.offset": one.offset,
                "messaging.batch.message_count": one.records,
            }
            link = [Link(commit.get_span_context())]
            parent = _within(one.traceparent)
            span = self._tracer.start_span(f"fold {one.topic}", parent, SpanKind.CONSUMER, told, link, _ns(one.delivered))
            span.end(_ns(ended))

    def close(self) -> None:
        closing = threading.Thread(target=self._provider.shutdown, name="last spans", daemon=True)
        closing.start()
        closing.join(CLOSE_SECONDS)


class _Request:
    def __init__(self, span: Span) -> None:
        self._span = span
        context = span.get_span_context()
        self.traceparent = f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"

    def end(self, method: str, route: str, status: int, attributes: Attributes) -> None:
        span = self._span
        if span.is_recording():
            span.update_name(f"{method} {route}")
            told: dict[str, str | int] = {"http.request.method": method, "http.route": route}
            span.set_attributes({**told, "http.response.status_code": status, **attributes})
            if status >= 500:
                span.set_attribute("error.type", str(status))
                span.set_status(Status(StatusCode.ERROR))
        span.end()


def _context(traceparent: str) -> SpanContext:
    _, trace_id, span_id, flags = traceparent.split("-")
    return SpanContext(int(trace_id, 16), int(span_id, 16), is_remote=True, trace_flags=TraceFlags(int(flags, 16)))


def _within(traceparent: str) -> Context:
    return set_span_in_context(NonRecordingSpan(_context(traceparent)), Context())


def _ns(seconds: float) -> int:
    return round(seconds * 1_000_000_000)
