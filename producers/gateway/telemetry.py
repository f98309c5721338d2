"""What the gateway tells its operators: metrics in Prometheus' format, and log lines without secrets or attribute values."""

from __future__ import annotations

import time
import traceback
from collections.abc import Awaitable, Callable, Iterable

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from foldline.domain.records import KINDS, Kind
from producers.validation import FieldError

EXTRA_HEADERS = "foldline.headers"
BEGAN = "foldline.began"
CLIENT_LEFT = 499
NO_GUESSING = (b"x-content-type-options", b"nosniff")
NO_STORE = (b"cache-control", b"no-store")

_log = structlog.get_logger("foldline.gateway")


class Metrics:
    """The gateway's metrics, in a registry of their own."""

    def __init__(self, queued: Callable[[], int]) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "foldline_http_requests", "Requests by route and status.", ("method", "route", "status"), registry=self.registry
        )
        self._seconds = Histogram(
            "foldline_http_request_seconds",
            "Time from a request's head to the end of its answer.",
            ("route",),
            buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
            registry=self.registry,
        )
        self._accepted = Counter(
            "foldline_records_accepted", "Records acknowledged by the log.", ("kind",), registry=self.registry
        )
        self._errors = Counter("foldline_field_errors", "Field errors by code.", ("code",), registry=self.registry)
        self._failures = Counter(
            "foldline_delivery_failures", "Records not acknowledged, by Kafka's error.", ("error",), registry=self.registry
        )
        Gauge(
            "foldline_producer_queue_records", "Records that wait for Kafka's acknowledgement.", registry=self.registry
        ).set_function(queued)

        self._of_route: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}
        self._of_kind = {kind: self._accepted.labels(kind) for kind in KINDS}

    def request(self, method: str, route: str, status: int, seconds: float) -> None:
        """Counts one answer; `route` is one of few."""
        found = self._of_route.get((method, route, status))
        if found is None:
            found = self._requests.labels(method, route, str(status)), self._seconds.labels(route)
            self._of_route[method, route, status] = found
        found[0].inc()
        found[1].observe(seconds)

    def accepted(self, kind: Kind, records: int) -> None:
        self._of_kind[kind].inc(records)

    def field_errors(self, errors: Iterable[FieldError]) -> None:
        for error in errors:
            self._errors.labels(error.code).inc()

    def delivery_failed(self, error: str, records: int) -> None:
        self._failures.labels(error).inc(records)
        _log.warning("kafka did not acknowledge", error=error, records=records)


class Telemetry:
    """Outermost of our middleware: counts and times every request, adds the headers that the scope asks for, and answers
    with `failed` where something failed that nobody expected."""

    def __init__(self, app: ASGIApp, metrics: Metrics, failed: Callable[[Request], Awaitable[Response]]) -> None:
        self._app = app
        self._metrics = metrics
        self._failed = failed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = 0
        began = scope.get(BEGAN) or time.perf_counter()

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = [*message.get("headers", ()), NO_GUESSING, *scope.get(EXTRA_HEADERS, ())]
                if scope["path"].startswith("/v1/"):
                    headers.append(NO_STORE)
                message["headers"] = headers
            await send(message)

        try:
            await self._app(scope, receive, sending)
        except Exception as error:
            log_failure(scope["method"], route_of(scope), error)
            if not status:
                await (await self._failed(Request(scope, receive)))(scope, receive, sending)
        finally:
            self._metrics.request(_method(scope), route_of(scope), status or CLIENT_LEFT, time.perf_counter() - began)


def route_of(scope: Scope) -> str:
    """The template of the route that took the request, of which there are few; `unknown` for none."""
    templates: dict[object, str] = scope["app"].state.templates
    return templates.get(scope.get("endpoint"), "unknown")


def log_failure(method: str, route: str, error: BaseException) -> None:
    """Says what failed and where. Not the error's text: it may quote what was sent."""
    frames = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in traceback.extract_tb(error.__traceback__)]
    _log.error("unexpected failure", method=method, route=route, error=type(error).__name__, frames=frames[-12:])


def _method(scope: Scope) -> str:
    method: str = scope["method"]
    return method if method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS") else "other"
