"""An import's page, which keeps: its stages as they advance, what is wrong with which row, and what a person decides."""

from __future__ import annotations

import hashlib
import re
from collections.abc import AsyncIterator
from typing import Any, Final
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Route

from foldline.adapters.producer import Appended, PartitionEnd
from foldline.domain.errors import FoldlineError, Unreachable
from producers.dashboard import ingestion_view as view
from producers.dashboard.ingestion_events import HEADERS, Look, Piece, stream, versions
from producers.dashboard.pages import fragment, page, wants_fragment
from producers.dashboard.people import Member, Refused, form, member
from producers.gateway.parts import Parts, parts_of
from producers.imports import jobs
from producers.imports.jobs import Job
from projections.reader import Progress

MAX_COLUMNS: Final = 500  # whose types can be chosen
PROBLEMS_A_BLOCK: Final = 500

_IMPORT_ID: Final = re.compile(r"imp_[0-9a-f]{32}", re.ASCII)
_CODE: Final = re.compile(r"[a-z0-9_]{1,64}", re.ASCII)
_FILE_ENDING: Final = re.compile(r"(\.(csv|tsv|txt|json|ndjson|jsonl))?(\.gz)?$", re.IGNORECASE)
_ENDINGS: Final = {"csv": ".csv", "json": ".json", "ndjson": ".ndjson"}


async def show(request: Request) -> Response:
    """The page as it is now."""
    who = await member(request)
    return await _page(request, who, await _job(request, who))


async def events(request: Request) -> Response:
    """The page as it changes, as server-sent events."""
    who = await member(request)
    parts, import_id = parts_of(request), (await _job(request, who)).import_id

    async def look() -> Look | None:
        job = await parts.connections.run(jobs.job, who.org_id, import_id)
        return None if job is None else await _look(request, who, job)

    seen = request.headers.get("last-event-id") or request.query_params.get("seen", "")
    told = stream(look, seen, lambda: parts.watcher.stopped)
    return StreamingResponse(told, headers=HEADERS, media_type="text/event-stream")


async def problems(request: Request) -> Response:
    """A block of the rows that have one fault, or one oddity."""
    who = await member(request)
    job = await _job(request, who)
    asked = request.query_params
    severity, code, block = asked.get("severity", "error"), asked.get("code", ""), asked.get("block", "0")
    group = next((one for one in view.grouped(job, severity) if one["code"] == code), None)
    if group is None or not _CODE.fullmatch(code) or not block.isdecimal() or not int(block) < max(group["blocks"], 1):
        raise Refused(404, "There are no such rows", "The import was checked again, perhaps: go back to its page.")
    found = await parts_of(request).connections.run(jobs.problems, job.import_id, severity, code, int(block))
    first = int(block) * PROBLEMS_A_BLOCK + 1
    context: dict[str, Any] = {"job": job, "group": group, "at": int(block), "first": first, "problems": found}
    if wants_fragment(request):
        return fragment(request, "import_problems.html", "problems", who, **context)
    return page(request, "import_problems.html", who, **context)


async def failed_rows(request: Request) -> Response:
    """The wrong rows as a file like the one that came, with a column that says what is wrong."""
    who = await member(request)
    job, run = await _job(request, who), parts_of(request).connections.run
    first = await run(jobs.failed_rows, job.import_id, 0)
    if first is None and job.scrubbed_at is not None:
        raise Refused(
            410, "The failed rows were removed", "That is done when a user is deleted, for they may be of that user."
        )
    if first is None:
        raise Refused(404, "There are no failed rows", "They are kept for some days, and only where there are any.")

    async def blocks() -> AsyncIterator[bytes]:
        piece: bytes | None = first
        block = 0
        while piece is not None:
            yield piece
            block += 1
            piece = await run(jobs.failed_rows, job.import_id, block)

    ending = _ENDINGS.get((job.report or {}).get("format", ""), "")
    name = f"{_FILE_ENDING.sub('', job.file_name) or 'import'}-failed-rows{ending}"
    return StreamingResponse(blocks(), headers=attachment(name))


async def retype(request: Request) -> Response:
    """Has the file checked again, with the types that were chosen for its columns."""
    who = await member(request, "DEVELOPER")
    job, chosen = await _job(request, who), await form(request, MAX_COLUMNS)
    columns = _columns(job)
    types = dict(job.types)
    for place, column in enumerate(columns):
        picked = chosen.get(f"type-{place}", "")
        if picked in view.TYPES and not column["field"]:
            types[column["name"]] = picked
        if picked == column["found"]:
            types.pop(column["name"], None)
    return await _done(request, who, job, jobs.retype, types, who.email)


async def submit(request: Request) -> Response:
    """Lets the rows go into the log, as chosen."""
    who = await member(request, "DEVELOPER")
    job, chosen = await _job(request, who), await form(request)
    return await _done(
        request,
        who,
        job,
        jobs.submit,
        who.email,
        only_good=chosen.get("rows") == "good",
        whole=chosen.get("mode") == "whole",
        last_part=chosen.get("more") != "yes",
        typed=chosen.get("typed", ""),
        absent_share=parts_of(request).settings.import_absent_share,
        chosen=chosen,
    )


async def cancel(request: Request) -> Response:
    """Ends the import."""
    who = await member(request, "DEVELOPER")
    job = await _job(request, who)
    return await _done(request, who, job, jobs.cancel, who.email)


def attachment(name: str) -> dict[str, str]:
    """Headers of bytes that a browser keeps as a file of that name, and never shows as a page."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "_", name).lstrip(".") or "file"
    return {
        "Content-Type": "application/octet-stream",
        "Content-Disposition": f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}",
        "Content-Security-Policy": "sandbox",
        "Cache-Control": "no-store",
    }


async def _done(
    request: Request, who: Member, job: Job, work: Any, *args: Any, chosen: dict[str, str] | None = None, **named: Any
) -> Response:
    try:
        await parts_of(request).connections.run(work, who.org_id, job.import_id, *args, **named)
    except Unreachable:
        raise
    except FoldlineError as error:
        now = await _job(request, who)
        return await _page(request, who, now, 409, refusal=view.sentence(str(error)), chosen=chosen or {})
    return RedirectResponse(f"/imports/{job.import_id}", 303)


async def _page(request: Request, who: Member, job: Job, status: int = 200, **more: Any) -> Response:
    look = await _look(request, who, job)
    context = await _context(request, who, job) | {"seen": versions(look), "over": look.over} | more
    return page(request, "import.html", who, status, **context)


async def _look(request: Request, who: Member, job: Job) -> Look:
    """The page's pieces: its status, how far the import is, and all the rest, which changes with its status only."""
    made = view.stages(job, await _folded(parts_of(request), job))
    said = (made, view.headline(job), job.status, job.cancelling)
    settled = (
        job.status,
        job.validated_at,
        job.queueing_at,
        job.done_at,
        job.live_at,
        job.ended_at,
        job.has_file,
        job.scrubbed_at,
    )

    async def head() -> str:
        return _text(fragment(request, "import.html", "head_piece", who, **_stage_context(who, job, made)))

    async def progress() -> str:
        return _text(fragment(request, "import.html", "progress", who, **_stage_context(who, job, made)))

    async def body() -> str:
        return _text(fragment(request, "import.html", "body", who, **await _context(request, who, job)))

    pieces = (
        Piece("head", _digest((job.status, job.cancelling)), head),
        Piece("progress", _digest(said), progress),
        Piece("body", _digest(settled), body),
    )
    return Look(pieces, busy=job.status not in view.DECIDING, over=job.status in view.ENDED)


async def _context(request: Request, who: Member, job: Job) -> dict[str, Any]:
    """All that the page shows."""
    parts = parts_of(request)
    series = await _series(parts, job)
    progress = await _refused(parts, job) if job.refused else None
    return _stage_context(who, job, view.stages(job, await _folded(parts, job))) | {
        "choices": view.choices(job, parts.settings.import_absent_share),
        "errors": view.grouped(job, "error"),
        "warnings": view.grouped(job, "warning"),
        "problem": view.problem(job),
        "columns": _columns(job),
        "preview": view.preview(job),
        "types": view.TYPES,
        "found": view.as_found(job),
        "parts": series,
        "takes_more": _takes_more(series),
        "refused": progress.first_rejected if progress else [],
        "limit": parts.settings.max_file_bytes,
        "refusal": None,
        "chosen": {},
    }


def _stage_context(who: Member, job: Job, made: list[view.Stage]) -> dict[str, Any]:
    return {
        "job": job,
        "stages": made,
        "headline": view.headline(job),
        "explanation": view.explanation(job),
        "said": view.said(job, made),
        "can_cancel": who.may("DEVELOPER") and job.status in view.CANCELLABLE and not job.cancelling,
        "may": who.may("DEVELOPER"),
    }


async def _job(request: Request, who: Member) -> Job:
    import_id = request.path_params["import_id"]
    found = None
    if _IMPORT_ID.fullmatch(import_id):
        found = await parts_of(request).connections.run(jobs.job, who.org_id, import_id)
    if found is None:
        raise Refused(404, "There is no such import", "It is not one of this organisation's.")
    return found


async def _series(parts: Parts, job: Job) -> list[Job]:
    if job.part == 1 and not (job.whole and not job.last_part):
        return [job]
    return await parts.connections.run(jobs.series, job.org_id, job.series_id)


def _takes_more(series: list[Job]) -> bool:
    last = series[-1]
    return last.whole and not last.last_part and last.status in ("queueing", "done", "live")


async def _folded(parts: Parts, job: Job) -> int:
    if job.status not in ("queueing", "done"):
        return view.applied(job, {})
    return view.applied(job, await parts.reader.positions())


async def _refused(parts: Parts, job: Job) -> Progress | None:
    if job.topic_id is None:
        return None
    appended = Appended(job.topic_id, tuple(PartitionEnd(*end) for end in job.appended))
    return await parts.reader.progress(job.org_id, job.kind, job.request_id, appended)


def _columns(job: Job) -> list[dict[str, Any]]:
    columns: list[dict[str, Any]] = (job.report or {}).get("columns", [])
    return columns[:MAX_COLUMNS]


def _text(response: Response) -> str:
    return bytes(response.body).decode()


def _digest(of: object) -> str:
    return hashlib.sha256(repr(of).encode()).hexdigest()[:16]


ROUTES: list[BaseRoute] = [
    Route("/imports/{import_id}", show, methods=["GET"]),
    Route("/imports/{import_id}/events", events, methods=["GET"]),
    Route("/imports/{import_id}/problems", problems, methods=["GET"]),
    Route("/imports/{import_id}/failed-rows", failed_rows, methods=["GET"]),
    Route("/imports/{import_id}/types", retype, methods=["POST"]),
    Route("/imports/{import_id}/submit", submit, methods=["POST"]),
    Route("/imports/{import_id}/cancel", cancel, methods=["POST"]),
]
