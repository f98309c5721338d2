"""The dashboard as data: its routes, and its answers to what goes wrong."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Final, NamedTuple, TypeAlias
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from foldline.domain.errors import Unreachable
from producers.dashboard import (
    account,
    audit,
    catalogue,
    developers,
    entry,
    erasures,
    ingestion,
    letters,
    overview,
    start,
    static,
    team,
)
from producers.dashboard.origin import guarded
from producers.dashboard.pages import page, wants_fragment
from producers.dashboard.people import Member, Refused, SignIn, sign_in_first, visitor

ROUTES: Final[list[BaseRoute]] = guarded(
    [
        *entry.ROUTES,
        *account.ROUTES,
        *team.ROUTES,
        *audit.ROUTES,
        *developers.ROUTES,
        *start.ROUTES,
        *ingestion.ROUTES,
        *overview.ROUTES,
        *letters.ROUTES,
        *erasures.ROUTES,
        *catalogue.ROUTES,
        *static.ROUTES,
    ]
)

_Handler: TypeAlias = Callable[[Request, Any], Coroutine[Any, Any, Response]]

# What programs ask for, who read JSON whatever they say that they accept.
_OF_PROGRAMS: Final = ("/v1", "/healthz", "/readyz", "/metrics", "/openapi.json", "/registry", "/docs/assets", "/assets")


class _Words(NamedTuple):
    title: str
    message: str
    icon: str = "error"


_WORDS: Final[Mapping[int, _Words]] = {
    403: _Words("Not with your role", "", "lock"),
    404: _Words("There is no such page", "It may have been moved, or the link is incomplete.", "search"),
    405: _Words("This page cannot do that", "Go back and try again from the page itself."),
    500: _Words("Something went wrong", "It is not your doing; the gateway’s log says what it was.", "warning"),
    503: _Words("Out of reach at the moment", "The gateway cannot reach what it needs. Try again in a moment.", "clock"),
}


def wants_page(request: Request) -> bool:
    """Whether a person looks at the answer, rather than a program."""
    path = request.url.path
    program = any(path == own or path.startswith(f"{own}/") for own in _OF_PROGRAMS)
    return not program and ("text/html" in request.headers.get("accept", "") or wants_fragment(request))


async def error_page(
    request: Request, status: int, title: str = "", message: str = "", headers: Mapping[str, str] | None = None
) -> Response:
    """What went wrong, for a person; for htmx in a header, since it replaces nothing of the page then."""
    words = _WORDS.get(status, _Words("That did not work", ""))
    if wants_fragment(request):
        said = quote(message or words.message or words.title)
        return Response(
            status_code=status, headers={**(headers or {}), "Foldline-Message": said, "Cache-Control": "no-store"}
        )
    found = await _visitor(request) if status < 500 else None
    action = ("Go to the overview", "/") if found or status >= 500 else ("Sign in", "/sign-in")
    answer = page(
        request,
        "error.html",
        found,
        status,
        title=title or words.title,
        message=message or words.message,
        icon=words.icon,
        action=action,
    )
    answer.headers.update(headers or {})
    return answer


async def _visitor(request: Request) -> Member | None:
    try:
        return await visitor(request)
    except Unreachable:
        return None


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)
    return await error_page(request, error.status, error.title, error.message, error.headers)


EXCEPTION_HANDLERS: Final[dict[int | type[Exception], _Handler]] = {SignIn: sign_in_first, Refused: _refused}
