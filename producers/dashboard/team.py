"""The people of an organisation: who they are, who is invited, and what an admin changes. Links are shown once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Concatenate, Final, NamedTuple, ParamSpec, TypeVar

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from foldline.adapters.postgres import Connection
from producers.accounts import links, roles, team
from producers.accounts.errors import NotAllowed, Unfit
from producers.accounts.team import Colleague, Invitation
from producers.dashboard.pages import fragment, page, wants_fragment
from producers.dashboard.people import Member, Refused, base_url, form, member
from producers.gateway.parts import parts_of

MANAGES: Final = "ADMIN"
P = ParamSpec("P")
T = TypeVar("T")

_SAID: Final = {
    "role": "The role is changed.",
    "removed": "They are removed, and signed out.",
    "withdrawn": "The invitation is withdrawn: its link does nothing any more.",
}


class _Team(NamedTuple):
    members: list[Colleague]
    invitations: list[Invitation]


async def people(request: Request) -> Response:
    """Everybody, and the open invitations for who may see them."""
    who = await member(request)
    found = await parts_of(request).connections.run(_team, who.org_id)
    return page(
        request,
        "team.html",
        who,
        team=found,
        manages=roles.manages,
        meaning=roles.MEANING,
        said=_SAID.get(request.query_params.get("done", ""), ""),
    )


async def invite_form(request: Request) -> Response:
    """Whom to invite, and as what."""
    return _invite_form(request, await member(request, MANAGES))


async def invite(request: Request) -> Response:
    """Makes an invitation. 201 with its link; 400 with the form."""
    who, fields, settings = await member(request, MANAGES), await form(request), parts_of(request).settings
    email, role = fields.get("email", ""), roles.known_role(fields.get("role", ""))
    if role is None:
        return _invite_form(request, who, 400, email=email, errors={"role": "Choose a role."})
    try:
        token = await _change(request, team.invite, settings, who.org_id, who.account_id, email, role)
    except Unfit as error:
        return _invite_form(request, who, 400, email=email, role=role, errors=error.errors)
    return _link(request, who, token, "invitation", email.strip().lower(), role)


async def withdraw(request: Request) -> Response:
    """Ends an invitation. 303 to the people."""
    who, fields = await member(request, MANAGES), await form(request)
    await _change(request, team.withdraw, who.org_id, who.account_id, fields.get("email", ""))
    return _done("withdrawn")


async def role_form(request: Request) -> Response:
    """Which role somebody is to have."""
    who = await member(request, MANAGES)
    return _sheet(request, "team_role.html", who, other=await _other(request, who), choices=_choices(who))


async def change_role(request: Request) -> Response:
    """Gives somebody another role. 303 to the people."""
    who, fields = await member(request, MANAGES), await form(request)
    role = roles.known_role(fields.get("role", ""))
    if role is None:
        raise Refused(400, "There is no such role", "Choose one of those that the page shows.")
    await _change(request, team.change_role, who.org_id, who.account_id, _account_id(request), role)
    return _done("role")


async def remove_form(request: Request) -> Response:
    """Whether somebody is to be removed."""
    who = await member(request, MANAGES)
    return _sheet(request, "team_remove.html", who, other=await _other(request, who))


async def remove(request: Request) -> Response:
    """Removes somebody. 303 to the people."""
    who = await member(request, MANAGES)
    await _change(request, team.remove, who.org_id, who.account_id, _account_id(request))
    return _done("removed")


async def reset_form(request: Request) -> Response:
    """Whether somebody is to have a link to set another password."""
    who = await member(request, MANAGES)
    return _sheet(request, "team_reset.html", who, other=await _other(request, who))


async def reset(request: Request) -> Response:
    """Makes the link. 201 with it."""
    who, settings = await member(request, MANAGES), parts_of(request).settings
    other = await _other(request, who)
    token = await _change(request, team.reset_link, settings, who.org_id, who.account_id, other.account_id)
    return _link(request, who, token, "reset", other.email, other.role)


async def leave_form(request: Request) -> Response:
    """Whether to leave."""
    return _sheet(request, "team_leave.html", await member(request))


async def leave(request: Request) -> Response:
    """Leaves the organisation, with the session. 303 to the sign-in page."""
    who = await member(request)
    await _change(request, team.leave, who.org_id, who.account_id)
    return RedirectResponse("/sign-in", 303)


async def _change(request: Request, change: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
    try:
        return await parts_of(request).connections.run(change, *args, **kwargs)
    except NotAllowed as error:
        raise Refused(403, "That is not possible", str(error)) from error


async def _other(request: Request, who: Member) -> Colleague:
    found = await parts_of(request).connections.run(team.members, who.org_id)
    for colleague in found:
        if colleague.account_id == _account_id(request):
            return colleague
    raise Refused(404, "There is nobody like that here", "They may have left, or been removed, meanwhile.")


def _team(connection: Connection, org_id: str) -> _Team:
    return _Team(team.members(connection, org_id), team.invitations(connection, org_id))


def _choices(who: Member) -> list[tuple[str, str, str]]:
    """The roles that a person may give, the least first."""
    return [
        (role, role.capitalize(), meaning[0].upper() + meaning[1:] + ".")
        for role, meaning in roles.MEANING.items()
        if roles.manages(who.role, role)
    ]


def _account_id(request: Request) -> str:
    account_id: str = request.path_params["account_id"]
    return account_id


def _invite_form(request: Request, who: Member, status: int = 200, **shown: Any) -> Response:
    context = {"email": "", "role": "MEMBER", "errors": {}, "choices": _choices(who)}
    return _sheet(request, "team_invite.html", who, status, **(context | shown))


def _link(request: Request, who: Member, token: str, purpose: str, email: str, role: str) -> Response:
    settings = parts_of(request).settings
    link = links.url_of(base_url(request, settings), token)
    hours = settings.link_seconds / 3600
    return page(request, "team_link.html", who, 201, link=link, purpose=purpose, email=email, role=role, hours=hours)


def _sheet(request: Request, template: str, who: Member, status: int = 200, **context: Any) -> Response:
    """A form: in a dialog of the page that is open, else on a page of its own."""
    if wants_fragment(request):
        return fragment(request, template, "sheet", who, status, level=2, **context)
    return page(request, template, who, status, level=1, **context)


def _done(what: str) -> Response:
    return RedirectResponse(f"/team?done={what}", 303)


ROUTES: Final[list[BaseRoute]] = [
    Route("/team", people, methods=["GET"]),
    Route("/team/invitations/new", invite_form, methods=["GET"]),
    Route("/team/invitations", invite, methods=["POST"]),
    Route("/team/invitations/withdraw", withdraw, methods=["POST"]),
    Route("/team/leave", leave_form, methods=["GET"]),
    Route("/team/leave", leave, methods=["POST"]),
    Route("/team/members/{account_id}/role", role_form, methods=["GET"]),
    Route("/team/members/{account_id}/role", change_role, methods=["POST"]),
    Route("/team/members/{account_id}/remove", remove_form, methods=["GET"]),
    Route("/team/members/{account_id}/remove", remove, methods=["POST"]),
    Route("/team/members/{account_id}/reset", reset_form, methods=["GET"]),
    Route("/team/members/{account_id}/reset", reset, methods=["POST"]),
]
