"""Dead letters: what the fold rejected, by reason and by key; one of them whole; and the way back into the log."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final, NamedTuple, cast
from urllib.parse import urlencode

import orjson
from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Route

from foldline.adapters.codec import Registry
from foldline.adapters.postgres import Connection, connect
from foldline.adapters.registry import registry_of
from foldline.domain.errors import FoldlineError, Unreachable
from foldline.domain.records import ID_MAX_CHARACTERS, KINDS, Kind
from foldline.domain.times import parse_rfc3339
from foldline.settings import Settings
from producers.dashboard.filters import pretty
from producers.dashboard.pages import HEADERS, fragment, page, wants_fragment
from producers.dashboard.people import Member, Refused, form, member
from producers.gateway.envelope import Json
from producers.gateway.parts import Parts, parts_of
from producers.redrive import Redriver
from projections import letters
from projections.forecast import Forecast, Forecaster
from projections.letters import Group, Letter, Place, Status, Wanted

REDRIVES: Final = "DEVELOPER"
PAGE_ROWS: Final = 50
SAMPLES: Final = 3
MAX_GROUPS: Final = 50
SHOWN_BYTES: Final = 2048
SHOWN_CHARACTERS: Final = 16_384
EXPORT_LETTERS: Final = 8  # at a time: each has up to `message_max_bytes`
# So many are looked at and redriven by one press of a button; the rest by the next.
MAX_REDRIVES: Final = 10_000

OUTCOMES: Final = ("redriven", "already_redriven", "rejected", "impossible")
STATUSES: Final[dict[str, Status]] = {"": "waiting", "redriven": "redriven", "all": ""}

_TITLES: Final = {
    "item_type_required": "A new item without a type",
    "invalid_status": "An unknown status",
    "invalid_id": "An id that cannot be",
    "invalid_timestamp": "A time that cannot be",
    "invalid_type": "A value of the wrong type",
    "invalid_number": "A number that cannot be kept",
    "invalid_string": "Text that cannot be kept",
    "invalid_json": "Attributes that are not JSON",
    "too_long": "Text that is too long",
    "too_deep": "Attributes that are too deep",
    "record_too_large": "A record that would grow too large",
    "wrong_key": "A key that is not the record’s",
    "wrong_partition": "A record on the wrong partition",
    "refused": "Data that the database refused",
    "undecodable": "A record that cannot be read",
    "unknown_schema": "A schema that nobody knows",
}


class Asked(NamedTuple):
    """What the URL asks for; times as the URL has them."""

    reason: str = ""
    kind: str = ""
    status: str = ""
    id: str = ""
    since: str = ""
    until: str = ""
    at: tuple[Place, ...] = ()

    def wanted(self, org_id: str) -> Wanted:
        places = self.at or None
        kind = cast(Kind, self.kind) if self.kind else None
        status = "" if places else STATUSES[self.status]
        return Wanted(
            org_id, self.reason or None, kind, self.id or None, _time(self.since), _time(self.until), status, places
        )

    def query(self, **changes: str) -> str:
        """The query of the URL that asks for the same with these changes, from the newest on unless a key is among them."""
        asked = {name: value for name, value in self._asdict().items() if name != "at"} | changes
        pairs = [(name, value) for name, value in asked.items() if value]
        query = urlencode([*pairs, *(("at", str(place)) for place in self.at)])
        return f"?{query}" if query else ""

    def url(self, **changes: str) -> str:
        return "/dead-letters" + self.query(**changes)

    @property
    def narrowed(self) -> bool:
        return bool(self.reason or self.kind or self.id or self.since or self.until)


class Outlook(NamedTuple):
    """What would become of letters now: how many of each outcome and code, with a message; and what is to be redriven."""

    letters: int
    more: bool
    before: int
    outcomes: list[tuple[Forecast, int]]
    until: int

    def count(self, outcome: str) -> int:
        return sum(number for forecast, number in self.outcomes if forecast.outcome == outcome)


def title(code: str) -> str:
    """A reason in words."""
    return _TITLES.get(code, code.replace("_", " ").capitalize())


async def listing(request: Request) -> Response:
    """The reasons, and a page of letters."""
    who = await member(request)
    parts = parts_of(request)
    asked = _asked(request.query_params)
    before = _key(request.query_params.get("before", ""))
    found, groups, samples, known = await parts.connections.run(_listed, parts.settings, who.org_id, asked, before)
    rows = found[:PAGE_ROWS]
    last = f"{rows[-1].logged_at}.{rows[-1].place}" if len(found) > PAGE_ROWS else ""
    return page(
        request,
        "letters.html",
        who,
        asked=asked,
        rows=rows,
        groups=groups,
        samples=samples,
        any=bool(known),
        title_of=title,
        reasons=[("", "Any reason"), *((code, title(code)) for code in _with([one.code for one in known], asked.reason))],
        newest=asked.url() if before else None,
        older=asked.url(before=last) if last else None,
        may_redrive=who.may(REDRIVES),
        said=_said(request.query_params),
    )


async def one(request: Request) -> Response:
    """A letter, as a page or as JSON."""
    who = await member(request)
    parts = parts_of(request)
    found, forecast = await parts.connections.run(_whole, parts.settings, who.org_id, _place(request))
    document = await asyncio.to_thread(letters.as_whole_json, found, registry_of(parts.settings))
    event = None if document["event"] is None else pretty(document["event"])
    if request.query_params.get("as") == "json":
        return Json(document, headers=HEADERS)
    return page(
        request,
        "letters_one.html",
        who,
        letter=found,
        event=None if event is None else event[:SHOWN_CHARACTERS],
        event_whole=event is None or len(event) <= SHOWN_CHARACTERS,
        forecast=forecast,
        title=title(found.code),
        title_of=title,
        key=_dumped(found.key),
        value=_dumped(found.value),
        shown_bytes=SHOWN_BYTES,
        may_redrive=who.may(REDRIVES),
    )


async def export(request: Request) -> Response:
    """The letters that the filters leave, with their bytes, a JSON document a line, as a file."""
    who = await member(request)
    run, settings = parts_of(request).connections.run, parts_of(request).settings
    wanted = _asked(request.query_params).wanted(who.org_id)
    first = await run(letters.page, settings, wanted, EXPORT_LETTERS, raw=True)

    async def lines() -> AsyncIterator[bytes]:
        found = first
        while found:
            yield await asyncio.to_thread(_ndjson, found, registry_of(settings))
            before = found[-1].logged_at, found[-1].place
            found = await run(letters.page, settings, wanted, EXPORT_LETTERS, before, raw=True)

    headers = HEADERS | {"Content-Disposition": 'attachment; filename="dead-letters.ndjson"'}
    return StreamingResponse(lines(), headers=headers, media_type="application/x-ndjson")


def _ndjson(found: Sequence[Letter], registry: Registry) -> bytes:
    return b"".join(orjson.dumps(letters.as_whole_json(letter, registry)) + b"\n" for letter in found)


async def redrive_form(request: Request) -> Response:
    """What would become of the letters, before they are redriven."""
    who = await member(request, REDRIVES)
    parts = parts_of(request)
    asked = _asked(request.query_params)._replace(status="")
    outlook = await parts.connections.run(_outlook, parts.settings, asked.wanted(who.org_id))
    fields = {name: value for name, value in asked._asdict().items() if name not in ("at", "status", "until") and value}
    fields |= {"at": " ".join(map(str, asked.at))} if asked.at else {"until": str(outlook.until)}
    context: dict[str, Any] = {"asked": asked, "outlook": outlook, "fields": fields, "title_of": title, "most": MAX_REDRIVES}
    if wants_fragment(request):
        return fragment(request, "letters_redrive.html", "sheet", who, heading="h2", **context)
    return page(request, "letters_redrive.html", who, heading="h1", **context)


async def redrive(request: Request) -> Response:
    """Sends them into the log. 303 to the listing, which says how many went."""
    who = await member(request, REDRIVES)
    given = await form(request)
    places = [letters.place_of(text) for text in given.get("at", "").split()]
    asked = _asked(QueryParams({name: value for name, value in given.items() if name not in ("at", "until")}))
    wanted = asked._replace(at=tuple(place for place in places if place), status="").wanted(who.org_id)
    until = given.get("until", "")
    if until.isascii() and until.isdigit() and len(until) < 19:
        wanted = wanted._replace(until=int(until))
    if not wanted.places and wanted.until is None:
        raise Refused(400, "Nothing is chosen", "Select dead letters, or choose a reason, on their page.")
    counts = await _redriven(parts_of(request), who, wanted, "again" in given, given.get("which") == "applied")
    query = urlencode({name: counts[name] for name in OUTCOMES if counts[name]})
    return RedirectResponse(f"/dead-letters?{query or 'redriven=0'}", 303)


async def _redriven(parts: Parts, who: Member, wanted: Wanted, again: bool, applicable: bool) -> Counter[str]:
    counts = Counter[str]()
    settings = parts.settings
    connection = await asyncio.to_thread(
        connect, settings.database_url, "foldline dashboard: redrive", settings.database_timeout_seconds
    )
    try:
        redriver = Redriver(settings, connection, parts.log, who.email)
        async for outcome in redriver.run(wanted, again=again, applicable=applicable, limit=MAX_REDRIVES):
            counts[outcome.outcome] += 1
    except Unreachable:
        raise
    except FoldlineError as error:
        raise Refused(409, "Not at the moment", f"{str(error)[0].upper()}{str(error)[1:]}.") from error
    finally:
        await asyncio.to_thread(connection.close)
    return counts


def _listed(
    connection: Connection, settings: Settings, org_id: str, asked: Asked, before: tuple[int, Place] | None
) -> tuple[list[Letter], list[Group], dict[str, list[Letter]], list[Group]]:
    wanted = asked.wanted(org_id)
    found = letters.page(connection, settings, wanted, PAGE_ROWS + 1, before)
    known = letters.groups(connection, settings, Wanted(org_id))
    groups = letters.groups(connection, settings, wanted._replace(status="")) if asked.narrowed else known
    groups = _with_status(groups, wanted.status)
    if before is not None or asked.reason:
        groups = []
    samples = {
        group.code: letters.page(connection, settings, wanted._replace(code=group.code), SAMPLES)
        for group in groups[:MAX_GROUPS]
    }
    return found, groups[:MAX_GROUPS], samples, known


def _with_status(groups: Sequence[Group], status: Status) -> list[Group]:
    """Those that have letters of a status; counting them again would take as long as counting them did."""
    left = {"waiting": lambda group: group.waiting, "redriven": lambda group: group.letters > group.waiting}
    return [group for group in groups if not status or left[status](group)]


def _whole(connection: Connection, settings: Settings, org_id: str, place: Place | None) -> tuple[Letter, Forecast]:
    found = None if place is None else letters.letter(connection, settings, place, org_id)
    if found is None:
        raise Refused(404, "There is no such dead letter", "It may belong to another organisation.")
    return found, Forecaster(connection, settings).of([found])[0]


def _outlook(connection: Connection, settings: Settings, wanted: Wanted) -> Outlook:
    forecaster, outcomes = Forecaster(connection, settings), Counter[Forecast]()
    looked = before = until = 0
    for places in letters.chunks(connection, settings, wanted, MAX_REDRIVES + 1):
        found = letters.raw_letters(connection, settings, places)[: MAX_REDRIVES - looked]
        before += sum(letter.landed is not None for letter in found)
        outcomes.update(forecaster.of(found))
        looked += len(places)
        until = found[-1].logged_at if found else until
    ordered = sorted(outcomes.items(), key=lambda pair: (pair[0].outcome, -pair[1]))
    return Outlook(min(looked, MAX_REDRIVES), looked > MAX_REDRIVES, before, ordered, until)


def _asked(given: QueryParams) -> Asked:
    """What the URL asks for; what cannot be asked for is as if it were not there."""
    kind, status = given.get("kind", ""), given.get("status", "")
    places = tuple(place for text in given.getlist("at")[:PAGE_ROWS] if (place := letters.place_of(text)) is not None)
    return Asked(
        reason=_text(given, "reason"),
        kind=kind if kind in KINDS else "",
        status=status if status in STATUSES else "",
        id=_text(given, "id"),
        since=_text(given, "since") if _time(given.get("since", "")) is not None else "",
        until=_text(given, "until") if _time(given.get("until", "")) is not None else "",
        at=places,
    )


def _text(given: QueryParams, name: str) -> str:
    return given.get(name, "").replace("\0", "")[:ID_MAX_CHARACTERS]


def _time(text: str) -> int | None:
    """Microseconds of RFC 3339, or of a field for a time, which is in UTC here."""
    for form_of_it in (text, f"{text}Z", f"{text}:00Z"):
        if (micros := parse_rfc3339(form_of_it)) is not None:
            return micros
    return None


def _key(text: str) -> tuple[int, Place] | None:
    at, _, rest = text.partition(".")
    place = letters.place_of(rest)
    return (int(at), place) if place is not None and at.isascii() and at.isdigit() and len(at) < 19 else None


def _place(request: Request) -> Place | None:
    return letters.place_of(request.path_params["place"])


def _dumped(data: bytes | None) -> str | None:
    return None if data is None else "\n".join(letters.hexdump(data, SHOWN_BYTES))


def _with(known: Sequence[str], chosen: str) -> list[str]:
    return [*known] if not chosen or chosen in known else [chosen, *known]


def _said(given: QueryParams) -> dict[str, Any] | None:
    counts = {
        name: int(text) for name in OUTCOMES if (text := given.get(name, "")).isascii() and text.isdigit() and len(text) < 7
    }
    return dict.fromkeys(OUTCOMES, 0) | counts if counts else None


ROUTES: Final[list[BaseRoute]] = [
    Route("/dead-letters", listing, methods=["GET"]),
    Route("/dead-letters/export", export, methods=["GET"]),
    Route("/dead-letters/redrive", redrive_form, methods=["GET"]),
    Route("/dead-letters/redrive", redrive, methods=["POST"]),
    Route("/dead-letters/{place}", one, methods=["GET"]),
]
