"""A person's own page: their name, password, sessions, and the organisations that they belong to."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from foldline.adapters.postgres import Connection
from producers.accounts import directory, entry, sessions
from producers.accounts.directory import Membership
from producers.accounts.errors import NotAllowed, TooMany, Unfit
from producers.accounts.sessions import Session
from producers.dashboard.pages import page
from producers.dashboard.people import Forbidden, Member, form, local_path, member
from producers.gateway.parts import parts_of

_SAID: Final = {
    "name": "Your name is changed.",
    "password": "Your password is set, and you are signed out everywhere else.",
    "ended": "You are signed out there.",
    "switched": "This is the organisation that you look at now.",
}


class _Own(NamedTuple):
    has_password: bool
    sessions: list[Session]
    organisations: list[Membership]


async def account(request: Request) -> Response:
    """The page."""
    who = await member(request)
    return await _show(request, who, said=_SAID.get(request.query_params.get("done", ""), ""))


async def rename(request: Request) -> Response:
    """Changes the name. 303; 400 with the form."""
    who, fields = await member(request), await form(request)
    try:
        await parts_of(request).connections.run(directory.rename, who.account_id, fields.get("name", ""))
    except Unfit as error:
        return await _show(request, who, 400, name=fields.get("name", ""), errors=error.errors)
    return _done("name")


async def change_password(request: Request) -> Response:
    """Sets another password, or the first. 303; 400 and 429 with the form."""
    who, fields, parts = await member(request), await form(request), parts_of(request)
    asked = fields.get("current", ""), fields.get("password", "")
    session = bytes.fromhex(who.session)
    try:
        await parts.connections.run(entry.change_password, parts.settings, who.account_id, session, *asked)
    except Unfit as error:
        return await _show(request, who, 400, errors=error.errors)
    except TooMany as error:
        answer = await _show(request, who, 429, errors={"current": str(error)})
        answer.headers["Retry-After"] = str(error.seconds)
        return answer
    return _done("password")


async def end_session(request: Request) -> Response:
    """Ends another session of the same account. 303."""
    who, fields = await member(request), await form(request)
    await parts_of(request).connections.run(sessions.end_one, who.account_id, fields.get("session", ""))
    return _done("ended")


async def end_others(request: Request) -> Response:
    """Ends all sessions of the account but this one. 303."""
    who = await member(request)
    await parts_of(request).connections.run(sessions.end_others, who.account_id, bytes.fromhex(who.session))
    return _done("ended")


async def switch(request: Request) -> Response:
    """Lets the session look at another organisation. 303 to where the form says; 403 where they do not belong to it."""
    who, fields = await member(request), await form(request)
    run = parts_of(request).connections.run
    try:
        await run(sessions.look_at, who.account_id, bytes.fromhex(who.session), fields.get("org_id", ""))
    except NotAllowed as error:
        raise Forbidden(str(error)) from error
    return RedirectResponse(local_path(fields.get("next", "")), 303)


async def _show(request: Request, who: Member, status: int = 200, **shown: Any) -> Response:
    own = await parts_of(request).connections.run(_own, who.account_id)
    context = {"errors": {}, "name": who.name, "said": ""}
    return page(request, "entry_account.html", who, status, own=own, **(context | shown))


def _own(connection: Connection, account_id: str) -> _Own:
    return _Own(
        directory.account(connection, account_id).password_hash is not None,
        sessions.sessions(connection, account_id),
        directory.memberships(connection, account_id),
    )


def _done(what: str) -> Response:
    return RedirectResponse(f"/account?done={what}", 303)


ROUTES: Final[list[BaseRoute]] = [
    Route("/account", account, methods=["GET"]),
    Route("/account/name", rename, methods=["POST"]),
    Route("/account/password", change_password, methods=["POST"]),
    Route("/account/sessions/end", end_session, methods=["POST"]),
    Route("/account/sessions/end-others", end_others, methods=["POST"]),
    Route("/account/organisation", switch, methods=["POST"]),
]
