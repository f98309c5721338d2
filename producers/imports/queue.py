"""The rows of an import into the log, each once, whatever fails on the way.

1. One session at a time has an import (an advisory lock of the database, which ends with the session).
2. Before a stretch of rows is appended, the import says so; after its acknowledgement, the import says where it lies.
3. Who finds a stretch that was begun and not acknowledged waits until nothing of it can arrive any more, then looks into the
   log for the rows that did, and appends the others.
4. No more rows wait for the fold than `import_pending_records`: other writes would wait behind them.
5. What the whole catalogue lacks is deleted last, in stretches: the log is folded so far, the next absent items are read and
   appended. An item that somebody changed since the first part came is not absent.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Final

import orjson

from foldline.adapters.codec import UPSERTS_TOPIC, UpsertCodec
from foldline.adapters.consumer import KafkaLogReader
from foldline.adapters.postgres import Connection, translated
from foldline.adapters.producer import Appended, Log, NotAppended
from foldline.adapters.registry import registry_of
from foldline.adapters.seals import seal_key
from foldline.adapters.topics import described
from foldline.domain.records import Upsert
from foldline.settings import Settings
from producers import files
from producers.gateway.trace import traceparent
from producers.imports import jobs
from producers.imports.jobs import Job
from producers.imports.positions import applied, log_ends
from producers.imports.validate import Ended, fail
from producers.validation import Stamp
from projections.figures import add_activity
from projections.sql import queries

PACE_SECONDS: Final = 0.02
# Where the fold does not move for so long, nothing can be fresh, and the rows need not wait.
FOLD_AWAY_SECONDS: Final = 3.0

_KEYS: Final = queries("keys")


class Queue:
    """Appends imports, one at a time, on a connection that has their locks."""

    def __init__(self, settings: Settings, connection: Connection, log: Log, tick: Callable[[int], None]) -> None:
        """`tick` is told after every stretch how many records are in the log."""
        self._settings = settings
        self._connection = connection
        self._log = log
        self._reader = KafkaLogReader(settings)
        self._tick = tick

    async def run(self, job: Job) -> None:
        """Carries an import on to its end; returns early where it was cancelled. Raises `Unreachable`, with nothing lost."""
        run = _Run(self._settings, self._connection, self._log, self._reader, job)
        try:
            with translated():
                jobs.execute(
                    self._connection, "queueing_began", import_id=job.import_id, run_began=log_ends(self._settings, job.kind)
                )
            run.recover(await run.settled())
            for rows, next_row in run.stretches():
                await run.append(rows, next_row)
                self._tick(run.queued)
            if job.whole and job.last_part:
                async for absent in run.absent():
                    await run.append(absent, run.next_row)
                    self._tick(run.queued)
        except Ended:
            fail(self._connection, job, f"cancelled after {run.queued} records were queued", status="cancelled")
            return
        except files.BadFile as error:
            fail(self._connection, job, f"the file cannot be read any more: {error}")
            return
        with translated(), self._connection.transaction():
            jobs.execute(self._connection, "done", import_id=job.import_id)
            jobs.execute(self._connection, "delete_files", import_id=job.import_id, names=[jobs.FILE])


class _Run:
    """One import: what of it is in the log."""

    def __init__(self, settings: Settings, connection: Connection, log: Log, reader: KafkaLogReader, job: Job) -> None:
        self._settings, self._connection, self._log, self._reader, self._job = settings, connection, log, reader, job
        self._ends = {partition: [records, last] for partition, records, last in job.appended}
        self._topic_id = job.topic_id
        self._decode = UpsertCodec(job.kind, registry_of(settings)).decode
        self._landed: set[int] = set()
        self._pending: deque[tuple[int, dict[int, int]]] = deque()
        self.next_row, self.queued, self._deleted = job.next_row, job.queued, job.deleted

    async def settled(self) -> bool:
        """Returns once no row that may be on its way can still arrive: whether there may be any in the log."""
        with translated():
            ((seconds,),) = jobs.execute(self._connection, "seconds_in_flight", import_id=self._job.import_id)
        if seconds is None:
            return False
        await asyncio.sleep(self._settings.delivery_timeout_seconds - seconds)
        return True

    def recover(self, doubtful: bool) -> None:
        """Finds what is in the log beyond what is known to be."""
        if not doubtful:
            return
        with translated():
            found = jobs.job(self._connection, self._job.org_id, self._job.import_id)
        assert found is not None
        assert found.run_began is not None
        began = found.run_began
        for partition, end_now in enumerate(log_ends(self._settings, self._job.kind)):
            start = self._ends[partition][1] + 1 if partition in self._ends else began[partition]
            for place, offset in self._own(partition, start, end_now):
                self._landed.add(place)
                end = self._ends.setdefault(partition, [0, offset])
                end[0], end[1] = end[0] + 1, offset
        if self._landed and self._topic_id is None:  # nothing of it was ever acknowledged
            topic = self._settings.topic_prefix + UPSERTS_TOPIC[self._job.kind]
            self._topic_id = described(self._settings, topic).topic_id
        rows = self._job.rows
        self.queued += len(self._landed)
        self._deleted += sum(place >= rows for place in self._landed)

    def stretches(self) -> Iterator[tuple[list[Upsert], int]]:
        """The rows that are not known to be in the log, a stretch at a time, with the row after the stretch."""
        job, rows = self._job, list[Upsert]()
        if self.next_row >= job.rows:
            return

        def blocks() -> Iterator[bytes]:
            return jobs.read_blocks(self._connection, job.import_id, jobs.FILE)

        assert job.report is not None
        survey = files.surveyed(job.report["survey"])
        size = self._settings.import_chunk_records
        for checked in files.read(job.kind, blocks, survey, Stamp(job.org_id, job.request_id, 0), self.next_row):
            rows += checked.upserts
            while len(rows) > size:
                stretch, rows = rows[:size], rows[size:]
                yield stretch, stretch[-1].record_index + 1
        yield rows, job.rows

    async def append(self, rows: Sequence[Upsert], next_row: int) -> None:
        """Appends those rows of a stretch that are not in the log, and notes it down. Raises `Ended`."""
        job = self._job
        await self._pace(len(rows))
        with translated():
            if not jobs.execute(self._connection, "in_flight", import_id=job.import_id):
                raise Ended
        missing = [row for row in rows if row.record_index not in self._landed] if self._landed else list(rows)
        while missing:
            now = time.time_ns() // 1000
            stamped = [row._replace(received_at=now) for row in missing]
            try:
                self._add(await self._log.append(job.kind, stamped, traceparent(None)), missing)
                break
            except NotAppended as error:
                if error.may_appear:
                    raise  # whoever carries on looks into the log first
                await asyncio.sleep(self._settings.retry_seconds)
        self.next_row = next_row
        self._note(len(missing))

    async def absent(self) -> AsyncIterator[list[Upsert]]:
        """Upserts that delete what the catalogue lacks, a stretch at a time."""
        job, after = self._job, ""
        place = job.rows + max(self._deleted, max(self._landed, default=-1) + 1 - job.rows)
        await self._folded()
        with translated():
            jobs.execute(self._connection, "make_ids")
            jobs.execute(self._connection, "add_present", series_id=job.series_id)
        limit = self._settings.import_chunk_records
        while True:
            await self._folded()
            with translated():
                found = jobs.execute(
                    self._connection, "absent", org_id=job.org_id, after=after, log_ends=job.log_ends, limit=limit
                )
            if not found:
                return
            after = found[-1][0]
            yield [
                Upsert(job.org_id, row[0], None, "deleted", None, 0, job.request_id, place + number)
                for number, row in enumerate(found)
            ]
            place += len(found)

    def _add(self, appended: Appended, rows: Sequence[Upsert]) -> None:
        self._topic_id = appended.topic_id
        for partition, records, last in appended.ends:
            end = self._ends.setdefault(partition, [0, last])
            end[0], end[1] = end[0] + records, last
        self._pending.append((len(rows), {end.partition: end.last_offset for end in appended.ends}))
        self.queued += len(rows)
        self._deleted += sum(row.record_index >= self._job.rows for row in rows)

    def _note(self, records: int) -> None:
        with translated():
            jobs.execute(
                self._connection,
                "queued_so_far",
                import_id=self._job.import_id,
                next_row=self.next_row,
                queued=self.queued,
                deleted=self._deleted,
                topic_id=self._topic_id,
                appended=orjson.dumps([[partition, *end] for partition, end in sorted(self._ends.items())]).decode(),
            )
        if records:
            add_activity(self._connection, self._job.org_id, self._job.kind, records)

    async def _pace(self, records: int) -> None:
        """Waits until there is room for so many records before the fold; not where the fold does not move at all."""
        moved_at, before = time.monotonic(), -1
        while self._pending and sum(count for count, _ in self._pending) + records > self._settings.import_pending_records:
            applied = self._applied()
            while self._pending and all(applied.get(p, 0) > last for p, last in self._pending[0][1].items()):
                self._pending.popleft()
            if sum(applied.values()) != before:
                moved_at, before = time.monotonic(), sum(applied.values())
            elif time.monotonic() - moved_at > FOLD_AWAY_SECONDS:
                return
            await asyncio.sleep(PACE_SECONDS)

    async def _folded(self) -> None:
        """Waits until the log is folded up to where it ends now. Raises `Ended`."""
        ends = log_ends(self._settings, self._job.kind)
        while any(self._applied().get(partition, 0) < end for partition, end in enumerate(ends)):
            with translated():
                found = jobs.job(self._connection, self._job.org_id, self._job.import_id)
            if found is None or found.cancelling or found.status != "queueing":
                raise Ended
            await asyncio.sleep(PACE_SECONDS)

    def _applied(self) -> dict[int, int]:
        return applied(self._connection, self._settings, self._job.kind)

    def _own(self, partition: int, start: int, end: int) -> list[tuple[int, int]]:
        """The rows of this import in a stretch of a partition: which, and where.

        Without those whose users were being deleted when they came: what they carry is gone, and they are appended again.
        """
        found = []
        for record in self._reader.read(self._job.kind, partition, start, end):
            event = self._decode(record.value())
            if isinstance(event, Upsert) and (event.org_id, event.request_id) == (self._job.org_id, self._job.request_id):
                found.append((event.record_index, record.offset(), seal_key(event)))
        retired = self._retired({key_id for *_, key_id in found if key_id is not None})
        return [(place, offset) for place, offset, key_id in found if key_id not in retired]

    def _retired(self, key_ids: set[bytes]) -> set[bytes]:
        if not key_ids:
            return set()
        with translated():
            return {key_id for (key_id,) in self._connection.execute(_KEYS["retired"].encode(), (list(key_ids),)).fetchall()}
