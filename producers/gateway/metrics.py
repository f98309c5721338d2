"""The gateway's metrics, in Prometheus' format, in a registry of their own. All is counted on the one event loop."""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections.abc import Callable, Iterable
from importlib.metadata import version
from itertools import accumulate
from typing import Final

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, PlatformCollector, ProcessCollector
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from foldline.domain.records import KINDS, Kind
from producers.gateway.figures import Figures
from producers.validation import FieldError

LOOP_SECONDS: Final = 0.25
REQUEST_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
DELAY_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)

_log = structlog.get_logger("foldline.gateway")


class Answers(Collector):
    """Answers, and the records that were accepted, in plain numbers: to count them by the library's own classes, which lock
    each number, takes a fiftieth of a small request."""

    def __init__(self) -> None:
        self.records: dict[Kind, int] = dict.fromkeys(KINDS, 0)
        self._answers: dict[tuple[str, str, int], list[float]] = {}
        """By method, route and status: how many took how long, by `REQUEST_SECONDS` and beyond, and the sum of seconds."""

    def count(self, method: str, route: str, status: int, seconds: float) -> None:
        """Counts one answer; `route` is one of few."""
        found = self._answers.get((method, route, status))
        if found is None:
            found = self._answers[method, route, status] = [0.0] * (len(REQUEST_SECONDS) + 2)
        found[bisect_left(REQUEST_SECONDS, seconds)] += 1
        found[-1] += seconds

    def collect(self) -> Iterable[Metric]:
        labels = ("method", "route", "status")
        requests = CounterMetricFamily("foldline_http_requests", "Requests by route and status.", labels=labels)
        times = HistogramMetricFamily(
            "foldline_http_request_seconds", "Time from a request's head to the end of its answer.", labels=("route",)
        )
        records = CounterMetricFamily("foldline_records_accepted", "Records acknowledged by the log.", labels=("kind",))
        by_route: dict[str, list[float]] = {}
        for (method, route, status), found in self._answers.items():
            requests.add_metric((method, route, str(status)), sum(found[:-1]))
            by_route[route] = [*map(sum, zip(found, by_route.get(route, [0.0] * len(found)), strict=True))]
        bounds = [*map(floatToGoString, REQUEST_SECONDS), "+Inf"]
        for route, (*counts, seconds) in by_route.items():
            times.add_metric((route,), [*zip(bounds, accumulate(counts), strict=True)], seconds)
        for kind, count in self.records.items():
            records.add_metric((kind,), count)
        yield from (requests, times, records)


class Metrics:
    """What one gateway counts. `open` and `close` frame its use."""

    def __init__(self, figures: Figures) -> None:
        registry = self.registry = CollectorRegistry()
        self.figures = figures
        self.in_flight = 0
        """Requests that are being answered."""
        self._answers = Answers()
        registry.register(self._answers)
        self.request = self._answers.count
        self._errors = Counter("foldline_field_errors", "Field errors by code.", ("code",), registry=registry)
        self._failures = Counter(
            "foldline_delivery_failures", "Records not acknowledged, by Kafka's error.", ("error",), registry=registry
        )
        self._unexpected = Counter(
            "foldline_unexpected_failures", "Requests that failed in a way that nobody expected.", registry=registry
        )
        self._delay = Histogram(
            "foldline_event_loop_delay_seconds",
            "How late the event loop came to what it had to do.",
            buckets=DELAY_SECONDS,
            registry=registry,
        )
        self._importer = Counter("foldline_importer_restarts", "Times that the importer ended.", registry=registry)
        self._gauges = {
            name: Gauge(name, documentation, registry=registry)
            for name, documentation in (
                ("foldline_http_requests_in_flight", "Requests that are being answered."),
                ("foldline_http_connections", "Connections of clients."),
                ("foldline_pending_bytes", "What upserts hold that are being read or appended."),
                ("foldline_pending_limit_bytes", "What they may hold."),
                ("foldline_producer_queue_records", "Records that wait for Kafka's acknowledgement."),
                ("foldline_producer_queue_limit_records", "How many may wait."),
                ("foldline_database_connections", "Connections to the database that are in use."),
                ("foldline_database_limit_connections", "How many there may be."),
                ("foldline_database_waiting", "Statements that wait for a connection."),
            )
        }
        self.shows("foldline_http_requests_in_flight", lambda: self.in_flight)
        registry.register(figures)
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        Info("foldline_build", "The version that runs.", registry=registry).info({"version": version("foldline")})
        self._timer: asyncio.TimerHandle | None = None

    def shows(self, name: str, value: Callable[[], float]) -> None:
        """Has a gauge show what is found when it is asked for."""
        self._gauges[name].set_function(value)

    def open(self) -> None:
        """Begins to watch the event loop."""
        loop = asyncio.get_running_loop()

        def look(due: float) -> None:
            self._delay.observe(max(0.0, loop.time() - due))
            begin()

        def begin() -> None:
            due = loop.time() + LOOP_SECONDS
            self._timer = loop.call_at(due, look, due)

        begin()

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def accepted(self, kind: Kind, records: int) -> None:
        self._answers.records[kind] += records

    def field_errors(self, errors: Iterable[FieldError]) -> None:
        for error in errors:
            self._errors.labels(error.code).inc()

    def delivery_failed(self, error: str, records: int) -> None:
        self._failures.labels(error).inc(records)
        _log.warning("kafka did not acknowledge", error=error, records=records)

    def failed_unexpectedly(self) -> None:
        self._unexpected.inc()

    def importer_ended(self) -> None:
        self._importer.inc()
