"""The audit log: who did what, newest first, a page by key. For every role but Member."""

from __future__ import annotations

from typing import Final
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from producers.accounts import audit
from producers.dashboard.pages import page
from producers.dashboard.people import member
from producers.dashboard.sentences import label, sentence
from producers.gateway.parts import parts_of

READS: Final = "DEVELOPER"
MAX_FILTER_CHARACTERS: Final = 300
MAX_AUDIT_ID: Final = 2**63 - 1


async def log(request: Request) -> Response:
    """A page of entries, of one action and one actor where the URL names them. What the URL has wrong is left out."""
    who = await member(request, READS)
    run = parts_of(request).connections.run
    action, actor = (_filter(request, name) for name in ("action", "actor"))
    before = _number(request.query_params.get("before", ""))
    found, rest = await run(audit.entries, who.org_id, action, actor, before)
    actions, actors = await run(audit.known, who.org_id)
    filters = {name: value for name, value in (("action", action), ("actor", actor)) if value}
    return page(
        request,
        "audit.html",
        who,
        entries=[(entry, sentence(entry)) for entry in found],
        actions=[("", "Everything"), *((one, label(one)) for one in _with(actions, action))],
        actors=[("", "Everybody"), *((one, one) for one in _with(actors, actor))],
        action=action,
        actor=actor,
        newest=_url(filters) if before is not None else None,
        older=_url(filters | {"before": str(rest)}) if rest is not None else None,
    )


def _filter(request: Request, name: str) -> str:
    text = request.query_params.get(name, "")[:MAX_FILTER_CHARACTERS]
    return text if text.isprintable() else ""


def _number(text: str) -> int | None:
    return min(int(text), MAX_AUDIT_ID) if text.isascii() and text.isdigit() and len(text) < 30 else None


def _with(known: list[str], chosen: str) -> list[str]:
    return known if not chosen or chosen in known else sorted([*known, chosen])


def _url(parameters: dict[str, str]) -> str:
    return f"/audit?{urlencode(parameters)}" if parameters else "/audit"


ROUTES: Final[list[BaseRoute]] = [Route("/audit", log, methods=["GET"])]
