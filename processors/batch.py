"""A batch: records of the log, decoded and folded on top of the states before it. Nothing is written here.

Three steps: find out which states are needed, load them, fold. What cannot be folded becomes a dead letter with its place.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, TypeVar

from foldline.adapters.codec import Registry, UpsertCodec
from foldline.adapters.consumer import Record, digest
from foldline.adapters.seals import MasterKeys
from foldline.domain.fold import FOLD, key_fault
from foldline.domain.keys import split_key
from foldline.domain.records import KINDS, Kind, Rejection, State, Upsert
from foldline.steps import Steps
from processors.memory import BYTES_PER_JSON_BYTE, STATE_BYTES, StateCache
from processors.opening import Opener
from projections.rows import Rows
from projections.state import Commit, DeadLetter, Erasure, Move, Partition, StateStore

# How many ids go into one load.
LOAD_IDS = 2000
LETTER_TEXT_CHARACTERS = 500


Item = TypeVar("Item")


class Stretch(NamedTuple):
    """Records of one partition without a hole, to be folded from offset `start` on."""

    start: int
    records: Sequence[Record]


class Batch(NamedTuple):
    """What so many records come to."""

    records: int
    commit: Commit


class BatchFolder:
    """Folds batches, one on top of another, in the memory of one worker."""

    def __init__(
        self,
        store: StateStore,
        registry: Registry,
        masters: MasterKeys,
        partitions: int,
        cache_bytes: int,
        steps: Steps | None = None,
        *,
        compiled: bool = True,
    ) -> None:
        """`partitions` is how many each upsert topic has; `cache_bytes` bounds the states kept, of both kinds together;
        `compiled` folds items so where that is installed."""
        self._store, self._steps = store, steps or Steps()
        self._opener = Opener(store, masters)
        self._partitions = partitions
        self._codecs = {kind: UpsertCodec(kind, registry) for kind in KINDS}
        self.cache = StateCache(cache_bytes, partitions, compiled=compiled)

    def forget(self) -> None:
        """Drops every state and key: what comes next is loaded from the tables."""
        self.cache.clear()
        self._opener.forget()

    def fold(
        self, stretches: Mapping[Partition, Stretch], uncommitted: Mapping[Partition, Rows], refused: str | None = None
    ) -> Batch:
        """Folds on top of the table and of `uncommitted`, the states of a batch whose commit is still under way.

        With `refused`, the database's word on the data of this one record, it becomes a dead letter instead.
        """
        rows: dict[Partition, Rows] = {}
        letters: list[DeadLetter] = []
        erasures: list[Erasure] = []
        for partition, stretch in stretches.items():
            self.fold_on(partition, stretch.records, uncommitted.get(partition), letters, erasures, refused)
            rows[partition] = self.changed(partition)
        self.cache.evict()
        records = sum(len(stretch.records) for stretch in stretches.values())
        return Batch(records, Commit(_moves(stretches), rows, letters, erasures))

    def fold_on(
        self,
        partition: Partition,
        records: Sequence[Record],
        uncommitted: Rows | None,
        letters: list[DeadLetter],
        erasures: list[Erasure],
        refused: str | None = None,
    ) -> None:
        """Folds records of a partition on top of what is in memory, `uncommitted` and the table."""
        kind, number = partition
        states, codec = self.cache.of[kind], self._codecs[kind]
        keys = [record.key() for record in records]
        with self._steps.step("load"):
            self._load(partition, keys, uncommitted)
        if refused is None:
            with self._steps.step("fold"):
                left = states.fold(number, keys, records, codec.layouts)
            if len(left) < len(keys):
                keys, records = [keys[place] for place in left], [records[place] for place in left]
        with self._steps.step("decode"):
            events = [codec.decode(record.value()) for record in records]
        sealed = kind == "users"
        if sealed:
            self._opener.prepare(events, records)
        began = time.perf_counter()
        fold = FOLD[kind]
        for key, record, event in zip(keys, records, events, strict=True):
            if type(event) is not Upsert:
                letters.append(_letter(kind, record, event, None))  # type: ignore[arg-type]
                continue
            state = states.get(key)
            if (
                state is None
                or state.entity_id != event.entity_id
                or state.org_id != event.org_id
                or state.partition != number
            ):
                fault = key_fault(kind, key, event, number, self._partitions)
                if fault is not None:
                    letters.append(_letter(kind, record, fault, event))
                    continue
            if event.sealed is not None:
                event = self._opener.open(event)
            after = fold(state, event, number, record.offset()) if refused is None else Rejection("refused", "", refused)
            if type(after) is State:
                states.keep(key, after)  # type: ignore[arg-type]
                if sealed and event.status == "deleted" and after is not state:
                    erasures.append(self._opener.erasure(state, event, after))
            else:
                letters.append(_letter(kind, record, after, event))  # type: ignore[arg-type]
        self._steps.seconds["fold"] += time.perf_counter() - began

    def changed(self, partition: Partition) -> Rows:
        """The states that were folded of a partition since this was asked last."""
        with self._steps.step("encode rows"):
            return self.cache.of[partition[0]].changed()

    def _load(self, partition: Partition, keys: Iterable[bytes | None], uncommitted: Rows | None) -> None:
        if self.cache.complete:
            return
        kind = partition[0]
        states, ids = self.cache.of[kind], dict[tuple[str, str], bytes]()
        for key in states.missing(keys):
            state = None if uncommitted is None else uncommitted.get(key)
            if state is not None:
                states.load(key, state)
            elif (pair := split_key(key)) is not None:
                ids[pair] = key
        for pairs in batched(list(ids), LOAD_IDS):
            for state in self._store.load(kind, pairs):
                if state.partition == partition[1]:  # else a stray record has the key; the state may be changing elsewhere
                    states.load(ids[state.org_id, state.entity_id], state)


class Collector:
    """Records of one partition, folded on and on, and committed when there are enough. For a replay."""

    def __init__(self, folder: BatchFolder, partition: Partition, start: int) -> None:
        """`start` is the partition's position. Where that is the beginning, nothing has to be loaded from the table."""
        self._folder, self._partition, self._start = folder, partition, start
        self._folder.cache.complete = start == 0
        self._letters: list[DeadLetter] = []
        self._erasures: list[Erasure] = []
        self._last: Record | None = None
        self._bound = 0

    def add(self, records: Sequence[Record]) -> None:
        """Folds the next records."""
        self._folder.fold_on(self._partition, records, None, self._letters, self._erasures)
        self._last = records[-1]
        self._bound += sum(STATE_BYTES + BYTES_PER_JSON_BYTE * len(record.value() or b"") for record in records)

    def weighs(self, limit_bytes: int) -> bool:
        """Whether what is to be committed weighs so much in memory."""
        if self._bound > limit_bytes:
            changed_weight = self._folder.cache.of[self._partition[0]].changed_weight
            self._bound = changed_weight + len(self._letters) * STATE_BYTES
        return self._bound > limit_bytes

    def commit(self) -> Commit | None:
        """What was folded since the last commit; None where nothing was."""
        if self._last is None:
            return None
        last, start = self._last, self._start
        move = Move(start, last.offset() + 1, last.offset(), digest(last))
        rows = self._folder.changed(self._partition)
        self._folder.cache.evict()
        commit = Commit({self._partition: move}, {self._partition: rows}, self._letters, self._erasures)
        self._letters, self._erasures = [], []
        self._last, self._start, self._bound = None, move.end, 0
        return commit


def _moves(stretches: Mapping[Partition, Stretch]) -> dict[Partition, Move]:
    moves = {}
    for partition, stretch in stretches.items():
        last = stretch.records[-1]
        moves[partition] = Move(stretch.start, last.offset() + 1, last.offset(), digest(last))
    return moves


def _letter(kind: Kind, record: Record, rejection: Rejection, event: Upsert | None) -> DeadLetter:
    return DeadLetter(
        None if event is None else _text(event.org_id),
        None if event is None else _text(event.entity_id),
        None if event is None else _text(event.request_id),
        None if event is None else event.record_index,
        rejection.code,
        _text(rejection.field),
        _text(rejection.message),
        kind,
        record.partition(),
        record.offset(),
        record.key(),
        record.value(),
        record.timestamp()[1] * 1000,
    )


def batched(items: Sequence[Item], size: int) -> Iterable[Sequence[Item]]:
    """The items in order, at most `size` at a time."""
    return (items[start : start + size] for start in range(0, len(items), size))


def _text(text: str) -> str:
    """What PostgreSQL takes as text, and not too long: strangers write to the log too."""
    return text.replace("\x00", "\ufffd")[:LETTER_TEXT_CHARACTERS]
