"""Publication: what a commit changed goes to the projection topics, after the commit, in a thread of its own.

1. A partition is opened, which fences whoever had it open, before the first batch of it is committed: so nothing that is in
   memory is from before the opening.
2. After every opening the keys of the records from `published` to `applied` are published from the table, and those that a
   swap has left as pending. That is the one recovery path.
3. Then batches follow in order, each from the end of the one before, conflated where several wait. A transaction costs the
   broker about the same whatever is in it: two begin `interval_seconds` apart, unless much waits or somebody waits for it.
4. `published` moves after the transaction, by compare-and-set.
5. What is to be published again at a later time is looked for now and then: the state of an erased user, so that the segment
   rolls in which older states are, and they can be compacted away.
"""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Iterable, Mapping, Sequence

import orjson

from foldline.adapters.consumer import LogReader
from foldline.domain.errors import Conflict, FoldlineError, Unreachable
from foldline.domain.keys import message_key, split_key
from foldline.steps import Steps
from processors.batch import LOAD_IDS, Batch, batched
from projections.rows import PlainRows, Row, Rows
from projections.state import DeadLetter, Partition, Position, StateStore
from projections.topics import Publication, StateTopics

# How many records of the log one step of a recovery goes over.
RECOVERY_RECORDS = 5000
# How often what is due is looked for.
DUE_SECONDS = 5.0
# A part of what may wait is much.
MUCH = 1 / 8


class Publisher:
    """Publishes batches after their commit. A failure is kept, and raised by the next call of any method."""

    def __init__(
        self,
        store: StateStore,
        topics: StateTopics,
        log: LogReader,
        pending_bytes: int,
        interval_seconds: float,
        steps: Steps | None = None,
    ) -> None:
        """`pending_bytes` bounds what waits: `submit` blocks above it. `store` is used by this object's thread only."""
        self._store, self._topics, self._log = store, topics, log
        self._limit, self._interval_seconds = pending_bytes, interval_seconds
        self._steps = steps or Steps()
        self._changed = threading.Condition()
        self._pending: list[Batch] = []
        self._pending_bytes = 0
        self._taken: set[Partition] = set()
        self._opened: set[Partition] = set()
        self._busy = self._draining = self._closing = False
        self._failure: BaseException | None = None
        self._published: dict[Partition, int] = {}
        self._thread = threading.Thread(target=self._run, name="publisher", daemon=True)
        self._thread.start()

    def take(self, partitions: Iterable[Partition]) -> None:
        """Begins to take partitions over: they are opened, and what is committed but not published is recovered."""
        with self._changed:
            self._taken.update(partitions)
            self._changed.notify_all()

    def wait_open(self, partitions: Iterable[Partition]) -> None:
        """Waits until partitions that were taken are open: from then on their batches may be committed."""
        wanted = set(partitions)
        with self._changed:
            self._changed.wait_for(lambda: wanted <= self._opened or self._failure or self._closing)
            self._raise_failure()

    def submit(self, batch: Batch) -> None:
        """Queues a batch that has been committed; blocks while too much waits."""
        with self._changed:
            self._changed.wait_for(lambda: self._pending_bytes <= self._limit or self._failure or self._closing)
            self._raise_failure()
            self._pending.append(batch)
            self._pending_bytes += _size(batch)
            self._changed.notify_all()

    def drain(self, timeout_seconds: float) -> bool:
        """Waits until all that was committed is published. False where that takes longer."""
        with self._changed:
            self._draining = True
            self._changed.notify_all()
            done = self._changed.wait_for(
                lambda: self._failure or not (self._pending or self._taken or self._busy), timeout_seconds
            )
            self._draining = False
            self._raise_failure()
            return bool(done)

    def check(self) -> None:
        """Raises what made publication fail, if anything did."""
        with self._changed:
            self._raise_failure()

    def close(self) -> None:
        """Stops. What was not published is left to the next owner of the partition."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join()

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _run(self) -> None:
        due_at = time.monotonic() + DUE_SECONDS
        next_at = 0.0
        try:
            while True:
                with self._changed:
                    self._busy = False
                    self._changed.notify_all()
                    self._changed.wait_for(
                        lambda: self._pending or self._taken or self._closing, max(0.0, due_at - time.monotonic())
                    )
                    self._changed.wait_for(self._is_awaited, max(0.0, next_at - time.monotonic()))
                    if self._closing:
                        return
                    self._busy = True
                    batches, self._pending, self._pending_bytes = self._pending, [], 0
                    taken, self._taken = self._taken, set()
                self._take_over(sorted(taken))
                if batches:
                    next_at = time.monotonic() + self._interval_seconds
                    self._publish(batches)
                if time.monotonic() >= due_at:
                    due_at = time.monotonic() + DUE_SECONDS
                    for partition in sorted(self._published):
                        self._publish_pending(partition)
        except FoldlineError as failure:
            self._fail(failure)
        except Exception as failure:
            # Not the failure's text: it may quote a state.
            *_, frame = traceback.extract_tb(failure.__traceback__)
            self._fail(Unreachable(f"publication failed: {type(failure).__name__} at {frame.filename}:{frame.lineno}"))
        finally:
            self._topics.close()
            self._store.close()

    def _is_awaited(self) -> bool:
        """Whether what waits is not to wait for more, or nothing does."""
        much = self._pending_bytes > self._limit * MUCH
        return not self._pending or bool(self._taken) or self._draining or self._closing or much

    def _fail(self, failure: FoldlineError) -> None:
        with self._changed:
            self._failure = failure
            self._changed.notify_all()

    def _take_over(self, partitions: Sequence[Partition]) -> None:
        if not partitions:
            return
        self._topics.open(partitions)
        positions = self._store.positions()  # before anything is committed on top of them
        if not positions.keys() >= set(partitions):
            raise Conflict(f"generation {self._store.generation} is not live any more")
        with self._changed:
            self._opened.update(partitions)
            self._changed.notify_all()
        for partition in partitions:
            self._published[partition] = self._recover(partition, positions[partition])
            self._publish_pending(partition)

    def _publish(self, batches: Sequence[Batch]) -> None:
        touched = {partition for batch in batches for partition in batch.commit.moves}
        publications: dict[Partition, Publication] = {}
        moves: dict[Partition, tuple[int, int]] = {}
        for partition in sorted(touched):
            start = end = self._published[partition]
            rows: Rows = PlainRows(partition[0])
            letters: list[DeadLetter] = []
            for batch in batches:
                move = batch.commit.moves.get(partition)
                if move is None or move.end <= end:
                    continue
                if move.start != end:
                    raise Conflict(f"{partition} is published to {end}, the next batch begins at {move.start}")
                end = move.end
                newer = batch.commit.rows.get(partition)
                if newer is not None:
                    rows = rows.then(newer) if len(rows) else newer
                letters += [letter for letter in batch.commit.letters if (letter.kind, letter.partition) == partition]
            if end > start:
                publications[partition] = Publication(rows, letters)
                moves[partition] = (start, end)
        self._send(publications, moves)

    def _send(self, publications: Mapping[Partition, Publication], moves: Mapping[Partition, tuple[int, int]]) -> None:
        if not moves:
            return
        self._topics.publish(publications, self._store.generation)
        with self._steps.step("move published"):
            self._store.move_published(moves)
        self._published |= {partition: end for partition, (_, end) in moves.items()}

    def _recover(self, partition: Partition, position: Position) -> int:
        start = position.published
        while start < position.applied:
            end = min(start + RECOVERY_RECORDS, position.applied)
            rows = self._rows_of(partition, start, end)
            publication = Publication(rows, self._store.letters(partition, start, end))
            self._send({partition: publication}, {partition: (start, end)})
            start = end
        return start

    def _publish_pending(self, partition: Partition) -> None:
        """Publishes the records that are to be published without an event: those that another generation has made others,
        and what is due."""
        for ids in batched(self._store.pending(partition), LOAD_IDS):
            self._topics.publish({partition: Publication(self._states_of(partition, ids), [])}, self._store.generation)
            self._store.remove_pending(partition, ids)

    def _rows_of(self, partition: Partition, start: int, end: int) -> Rows:
        kind, number = partition
        keys = {record.key() for record in self._log.read(kind, number, start, end)}
        return self._states_of(partition, [pair for key in keys if key is not None and (pair := split_key(key)) is not None])

    def _states_of(self, partition: Partition, ids: Sequence[tuple[str, str]]) -> Rows:
        kind, number = partition
        states = [state for pairs in batched(ids, LOAD_IDS) for state in self._store.load(kind, pairs)]
        rows = [
            Row(message_key(state.org_id, state.entity_id), state, orjson.dumps(state.attributes).decode())
            for state in states
            if state.partition == number  # else a dead letter of this partition has the key of another one's record
        ]
        return PlainRows(kind, rows)


def _size(batch: Batch) -> int:
    return sum(rows.weight() for rows in batch.commit.rows.values())
