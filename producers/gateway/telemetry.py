"""What is told of every request: counted, timed, and in the log where it failed, without secrets or attribute values."""

from __future__ import annotations

import time
import traceback
from collections.abc import Awaitable, Callable

import structlog
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from producers.gateway.metrics import Metrics

EXTRA_HEADERS = "foldline.headers"
BEGAN = "foldline.began"
CLIENT_LEFT = 499
NO_GUESSING = (b"x-content-type-options", b"nosniff")
NO_STORE = (b"cache-control", b"no-store")

_log = structlog.get_logger("foldline.gateway")


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
        self._metrics.in_flight += 1

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
            self._metrics.failed_unexpectedly()
            if not status:
                await (await self._failed(Request(scope, receive)))(scope, receive, sending)
        finally:
            self._metrics.in_flight -= 1
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
