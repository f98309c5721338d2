"""Data ingestion: where a file is dropped, and what has become of the ones before it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import Message, Receive

from foldline.domain.records import Kind
from producers.dashboard import ingestion_import
from producers.dashboard.ingestion_samples import SAMPLES
from producers.dashboard.ingestion_view import ENDED
from producers.dashboard.pages import fragment, page, wants_fragment
from producers.dashboard.people import Refused, SignIn, member
from producers.gateway.bodies import CONSUMED, drain
from producers.gateway.envelope import Json, Refusal, refused
from producers.gateway.parts import parts_of
from producers.imports import jobs
from producers.imports.jobs import Job
from producers.imports.upload import receive

PAGE_IMPORTS: Final = 25
MAX_NAME_CHARACTERS: Final = 1000
LABELS: Final[dict[Kind, str]] = {"items": "Items", "users": "Users"}
REQUIRED: Final[dict[Kind, tuple[str, ...]]] = {
    "items": ("item_id", "item_type", "status"),
    "users": ("user_id", "status", "created_at"),
}


async def ingestion(request: Request) -> Response:
    """The drop zone, and the imports of the organisation, newest first."""
    who = await member(request)
    parts = parts_of(request)
    before = _moment(request.query_params.get("before", ""))
    found = await parts.connections.run(jobs.jobs, who.org_id, before, PAGE_IMPORTS + 1)
    listed = found[:PAGE_IMPORTS]
    kind = _kind(request) or "items"
    context: dict[str, Any] = {
        "kind": kind,
        "labels": LABELS,
        "required": REQUIRED[kind],
        "limit": parts.settings.max_file_bytes,
        "imports": listed,
        "older": listed[-1].created_at.isoformat() if len(found) > PAGE_IMPORTS else None,
        "newest": before is None,
        "running": before is None and _running(listed),
    }
    if wants_fragment(request):
        return fragment(request, "ingestion.html", "imports", who, **context)
    return page(request, "ingestion.html", who, **context)


async def upload(request: Request) -> Response:
    """Takes the request's body as a file: 201 with where its page is, 400 and 413 in the envelope. A file that is refused is
    read to its end first, so that the answer arrives."""
    settings = parts_of(request).settings
    try:
        who = await member(request, "DEVELOPER")
        import_id = await receive(
            parts_of(request),
            who.org_id,
            who.email,
            _kind(request) or _no_such_kind(),
            request.query_params.get("name", "")[:MAX_NAME_CHARACTERS] or "file",
            Request(request.scope, _noting(request)),
            request.query_params.get("series") or None,
        )
    except (SignIn, Refused):
        await drain(request, settings)
        raise
    except Refusal as error:
        await drain(request, settings.model_copy(update={"max_drain_bytes": settings.max_file_bytes}))
        return refused(error)
    url = f"/imports/{import_id}"
    return Json({"import_id": import_id, "url": url}, 201, {"Location": url})


async def sample(request: Request) -> Response:
    """A small file to begin with."""
    await member(request)
    name = request.path_params["name"]
    if name not in SAMPLES:
        raise Refused(404, "There is no such file", "The samples are on the page Data ingestion.")
    return Response(SAMPLES[name], headers=ingestion_import.attachment(f"sample-{name}"))


def _noting(request: Request) -> Receive:
    async def receiving() -> Message:
        message = await request.receive()
        if not message.get("more_body", False):
            request.scope[CONSUMED] = True  # nothing is left to be drained
        return message

    return receiving


def _running(listed: Sequence[Job]) -> bool:
    return any(job.status not in ENDED | {"ready", "rejected"} for job in listed)


def _kind(request: Request) -> Kind | None:
    asked = request.query_params.get("kind", "")
    return next((kind for kind in LABELS if kind == asked), None)


def _no_such_kind() -> Kind:
    raise Refusal(400, "Say what the file has: kind is items or users")


def _moment(text: str) -> datetime | None:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.tzinfo else None


ROUTES: list[BaseRoute] = [
    Route("/ingestion", ingestion, methods=["GET"]),
    Route("/ingestion/upload", upload, methods=["POST"]),
    Route("/ingestion/samples/{name}", sample, methods=["GET"]),
    *ingestion_import.ROUTES,
]
