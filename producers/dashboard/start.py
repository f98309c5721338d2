"""The first-run page: from a key to a first upsert to a first import. It notices by itself what has happened."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from producers import tenants
from producers.dashboard.developers import MAKES_KEYS
from producers.dashboard.examples import UNKNOWN_KEY, upsert_by_curl
from producers.dashboard.pages import HEADERS, fragment, page
from producers.dashboard.people import Member, base_url, member
from producers.gateway.parts import parts_of
from projections.sql import queries

_PROGRESS: Final = queries("start")["progress"]


class Progress(NamedTuple):
    """How far an organisation has come. `key_hint` is of a secret key in use; `import_id` and `import_status` are those of
    the import that is live, or else of the last one."""

    key_hint: str | None
    key_used: bool
    item_id: str | None
    user_id: str | None
    import_id: str | None
    import_status: str | None

    @property
    def has_key(self) -> bool:
        return self.key_hint is not None

    @property
    def has_upsert(self) -> bool:
        """Whether an upsert has come with a key, and is applied: a record without a key's use is an import's."""
        return self.key_used and (self.item_id or self.user_id) is not None

    @property
    def has_import(self) -> bool:
        return self.import_status == "live"

    @property
    def done(self) -> bool:
        """Whether there is nothing left to walk through."""
        return self.has_key and self.has_upsert and self.has_import

    @property
    def stage(self) -> str:
        """What a page has shown, to be compared: it changes where there is news."""
        steps = "".join(str(int(step)) for step in (self.has_key, self.key_used, self.has_upsert))
        return f"{steps}-{self.import_id or ''}-{self.import_status or ''}"


async def progress(request: Request, who: Member) -> Progress:
    """How far their organisation has come. Raises `Unreachable`."""
    rows = await parts_of(request).database.fetch(_PROGRESS, {"org_id": who.org_id})
    return Progress(*rows[0])


async def start(request: Request) -> Response:
    """The three steps."""
    who = await member(request)
    return await _show(request, who, UNKNOWN_KEY)


async def make_key(request: Request) -> Response:
    """Makes a secret key. 201 with the steps, filled in with it."""
    who = await member(request, MAKES_KEYS)
    parts = parts_of(request)
    prefix = parts.settings.key_prefix
    made = await parts.connections.run(tenants.create_key, who.org_id, "secret", prefix, who.email)
    return await _show(request, who, made.key, 201)


async def news(request: Request) -> Response:
    """The steps anew, where they are not those that the page shows; else 204."""
    who = await member(request)
    found = await progress(request, who)
    if found.stage == request.query_params.get("seen"):
        return Response(status_code=204, headers=HEADERS)
    kept = "kept" in request.query_params  # the key that the page shows is not known here any more
    return fragment(request, "start.html", "steps", who, **_context(request, who, found, UNKNOWN_KEY, kept), news=True)


async def _show(request: Request, who: Member, key: str, status: int = 200) -> Response:
    found = await progress(request, who)
    shown = key != UNKNOWN_KEY
    return page(request, "start.html", who, status, **_context(request, who, found, key, shown), news=False)


def _context(request: Request, who: Member, found: Progress, key: str, kept: bool) -> dict[str, Any]:
    return {
        "progress": found,
        "key": None if key == UNKNOWN_KEY else key,
        "kept": kept,
        "curl": upsert_by_curl(base_url(request, parts_of(request).settings), key),
        "may_make": who.may(MAKES_KEYS),
    }


ROUTES: Final[list[BaseRoute]] = [
    Route("/start", start, methods=["GET"]),
    Route("/start/key", make_key, methods=["POST"]),
    Route("/start/news", news, methods=["GET"]),
]
