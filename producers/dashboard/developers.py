"""Developer access: the keys of an organisation, made, replaced and ended. A key is shown once, when it is made."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Concatenate, Final, ParamSpec, TypeVar

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from foldline.adapters.postgres import Connection, translated
from foldline.domain.errors import FoldlineError, Unreachable
from producers import tenants
from producers.dashboard.examples import upsert_by_curl
from producers.dashboard.pages import fragment, page, wants_fragment
from producers.dashboard.people import Member, Refused, base_url, form, member
from producers.gateway.parts import parts_of

ROLES_OF: Final[dict[str, tuple[tenants.Role, ...]]] = {
    "pair": ("secret", "publishable"),
    "secret": ("secret",),
    "publishable": ("publishable",),
}
GRACES: Final = {"0": "Now", "3600": "In 1 hour", "86400": "In 24 hours", "604800": "In 7 days"}
MAKES_KEYS: Final = "DEVELOPER"
P = ParamSpec("P")
T = TypeVar("T")

_SAID: Final = {"revoked": "The key is revoked. Requests with it are refused from now on."}


async def developers(request: Request) -> Response:
    """The keys, and how to reach the API with one."""
    who = await member(request)
    parts = parts_of(request)
    organisation = await parts.connections.run(tenants.organisation, who.org_id)
    limit = organisation.rate_limit
    url = base_url(request, parts.settings)
    keys = await _keys(request, who)
    return page(
        request,
        "developers.html",
        who,
        keys=[key for key in keys if key.usable],
        ended=[key for key in keys if not key.usable],
        said=_SAID.get(request.query_params.get("done", "")),
        url=url,
        curl=upsert_by_curl(url),
        rate_limit=parts.settings.rate_limit_requests if limit is None else limit,
        rate_window_minutes=parts.settings.rate_limit_window_seconds / 60,
        may_make=who.may(MAKES_KEYS),
    )


async def new(request: Request) -> Response:
    """What kind of key is to be made."""
    return _sheet(request, "developers_new.html", await member(request, MAKES_KEYS))


async def create(request: Request) -> Response:
    """Makes a pair of keys, or one. 201 with the keys."""
    who = await member(request, MAKES_KEYS)
    roles = ROLES_OF.get((await form(request)).get("role", ""))
    if roles is None:
        raise Refused(400, "There is no such key", "Choose a pair, a secret key or a publishable key.")
    parts = parts_of(request)
    made = await parts.connections.run(_make, who.org_id, roles, parts.settings.key_prefix, who.email)
    return _made(request, who, made)


async def rotate_form(request: Request) -> Response:
    """When the old key is to stop."""
    who = await member(request, MAKES_KEYS)
    return _sheet(
        request,
        "developers_rotate.html",
        who,
        key=await _usable(request, who),
        graces=[(*grace, "") for grace in GRACES.items()],
    )


async def rotate(request: Request) -> Response:
    """Makes another key in a key's place. 201 with it."""
    who = await member(request, MAKES_KEYS)
    grace = (await form(request)).get("grace", "")
    if grace not in GRACES:
        raise Refused(400, "There is no such grace", "Choose one of those that the page shows.")
    key_id = (await _usable(request, who)).key_id
    parts = parts_of(request)
    prefix = parts.settings.key_prefix
    old, made = await _change(request, tenants.rotate_key, key_id, prefix, int(grace), who.org_id, who.email)
    return _made(request, who, [made], old)


async def revoke_form(request: Request) -> Response:
    """Whether the key is to stop."""
    who = await member(request, MAKES_KEYS)
    return _sheet(request, "developers_revoke.html", who, key=await _usable(request, who))


async def revoke(request: Request) -> Response:
    """Ends a key. 303 to the keys."""
    who = await member(request, MAKES_KEYS)
    await _change(request, tenants.revoke_key, (await _usable(request, who)).key_id, who.org_id, who.email)
    return RedirectResponse("/developers?done=revoked", 303)


async def _keys(request: Request, who: Member) -> list[tenants.Key]:
    """Newest first, and of a pair the secret one."""
    found = await parts_of(request).connections.run(tenants.keys, who.org_id)
    return sorted(found, key=lambda key: (key.created_at, key.role), reverse=True)


async def _usable(request: Request, who: Member) -> tenants.Key:
    named = request.path_params["key_id"]
    for key in await _keys(request, who):
        if key.key_id == named and key.usable:
            return key
    raise Refused(404, "There is no such key in use", "It may have been revoked or replaced meanwhile.")


async def _change(request: Request, change: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
    """What the change returns. Somebody else may have ended the key meanwhile: 409 says how."""
    try:
        return await parts_of(request).connections.run(change, *args, **kwargs)
    except Unreachable:
        raise
    except FoldlineError as error:
        raise Refused(409, "That key cannot be changed", f"{str(error)[0].upper()}{str(error)[1:]}.") from error


def _make(
    connection: Connection, org_id: str, roles: Sequence[tenants.Role], key_prefix: str, actor: str
) -> list[tenants.NewKey]:
    with translated(), connection.transaction():
        return [tenants.create_key(connection, org_id, role, key_prefix, actor) for role in roles]


def _made(request: Request, who: Member, made: Sequence[tenants.NewKey], old: tenants.Key | None = None) -> Response:
    return page(request, "developers_made.html", who, 201, made=made, old=old)


def _sheet(request: Request, template: str, who: Member, **context: Any) -> Response:
    """A form: in a dialog of the page that is open, else on a page of its own."""
    if wants_fragment(request):
        return fragment(request, template, "sheet", who, heading="h2", **context)
    return page(request, template, who, heading="h1", **context)


ROUTES: Final[list[BaseRoute]] = [
    Route("/developers", developers, methods=["GET"]),
    Route("/developers/keys/new", new, methods=["GET"]),
    Route("/developers/keys", create, methods=["POST"]),
    Route("/developers/keys/{key_id}/rotate", rotate_form, methods=["GET"]),
    Route("/developers/keys/{key_id}/rotate", rotate, methods=["POST"]),
    Route("/developers/keys/{key_id}/revoke", revoke_form, methods=["GET"]),
    Route("/developers/keys/{key_id}/revoke", revoke, methods=["POST"]),
]
