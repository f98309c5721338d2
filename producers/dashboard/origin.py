"""No other site makes a person's browser do something here.

Whatever is not GET or HEAD has to come from a page of this site: `Sec-Fetch-Site` is `same-origin` or `none`; or, where a
browser does not send it, `Origin` names the host that was asked, or that of FOLDLINE_PUBLIC_URL. Everything else is 403, and
is not read.

Source: https://cheatsheetseries.owasp.org/cheatsheets/Cross-Site_Request_Forgery_Prevention_Cheat_Sheet.html#fetch-metadata-headers
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from producers.dashboard.people import Refused
from producers.gateway.parts import parts_of

SAFE_METHODS: Final = frozenset({"GET", "HEAD"})
SAME_SITE: Final = frozenset({"same-origin", "none"})


def guarded(routes: Iterable[BaseRoute]) -> list[BaseRoute]:
    """The routes, each with the check before whatever it leads to."""
    found: list[Any] = list(routes)
    for route in found:
        route.app = _Guard(route.app)
    return found


def is_from_here(request: Request, public_url: str | None) -> bool:
    """Whether a request comes from a page of this site, or from no page at all."""
    if (site := request.headers.get("sec-fetch-site")) is not None:
        return site in SAME_SITE
    try:
        origin = urlsplit(request.headers.get("origin", "")).netloc.lower()
    except ValueError:
        return False
    hosts = {request.headers.get("host", "").lower(), urlsplit(public_url or "").netloc.lower()} - {""}
    return origin in hosts


class _Guard:
    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] not in SAFE_METHODS:
            request = Request(scope, receive)
            if not is_from_here(request, parts_of(request).settings.public_url):
                raise Refused(403, "This came from elsewhere", "Open the page here and send the form from it.")
        await self._app(scope, receive, send)
