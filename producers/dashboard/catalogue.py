"""The catalogue and the users: listings by key with filters and a search, all of it in the URL; a page for each record."""

from __future__ import annotations

import asyncio
from typing import Any, Final, NamedTuple
from urllib.parse import urlencode

from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from foldline.adapters.pool import Connections
from foldline.adapters.postgres import Connection
from foldline.domain.keys import id_fault
from foldline.domain.records import ID_MAX_CHARACTERS, Kind
from producers.dashboard.catalogue_view import attribute_rows, marked, shown_json
from producers.dashboard.erasures import ERASES
from producers.dashboard.filters import count
from producers.dashboard.history import imports_of, past
from producers.dashboard.pages import HEADERS, fragment, page, wants_fragment
from producers.dashboard.people import Member, base_url, member
from producers.gateway.envelope import Json
from producers.gateway.parts import parts_of
from producers.gateway.reads import RecordRoute
from projections.catalogue import END, MAX_TYPES, Wanted, record, search, types
from projections.catalogue import page as page_of
from projections.erasures import Erasure, erasures
from projections.overview import Overview
from projections.reader import state_json

PAGE_ROWS: Final = 50
# Of the ids that begin with the text of a search, so many are shown above what has it in its attributes.
FIRST_IDS: Final = 5
# A search goes on by itself until it has filled a page, or looked at so many stretches.
MAX_STRETCHES: Final = 500

PATHS: Final[dict[Kind, str]] = {"items": "/catalogue", "users": "/users"}
STATUSES: Final[dict[str, tuple[str, ...]]] = {
    "": ("active", "inactive"),
    "active": ("active",),
    "inactive": ("inactive",),
    "deleted": ("deleted",),
    "all": ("active", "inactive", "deleted"),
}

_WORDS: Final[dict[Kind, dict[str, str]]] = {
    "items": {"title": "Catalogue", "one": "item", "text": "The items of your organisation as they stand now."},
    "users": {"title": "Users", "one": "user", "text": "The users of your organisation as they stand now."},
}


class Asked(NamedTuple):
    """What a listing's URL asks for. With `ids` the text is looked for at the beginning of ids alone. A search that goes on
    has found and looked at so much already."""

    kind: Kind
    q: str = ""
    type: str = ""
    status: str = ""
    ids: bool = False
    after: str = ""
    before: str = ""
    last: bool = False
    found: int = 0
    looked: int = 0

    @property
    def searches(self) -> bool:
        return bool(self.q) and not self.ids

    @property
    def wanted(self) -> Wanted:
        return Wanted(STATUSES[self.status], self.type or None, self.q if self.ids else "")

    def url(self, **changes: Any) -> str:
        """The URL that asks for the same with these changes, from the first record on unless a place is among them."""
        asked = {"q": self.q, "type": self.type, "status": self.status, "ids": int(self.ids)} | changes
        query = urlencode({name: value for name, value in asked.items() if value})
        return PATHS[self.kind] + (f"?{query}" if query else "")


async def items(request: Request) -> Response:
    """The items of the organisation."""
    return await _listing(request, "items")


async def users(request: Request) -> Response:
    """The users of the organisation."""
    return await _listing(request, "users")


async def item(request: Request) -> Response:
    """One item, as a page or as JSON."""
    return await _record(request, "items", request.path_params["item_id"])


async def user(request: Request) -> Response:
    """One user, as a page or as JSON."""
    return await _record(request, "users", request.path_params["user_id"])


async def _listing(request: Request, kind: Kind) -> Response:
    who = await member(request)
    asked = _asked(kind, request.query_params)
    connections = parts_of(request).connections
    context: dict[str, Any] = {"asked": asked, "words": asked.q.split(), "marked": marked, "path_of": PATHS[kind]} | _WORDS[
        kind
    ]
    context |= await (_search if asked.searches else _page)(connections, who, asked)
    if asked.looked and wants_fragment(request):
        return fragment(request, "catalogue_rows.html", "rows", who, **context)
    context |= await _around(request, who, asked)
    context |= {"said": "", "turned": False}
    if wants_fragment(request):
        # Who turns a page goes on reading at its top; who types into the form stays there.
        context |= {"said": _said(context), "turned": request.headers.get("hx-trigger") != "filters"}
        answer = fragment(request, "catalogue.html", "listing", who, **context)
        answer.headers["HX-Push-Url"] = asked.url(after=asked.after, before=asked.before, last=int(asked.last))
        return answer
    return page(request, "catalogue.html", who, **context)


def _said(context: dict[str, Any]) -> str:
    """What a screen reader says of a listing that has changed."""
    shown = len(context["rows"]) + len(context["first_ids"])
    more = context["following"] or context["reached"]
    return f"{count(shown, context['one'])} shown, and more to come" if more else f"{count(shown, context['one'])} shown"


async def _page(connections: Connections, who: Member, asked: Asked) -> dict[str, Any]:
    """A page by key, and the URLs of those around it."""
    found = None
    if asked.last or asked.before:
        found = await connections.run(
            page_of, asked.kind, who.org_id, asked.wanted, PAGE_ROWS, before=END if asked.last else asked.before
        )
    if found is not None and found.more:  # else it is the beginning, which is shown as such
        previous, following = True, not asked.last
    else:
        after = None if found is not None else asked.after or None
        found = await connections.run(page_of, asked.kind, who.org_id, asked.wanted, PAGE_ROWS, after=after)
        previous, following = after is not None, found.more
    rows = found.rows
    return {
        "rows": rows,
        "first": asked.url() if previous else None,
        "previous": (asked.url(before=rows[0].entity_id) if rows else asked.url()) if previous else None,
        "following": asked.url(after=rows[-1].entity_id) if following else None,
        "end": asked.url(last=1) if following else None,
        "reached": None,
    }


async def _search(connections: Connections, who: Member, asked: Asked) -> dict[str, Any]:
    """A stretch of a search, and the URLs by which it goes on: by itself while the page is not full, or when asked to."""
    room = PAGE_ROWS - asked.found
    stretch = await connections.run(search, asked.kind, who.org_id, asked.wanted, asked.q, room, asked.after or None)
    found, looked = asked.found + len(stretch.rows), asked.looked + 1
    goes_on = stretch.reached is not None and found < PAGE_ROWS and looked < MAX_STRETCHES
    return {
        "rows": stretch.rows,
        "reached": stretch.reached,
        "found": found,
        "goes_on": asked.url(after=stretch.reached, found=found, looked=looked) if goes_on else None,
        "further": asked.url(after=stretch.reached),
        "first": asked.url() if asked.after else None,
        "previous": None,
        "following": None,
        "end": None,
    }


async def _around(request: Request, who: Member, asked: Asked) -> dict[str, Any]:
    """What is beside the rows: the numbers of records, the types, and the ids that begin with what is searched for."""
    parts = parts_of(request)
    counts, types, ids = await asyncio.gather(
        Overview(parts.database, parts.settings.topic_prefix).counts(asked.kind, who.org_id),
        _types(parts.connections, who, asked),
        _first_ids(parts.connections, who, asked),
    )
    chosen = [asked.type] if asked.type and asked.type not in types else []
    return {
        "counts": counts,
        "bare": counts.at is not None and not any(counts[:3]) and asked == Asked(asked.kind),
        "types": types,
        "max_types": MAX_TYPES,
        "type_choices": [("", "Any type"), *((name, name) for name in (*chosen, *types))],
        "first_ids": ids[:FIRST_IDS],
        "more_ids": len(ids) > FIRST_IDS,
    }


async def _types(connections: Connections, who: Member, asked: Asked) -> list[str]:
    return await connections.run(types, who.org_id) if asked.kind == "items" else []


async def _first_ids(connections: Connections, who: Member, asked: Asked) -> list[Any]:
    if not asked.searches or asked.after:
        return []
    return (
        await connections.run(page_of, asked.kind, who.org_id, asked.wanted._replace(prefix=asked.q), FIRST_IDS + 1)
    ).rows


async def _record(request: Request, kind: Kind, entity_id: str) -> Response:
    who = await member(request)
    parts = parts_of(request)
    found = None
    if id_fault(entity_id) is None:
        found = await parts.connections.run(record, kind, who.org_id, entity_id)
    if found is None:
        return page(request, "record_missing.html", who, 404, kind=kind, path_of=PATHS[kind], entity_id=entity_id)
    if request.query_params.get("as") == "json":
        return Json(state_json(kind, found.state), headers=HEADERS)
    erased = await parts.connections.run(_last_erasure, who.org_id, entity_id) if kind == "users" else None
    if request.query_params.get("as") == "history":
        return await _history(request, who, kind, entity_id, -1 if erased is None else erased.offset)
    text, whole = shown_json(found.state.attributes)
    return page(
        request,
        "record.html",
        who,
        kind=kind,
        path_of=PATHS[kind],
        record=found,
        attributes=attribute_rows(found.state.attributes),
        json=text,
        whole=whole,
        erased=erased,
        may_erase=kind == "users" and who.may(ERASES),
        said=_erasure_said(request.query_params.get("erased", ""), erased),
        base=base_url(request, parts.settings),
    )


def _erasure_said(offset: str, erased: Erasure | None) -> str:
    """What there is to say to who has just asked for an erasure, which lies at an offset."""
    if not (offset.isascii() and offset.isdigit() and len(offset) < 19):
        return ""
    return "erased" if erased is not None and erased.offset >= int(offset) else "queued"


def _last_erasure(connection: Connection, org_id: str, user_id: str) -> Erasure | None:
    return next(iter(erasures(connection, org_id, user_id, limit=1)), None)


async def _history(request: Request, who: Member, kind: Kind, entity_id: str, erased_to: int) -> Response:
    parts = parts_of(request)
    found = await past(parts.settings, kind, who.org_id, entity_id, erased_to)
    imports = await parts.connections.run(imports_of, who.org_id, found)
    context: dict[str, Any] = {
        "kind": kind,
        "path_of": PATHS[kind],
        "entity_id": entity_id,
        "past": found,
        "imports": imports,
    }
    if wants_fragment(request):
        return fragment(request, "record_history.html", "history", who, **context)
    return page(request, "record_history.html", who, **context)


def _asked(kind: Kind, given: QueryParams) -> Asked:
    """What the URL asks for; what cannot be asked for is as if it were not there."""
    text = _text(given, "q").strip()
    return Asked(
        kind,
        q=text,
        type=_text(given, "type") if kind == "items" else "",
        status=_text(given, "status") if _text(given, "status") in STATUSES else "",
        ids=bool(text and given.get("ids")),
        after=_text(given, "after"),
        before=_text(given, "before"),
        last=bool(given.get("last")),
        found=_number(given, "found", PAGE_ROWS - 1),
        looked=_number(given, "looked", MAX_STRETCHES),
    )


def _text(given: QueryParams, name: str) -> str:
    return given.get(name, "").replace("\0", "")[:ID_MAX_CHARACTERS]


def _number(given: QueryParams, name: str, most: int) -> int:
    text = given.get(name, "")
    return min(int(text), most) if text.isascii() and text.isdigit() and len(text) < 6 else 0


ROUTES: Final[list[BaseRoute]] = [
    Route("/catalogue", items, methods=["GET"]),
    Route("/users", users, methods=["GET"]),
    RecordRoute("/catalogue/{item_id:path}", item, include_in_schema=False),
    RecordRoute("/users/{user_id:path}", user, include_in_schema=False),
]
