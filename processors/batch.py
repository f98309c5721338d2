"""A batch: records of the log, decoded and folded on top of the states before it. Nothing is written here.

Three steps: find out which states are needed, load them, fold. What cannot be folded becomes a dead letter with its place.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import orjson

from foldline.adapters.codec import Registry, UpsertCodec
from foldline.adapters.consumer import Record, digest
from foldline.domain.fold import FOLD, key_fault
from foldline.domain.records import KINDS, Kind, Rejection, State, Upsert
from processors.cache import StateCache
from projections.state import Commit, DeadLetter, Move, Partition, Row, StateStore

# How many ids go into one load.
LOAD_IDS = 2000
LETTER_TEXT_CHARACTERS = 500


class Stretch(NamedTuple):
    """Records of one partition without a hole, to be folded from offset `start` on."""

    start: int
    records: Sequence[Record]


class Batch(NamedTuple):
    """What a batch comes to. `dirty` are its states by key; they stay reachable until the commit's outcome is known."""

    stretches: Mapping[Partition, Stretch]
    commit: Commit
    dirty: Mapping[Kind, Mapping[bytes, State]]


class BatchFolder:
    """Folds batches, one on top of another, in the memory of one worker."""

    def __init__(self, store: StateStore, registry: Registry, partitions: int, cache_bytes: int) -> None:
        """`partitions` is how many each upsert topic has; `cache_bytes` bounds the states kept, of both kinds together."""
        self._store = store
        self._partitions = partitions
        self._codecs = {kind: UpsertCodec(kind, registry) for kind in KINDS}
        self._caches = {kind: StateCache(cache_bytes // len(KINDS)) for kind in KINDS}

    def forget(self) -> None:
        """Drops every state: what comes next is loaded from the table."""
        for cache in self._caches.values():
            cache.clear()

    def fold(
        self,
        stretches: Mapping[Partition, Stretch],
        uncommitted: Mapping[Kind, Mapping[bytes, State]],
        refused: str | None = None,
    ) -> Batch:
        """Folds on top of the table and of `uncommitted`, the states of a batch whose commit is still under way.

        With `refused`, the database's word on the data of this one record, it becomes a dead letter instead.
        """
        dirty: dict[Kind, dict[bytes, State]] = {kind: {} for kind in KINDS}
        letters: list[DeadLetter] = []
        for (kind, partition), stretch in stretches.items():
            events = self._decoded(kind, partition, stretch.records, uncommitted.get(kind, {}))
            if refused is not None:
                events = [(record, Rejection("refused", "", refused), event) for record, _, event in events]
            self._fold_partition(kind, partition, events, dirty[kind], letters)
        rows = {
            kind: [Row(key, state, orjson.dumps(state.attributes).decode()) for key, state in states.items()]
            for kind, states in dirty.items()
            if states
        }
        for cache in self._caches.values():
            cache.evict()
        return Batch(stretches, Commit(_moves(stretches), rows, letters), dirty)

    def _decoded(
        self, kind: Kind, partition: int, records: Sequence[Record], uncommitted: Mapping[bytes, State]
    ) -> list[tuple[Record, Upsert | Rejection, Upsert | None]]:
        """Each record with its event or why there is none, and what was decoded of it; afterwards the states are there."""
        decode, cache = self._codecs[kind].decode, self._caches[kind]
        states = cache.states
        missing: dict[bytes, tuple[str, str]] = {}
        decoded: list[tuple[Record, Upsert | Rejection, Upsert | None]] = []
        for record in records:
            event = decode(record.value())
            if type(event) is Rejection:
                decoded.append((record, event, None))
                continue
            assert type(event) is Upsert
            key = record.key()
            if key is None:
                decoded.append((record, Rejection("wrong_key", "", "the record has no key"), event))
                continue
            state = states.get(key)
            if state is None and key in uncommitted:
                state = uncommitted[key]
                cache.put(key, state)
            if state is not None:
                holds = state.entity_id == event.entity_id and state.org_id == event.org_id and state.partition == partition
            else:
                holds = key in missing and missing[key] == (event.org_id, event.entity_id)
            if not holds:
                fault = key_fault(kind, key, event, partition, self._partitions)
                if fault is not None:
                    decoded.append((record, fault, event))
                    continue
                missing[key] = (event.org_id, event.entity_id)
            decoded.append((record, event, event))
        self._load(kind, missing)
        return decoded

    def _load(self, kind: Kind, missing: Mapping[bytes, tuple[str, str]]) -> None:
        keys = {pair: key for key, pair in missing.items()}
        for pairs in _chunks(list(keys), LOAD_IDS):
            for state in self._store.load(kind, pairs):
                self._caches[kind].put(keys[state.org_id, state.entity_id], state)

    def _fold_partition(
        self,
        kind: Kind,
        partition: int,
        events: Iterable[tuple[Record, Upsert | Rejection, Upsert | None]],
        dirty: dict[bytes, State],
        letters: list[DeadLetter],
    ) -> None:
        fold, cache = FOLD[kind], self._caches[kind]
        states, put = cache.states, cache.put
        for record, event, decoded in events:
            if type(event) is Upsert:
                key = record.key()
                assert key is not None
                after = fold(states.get(key), event, partition, record.offset())
                if type(after) is State:
                    put(key, after)
                    dirty[key] = after
                    continue
                event = after  # type: ignore[assignment]
            assert type(event) is Rejection
            letters.append(_letter(kind, record, event, decoded))


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


def _text(text: str) -> str:
    """What PostgreSQL takes as text, and not too long: strangers write to the log too."""
    return text.replace("\x00", "\ufffd")[:LETTER_TEXT_CHARACTERS]


def _chunks(pairs: list[tuple[str, str]], size: int) -> Iterable[list[tuple[str, str]]]:
    return (pairs[start : start + size] for start in range(0, len(pairs), size))
