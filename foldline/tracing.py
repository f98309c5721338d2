"""Traces of requests and of what becomes of their events, where the environment asks for them as OpenTelemetry has it.

Whoever is not asked imports nothing and does nothing: `tracing` is None, and everything that is traced says `if spans`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol, TypeAlias

import structlog

Attributes: TypeAlias = Mapping[str, str | int]

# Any of them asks for traces.
ASKING = ("OTEL_TRACES_EXPORTER", "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")

_log = structlog.get_logger("foldline.tracing")


class Folded(NamedTuple):
    """Events of one request that a batch has of one partition: `records` of them, the first at `offset`. `delivered` is when
    that came, in seconds since the epoch; `traceparent`, what they carry."""

    topic: str
    partition: int
    offset: int
    records: int
    delivered: float
    traceparent: str


class RequestSpan(Protocol):
    """A request that is being answered. Its `traceparent` is what its events carry on."""

    traceparent: str

    def end(self, method: str, route: str, status: int, attributes: Attributes) -> None:
        """It is answered."""


class Spans(Protocol):
    """Where spans go."""

    def request(self, traceparent: str | None) -> RequestSpan:
        """Begins a request's span, in the caller's trace if it sent one."""

    def batch(self, folded: Sequence[Folded], began: float, ended: float, attributes: Attributes) -> None:
        """Tells of a batch: its commit from `began` to `ended`, and in each request's trace what became of its events."""

    def close(self) -> None:
        """Sends what is left, as far as that is soon done."""


def asked_for(environment: Mapping[str, str]) -> bool:
    """Whether the environment asks for traces."""
    disabled = environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
    exporter = environment.get("OTEL_TRACES_EXPORTER", "").strip().lower()
    return not disabled and exporter != "none" and any(environment.get(name, "").strip() for name in ASKING)


def tracing(service: str, environment: Mapping[str, str] = os.environ) -> Spans | None:
    """Where a service's spans go; None where nobody asks for them. `service` is its name unless OTEL_SERVICE_NAME is set."""
    if not asked_for(environment):
        return None
    try:
        from foldline.otel import OtelSpans, provider
    except ImportError as error:
        _log.warning("traces are asked for, and cannot be made: install foldline[otel]", missing=error.name)
        return None
    return OtelSpans(provider(service, environment))
