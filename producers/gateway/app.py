"""The gateway as data: routes, middleware and the answers to what goes wrong, given to one application."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from foldline.domain.errors import Unreachable
from foldline.domain.values import printable
from producers.dashboard import app as dashboard
from producers.gateway import ingest, operations, pages, reads, registry
from producers.gateway.bodies import drain
from producers.gateway.envelope import Refusal, refused, unavailable, wrong_fields
from producers.gateway.parts import Parts, parts_of
from producers.gateway.telemetry import Telemetry, told_of
from producers.validation import FieldError

_MESSAGES: Final = {404: "There is nothing here: /docs shows what there is", 405: "Not with this method"}
_CODES: Final = {
    "literal_error": "invalid_status",
    "greater_than_equal": "invalid_number",
    "less_than_equal": "invalid_number",
    "too_long": "too_long",
}


class Application(FastAPI):
    """Upserts that can be accepted are answered before the middleware and the router; all else takes the usual way."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        upserts = ingest.UPSERTS.get(scope["path"]) if scope["type"] == "http" and scope["method"] == "POST" else None
        if upserts is None or not await upserts.take(self.state.parts, scope, receive, send):
            await super().__call__(scope, receive, send)


def application(parts: Parts) -> FastAPI:
    """The gateway over its parts, which live as long as the application runs."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await parts.open()
        try:
            yield
        finally:
            await parts.close()

    app = Application(
        title="Foldline",
        version=version("foldline"),
        routes=[*ingest.ROUTES, *operations.ROUTES, *reads.ROUTES, *pages.ROUTES, *registry.ROUTES, *dashboard.ROUTES],
        middleware=[Middleware(Telemetry, requests=parts.requests, failed=_failed, ended=_ended)],
        exception_handlers={
            Refusal: _refusal,
            Unreachable: _unreachable,
            HTTPException: _http,
            RequestValidationError: _parameters,
            ClientDisconnect: _gone,
            registry.NotThere: registry.not_there,
            **dashboard.EXCEPTION_HANDLERS,
        },
        lifespan=lifespan,
        telemetry={"tracing": False, "metrics": False, "logs": False},
        redirect_slashes=False,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
    )
    app.state.parts = parts
    app.state.templates = {
        getattr(route, "endpoint", getattr(route, "app", None)): getattr(route, "path_format", "") for route in app.routes
    }
    return app


async def _refusal(request: Request, error: Exception) -> Response:
    """Every refusal ends here: what is left of the body is drained first."""
    assert isinstance(error, Refusal)
    if error.status >= 500:
        told_of(request.scope).reason = error.message
    if not await drain(request, parts_of(request).settings):
        error.headers["Connection"] = "close"
    return await _shown(request, error)


async def _shown(request: Request, error: Refusal) -> Response:
    """As a page to who looks at pages."""
    if dashboard.wants_page(request):
        return await dashboard.error_page(request, error.status, headers=error.headers)
    return refused(error)


async def _failed(request: Request) -> Response:
    return await _shown(request, Refusal(500, "Something failed inside the gateway; it is in its log"))


async def _ended(request: Request) -> Response:
    """The server ends, and waits for this request no longer."""
    refusal = unavailable("The gateway ends. A write may still appear, perhaps after a later one: retry until answered")
    told_of(request.scope).reason = refusal.message
    refusal.headers["Connection"] = "close"
    return await _shown(request, refusal)


async def _unreachable(request: Request, error: Exception) -> Response:
    return await _refusal(request, unavailable(str(error)))


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    message = _MESSAGES.get(error.status_code, str(error.detail))
    headers = dict(error.headers or {})
    if error.status_code == 405:
        allowed = headers.get("Allow", "GET, HEAD")  # static files name none
        headers["Allow"] = ", ".join(sorted(allowed.split(", ")))
    return await _refusal(request, Refusal(error.status_code, message, headers=headers))


async def _parameters(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    errors = [
        FieldError(
            0, None, _path(fault["loc"]), _CODES.get(fault["type"], "invalid_type"), f"{_path(fault['loc'])}: {fault['msg']}"
        )
        for fault in error.errors()
    ]
    return await _refusal(request, wrong_fields(errors[:100], len(errors)))


async def _gone(request: Request, error: Exception) -> Response:
    """The client left: nobody reads this answer."""
    return Response(status_code=499)


def _path(location: tuple[int | str, ...]) -> str:
    return ".".join(printable(str(part)) for part in location[1:])
