"""States that a worker keeps in memory, and folds on: bounded, least recently folded out first. Valid while its partitions
are owned.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import itemgetter
from typing import Protocol

import orjson

from foldline.adapters import compiled
from foldline.adapters.consumer import Record
from foldline.domain.records import KINDS, Kind, State
from projections.rows import CompiledRows, PlainRows, Row, Rows, fields_of, state_of
from projections.state import Partition

# What a state weighs in memory beside its attributes, and how much more than its JSON text an object of Python takes.
# Measured with five attributes of 100 bytes: 1.3 kB a state.
STATE_BYTES = 800
BYTES_PER_JSON_BYTE = 5


def weight(state: State) -> int:
    """What a state takes in memory as objects of Python, about, in bytes."""
    return STATE_BYTES + BYTES_PER_JSON_BYTE * state.attributes_bound + len(state.ids)


class States(Protocol):
    """The states of one kind, by message key."""

    @property
    def weight(self) -> int:
        """What they take in memory, about, in bytes."""

    @property
    def changed_weight(self) -> int:
        """What those of them take that `changed` would give, likewise."""

    def missing(self, keys: Iterable[bytes | None]) -> set[bytes]:
        """Those of the keys of which there is no state here."""

    def load(self, key: bytes, state: State) -> None:
        """Keeps a state as it is in the table."""

    def get(self, key: bytes | None) -> State | None:
        """The state of a key, as far as it is folded."""

    def fold(
        self,
        partition: int,
        keys: Sequence[bytes | None],
        records: Sequence[Record],
        layouts: Sequence[tuple[bytes, bool]],
        secrets_of: Callable[[Iterable[bytes]], Mapping[bytes, bytes]],
    ) -> Sequence[int]:
        """Folds those of a partition's records that it can. Returns the places of the others, in order, which are to be
        folded now, on `get`, and kept: of a key that is every record from the first one on. `secrets_of` gives the
        users' keys, of those with these ids, that open something."""

    def keep(self, key: bytes, state: State) -> None:
        """Keeps a state that was folded on the one before."""

    def changed(self) -> dict[int, Rows]:
        """The states that were folded since this was asked last, by partition, in the order of their keys: an index of the
        table is then gone through once, from one side to the other."""

    def evict(self, limit_bytes: int) -> None:
        """Lets go of the states least recently folded, until the others weigh no more than that."""

    def clear(self) -> None:
        """Lets go of everything."""


class PlainStates:
    """`States` as objects of Python, of either kind. It folds nothing by itself."""

    def __init__(self, kind: Kind) -> None:
        self._weight = self._changed_weight = 0
        self._kind = kind
        self._states: dict[bytes, State] = {}
        self._folded: dict[bytes, State] = {}

    def missing(self, keys: Iterable[bytes | None]) -> set[bytes]:
        return {key for key in set(keys).difference(self._states, self._folded) if key is not None}

    def load(self, key: bytes, state: State) -> None:
        old = self._states.pop(key, None)
        self._weight += weight(state) - (0 if old is None else weight(old))
        self._states[key] = state

    def get(self, key: bytes | None) -> State | None:
        return self._folded.get(key) or self._states.get(key)  # type: ignore[arg-type]

    def fold(
        self,
        partition: int,
        keys: Sequence[bytes | None],
        records: Sequence[Record],
        layouts: Sequence[tuple[bytes, bool]],
        secrets_of: Callable[[Iterable[bytes]], Mapping[bytes, bytes]],
    ) -> Sequence[int]:
        return range(len(keys))

    @property
    def weight(self) -> int:
        return self._weight

    @property
    def changed_weight(self) -> int:
        return self._changed_weight

    def keep(self, key: bytes, state: State) -> None:
        old = self._folded.get(key)
        if old is None:
            self._changed_weight += weight(state)
        else:
            self._changed_weight += BYTES_PER_JSON_BYTE * (state.attributes_bound - old.attributes_bound)
        self._folded[key] = state

    def changed(self) -> dict[int, Rows]:
        rows: dict[int, list[Row]] = {}
        states, total = self._states, self._weight
        for key, folded in sorted(self._folded.items(), key=itemgetter(0)):
            row = _row(key, folded)
            state = row.state
            old = states.pop(key, None)
            total += weight(state) - (0 if old is None else weight(old))
            states[key] = state
            rows.setdefault(state.partition, []).append(row)
        self._weight, self._folded, self._changed_weight = total, {}, 0
        return {partition: PlainRows(self._kind, of_partition) for partition, of_partition in rows.items()}

    def evict(self, limit_bytes: int) -> None:
        oldest = []
        for key, state in self._states.items():  # `next(iter(…))` again and again would pass over all that is gone already
            if self._weight <= limit_bytes:
                break
            oldest.append(key)
            self._weight -= weight(state)
        for key in oldest:
            del self._states[key]

    def clear(self) -> None:
        self._states.clear()
        self._folded.clear()
        self._weight = self._changed_weight = 0


class CompiledStates:
    """`States`, compiled: most upserts are folded without an object of Python."""

    def __init__(self, kind: Kind, partitions: int) -> None:
        self._states = compiled.States(kind, partitions)
        self._sealed = kind == "users"

    @property
    def weight(self) -> int:
        return self._states.weight  # type: ignore[no-any-return]

    @property
    def changed_weight(self) -> int:
        return self._states.changed_weight  # type: ignore[no-any-return]

    def missing(self, keys: Iterable[bytes | None]) -> set[bytes]:
        return set(self._states.missing(keys))

    def load(self, key: bytes, state: State) -> None:
        self._states.put(key, fields_of(state), folded=False)

    def get(self, key: bytes | None) -> State | None:
        fields = self._states.get(key)
        return None if fields is None else state_of(fields)

    def fold(
        self,
        partition: int,
        keys: Sequence[bytes | None],
        records: Sequence[Record],
        layouts: Sequence[tuple[bytes, bool]],
        secrets_of: Callable[[Iterable[bytes]], Mapping[bytes, bytes]],
    ) -> Sequence[int]:
        values, offsets = [record.value() for record in records], [record.offset() for record in records]
        secrets = secrets_of(self._states.seal_keys(values, layouts)) if self._sealed else {}
        return self._states.fold(partition, keys, values, offsets, layouts, secrets)  # type: ignore[no-any-return]

    def keep(self, key: bytes, state: State) -> None:
        self._states.put(key, fields_of(state), folded=True)

    def changed(self) -> dict[int, Rows]:
        return {partition: CompiledRows(rows) for partition, rows in self._states.changed().items()}

    def evict(self, limit_bytes: int) -> None:
        self._states.evict(limit_bytes)

    def clear(self) -> None:
        self._states.clear()


class StateCache:
    """States of both kinds. `limit_bytes` is an estimate of memory, not a promise to the byte."""

    def __init__(self, limit_bytes: int, partitions: int, *, use_compiled: bool) -> None:
        """`partitions` is how many each topic has; `use_compiled`, whether to fold so where that is installed."""
        self._limit = limit_bytes
        self.of: dict[Kind, States] = {kind: self._new(kind, partitions, use_compiled) for kind in KINDS}
        self.complete: set[Partition] = set()
        """Of these partitions nobody knows of a state that is not here: those of which nothing was folded before, until
        something is evicted."""

    @staticmethod
    def _new(kind: Kind, partitions: int, use_compiled: bool) -> States:
        if use_compiled and compiled.States is not None:
            return CompiledStates(kind, partitions)
        return PlainStates(kind)

    @property
    def changed_weight(self) -> int:
        """What the states of both kinds take that were folded since `changed` was asked last, about, in bytes."""
        return sum(states.changed_weight for states in self.of.values())

    def evict(self) -> None:
        """Lets go of the states least recently folded, of the kind that weighs more, until the rest is within the limit."""
        excess = sum(states.weight for states in self.of.values()) - self._limit
        if excess > 0:
            self.complete.clear()
            heavier = self.of[max(KINDS, key=lambda kind: self.of[kind].weight)]
            heavier.evict(max(0, heavier.weight - excess))

    def clear(self) -> None:
        """Lets go of everything."""
        self.complete.clear()
        for states in self.of.values():
            states.clear()


def _row(key: bytes, state: State) -> Row:
    text = orjson.dumps(state.attributes)
    if state.attributes_bound > 2 * len(text):  # every merge adds to the bound; now the size is known
        state = State._make((*state[:10], len(text), *state[11:]))
    return Row._make((key, state, text.decode()))
