"""The importer: a process that carries imports on, one at a time. Any number may run; each import has one at a time.

What it does may end at any moment: another one, or the next, carries on.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
import traceback
from contextlib import suppress
from datetime import datetime
from typing import Final

import structlog
from confluent_kafka import KafkaError

from foldline.adapters.postgres import Connection, connect, translated
from foldline.adapters.producer import Log
from foldline.domain.errors import FoldlineError
from foldline.settings import Settings
from producers.accounts.audit import record
from producers.imports import jobs
from producers.imports.jobs import Job
from producers.imports.positions import applied, folded
from producers.imports.queue import Queue
from producers.imports.validate import fail, validate
from producers.sealing import sealed_log
from projections import figures
from projections.generations import drop_expired
from projections.scrub import scrub

IDLE_SECONDS: Final = 0.2
LIVE_SECONDS: Final = 0.25
HOUSEKEEPING_SECONDS: Final = 10.0
SCRUB_SECONDS: Final = 60.0
KNOWN_SECONDS: Final = 10.0
NICENESS: Final = 10

_log = structlog.get_logger("foldline.importer")


class Stopped(FoldlineError):
    """The importer is to end: what it was at is carried on by the next one."""


class Importer:
    """Carries imports on until it is stopped; begins anew, after a pause, when a server was away."""

    def __init__(self, settings: Settings, stop: threading.Event) -> None:
        self._settings = settings
        self._stop = stop
        self._live_at = self._kept_at = 0.0
        self._scrubbed_at = 0.0
        self._erased_since: datetime | None = None

    async def run(self) -> None:
        def failed(error: KafkaError, _: int) -> None:
            _log.warning("not appended", error=error.name())

        async with sealed_log(self._settings, "foldline importer: keys", failed) as log:
            while not self._stop.is_set():
                try:
                    await self._session(log)
                except Stopped:
                    return
                except FoldlineError as error:
                    _log.warning("begin again", reason=str(error), pause_seconds=self._settings.retry_seconds)
                    await asyncio.sleep(self._settings.retry_seconds)

    async def _session(self, log: Log) -> None:
        connection = connect(self._settings.database_url, "foldline importer", self._settings.database_timeout_seconds)
        with connection:
            while True:
                self._tick(connection)
                if not await self._next(connection, log):
                    await asyncio.sleep(IDLE_SECONDS)

    async def _next(self, connection: Connection, log: Log) -> bool:
        """Carries on the oldest import that nobody else has. False where there is none."""
        with translated():
            waiting = jobs.execute(connection, "waiting")
        for import_id, org_id in waiting:
            with translated():
                ((claimed,),) = jobs.execute(connection, "claim", import_id=import_id)
            if not claimed:
                continue
            try:
                if found := jobs.job(connection, org_id, import_id):
                    await self._carry_on(connection, log, found)
            finally:
                with suppress(FoldlineError), translated():
                    jobs.execute(connection, "release", import_id=import_id)
            return True
        return False

    async def _carry_on(self, connection: Connection, log: Log, job: Job) -> None:
        def tick(_: int = 0) -> None:
            self._tick(connection)

        _log.info("carries on", import_id=job.import_id, status=job.status)
        try:
            if job.cancelling:
                fail(connection, job, f"cancelled after {job.queued} records were queued", status="cancelled")
            elif job.status == "queueing":
                await Queue(self._settings, connection, log, tick).run(job)
            elif job.status in ("uploaded", "validating"):
                validate(connection, job, lambda of: self._when_known(connection, of), tick)
        except FoldlineError:
            raise
        except Exception as error:
            # Not the error's text: it may quote the file.
            frames = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in traceback.extract_tb(error.__traceback__)]
            _log.error("import failed", import_id=job.import_id, error=type(error).__name__, frames=frames[-12:])
            fail(connection, job, f"something failed inside ({type(error).__name__}); it is in the log of the gateway")

    def _when_known(self, connection: Connection, job: Job) -> str | None:
        """Returns when the log is folded to where it ended when the first part came, and the parts before this are live."""
        deadline = time.monotonic() + KNOWN_SECONDS
        while time.monotonic() < deadline:
            self._tick(connection)
            known = applied(connection, self._settings, job.kind)
            earlier = [part for part in jobs.series(connection, job.org_id, job.series_id) if part.part < job.part]
            behind = any(known.get(partition, 0) < end for partition, end in enumerate(job.log_ends or ()))
            if not behind and all(part.status == "live" for part in earlier):
                return None
            time.sleep(IDLE_SECONDS)
        return "what the file lacks is not known yet: earlier writes are still being applied. Have it checked again"

    def _tick(self, connection: Connection) -> None:
        """What goes on beside imports: notes down which have become live; figures; what has expired. Raises `Stopped`."""
        if self._stop.is_set():
            raise Stopped("stopped")
        now = time.monotonic()
        if now >= self._live_at + LIVE_SECONDS:
            self._live_at = now
            self._note_live(connection)
        if now >= self._kept_at + HOUSEKEEPING_SECONDS:
            self._kept_at = now
            figures.sample(connection, self._settings)
            self._sweep(connection)

    def _note_live(self, connection: Connection) -> None:
        with translated():
            waiting = [Job(*row) for row in jobs.execute(connection, "not_live")]
        for job in waiting:
            done, refused = folded(connection, self._settings, job)
            if not done:
                continue
            with translated(), connection.transaction():
                if jobs.execute(connection, "live", import_id=job.import_id, refused=refused):
                    detail = {"queued": job.queued, "deleted": job.deleted, "refused": refused}
                    record(connection, job.org_id, job.created_by, "import.live", job.import_id, **detail)

    def _sweep(self, connection: Connection) -> None:
        retention = self._settings.import_retention_seconds
        with translated():
            for (import_id,) in jobs.execute(connection, "expired", retention=retention):
                sentence = "nobody decided about it in time, or its upload broke off"
                jobs.execute(connection, "end", import_id=import_id, status="cancelled", failure=sentence)
            jobs.execute(connection, "sweep_files", retention=retention)
        with suppress(FoldlineError):  # another importer was first
            drop_expired(connection)
        if time.monotonic() >= self._scrubbed_at + SCRUB_SECONDS:
            self._scrubbed_at = time.monotonic()
            with suppress(FoldlineError):  # the next time
                self._erased_since = scrub(connection, self._erased_since)


def run(settings: Settings, stop: threading.Event, niceness: int = NICENESS) -> None:
    """Runs an importer in this process until it is stopped. It yields to everything else on the machine."""
    os.nice(niceness)
    asyncio.run(Importer(settings, stop).run())
