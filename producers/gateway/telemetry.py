"""What is told of every request: counted, timed, and in the log where it failed, without secrets or attribute values."""

from __future__ import annotations

import asyncio
import time
import traceback
from collections.abc import Awaitable, Callable, Mapping

import structlog
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from foldline.logs import ABOUT
from foldline.tracing import Spans
from producers.gateway.metrics import Metrics
from producers.gateway.trace import new_request_id, traceparent, valid

EXTRA_HEADERS = "foldline.headers"
TOLD = "foldline.told"
REQUEST_ID = b"x-request-id"
FAILURES_A_SECOND = 10
CLIENT_LEFT = 499
NO_GUESSING = (b"x-content-type-options", b"nosniff")
NO_STORE = (b"cache-control", b"no-store")

Answer = Callable[[Request], Awaitable[Response]]

_log = structlog.get_logger("foldline.gateway")


class Told:
    """One request, as it is told of: `Named` in the log. What is found out about it on the way is set here."""

    __slots__ = ("began", "operation_id", "org_id", "reason", "records", "request_id", "span", "traceparent")

    def __init__(self, sent: str | None, spans: Spans | None = None) -> None:
        """`sent` is the caller's `traceparent`, if any."""
        self.began = time.perf_counter()
        self.request_id = new_request_id()
        self.span = None if spans is None else spans.request(valid(sent))
        self.traceparent = traceparent(sent) if self.span is None else self.span.traceparent
        self.org_id = self.operation_id = self.reason = ""
        self.records = 0

    def names(self) -> dict[str, str]:
        _, trace_id, span_id, _ = self.traceparent.split("-")
        found = {"request_id": self.request_id, "trace_id": trace_id, "span_id": span_id}
        if self.org_id:
            found["org_id"] = self.org_id
        if self.operation_id:
            found["operation_id"] = self.operation_id
        return found

    def attributes(self) -> dict[str, str | int]:
        """What a trace has of it."""
        found: dict[str, str | int] = {"foldline.request_id": self.request_id}
        if self.org_id:
            found["foldline.org_id"] = self.org_id
        if self.operation_id:
            found |= {"foldline.operation_id": self.operation_id, "foldline.records": self.records}
        return found

    def header(self) -> tuple[bytes, bytes]:
        """What the answer names it by."""
        return REQUEST_ID, self.request_id.encode()


class Requests:
    """Counts and times every request, and logs those that fail, or all. Between `begin` and `end` lines of the log have the
    request's names, in the task that it has."""

    def __init__(
        self, metrics: Metrics, log_all: bool, spans: Spans | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Requests are traced where there are `spans`."""
        self.metrics, self._log_all, self._spans, self._clock = metrics, log_all, spans, clock
        self._second, self._said, self._left_out = 0, 0, 0

    def begin(self, scope: Scope, headers: Mapping[bytes, bytes]) -> Told:
        sent = headers.get(b"traceparent")
        told = scope[TOLD] = Told(None if sent is None else sent.decode("latin-1"), self._spans)
        ABOUT.set(told)
        self.metrics.in_flight += 1
        return told

    def end(self, told: Told, method: str, route: str, status: int) -> None:
        self.metrics.in_flight -= 1
        seconds = time.perf_counter() - told.began
        self.metrics.request(method, route, status, seconds)
        if status >= 500 or self._log_all:
            self._say(told, method, route, status, seconds)
        if told.span is not None:
            told.span.end(method, route, status, told.attributes())

    def close(self) -> None:
        """Sends the last spans."""
        if self._spans is not None:
            self._spans.close()

    def _say(self, told: Told, method: str, route: str, status: int, seconds: float) -> None:
        """Says it, of failures no more than `FAILURES_A_SECOND`: there are most when there is least time for them."""
        line: dict[str, object] = {"method": method, "route": route, "status": status, "ms": round(1000 * seconds, 1)}
        if told.records:
            line["records"] = told.records
        if told.reason:
            line["reason"] = told.reason
        if status < 500:
            _log.debug("request", **told.names(), **line)
            return
        second = int(self._clock())
        if second != self._second:
            self._second, self._said = second, 0
        self._said += 1
        if self._said > FAILURES_A_SECOND:
            self._left_out += 1
            return
        if self._left_out:
            line["left_out"], self._left_out = self._left_out, 0
        _log.warning("request failed", **told.names(), **line)


class Telemetry:
    """Outermost of our middleware: tells of every request that was not answered before it, adds the headers that the scope
    asks for, and answers with `failed` where something failed that nobody expected, with `ended` where the server ends
    before there is an answer."""

    def __init__(self, app: ASGIApp, requests: Requests, failed: Answer, ended: Answer) -> None:
        self._app = app
        self._requests = requests
        self._failed, self._ended = failed, ended

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = 0
        told: Told = scope.get(TOLD) or self._requests.begin(scope, dict(scope["headers"]))

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = [*message.get("headers", ()), NO_GUESSING, told.header(), *scope.get(EXTRA_HEADERS, ())]
                if scope["path"].startswith("/v1/"):
                    headers.append(NO_STORE)
                message["headers"] = headers
            await send(message)

        try:
            await self._app(scope, receive, sending)
        except Exception as error:
            log_failure(scope["method"], route_of(scope), error)
            self._requests.metrics.failed_unexpectedly()
            if not status:
                await (await self._failed(Request(scope, receive)))(scope, receive, sending)
        except asyncio.CancelledError:
            if not status:
                await (await self._ended(Request(scope, receive)))(scope, receive, sending)
        finally:
            self._requests.end(told, _method(scope), route_of(scope), status or CLIENT_LEFT)


def told_of(scope: Scope) -> Told:
    """What is told of the request."""
    told: Told = scope[TOLD]
    return told


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
