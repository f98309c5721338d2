"""Every page of the dashboard is made here, of a template, with the headers that keep it to itself.

1. A page loads nothing from elsewhere and runs no script and no style that is written into it.
2. A page is kept by no cache: what a person may see changes, and secrets are shown once.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import orjson
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse

from producers.dashboard.filters import FILTERS
from producers.dashboard.static import asset

if TYPE_CHECKING:
    from producers.dashboard.people import Member

HEADERS: Final = {
    "Content-Security-Policy": "default-src 'self'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "object-src 'none'; base-uri 'none'; frame-ancestors 'none'; form-action 'self'",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
}

HTMX: Final = {
    "allowEval": False,
    "includeIndicatorStyles": False,
    "selfRequestsOnly": True,
    "allowScriptTags": False,
    "historyCacheSize": 0,
    "refreshOnHistoryMiss": True,
    "timeout": 30_000,
    "responseHandling": [
        {"code": "204", "swap": False},
        {"code": "[23]..", "swap": True},
        {"code": "422", "swap": True},
        {"code": "[45]..", "swap": False, "error": True},
    ],
}


class Place(NamedTuple):
    """An entry of the navigation, for who has at least that role. `below`: where paths begin that belong to it too."""

    label: str
    href: str
    icon: str
    role: str = "MEMBER"
    below: tuple[str, ...] = ()

    def has(self, path: str) -> bool:
        """Whether the page with that path is here."""
        return path == self.href or any(path.startswith(f"{own}/") for own in (self.href, *self.below) if own != "/")


NAVIGATION: Final = (
    Place("Overview", "/", "overview", below=("/start",)),
    Place("Data ingestion", "/ingestion", "ingestion", below=("/imports",)),
    Place("Catalogue", "/catalogue", "catalogue"),
    Place("Users", "/users", "users"),
    Place("Erasures", "/erasures", "eraser"),
    Place("Dead letters", "/dead-letters", "letters"),
    Place("Developers", "/developers", "developers"),
    Place("Team", "/team", "team"),
    Place("Audit log", "/audit", "audit", role="DEVELOPER"),
)


class _Parts:
    """The macros of parts.html, as `ui` in every template and every block of one."""

    def __getattr__(self, name: str) -> Any:
        return getattr(_ENVIRONMENT.get_template("parts.html").module, name)


def page(request: Request, template: str, member: Member | None, status: int = 200, **context: Any) -> HTMLResponse:
    """A page of a template in `templates/` for who is signed in. The template sees `member`, `path` and the context."""
    html = _ENVIRONMENT.get_template(template).render(_seen(request, member, context))
    return HTMLResponse(html, status, HEADERS)


def fragment(
    request: Request, template: str, block: str, member: Member | None, status: int = 200, **context: Any
) -> HTMLResponse:
    """One block of a page alone, to be put into a page that is open."""
    found = _ENVIRONMENT.get_template(template)
    seen = found.new_context(_seen(request, member, context))
    return HTMLResponse("".join(found.blocks[block](seen)), status, {**HEADERS, "Vary": "HX-Request"})


def wants_fragment(request: Request) -> bool:
    """Whether htmx asks, for a part of a page rather than a page."""
    return "hx-request" in request.headers and "hx-history-restore-request" not in request.headers


def _seen(request: Request, member: Member | None, context: dict[str, Any]) -> dict[str, Any]:
    return {"member": member, "path": request.url.path, "navigation": NAVIGATION, **context}


def _environment() -> Environment:
    made = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    made.filters |= FILTERS
    made.globals |= {"asset": asset, "ui": _Parts(), "htmx_config": orjson.dumps(HTMX).decode()}
    return made


_ENVIRONMENT: Final = _environment()
