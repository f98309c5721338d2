"""A file as it comes in: inflated on the way, kept in pieces, never as a whole in memory."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from starlette.requests import ClientDisconnect, Request

from foldline.domain.errors import FoldlineError, Unreachable
from foldline.domain.records import Kind
from foldline.domain.values import printable
from producers.files import BadFile, Inflater
from producers.gateway.envelope import Refusal
from producers.gateway.parts import Parts
from producers.imports import jobs
from producers.imports.positions import log_ends

FILE_NAME_CHARACTERS = 200


async def receive(
    parts: Parts, org_id: str, actor: str, kind: Kind, file_name: str, request: Request, series_id: str | None = None
) -> str:
    """Keeps the request's body as the file of a new import, and returns its id.

    Raises `Refusal` (400, 413), `Unreachable`, and `ClientDisconnect` where the browser left; then nothing is kept.
    """
    settings, run = parts.settings, parts.connections.run
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > settings.max_file_bytes:
        raise Refusal(413, f"The file is larger than {settings.max_file_bytes:,} bytes: split it into several")
    ends = await asyncio.to_thread(log_ends, settings, kind) if kind == "items" else None
    try:
        name = printable(file_name)[:FILE_NAME_CHARACTERS]
        import_id = await run(jobs.create, org_id, kind, name, actor, ends, series_id)
    except Unreachable:
        raise
    except FoldlineError as error:
        raise Refusal(400, str(error)) from error
    try:
        size = await _keep(parts, import_id, request)
        await run(jobs.uploaded, import_id, size)
    except BaseException:
        with suppress(Unreachable):
            await run(jobs.abandon, import_id)
        raise
    return import_id


async def _keep(parts: Parts, import_id: str, request: Request) -> int:
    inflater = Inflater(parts.settings.max_file_bytes)
    buffer, block, size = bytearray(), 0, 0
    try:
        async for chunk in request.stream():
            for piece in inflater.pieces(chunk):
                buffer += piece
                while len(buffer) >= jobs.BLOCK_BYTES:
                    data = bytes(buffer[: jobs.BLOCK_BYTES])
                    await parts.connections.run(jobs.write_block, import_id, jobs.FILE, block, data)
                    del buffer[: jobs.BLOCK_BYTES]
                    block, size = block + 1, size + jobs.BLOCK_BYTES
        buffer += inflater.end()
    except ClientDisconnect:
        raise
    except BadFile as error:
        raise Refusal(413 if error.problems[0].code == "file_too_large" else 400, str(error)) from error
    await parts.connections.run(jobs.write_block, import_id, jobs.FILE, block, bytes(buffer))
    return size + len(buffer)
