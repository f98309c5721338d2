"""A worker: the partitions that it was assigned, folded batch by batch, exactly once, whoever delivers the records.

1. A record below the position is folded already and skipped. A hole above it is looked up in the log: what lies there is
   asked for again, however often; where the log itself has nothing, the hole is passed.
2. While batch n commits, n + 1 is decoded and folded on top of n's states; it is committed after n, and grows until then as
   long as more has arrived: the more is behind, the fewer states are written of a record.
3. What the database refuses as data is bisected down to one dead letter.
4. Every other failure (a lost race, a commit in doubt, a server away) ends the worker: everything in memory is dropped, and
   a new worker begins from the positions in the database.

A worker lives from one assignment to the next. It has three connections, one for each thing that goes on at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing
from typing import NamedTuple

from foldline.adapters.codec import UPSERTS_TOPIC, Registry
from foldline.adapters.consumer import Claim, LogReader, Record
from foldline.adapters.seals import MasterKeys
from foldline.domain.errors import BadData, Conflict, FoldlineError
from foldline.domain.records import Kind
from foldline.settings import Settings
from foldline.steps import Steps
from processors.batch import Batch, BatchFolder, Collector, Stretch
from processors.publication import Publisher
from projections.state import Move, Partition, StateStore
from projections.topics import StateTopics


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
        with ExitStack() as opened:  # who fails here has no worker to close
            store, commit_store, publish_store = (
                opened.enter_context(closing(ports.store(f"foldline process: {name}", self.steps)))
                for name in ("load", "commit", "publish")
            )
            self._folder = BatchFolder(
                store,
                ports.registry,
                ports.masters,
                settings.partitions,
                settings.cache_bytes,
                self.steps,
                compiled=settings.compiled,
            )
            topics = ports.topics(self.steps)
            opened.pop_all()
        self._store, self._commit_store = store, commit_store
        self._publisher = Publisher(
            publish_store, topics, ports.log, settings.pending_bytes, settings.publish_interval_seconds, self.steps
        )
        self._committer = ThreadPoolExecutor(1, thread_name_prefix="committer")
        self._inflight: tuple[Future[None], Batch] | None = None
        self._collector = Collector(self._folder)
        self._next: dict[Partition, int] = {}

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
            if position.applied == 0:
                self._folder.cache.complete.add(partition)
        self._ports.log.verify(claims)
        self._publisher.take(self._next)
        return starts

    def handle(self, records: Sequence[Record], more: bool = False) -> dict[tuple[str, int], int]:
        """Folds what was delivered; returns where delivery has to go back, by topic and number. Call it when idle, too.

        Where `more` has arrived already, what was folded may be committed together with that.
        """
        self._publisher.check()
        if not records:  # a commit to it would fail by itself
            self._assert_live()
        if self._inflight is not None and self._inflight[0].done():
            self._settle()
        stretches, back = self._accepted(records)
        self._collector.add(stretches, self._inflight[1].commit.rows if self._inflight else {})
        if not more or self._inflight is None or self._is_full():
            self._submit()
        return back

    def is_live(self) -> bool:
        """Whether the generation that it folds is still the live one; if not, nothing more of it can be committed."""
        return self._store.is_live()

    def drain(self, timeout_seconds: float) -> bool:
        """Waits until everything that was handled is committed and published. False where publication takes longer."""
        self._submit()
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
            if [record.offset() for record in delivered] == list(range(expected, expected + len(delivered))):
                stretch, delivered, expected = delivered, [], expected + len(delivered)
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

    def _is_full(self) -> bool:
        settings, collector = self._settings, self._collector
        return collector.records >= settings.batch_records or collector.weight() >= settings.batch_bytes

    def _submit(self) -> None:
        """Lets what was folded be committed, once the batch before it is."""
        if not self._collector.records:
            return
        with self.steps.step("wait for commit"):
            self._settle()
        batch = self._collector.take()
        self._inflight = (self._committer.submit(self._commit, batch), batch)
        self.steps.records += batch.records

    def _settle(self) -> None:
        """Waits for the commit under way. Where its data is refused, what was folded on top of it is folded again."""
        if self._inflight is None:
            return
        (outcome, batch), self._inflight = self._inflight, None
        try:
            outcome.result()
        except BadData as refusal:
            later = self._collector.moves
            self._collector.clear()
            self._bisect(self._read_again(batch.commit.moves), refusal)
            self._collector.add(self._read_again(later), {})

    def _read_again(self, moves: Mapping[Partition, Move]) -> dict[Partition, Stretch]:
        return {
            partition: Stretch(move.start, list(self._ports.log.read(*partition, move.start, move.end)))
            for partition, move in moves.items()
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
