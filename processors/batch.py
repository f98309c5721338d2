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
from processors.memory import STATE_BYTES, StateCache
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
        `compiled` folds so where that is installed."""
        self._store, self._steps = store, steps or Steps()
        self._opener = Opener(store, masters)
        self._partitions = partitions
        self._codecs = {kind: UpsertCodec(kind, registry) for kind in KINDS}
        self.cache = StateCache(cache_bytes, partitions, use_compiled=compiled)

    def forget(self) -> None:
        """Drops every state and key: what comes next is loaded from the tables."""
        self.cache.clear()
        self._opener.forget()

    def fold(
        self, stretches: Mapping[Partition, Stretch], uncommitted: Mapping[Partition, Rows], refused: str | None = None
    ) -> Batch:
        """One batch. With `refused`, the database's word on the data of its only record, that becomes a dead letter."""
        collector = Collector(self)
        collector.add(stretches, uncommitted, refused)
        return collector.take()

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
                left = states.fold(number, keys, records, codec.layouts, self._opener.secrets)
            if len(left) < len(keys):
                keys, records = [keys[place] for place in left], [records[place] for place in left]
        with self._steps.step("decode"):
            events = [codec.decode(record.value()) for record in records]
        sealed = kind == "users"
        if sealed:
            self._opener.prepare(events, records)
        began = time.perf_counter()
        fold, get, keep = FOLD[kind], states.get, states.keep
        for key, record, event in zip(keys, records, events, strict=True):
            if type(event) is not Upsert:
                letters.append(_letter(kind, record, event, None))  # type: ignore[arg-type]
                continue
            state = get(key)
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
                keep(key, after)  # type: ignore[arg-type]
                if sealed and event.status == "deleted" and after is not state:
                    erasures.append(self._opener.erasure(state, event, after))
            else:
                letters.append(_letter(kind, record, after, event))  # type: ignore[arg-type]
        self._steps.seconds["fold"] += time.perf_counter() - began

    def changed(self) -> dict[Partition, Rows]:
        """The states that were folded since this was asked last."""
        with self._steps.step("encode rows"):
            changed = {(kind, number): rows for kind in KINDS for number, rows in self.cache.of[kind].changed().items()}
            self.cache.evict()
        return changed

    def _load(self, partition: Partition, keys: Iterable[bytes | None], uncommitted: Rows | None) -> None:
        if partition in self.cache.complete:
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
    """Records folded on and on, and committed when it is time: a batch grows."""

    def __init__(self, folder: BatchFolder) -> None:
        self._folder = folder
        self.clear()

    def clear(self) -> None:
        """Knows of nothing any more."""
        self.records = 0
        self.moves: dict[Partition, Move] = {}
        self._letters: list[DeadLetter] = []
        self._letters_weight = 0
        self._erasures: list[Erasure] = []

    def add(
        self, stretches: Mapping[Partition, Stretch], uncommitted: Mapping[Partition, Rows], refused: str | None = None
    ) -> None:
        """Folds the next records on top of the table and of `uncommitted`, the states of a batch that is being committed."""
        for partition, (start, records) in stretches.items():
            letters = len(self._letters)
            self._folder.fold_on(partition, records, uncommitted.get(partition), self._letters, self._erasures, refused)
            self._letters_weight += sum(STATE_BYTES + len(letter.value or b"") for letter in self._letters[letters:])
            begins, last = self.moves[partition].start if partition in self.moves else start, records[-1]
            self.moves[partition] = Move(begins, last.offset() + 1, last.offset(), digest(last))
            self.records += len(records)

    def weight(self) -> int:
        """What is to be committed takes so much memory, in bytes, about."""
        return self._letters_weight + self._folder.cache.changed_weight

    def take(self) -> Batch:
        """What was folded since the last time."""
        batch = Batch(self.records, Commit(self.moves, self._folder.changed(), self._letters, self._erasures))
        self.clear()
        return batch


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
