"""State and projection topics in memory, for tests and trials in one process: what is durable, and the ports on it.

`MemoryDatabase` and `MemoryTopics` are the servers: they outlive the workers that use them, and may be shared between
threads. `MemoryStateStore` and `MemoryStateTopics` are one worker's connections to them.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import orjson

from foldline.domain.errors import BadData, Conflict
from foldline.domain.keys import message_key
from foldline.domain.records import KINDS, Kind, State
from foldline.domain.values import faults, string_fault
from projections.rows import Row
from projections.state import ERASED, Commit, DeadLetter, Erasure, Keyring, Partition, Position
from projections.topics import Publication


class MemoryDatabase:
    """The state of one generation, its positions and its dead letters."""

    def __init__(self, topic_ids: Mapping[Kind, str], partitions: int, generation: int = 1) -> None:
        """Positions at the beginning of every partition of the topics of these ids."""
        self.generation = generation
        self.lock = threading.Lock()
        self.states: dict[Kind, dict[tuple[str, str], State]] = {kind: {} for kind in KINDS}
        self.pending: dict[Partition, set[tuple[str, str]]] = {}
        self.letters: dict[tuple[Kind, int, int], DeadLetter] = {}
        self.keyring = Keyring(b"", 0)
        self.keys: dict[bytes, bytes | None] = {}
        self.ended: set[bytes] = set()
        self.key_ends: dict[str, list[bytes]] = {}
        self.erasures: list[tuple[Erasure, int]] = []  # and when, in microseconds
        self.positions: dict[Partition, Position] = {
            (kind, partition): Position(0, 0, topic_id, None, None)
            for kind, topic_id in topic_ids.items()
            for partition in range(partitions)
        }


class MemoryStateStore:
    """`StateStore` on a `MemoryDatabase`. Refuses the data that PostgreSQL refuses: U+0000, unpaired surrogates, no JSON."""

    def __init__(self, database: MemoryDatabase) -> None:
        self._database = database
        self.generation = database.generation

    def positions(self) -> dict[Partition, Position]:
        with self._database.lock:
            return dict(self._database.positions)

    def is_live(self) -> bool:
        return self._database.generation == self.generation

    def pending(self, partition: Partition) -> list[tuple[str, str]]:
        with self._database.lock:
            return sorted(self._database.pending.get(partition, ()))

    def remove_pending(self, partition: Partition, ids: Sequence[tuple[str, str]]) -> None:
        with self._database.lock:
            self._database.pending.get(partition, set()).difference_update(ids)

    def keyring(self) -> Keyring:
        return self._database.keyring

    def keys(self, key_ids: Sequence[bytes]) -> dict[bytes, bytes | None]:
        with self._database.lock:
            keys, ended = self._database.keys, self._database.ended
            return {key_id: b"" if key_id in ended else keys[key_id] for key_id in key_ids if key_id in keys}

    def key_ends(self, event_ids: Sequence[str]) -> dict[str, list[bytes]]:
        with self._database.lock:
            return {one: list(self._database.key_ends[one]) for one in event_ids if one in self._database.key_ends}

    def load(self, kind: Kind, ids: Sequence[tuple[str, str]]) -> list[State]:
        with self._database.lock:
            states = self._database.states[kind]
            return [states[pair] for pair in dict.fromkeys(ids) if pair in states]

    def commit(self, commit: Commit) -> None:
        database = self._database
        states = [(kind, _stored(row)) for (kind, _), rows in commit.rows.items() for row in rows]
        letters = {(letter.kind, letter.partition, letter.offset): letter for letter in commit.letters}
        for letter in commit.letters:
            _check_texts(letter.org_id, letter.entity_id, letter.request_id, letter.code, letter.field, letter.message)
        with database.lock:
            for partition, move in commit.moves.items():
                if partition not in database.positions or database.positions[partition].applied != move.start:
                    raise Conflict(f"the position of {partition} is not where this worker left it")
            if len(letters) < len(commit.letters) or not database.letters.keys().isdisjoint(letters):
                raise BadData("a record can be a dead letter once")
            for kind, state in states:
                database.states[kind][state.org_id, state.entity_id] = state
            database.letters |= letters
            for erasure in commit.erasures:
                _erase_letters(database.letters, erasure)
            for erasure, at in database.erasures:
                _erase_letters(database.letters, erasure, at)
            database.erasures += [(erasure, time.time_ns() // 1000) for erasure in commit.erasures]
            ended = {key_id for erasure in commit.erasures for key_id in erasure.keys}
            database.keys |= dict.fromkeys(ended & database.keys.keys())
            database.ended |= ended
            for partition, (_, end, last_offset, last_digest) in commit.moves.items():
                database.positions[partition] = database.positions[partition]._replace(
                    applied=end, last_offset=last_offset, last_digest=last_digest
                )

    def move_published(self, moves: Mapping[Partition, tuple[int, int]]) -> None:
        database = self._database
        with database.lock:
            for partition, (start, end) in moves.items():
                if partition not in database.positions or database.positions[partition].published != start:
                    raise Conflict("what is published is not where this worker left it")
                if end > database.positions[partition].applied:
                    raise BadData(f"{partition} cannot be published to {end}: it is not applied so far")
            for partition, (_, end) in moves.items():
                database.positions[partition] = database.positions[partition]._replace(published=end)

    def letters(self, partition: Partition, start: int, end: int) -> list[DeadLetter]:
        with self._database.lock:
            letters = self._database.letters
            return [letters[place] for place in sorted(letters) if place[:2] == partition and start <= place[2] < end]

    def close(self) -> None:
        pass


class PublishedState(NamedTuple):
    """A value on a state topic, and the generation that it names."""

    row: Row
    generation: int


class MemoryTopics:
    """What a reader of committed transactions sees of each partition of the projection topics, oldest first."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.epochs: dict[Partition, int] = {}
        self.states: dict[Partition, list[PublishedState]] = {}
        self.letters: list[DeadLetter] = []


class MemoryStateTopics:
    """`StateTopics` on `MemoryTopics`: a transaction a partition, fenced by the epoch at which it was opened."""

    def __init__(self, topics: MemoryTopics) -> None:
        self._topics = topics
        self._epochs: dict[Partition, int] = {}

    def open(self, partitions: Sequence[Partition]) -> None:
        with self._topics.lock:
            for partition in partitions:
                epoch = self._topics.epochs.get(partition, 0) + 1
                self._topics.epochs[partition] = self._epochs[partition] = epoch

    def publish(self, publications: Mapping[Partition, Publication], generation: int) -> None:
        for partition, publication in publications.items():
            epoch = self._epochs[partition]
            with self._topics.lock:
                if self._topics.epochs[partition] != epoch:
                    raise Conflict(f"another worker publishes {partition} now")
                states = self._topics.states.setdefault(partition, [])
                states += [PublishedState(row, generation) for row in publication.rows]
                self._topics.letters += publication.letters

    def close(self) -> None:
        self._epochs.clear()


def _erase_letters(letters: dict[tuple[Kind, int, int], DeadLetter], erasure: Erasure, at: float = math.inf) -> None:
    """On another partition than the user's, what was logged by then lies before the erasure."""
    key = message_key(erasure.org_id, erasure.user_id)
    for place, letter in letters.items():
        astray = letter.partition != erasure.partition
        before = letter.logged_at <= at if astray else letter.offset <= erasure.offset
        named = key in (letter.key, message_key(letter.org_id or "", letter.entity_id or ""))
        if letter.kind == "users" and letter.value is not None and before and named:
            letters[place] = letter._replace(value=None, field="", message=ERASED)


def _stored(row: Row) -> State:
    """The state as it is loaded again: from the row's text, not from the object beside it."""
    state = row.state
    _check_texts(state.org_id, state.entity_id, state.status)
    if isinstance(state.detail, str):
        _check_texts(state.detail)
    try:
        attributes = orjson.loads(row.attributes)
    except orjson.JSONDecodeError as error:
        raise BadData(f"the attributes are not JSON: {error}") from error
    for fault in faults(attributes, "attributes"):
        if fault.code == "invalid_string":
            raise BadData(fault.message)
    return state._replace(attributes=attributes, attributes_bound=len(row.attributes.encode()))


def _check_texts(*texts: str | None) -> None:
    if any(text is not None and string_fault(text) for text in texts):
        raise BadData("U+0000 or an unpaired surrogate in a text")
