"""An import by a command: checked where it lies, kept, and appended here; by a gateway, if the command is killed."""

from __future__ import annotations

import time
from collections.abc import Callable

import orjson

from foldline.adapters.postgres import Connection, translated
from foldline.adapters.producer import Log
from foldline.domain.errors import FoldlineError, Unreachable
from foldline.domain.records import Kind
from foldline.settings import Settings
from producers import files
from producers.accounts.audit import COMMAND_LINE, record
from producers.imports import jobs
from producers.imports.check import Findings, report
from producers.imports.jobs import Job
from producers.imports.positions import folded, log_ends
from producers.imports.queue import Queue

POLL_SECONDS = 0.05


async def import_file(
    settings: Settings,
    connection: Connection,
    log: Log,
    org_id: str,
    kind: Kind,
    file_name: str,
    blocks: files.Blocks,
    findings: Findings,
    on_rows: Callable[[int], None],
) -> Job:
    """Imports a file in which nothing is wrong, and returns when every row is in the log; `on_rows` is told how many are.

    Raises `Unreachable`: what was kept by then is carried on by a gateway.
    """
    ends = log_ends(settings, kind) if kind == "items" else None
    import_id = jobs.create(connection, org_id, kind, file_name, COMMAND_LINE, ends)
    with translated():
        jobs.execute(connection, "claim", import_id=import_id)
    for block, data in enumerate(blocks()):
        jobs.write_block(connection, import_id, jobs.FILE, block, data)
    with translated(), connection.transaction():
        jobs.execute(
            connection,
            "checked_elsewhere",
            import_id=import_id,
            file_bytes=findings.survey.size if findings.survey else 0,
            rows=findings.rows,
            warnings=findings.warnings,
            report=orjson.dumps(report(findings, lambda *_: 0)).decode(),
        )
        record(connection, org_id, COMMAND_LINE, "import.submitted", import_id, rows=findings.rows, whole=False)
    job = _known(connection, org_id, import_id)
    try:
        await Queue(settings, connection, log, on_rows).run(job)
    except Unreachable as error:
        raise Unreachable(f"{error}. A gateway carries on with import {import_id}") from error
    return _known(connection, org_id, import_id)


def wait_live(settings: Settings, connection: Connection, job: Job) -> int:
    """Returns when every row of an import is folded: how many were refused."""
    while not (found := folded(connection, settings, job)).done:
        time.sleep(POLL_SECONDS)
    return found.refused


def _known(connection: Connection, org_id: str, import_id: str) -> Job:
    job = jobs.job(connection, org_id, import_id)
    if job is None:
        raise FoldlineError(f"the import {import_id} is gone")
    return job
