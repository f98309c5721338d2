"""Who is signed in, and what a page does where nobody is or may not.

1. A session is a random cookie of which only the SHA-256 is kept. It ends after a time, or is ended.
2. A page asks for a role by `member(request, role)`; it goes on only if somebody who has it is signed in. In an organisation
   that is suspended, what needs more than the role Member is only looked at.
3. A path to return to stays on this site, whatever it was made of.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Final, NamedTuple
from urllib.parse import parse_qsl, quote, urlsplit

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from foldline.settings import Settings
from producers.accounts import roles
from producers.accounts.statements import SQL
from producers.gateway.parts import parts_of

COOKIE: Final = "foldline_session"
MAX_COOKIE_CHARACTERS: Final = 128
MAX_FORM_BYTES: Final = 64 * 1024
MAX_FORM_FIELDS: Final = 100
MAX_PATH_CHARACTERS: Final = 2000

_FOUND: Final = "foldline.member"


class Member(NamedTuple):
    """Who is signed in, in the organisation that they look at. `session` is the session's digest in hexadecimal."""

    account_id: str
    email: str
    name: str
    org_id: str
    org_name: str
    role: str
    session: str
    suspended: bool = False

    def may(self, role: str) -> bool:
        """Whether their role is at least that one."""
        return roles.has(self.role, role)


class SignIn(Exception):
    """Nobody is signed in: answered by the way to the page that changes that, and back."""


class Refused(Exception):
    """A page that says why not. `message` is a sentence for the person."""

    def __init__(self, status: int, title: str, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.title = title
        self.message = message
        self.headers = headers


class Forbidden(Refused):
    """Who is signed in may not do this."""

    def __init__(self, message: str) -> None:
        super().__init__(403, "Not with your role", message)


async def member(request: Request, role: str = "MEMBER") -> Member:
    """Who is signed in, with at least that role. Raises `SignIn`, `Refused` (`Forbidden` for a lesser role) and
    `Unreachable`."""
    found = await visitor(request)
    if found is None:
        raise SignIn
    if not found.may(role):
        raise Forbidden(f"This needs the role {role.capitalize()}; in {found.org_name} yours is {found.role.capitalize()}.")
    if found.suspended and role != "MEMBER" and request.method not in ("GET", "HEAD"):
        raise Refused(
            403, f"{found.org_name} is suspended", "Everything can be read, and nothing changed, until it is resumed."
        )
    return found


async def visitor(request: Request) -> Member | None:
    """Who is signed in, if somebody is; looked up once a request. Raises `Unreachable`."""
    if _FOUND not in request.scope:
        request.scope[_FOUND] = await _look_up(request)
    found: Member | None = request.scope[_FOUND]
    return found


async def _look_up(request: Request) -> Member | None:
    digest = session_of(request)
    if digest is None:
        return None
    database = parts_of(request).database
    rows = await database.fetch(SQL["member"], {"session_hash": digest})
    if not rows:
        return None
    account_id, email, name, org_id, org_name, role, suspended, stale = rows[0]
    if stale:
        await database.fetch(SQL["seen"], {"session_hash": digest})
    return Member(account_id, email, name, org_id, org_name, role, digest.hex(), suspended)


def session_of(request: Request) -> bytes | None:
    """The digest of the session that a request comes with, whether or not there is one of it."""
    cookie = request.cookies.get(COOKIE, "")
    if not cookie or len(cookie) > MAX_COOKIE_CHARACTERS:
        return None
    return hashlib.sha256(cookie.encode()).digest()


async def form(request: Request, max_fields: int = MAX_FORM_FIELDS) -> dict[str, str]:
    """The fields of a form that was sent as `application/x-www-form-urlencoded`; of a repeated one the last, trimmed of
    nothing; none where nothing was sent. Raises `Refused`: 400, 413 and 415."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_FORM_BYTES:
            raise Refused(413, "This is too long", f"A form has at most {MAX_FORM_BYTES // 1024} KiB.")
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if body and content_type != "application/x-www-form-urlencoded":
        raise Refused(415, "This is not a form", "Send the fields as application/x-www-form-urlencoded.")
    try:
        fields = dict(parse_qsl(body.decode(), keep_blank_values=True, errors="strict", max_num_fields=max_fields))
    except ValueError as error:
        raise Refused(400, "This is not a form", "Its fields cannot be read.") from error
    if any("\0" in value for value in fields.values()):
        raise Refused(400, "This is not a form", "Its fields cannot be read.")
    return fields


def local_path(text: str) -> str:
    """The path to return to, if the text is one of this site; else `/`."""
    fit = text.startswith("/") and not text.startswith(("//", "/\\")) and len(text) <= MAX_PATH_CHARACTERS
    return text if fit and text.isascii() and text.isprintable() and not set(text) & set(" \\") else "/"


def base_url(request: Request, settings: Settings) -> str:
    """How people reach this gateway: FOLDLINE_PUBLIC_URL, else as this request did."""
    return settings.public_url or f"{request.url.scheme}://{request.url.netloc}"


async def sign_in_first(request: Request, error: Exception) -> Response:
    """The answer to `SignIn`: 303 to the page, which leads back here; for htmx the same by its header."""
    if "hx-request" in request.headers:
        back = _path_of(request.headers.get("hx-current-url", ""))
        return Response(status_code=401, headers={"HX-Redirect": _sign_in_url(back), "Cache-Control": "no-store"})
    asked = request.scope["raw_path"].decode("latin-1") + (f"?{request.url.query}" if request.url.query else "")
    back = asked if request.method in ("GET", "HEAD") else _path_of(request.headers.get("referer", ""))
    return RedirectResponse(_sign_in_url(back), 303, {"Cache-Control": "no-store"})


def _sign_in_url(back: str) -> str:
    path = local_path(back)
    return "/sign-in" if path == "/" else f"/sign-in?next={quote(path, safe='/')}"


def _path_of(url: str) -> str:
    try:
        parts = urlsplit(url)
    except ValueError:
        return "/"
    return parts.path + (f"?{parts.query}" if parts.query else "")
