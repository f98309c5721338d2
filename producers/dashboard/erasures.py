"""Erasures of users: asked for in two steps, the second of which types the user's id; and what was erased, with its proof.

1. To erase a user is to append the event that `{"user_id", "status": "deleted"}` is on the API.
2. Who asks is in the audit log before the event is in the log: an erasure that was asked for here has a name to it.
3. A proof reads a partition of the log from its beginning: one is made at once, and none for longer than a while.
"""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple
from urllib.parse import urlencode

import orjson
from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from foldline.adapters.postgres import Connection, connect
from foldline.adapters.producer import NotAppended
from foldline.domain.keys import id_fault
from foldline.domain.records import Upsert
from foldline.settings import Settings
from producers.accounts import audit
from producers.dashboard.filters import moment, segment
from producers.dashboard.pages import HEADERS, fragment, page, wants_fragment
from producers.dashboard.people import Member, Refused, form, member
from producers.gateway.parts import Parts, parts_of
from producers.gateway.tokens import Operation
from producers.gateway.trace import new_request_id, traceparent
from projections.catalogue import record
from projections.erasures import CLEANER_SECONDS, Erasure, Proof, as_json, erasures, prove
from projections.letters import place_of
from projections.reader import import_of

ERASES: Final = "DEVELOPER"
PAGE_ROWS: Final = 50
APPLIED_SECONDS: Final = 5.0
PROOF_SECONDS: Final = 60.0

_proving = asyncio.Semaphore(1)


class Listed(NamedTuple):
    """An erasure in the listing, with who asked for it: an e-mail address of the audit log, an import, or neither.

    `gone_by` is when older states have left the state topic; None where they have.
    """

    erasure: Erasure
    asked_by: str | None
    import_id: str | None
    gone_by: datetime | None


class _TooLong(Exception):
    pass


async def listing(request: Request) -> Response:
    """A page of erasures, of one user where the URL names it. What the URL has wrong is left out."""
    who = await member(request)
    given = request.query_params
    user_id, after = _user_id(given), _key(given.get("before", ""))
    found = await parts_of(request).connections.run(
        _listed, who.org_id, user_id, after, parts_of(request).settings.state_compaction_lag_seconds
    )
    rows, of_user = found[:PAGE_ROWS], {"user_id": user_id} if user_id else {}
    last = {"before": _text_of(rows[-1].erasure)} if len(found) > PAGE_ROWS else {}
    return page(
        request,
        "erasures.html",
        who,
        rows=rows,
        now=datetime.now(UTC),
        user_id=user_id,
        newest=_url(**of_user) if after else None,
        older=_url(**of_user, **last) if last else None,
    )


async def proof(request: Request) -> Response:
    """What is left of a user's erased attributes, looked for anew, as a file of JSON."""
    who = await member(request)
    settings, user_id = parts_of(request).settings, _user_id(request.query_params)
    if not user_id or not await parts_of(request).connections.run(erasures, who.org_id, user_id, limit=1):
        raise Refused(404, "There is no such erasure", "No user of the organisation that was erased has this id.")
    deadline = time.monotonic() + PROOF_SECONDS
    try:
        await asyncio.wait_for(_proving.acquire(), PROOF_SECONDS)
        try:
            found = await asyncio.to_thread(_proved, settings, who.org_id, user_id, deadline)
        finally:
            _proving.release()
    except (TimeoutError, _TooLong) as error:
        message = "Reading the log takes too long here; the command foldline erasures prove has all the time that it needs."
        raise Refused(503, "There is no proof yet", message) from error
    body = orjson.dumps(as_json(found), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    headers = HEADERS | {"Content-Disposition": 'attachment; filename="proof.json"'}
    return Response(body, headers=headers, media_type="application/json")


async def erase_form(request: Request) -> Response:
    """What would happen, before a user is erased."""
    who = await member(request, ERASES)
    user_id = _user_id(request.query_params)
    await _known(request, who, user_id)
    return _form(request, who, user_id)


async def erase(request: Request) -> Response:
    """Erases a user. 303 to its page, once that is applied or has taken too long; 400 with the form for another id."""
    who, fields = await member(request, ERASES), await form(request)
    user_id = fields.get("user_id", "")
    await _known(request, who, user_id)
    if fields.get("typed", "") != user_id:
        return _form(request, who, user_id, 400, typed=fields.get("typed", ""), error="This is not the id of the user.")
    offset = await _erased(parts_of(request), who, user_id)
    return RedirectResponse(f"/users/{segment(user_id)}?erased={offset}", 303)


async def _erased(parts: Parts, who: Member, user_id: str) -> int:
    """Appends the event, and waits for a while until it is applied. Returns its offset."""
    request_id = new_request_id()
    event = Upsert(who.org_id, user_id, None, "deleted", None, time.time_ns() // 1000, request_id, 0)
    await parts.connections.run(_note, who, user_id, request_id)
    try:
        appended = await parts.log.append("users", [event], traceparent(None))
    except NotAppended as error:
        why = str(error)[:1].upper() + str(error)[1:]
        if error.may_appear:
            raise Refused(503, "It may or may not be erased", f"{why}: erase it again, which does no harm.") from error
        raise Refused(503, "Nothing is erased", f"{why}: try again in a moment.") from error
    parts.metrics.accepted("users", 1)
    operation = Operation(who.org_id, "users", request_id, appended)
    parts.activity.accepted(operation, 1)
    await parts.watcher.wait(operation, APPLIED_SECONDS)
    return appended.ends[0].last_offset


def _note(connection: Connection, who: Member, user_id: str, request_id: str) -> None:
    audit.record(connection, who.org_id, who.email, audit.ERASED, user_id, request_id=request_id)


def _listed(
    connection: Connection, org_id: str, user_id: str, after: tuple[datetime, str, int, int] | None, lag_seconds: int
) -> list[Listed]:
    found = erasures(connection, org_id, user_id or None, after, PAGE_ROWS + 1)
    askers = audit.askers_of_erasures(connection, org_id, [erasure.request_id for erasure in found])
    others = {erasure.request_id for erasure in found} - askers.keys()
    imports = {request_id: import_of(connection, org_id, request_id) for request_id in others}
    return [
        Listed(one, askers.get(one.request_id), imports.get(one.request_id), _gone_by(one, lag_seconds)) for one in found
    ]


def _gone_by(erasure: Erasure, lag_seconds: int) -> datetime | None:
    due = erasure.erased_at + timedelta(seconds=lag_seconds)
    gone_by = max(due, erasure.publish_due or due) + timedelta(seconds=CLEANER_SECONDS)
    return gone_by if erasure.publish_due is not None or gone_by > datetime.now(UTC) else None


def _proved(settings: Settings, org_id: str, user_id: str, deadline: float) -> Proof:
    def look_at_the_clock(*_: int) -> None:
        if time.monotonic() > deadline:
            raise _TooLong

    connection = connect(settings.database_url, "foldline dashboard: proof", settings.database_timeout_seconds)
    try:
        return prove(settings, connection, org_id, user_id, look_at_the_clock)
    finally:
        connection.close()


async def _known(request: Request, who: Member, user_id: str) -> None:
    if id_fault(user_id) is None:
        found = await parts_of(request).connections.run(record, "users", who.org_id, user_id)
        if found is not None:
            return
    raise Refused(404, "There is no such user", "No user of the organisation has exactly this id.")


def _form(request: Request, who: Member, user_id: str, status: int = 200, typed: str = "", error: str = "") -> Response:
    context: dict[str, Any] = {"user_id": user_id, "typed": typed, "error": error}
    if wants_fragment(request):
        return fragment(request, "erasures_new.html", "sheet", who, status, heading="h2", **context)
    return page(request, "erasures_new.html", who, status, heading="h1", **context)


def _user_id(given: QueryParams) -> str:
    text = given.get("user_id", "")
    return text if id_fault(text) is None else ""


def _text_of(erasure: Erasure) -> str:
    """The key of an erasure in a URL: microseconds since 1970, and its place in the log."""
    seconds, micros = int(erasure.erased_at.timestamp()), erasure.erased_at.microsecond
    return f"{seconds * 1_000_000 + micros}.{erasure.topic}:{erasure.partition}:{erasure.offset}"


def _key(text: str) -> tuple[datetime, str, int, int] | None:
    at, _, rest = text.partition(".")
    place = place_of(rest)
    if place is None or not (at.isascii() and at.isdigit() and len(at) < 18):
        return None
    return moment(int(at)), place.topic, place.partition, place.offset


def _url(**parameters: str) -> str:
    return f"/erasures?{urlencode(parameters)}" if parameters else "/erasures"


ROUTES: Final[list[BaseRoute]] = [
    Route("/erasures", listing, methods=["GET"]),
    Route("/erasures", erase, methods=["POST"]),
    Route("/erasures/new", erase_form, methods=["GET"]),
    Route("/erasures/proof.json", proof, methods=["GET"]),
]
