"""The ways in: signing up, signing in and out, and the links that people are given to copy."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from foldline.settings import Settings
from producers.accounts import entry, links, sessions
from producers.accounts.errors import LinkGone, NotAllowed, TooMany, Unfit
from producers.accounts.links import Link
from producers.accounts.sessions import Browser
from producers.dashboard.pages import page
from producers.dashboard.people import COOKIE, Member, Refused, form, local_path, session_of, visitor
from producers.gateway.parts import Parts, address_of, parts_of

FIRST_PAGE: Final = "/start"


async def sign_in_page(request: Request) -> Response:
    """The form, or straight on for who is signed in."""
    back = local_path(request.query_params.get("next", ""))
    if await visitor(request) is not None:
        return _on(back)
    return _sign_in_form(request, back)


async def sign_in(request: Request) -> Response:
    """Begins a session. 303 to where the person wanted to go; 400, 403 and 429 with the form."""
    fields, parts = await form(request), parts_of(request)
    email, back = fields.get("email", ""), local_path(fields.get("next", ""))
    try:
        token = await parts.connections.run(
            entry.sign_in, parts.settings, email, fields.get("password", ""), browser_of(request)
        )
    except Unfit as error:
        return _sign_in_form(request, back, email, 400, errors=error.errors)
    except NotAllowed as error:
        return _sign_in_form(request, back, email, 403, said=str(error))
    except TooMany as error:
        return _waiting(_sign_in_form(request, back, email, 429, said=str(error)), error)
    return signed_in(request, _on(back), token)


async def sign_up_page(request: Request) -> Response:
    """The form; 403 where it is closed."""
    if await visitor(request) is not None:
        return _on("/")
    return _sign_up_form(request, {})


async def sign_up(request: Request) -> Response:
    """Makes an account, its organisation and a session. 303 to the first page; 400, 403 and 429 with the form."""
    fields, parts = await form(request), parts_of(request)
    organisation, email, password = (fields.get(name, "") for name in ("organisation", "email", "password"))
    if parts.settings.signup == "closed":
        return _sign_up_form(request, {})
    try:
        token = await parts.connections.run(
            entry.sign_up, parts.settings, organisation, email, password, browser_of(request)
        )
    except Unfit as error:
        return _sign_up_form(request, fields, 400, errors=error.errors)
    except TooMany as error:
        return _waiting(_sign_up_form(request, fields, 429, said=str(error)), error)
    return signed_in(request, _on(FIRST_PAGE), token)


async def sign_out(request: Request) -> Response:
    """Ends the session, if there is one. 303 to the sign-in page."""
    if (session := session_of(request)) is not None:
        await parts_of(request).connections.run(sessions.sign_out, session)
    answer = _on("/sign-in")
    answer.delete_cookie(
        COOKIE, path="/", httponly=True, samesite="lax", secure=_secure(request, parts_of(request).settings)
    )
    return answer


async def link_page(request: Request) -> Response:
    """What a link does, and the button that does it: to look at it uses nothing up."""
    return await _link_form(request, await _link(request))


async def use_link(request: Request) -> Response:
    """Does what the link is for."""
    link, fields = await _link(request), await form(request)
    try:
        return await _USES[link.purpose](request, parts_of(request), link, fields)
    except LinkGone as error:
        raise _gone(error) from error
    except NotAllowed as error:
        raise Refused(403, "This link is not for you to use now", str(error)) from error
    except Unfit as error:
        return await _link_form(request, link, 400, fields.get("name", ""), error.errors)


async def _enter(request: Request, parts: Parts, link: Link, fields: dict[str, str]) -> Response:
    token = await parts.connections.run(entry.enter, parts.settings, _token(request), browser_of(request))
    return signed_in(request, _on("/" if link.has_password else "/account"), token)


async def _reset(request: Request, parts: Parts, link: Link, fields: dict[str, str]) -> Response:
    password = fields.get("password", "")
    token = await parts.connections.run(entry.reset, parts.settings, _token(request), password, browser_of(request))
    return _on("/sign-in?done=reset") if token is None else signed_in(request, _on("/"), token)


async def _join(request: Request, parts: Parts, link: Link, fields: dict[str, str]) -> Response:
    who = await visitor(request)
    if who is not None:
        session = bytes.fromhex(who.session)
        await parts.connections.run(entry.join, parts.settings, _token(request), who.account_id, session)
        return _on("/")
    token = await parts.connections.run(
        entry.join_anew,
        parts.settings,
        _token(request),
        fields.get("name", ""),
        fields.get("password", ""),
        browser_of(request),
    )
    return signed_in(request, _on("/"), token)


_USES: Final[dict[links.Purpose, Callable[[Request, Parts, Link, dict[str, str]], Awaitable[Response]]]] = {
    "sign_in": _enter,
    "reset": _reset,
    "invitation": _join,
}


_TEMPLATES: Final[dict[links.Purpose, str]] = {
    "sign_in": "entry_link.html",
    "reset": "entry_reset.html",
    "invitation": "entry_invitation.html",
}


def browser_of(request: Request) -> Browser:
    """Where a request comes from."""
    return Browser(address_of(request.scope), request.headers.get("user-agent", ""), session_of(request))


def signed_in(request: Request, answer: Response, token: str) -> Response:
    """The answer, with the cookie of a session that has just begun."""
    settings = parts_of(request).settings
    answer.set_cookie(
        COOKIE,
        token,
        max_age=settings.session_seconds,
        path="/",
        secure=_secure(request, settings),
        httponly=True,
        samesite="lax",
    )
    return answer


def _secure(request: Request, settings: Settings) -> bool:
    return request.url.scheme == "https" or (settings.public_url or "").startswith("https:")


def _on(path: str) -> Response:
    return RedirectResponse(path, 303, {"Cache-Control": "no-store"})


def _token(request: Request) -> str:
    token: str = request.path_params["token"]
    return token


async def _link(request: Request) -> Link:
    try:
        parts, address = parts_of(request), address_of(request.scope)
        return await parts.connections.run(entry.look, parts.settings, _token(request), address)
    except LinkGone as error:
        raise _gone(error) from error
    except TooMany as error:
        wait = {"Retry-After": str(error.seconds)}
        raise Refused(429, "Too many links that do not work", str(error), wait) from error


def _gone(error: LinkGone) -> Refused:
    return Refused(410, "This link does not work any more", str(error))


async def _link_form(
    request: Request, link: Link, status: int = 200, name: str = "", errors: dict[str, str] | None = None
) -> Response:
    who = await visitor(request)
    return page(
        request,
        _TEMPLATES[link.purpose],
        None,
        status,
        link=link,
        way=_way(link, who),
        who=who,
        name=name,
        errors=errors or {},
        next=quote(request.url.path, safe="/"),
    )


def _way(link: Link, who: Member | None) -> str:
    """How an invitation is accepted by who opened it."""
    if who is not None:
        return "join" if who.email == link.email else "other"
    return "sign_in" if link.has_account else "new"


def _sign_in_form(request: Request, back: str, email: str = "", status: int = 200, **shown: Any) -> Response:
    context = {
        "next": back,
        "email": email,
        "errors": {},
        "said": "",
        "done": request.query_params.get("done", ""),
        "signup": parts_of(request).settings.signup == "open",
    }
    return page(request, "entry_sign_in.html", None, status, **(context | shown))


def _sign_up_form(request: Request, fields: dict[str, str], status: int = 200, **shown: Any) -> Response:
    if parts_of(request).settings.signup == "closed":
        return page(request, "entry_closed.html", None, 403)
    context = {"errors": {}, "said": "", "email": fields.get("email", ""), "organisation": fields.get("organisation", "")}
    return page(request, "entry_sign_up.html", None, status, **(context | shown))


def _waiting(answer: Response, error: TooMany) -> Response:
    answer.headers["Retry-After"] = str(error.seconds)
    return answer


ROUTES: Final[list[BaseRoute]] = [
    Route("/sign-in", sign_in_page, methods=["GET"]),
    Route("/sign-in", sign_in, methods=["POST"]),
    Route("/sign-up", sign_up_page, methods=["GET"]),
    Route("/sign-up", sign_up, methods=["POST"]),
    Route("/sign-out", sign_out, methods=["POST"]),
    Route("/link/{token}", link_page, methods=["GET"]),
    Route("/link/{token}", use_link, methods=["POST"]),
]
