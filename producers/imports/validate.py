"""Validation of an uploaded file, kept as it is found: progress, problems, wrong rows, and what the file lacks.

It may be ended and begun anew at any moment: it begins by removing what an earlier one left.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Sequence
from typing import Any, Final

import orjson

from foldline.adapters.postgres import Connection, translated
from producers import files
from producers.imports import jobs
from producers.imports.check import Findings, Severity, check, report
from producers.imports.jobs import Job
from producers.validation import Stamp

PROBLEMS_A_BLOCK: Final = 500
IDS_A_COPY: Final = 5000
PROGRESS_SECONDS: Final = 0.25
ATTEMPTS: Final = 5

_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})


class Ended(Exception):
    """The import was cancelled, or is another's by now."""


def validate(connection: Connection, job: Job, when_known: Callable[[Job], str | None], tick: Callable[[], None]) -> None:
    """Validates an uploaded file of which this connection has the import to itself, and notes the outcome down.

    `when_known` returns as soon as the log is folded as far as absences need it, or a sentence why that cannot be waited
    for; `tick` is called several times a second.
    """
    with translated():
        begun = jobs.execute(connection, "validating", import_id=job.import_id)
        if not begun:
            return
        if begun[0][0] > ATTEMPTS:
            fail(connection, job, f"validation broke off {ATTEMPTS} times: is the file an unusual one?")
            return
        jobs.execute(connection, "make_ids")
    keeper = _Keeper(connection, job, tick)
    try:
        findings = check(
            job.kind,
            lambda: jobs.read_blocks(connection, job.import_id, jobs.FILE),
            job.file_bytes,
            job.types,
            Stamp(job.org_id, job.request_id, 0),
            keeper,
        )
        keeper.finish()
    except Ended:
        return
    found = report(findings, keeper.blocks_of)
    if job.kind == "items" and findings.problem is None:
        found["missing"] = when_known(job)
        if found["missing"] is None:
            found["absences"] = _absences(connection, job)
    with translated():
        jobs.execute(
            connection,
            "validated",
            import_id=job.import_id,
            status="rejected" if findings.errors else "ready",
            rows=findings.rows,
            wrong_rows=findings.wrong_rows,
            errors=findings.errors,
            warnings=findings.warnings,
            report=orjson.dumps(found).decode(),
            wrong_ids=findings.wrong_ids,
            wrong_without_id=findings.wrong_without_id,
        )


def fail(connection: Connection, job: Job, sentence: str, status: str = "failed") -> None:
    """Ends an import for good, with the sentence that says why."""
    with translated():
        jobs.execute(connection, "end", import_id=job.import_id, status=status, failure=sentence)
        jobs.execute(connection, "delete_files", import_id=job.import_id, names=[jobs.FILE])


def _absences(connection: Connection, job: Job) -> dict[str, Any]:
    with translated():
        jobs.execute(connection, "add_present", series_id=job.series_id)
        connection.execute(b"ANALYZE pg_temp.file_ids")
        ((absent, live, sample),) = jobs.execute(connection, "count_absent", org_id=job.org_id, log_ends=job.log_ends)
    return {"absent": absent, "live": live, "share": absent / live if live else 0.0, "sample": orjson.loads(sample)}


class _Keeper:
    """`Sink` that keeps everything in the database."""

    def __init__(self, connection: Connection, job: Job, tick: Callable[[], None]) -> None:
        self._connection = connection
        self._job = job
        self._tick = tick
        self._noted_at = 0.0
        self._problems: dict[tuple[Severity, str], list[files.Problem]] = {}
        self._blocks: dict[tuple[Severity, str], int] = {}
        self._ids: list[str] = []
        self._failed = bytearray()
        self._failed_blocks = 0

    def progress(self, findings: Findings) -> None:
        if time.monotonic() < self._noted_at + PROGRESS_SECONDS:
            return
        self._noted_at = time.monotonic()
        with translated():
            noted = jobs.execute(
                self._connection,
                "validated_so_far",
                import_id=self._job.import_id,
                bytes_read=min(findings.bytes_read, self._job.file_bytes),
                rows_read=findings.rows_read,
                rows=findings.rows,
                wrong_rows=findings.wrong_rows,
                errors=findings.errors,
                warnings=findings.warnings,
            )
        if not noted:
            raise Ended
        self._tick()

    def problems(self, severity: Severity, problems: Sequence[files.Problem]) -> None:
        for problem in problems:
            kept = self._problems.setdefault((severity, problem.code), [])
            kept.append(problem)
            if len(kept) == PROBLEMS_A_BLOCK:
                self._write_problems(severity, problem.code)

    def ids(self, ids: Sequence[str]) -> None:
        if self._job.kind == "items":
            self._ids += ids
            if len(self._ids) >= IDS_A_COPY:
                self._copy_ids()

    def failed(self, data: bytes) -> None:
        self._failed += data
        if len(self._failed) >= jobs.BLOCK_BYTES:
            self._write_failed()

    def finish(self) -> None:
        """Writes what is left."""
        for (severity, code), kept in self._problems.items():
            if kept:
                self._write_problems(severity, code)
        if self._ids:
            self._copy_ids()
        if self._failed:
            self._write_failed()

    def blocks_of(self, severity: Severity, code: str) -> int:
        return self._blocks.get((severity, code), 0)

    def _write_problems(self, severity: Severity, code: str) -> None:
        kept = self._problems[severity, code]
        block = self._blocks.get((severity, code), 0)
        with translated():
            jobs.execute(
                self._connection,
                "write_problems",
                import_id=self._job.import_id,
                severity=severity,
                code=code,
                block=block,
                problems=zlib.compress(orjson.dumps([problem.as_json() for problem in kept]), 1),
            )
        self._blocks[severity, code] = block + 1
        kept.clear()

    def _copy_ids(self) -> None:
        text = "\n".join(entity_id.translate(_ESCAPES) for entity_id in self._ids)
        with (
            translated(),
            self._connection.cursor() as cursor,
            cursor.copy(jobs.statement("copy_ids")) as copy,
        ):
            copy.write(text.encode() + b"\n")
        self._ids.clear()

    def _write_failed(self) -> None:
        jobs.write_block(self._connection, self._job.import_id, jobs.FAILED, self._failed_blocks, bytes(self._failed))
        self._failed_blocks += 1
        self._failed.clear()
