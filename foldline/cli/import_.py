"""`foldline import`: the dashboard's import from the shell, with the same validator and the same events."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterator, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from foldline.adapters.postgres import Connection
from foldline.cli.context import NEGATIVE, DataDir, Json, settings_for
from foldline.cli.orgs import connected
from foldline.settings import Settings
from producers import files, tenants
from producers.imports import shell
from producers.imports.check import Findings, Severity, check
from producers.imports.jobs import Job
from producers.sealing import sealed_log
from producers.validation import Stamp

# So many problems are listed as JSON, and so many for people; `error_count` has the total.
LISTED, SHOWN = 10_000, 20
READ_BYTES = 1024 * 1024


class KindOf(StrEnum):
    """What the rows of a file are."""

    items = "items"
    users = "users"


def import_(
    kind: Annotated[KindOf, typer.Argument(help="What the rows of the file are.", metavar="items|users")],
    file: Annotated[Path, typer.Argument(help="CSV or JSON, also gzip, at most 50 MB.", metavar="FILE")],
    org: Annotated[str, typer.Option(help="The organisation's id.", metavar="ID")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check the file, and import nothing.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Return when every row is applied, not when it is queued.")] = False,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Import a file of items or users. Nothing is imported while a row is wrong; returns when every row is queued."""
    settings = settings_for(data_dir)
    with _bar() as bar:
        listing = _Listing(bar)
        findings = _check(settings, kind.value, file, listing)
        job = None
        if not findings.errors and not dry_run:
            with connected(settings) as connection:
                tenants.organisation(connection, org)
                job = asyncio.run(_import(settings, connection, org, kind.value, file, findings, bar, wait))
    status = "rejected" if findings.errors else job.status if job else "ready"
    if as_json:
        print(json.dumps(_document(status, job, findings, listing), ensure_ascii=False))
    else:
        _tell(status, job, findings, listing, file)
    if findings.errors or (job and job.refused):
        sys.exit(NEGATIVE)


class _Listing:
    """`Sink` that lists problems, and moves a bar."""

    def __init__(self, bar: Progress) -> None:
        self.problems_of: dict[Severity, list[files.Problem]] = {"error": [], "warning": []}
        self._bar = bar
        self._task = bar.add_task("checking", total=None)

    def progress(self, findings: Findings) -> None:
        if findings.survey:
            self._bar.update(self._task, total=findings.rows, completed=findings.rows_read)

    def problems(self, severity: Severity, problems: Sequence[files.Problem]) -> None:
        listed = self.problems_of[severity]
        listed += problems[: LISTED - len(listed)]

    def ids(self, ids: Sequence[str]) -> None:
        pass

    def failed(self, data: bytes) -> None:
        pass


def _check(settings: Settings, kind: Any, file: Path, listing: _Listing) -> Findings:
    return check(kind, lambda: _blocks(settings, file), 0, {}, Stamp("", "", 0), listing)


def _blocks(settings: Settings, file: Path) -> Iterator[bytes]:
    try:
        with file.open("rb") as opened:
            yield from files.inflated(iter(lambda: opened.read(READ_BYTES), b""), settings.max_file_bytes)
    except OSError as error:
        problem = files.Problem(0, 0, "", "unreadable_file", f"{file} cannot be read: {error.strerror}", "", None)
        raise files.BadFile([problem]) from error


async def _import(
    settings: Settings,
    connection: Connection,
    org: str,
    kind: Any,
    file: Path,
    findings: Findings,
    bar: Progress,
    wait: bool,
) -> Job:
    task = bar.add_task("queueing", total=findings.rows)
    async with sealed_log(settings, "foldline import: keys", lambda *_: None) as log:
        job = await shell.import_file(
            settings, connection, log, org, kind, file.name, lambda: _blocks(settings, file), findings, _moves(bar, task)
        )
    if wait and job.status == "done":
        refused = shell.wait_live(settings, connection, job)
        job = job._replace(status="live", refused=refused)
    return job


def _moves(bar: Progress, task: TaskID) -> Any:
    return lambda rows: bar.update(task, completed=rows)


def _bar() -> Progress:
    """Progress, on stderr, where somebody looks at it."""
    columns = (
        TextColumn("{task.description:9}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("rows"),
        TimeElapsedColumn(),
    )
    console = Console(stderr=True)
    return Progress(*columns, console=console, disable=not console.is_terminal)


def _document(status: str, job: Job | None, findings: Findings, listing: _Listing) -> dict[str, Any]:
    return {
        "import_id": job and job.import_id,
        "status": status,
        "rows": findings.rows,
        "errors": [problem.as_json() for problem in listing.problems_of["error"]],
        "error_count": findings.errors,
        "warnings": [problem.as_json() for problem in listing.problems_of["warning"]],
        "warning_count": findings.warnings,
        **({} if job is None or job.refused is None else {"refused": job.refused}),
    }


def _tell(status: str, job: Job | None, findings: Findings, listing: _Listing, file: Path) -> None:
    """What came of it, for people: problems on stderr, the import's id on stdout."""
    for severity, count in (("error", findings.errors), ("warning", findings.warnings)):
        listed = listing.problems_of[severity][:SHOWN]  # type: ignore[index]
        for problem in listed:
            place = f"{file.name}:{problem.line}" if problem.line else file.name
            typer.echo(f"{place}: {problem.message} ({problem.code})", err=True)
        if count > len(listed):
            typer.echo(f"… and {count - len(listed):,} more {severity}s", err=True)
    if findings.errors:
        wrong = (
            f"{findings.wrong_rows:,} of {findings.rows:,} rows are wrong" if findings.survey else "the file does not hold"
        )
        typer.echo(f"{wrong}: nothing is imported", err=True)
    elif job is None:
        typer.echo(f"{findings.rows:,} rows hold; nothing is imported (--dry-run)", err=True)
    elif status == "live":
        typer.echo(f"{job.queued:,} rows are applied, {job.refused} of them refused", err=True)
        print(job.import_id)
    else:
        typer.echo(f"{job.queued:,} rows are queued", err=True)
        print(job.import_id)
