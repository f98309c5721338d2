"""Imports as they are kept: what people ask of them, and what the importer notes down.

1. `uploading → uploaded → validating → rejected | ready → queueing → done → live`; `failed` or `cancelled` from wherever
   somebody waits. `done` means: every row is in the log; `live`: all of them are folded.
2. A file with wrong rows is `rejected`, and its good rows may be submitted all the same.
3. Parts of one import are uploaded one after the other. What the whole catalogue lacks is known with the last part, when
   all others are live.
"""

from __future__ import annotations

import secrets
import zlib
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from functools import cache
from typing import Any, Final, NamedTuple

import orjson

from foldline.adapters.postgres import Connection, translated
from foldline.domain.errors import FoldlineError
from foldline.domain.records import Kind
from producers.accounts.audit import record
from projections.sql import queries

PREFIX: Final = "imp_"
BLOCK_BYTES: Final = 1024 * 1024
FILE, FAILED = "file", "failed"
RUNNING: Final = frozenset(("uploading", "uploaded", "validating", "queueing", "done"))

_SQL: Final = queries("imports")


class Job(NamedTuple):
    """An import. The fields are the columns of `foldline_control.imports`, explained there."""

    import_id: str
    request_id: str
    org_id: str
    kind: Kind
    series_id: str
    part: int
    last_part: bool
    file_name: str
    file_bytes: int
    has_file: bool
    created_by: str
    status: str
    cancelling: bool
    failure: str | None
    types: dict[str, Any]
    bytes_read: int
    rows_read: int
    rows: int
    wrong_rows: int
    errors: int
    warnings: int
    report: dict[str, Any] | None
    only_good: bool
    whole: bool
    log_ends: list[int] | None
    wrong_without_id: int
    next_row: int
    queued: int
    deleted: int
    topic_id: str | None
    run_began: list[int] | None
    appended: list[list[int]]
    refused: int | None
    created_at: datetime
    uploaded_at: datetime | None
    validating_at: datetime | None
    validated_at: datetime | None
    queueing_at: datetime | None
    done_at: datetime | None
    live_at: datetime | None
    ended_at: datetime | None
    scrubbed_at: datetime | None

    @property
    def good_rows(self) -> int:
        return self.rows - self.wrong_rows


def create(
    connection: Connection,
    org_id: str,
    kind: Kind,
    file_name: str,
    actor: str,
    log_ends: Sequence[int] | None,
    series_id: str | None = None,
) -> str:
    """Makes an import that waits for its file, and returns its id. `log_ends`: where the log of items ends, by partition.

    With a `series_id` it is the next part of that import. Raises `FoldlineError` where there can be no further part.
    """
    request_id = secrets.token_hex(16)
    import_id = PREFIX + request_id
    with translated(), connection.transaction():
        if series_id is not None:
            _need_open_series(series(connection, org_id, series_id, lock=True), kind)
        execute(
            connection,
            "create",
            import_id=import_id,
            request_id=request_id,
            org_id=org_id,
            kind=kind,
            series_id=series_id,
            file_name=file_name,
            created_by=actor,
            log_ends=None if log_ends is None else list(log_ends),
        )
        record(connection, org_id, actor, "import.uploaded", import_id, file=file_name, kind=kind)
    return import_id


def write_block(connection: Connection, import_id: str, name: str, block: int, data: bytes) -> None:
    """Keeps a piece of the file (`FILE`) or of its wrong rows (`FAILED`)."""
    with translated():
        execute(connection, "write_block", import_id=import_id, name=name, block=block, bytes=data)


def read_blocks(connection: Connection, import_id: str, name: str) -> Iterator[bytes]:
    """The pieces of a file, in order, one at a time."""
    block = 0
    while (piece := read_block(connection, import_id, name, block)) is not None:
        yield piece
        block += 1


def read_block(connection: Connection, import_id: str, name: str, block: int) -> bytes | None:
    """A piece of a file; None after the last."""
    with translated():
        rows = execute(connection, "block", import_id=import_id, name=name, block=block)
    return bytes(rows[0][0]) if rows else None


def uploaded(connection: Connection, import_id: str, file_bytes: int) -> None:
    """The file is here as a whole: whoever is free validates it."""
    with translated():
        execute(connection, "uploaded", import_id=import_id, file_bytes=file_bytes)


def abandon(connection: Connection, import_id: str) -> None:
    """Forgets an import whose upload broke off."""
    with translated():
        execute(connection, "abandon", import_id=import_id)


def job(connection: Connection, org_id: str, import_id: str) -> Job | None:
    """One import of an organisation."""
    with translated():
        return _one(execute(connection, "job", org_id=org_id, import_id=import_id))


def jobs(connection: Connection, org_id: str, before: datetime | None = None, limit: int = 50) -> list[Job]:
    """The imports of an organisation that were made before a moment, newest first, without their reports."""
    with translated():
        return [Job(*row) for row in execute(connection, "jobs", org_id=org_id, before=before, limit=limit)]


def series(connection: Connection, org_id: str, series_id: str, *, lock: bool = False) -> list[Job]:
    """The parts of an import, in order; with `lock`, no part is added meanwhile."""
    with translated():
        if lock:
            execute(connection, "lock_job", org_id=org_id, import_id=series_id)
        return [Job(*row) for row in execute(connection, "series", org_id=org_id, series_id=series_id)]


def retype(connection: Connection, org_id: str, import_id: str, types: Mapping[str, str], actor: str) -> None:
    """Has the file validated anew with these types for columns. Raises `FoldlineError` where it is too late."""
    with translated(), connection.transaction():
        sent = orjson.dumps(dict(types)).decode()
        if not execute(connection, "retype", org_id=org_id, import_id=import_id, types=sent):
            raise FoldlineError("the import is not waiting for a decision any more: its columns cannot be changed")
        record(connection, org_id, actor, "import.retyped", import_id, columns=len(types))


def submit(
    connection: Connection,
    org_id: str,
    import_id: str,
    actor: str,
    *,
    only_good: bool = False,
    whole: bool = False,
    last_part: bool = True,
    typed: str = "",
    absent_share: float,
) -> None:
    """Lets the rows go into the log. Raises `FoldlineError`, a sentence, where they may not.

    `whole`: what the file (and the parts before it) lacks becomes deleted, once the part marked last is in the log. A larger
    share of the catalogue than `absent_share` has to be confirmed by typing how many items that is.
    """
    with translated(), connection.transaction():
        found = _one(execute(connection, "lock_job", org_id=org_id, import_id=import_id))
        if found is None:
            raise FoldlineError("there is no such import")
        _need_rows(found, only_good)
        whole = whole or found.part > 1
        if whole:
            _need_absences(found, series(connection, org_id, found.series_id), last_part, typed, absent_share)
        execute(
            connection, "submit", import_id=import_id, only_good=only_good, whole=whole, last_part=last_part or not whole
        )
        detail = {"rows": found.good_rows if only_good else found.rows, "whole": whole, "last_part": last_part}
        record(connection, org_id, actor, "import.submitted", import_id, **detail)


def cancel(connection: Connection, org_id: str, import_id: str, actor: str) -> None:
    """Ends an import, a running one at its next step: rows that are in the log stay there. Raises `FoldlineError`."""
    with translated(), connection.transaction():
        if not execute(connection, "cancel", org_id=org_id, import_id=import_id):
            raise FoldlineError("the import is over already: there is nothing to cancel")
        record(connection, org_id, actor, "import.cancelled", import_id)


def problems(connection: Connection, import_id: str, severity: str, code: str, block: int) -> list[dict[str, Any]]:
    """A block of the problems of one code, as JSON; none after the last block."""
    with translated():
        rows = execute(connection, "problems", import_id=import_id, severity=severity, code=code, block=block)
    found: list[dict[str, Any]] = orjson.loads(zlib.decompress(rows[0][0])) if rows else []
    return found


def failed_rows(connection: Connection, import_id: str, block: int) -> bytes | None:
    """A piece of the file of wrong rows; None after the last."""
    return read_block(connection, import_id, FAILED, block)


def execute(connection: Connection, query: str, **parameters: Any) -> list[tuple[Any, ...]]:
    """The rows of a named query of `imports.sql`."""
    cursor = connection.execute(statement(query), parameters)
    return cursor.fetchall() if cursor.description else []


@cache
def statement(query: str) -> bytes:
    """A named query of `imports.sql`."""
    columns = ", ".join(Job._fields)
    listed = columns.replace(" report,", " NULL AS report,")
    return _SQL[query].replace("{columns}", columns).replace("{listed}", listed).encode()


def _one(rows: list[tuple[Any, ...]]) -> Job | None:
    return Job(*rows[0]) if rows else None


def _need_open_series(parts: list[Job], kind: Kind) -> None:
    if not parts:
        raise FoldlineError("there is no import of which this could be a part")
    if parts[0].kind != kind or kind != "items":
        raise FoldlineError("only files of items can be parts of one import")
    last = parts[-1]
    if not last.whole or last.last_part or last.status not in ("queueing", "done", "live"):
        raise FoldlineError(
            "the import takes no further part: its last one is not imported, or was marked as the last of all"
        )


def _need_rows(found: Job, only_good: bool) -> None:
    if found.status == "rejected" and only_good and found.good_rows:
        return
    if found.status == "rejected":
        wrong = "no row of the file holds" if not found.good_rows else f"{found.wrong_rows} rows are wrong"
        raise FoldlineError(f"{wrong}: nothing is imported while that is so")
    if found.status != "ready":
        raise FoldlineError("the import is not waiting for a decision any more")


def _need_absences(found: Job, parts: list[Job], last_part: bool, typed: str, absent_share: float) -> None:
    if found.kind != "items":
        raise FoldlineError("only a file of items can be the whole catalogue")
    if not last_part:
        return
    if nameless := sum(part.wrong_without_id for part in parts):
        raise FoldlineError(
            f"{nameless} wrong rows name no item, so nobody knows what the file lacks: mend them, or only merge"
        )
    absences = (found.report or {}).get("absences")
    if any(part.status != "live" for part in parts[:-1]) or absences is None:
        raise FoldlineError("it is not known yet what the file lacks: have it checked again, or only merge")
    absent, live = absences["absent"], absences["live"]
    if absent > absent_share * live and typed.strip().replace(",", "") != str(absent):
        raise FoldlineError(f"{absent} of {live} items would become deleted: type {absent} to confirm it")
