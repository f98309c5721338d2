"""A worker: the partitions that it was assigned, folded batch by batch, exactly once, whoever delivers the records.

1. A record below the position is folded already and skipped. A hole above it is looked up in the log: what lies there is
   asked for again, however often; where the log itself has nothing, the hole is passed.
2. While batch n commits, n + 1 is decoded and folded on top of n's states; it is committed after n.
3. What the database refuses as data is bisected down to one dead letter.
4. Every other failure (a lost race, a commit in doubt, a server away) ends the worker: everything in memory is dropped, and
   a new worker begins from the positions in the database.

A worker lives from one assignment to the next. It has three connections, one for each thing that goes on at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

from foldline.adapters.codec import UPSERTS_TOPIC, Registry
from foldline.adapters.consumer import Claim, LogReader, Record
from foldline.adapters.seals import MasterKeys
from foldline.domain.errors import BadData, Conflict, FoldlineError
from foldline.domain.records import Kind
from foldline.settings import Settings
from foldline.steps import Steps
from processors.batch import Batch, BatchFolder, Stretch
from processors.publication import Publisher
from projections.state import Partition, StateStore
from projections.topics import StateTopics

# How many records the first batch may have: nobody knows yet how large their states are.
FIRST_BATCH_RECORDS = 100


class Ports(NamedTuple):
    """What a worker reads and writes. The factories connect; `store` takes a name for the connection."""

    store: Callable[[str, Steps], StateStore]
    topics: Callable[[Steps], StateTopics]
    log: LogReader
    registry: Registry
    masters: MasterKeys


class Worker:
    """Folds the partitions of one assignment. Not to be shared between threads; after any exception only `close` is left."""

    def __init__(self, settings: Settings, ports: Ports) -> None:
        self._settings = settings
        self._kinds: dict[str, Kind] = {settings.topic_prefix + topic: kind for kind, topic in UPSERTS_TOPIC.items()}
        self._ports = ports
        self.steps = Steps()
        self._store = ports.store("foldline process: load", self.steps)
        self._commit_store = ports.store("foldline process: commit", self.steps)
        self._folder = BatchFolder(
            self._store,
            ports.registry,
            ports.masters,
            settings.partitions,
            settings.cache_bytes,
            self.steps,
            compiled=settings.compiled,
        )
        self._publisher = Publisher(
            ports.store("foldline process: publish", self.steps),
            ports.topics(self.steps),
            ports.log,
            settings.pending_bytes,
            self.steps,
        )
        self._committer = ThreadPoolExecutor(1, thread_name_prefix="committer")
        self._inflight: tuple[Future[None], Batch] | None = None
        self._next: dict[Partition, int] = {}
        self.batch_records = min(FIRST_BATCH_RECORDS, settings.batch_records)
        """How many records may be handled at a time: as many as keep the batch's states within `batch_bytes`."""

    def begin(self, partitions: Iterable[tuple[str, int]]) -> dict[tuple[str, int], int]:
        """Takes partitions on, by topic and number, and returns the offset from which each is to be delivered.

        Raises `LogReplaced` where the log is not the one that was folded, `Conflict` where another generation is live now,
        `FoldlineError` where `foldline init` has not run.
        """
        positions = self._store.positions()
        starts: dict[tuple[str, int], int] = {}
        claims = []
        for topic, number in partitions:
            partition = (self._kinds[topic], number)
            position = positions.get(partition)
            if position is None:
                self._assert_live()
                raise FoldlineError(f"the database has no position of {topic}[{number}]: run `foldline init`")
            claims.append(Claim(*partition, position.topic_id, position.applied, position.last_offset, position.last_digest))
            self._next[partition] = starts[topic, number] = position.applied
        self._ports.log.verify(claims)
        self._publisher.take(self._next)
        return starts

    def handle(self, records: Sequence[Record]) -> dict[tuple[str, int], int]:
        """Folds what was delivered; returns where delivery has to go back, by topic and number. Call it when idle, too."""
        self._publisher.check()
        if not records:  # a commit to it would fail by itself
            self._assert_live()
        if self._inflight is not None and self._inflight[0].done():
            self._settle()
        stretches, back = self._accepted(records)
        if stretches:
            batch = self._folder.fold(stretches, self._inflight[1].commit.rows if self._inflight else {})
            with self.steps.step("wait for commit"):
                settled = self._settle()
            if not settled:
                batch = self._folder.fold(stretches, {})
            self._inflight = (self._committer.submit(self._commit, batch), batch)
            self.steps.records += batch.records
            self.batch_records = self._next_batch_records(batch)
        return back

    def is_live(self) -> bool:
        """Whether the generation that it folds is still the live one; if not, nothing more of it can be committed."""
        return self._store.is_live()

    def drain(self, timeout_seconds: float) -> bool:
        """Waits until everything that was handled is committed and published. False where publication takes longer."""
        self._settle()
        return self._publisher.drain(timeout_seconds)

    def close(self) -> None:
        """Gives everything back. What was not committed has not happened."""
        self._committer.shutdown(wait=True)
        self._publisher.close()
        self._commit_store.close()
        self._store.close()

    def _assert_live(self) -> None:
        if not self.is_live():
            raise Conflict(f"generation {self._store.generation} is not live any more")

    def _accepted(self, records: Sequence[Record]) -> tuple[dict[Partition, Stretch], dict[tuple[str, int], int]]:
        accepted: dict[Partition, list[Record]] = {}
        before = dict(self._next)
        back: dict[tuple[str, int], int] = {}
        for (topic, number), delivered in _by_partition(records).items():
            partition = (self._kinds[topic], number)
            expected = self._next.get(partition)
            if expected is None:
                continue
            stretch: list[Record] = []
            for record in delivered:
                offset = record.offset()
                if offset != expected:
                    if offset < expected:
                        continue
                    if next(self._ports.log.read(*partition, expected, offset), None) is not None:
                        back[topic, number] = expected
                        break
                expected = offset + 1
                stretch.append(record)
            self._next[partition] = expected
            if stretch:
                accepted[partition] = stretch
        stretches = {partition: Stretch(before[partition], stretch) for partition, stretch in accepted.items()}
        return stretches, back

    def _next_batch_records(self, batch: Batch) -> int:
        size = sum(rows.attributes_bytes() for rows in batch.commit.rows.values())
        fit = self._settings.batch_bytes * batch.records // max(1, size)
        return max(1, min(fit, 2 * self.batch_records, self._settings.batch_records))

    def _settle(self) -> bool:
        """Waits for the commit under way. False where its data was refused, which emptied the memory it was folded in."""
        if self._inflight is None:
            return True
        (outcome, batch), self._inflight = self._inflight, None
        try:
            outcome.result()
            return True
        except BadData as refusal:
            self._bisect(self._read_again(batch), refusal)
            return False

    def _read_again(self, batch: Batch) -> dict[Partition, Stretch]:
        return {
            partition: Stretch(move.start, list(self._ports.log.read(*partition, move.start, move.end)))
            for partition, move in batch.commit.moves.items()
        }

    def _bisect(self, stretches: Mapping[Partition, Stretch], refusal: BadData) -> None:
        self._folder.forget()
        halves = _halves(stretches)
        if not halves:
            self._commit_now(self._folder.fold(stretches, {}, refused=str(refusal)))
        for half in halves:
            try:
                self._commit_now(self._folder.fold(half, {}))
            except BadData as narrower:
                self._bisect(half, narrower)

    def _commit_now(self, batch: Batch) -> None:
        self._committer.submit(self._commit, batch).result()

    def _commit(self, batch: Batch) -> None:
        with self.steps.step("wait for opening"):
            self._publisher.wait_open(batch.commit.moves)
        self._commit_store.commit(batch.commit)
        with self.steps.step("wait for publication"):
            self._publisher.submit(batch)


def _by_partition(records: Sequence[Record]) -> dict[tuple[str, int], list[Record]]:
    grouped: dict[tuple[str, int], list[Record]] = {}
    for record in records:
        grouped.setdefault((record.topic(), record.partition()), []).append(record)
    return grouped


def _halves(stretches: Mapping[Partition, Stretch]) -> list[dict[Partition, Stretch]]:
    """Two halves of a batch, in order; none of a single record."""
    if len(stretches) > 1:
        pairs = list(stretches.items())
        middle = len(pairs) // 2
        return [dict(pairs[:middle]), dict(pairs[middle:])]
    ((partition, (start, records)),) = stretches.items()
    if len(records) == 1:
        return []
    middle = len(records) // 2
    return [
        {partition: Stretch(start, records[:middle])},
        {partition: Stretch(records[middle - 1].offset() + 1, records[middle:])},
    ]
