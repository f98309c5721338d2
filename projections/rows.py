"""The states that a batch changed, on their way to the tables and the topics: as Python has them, and compiled."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple, Protocol, Self, TypeAlias

import orjson

from foldline.adapters.codec import StateCodec
from foldline.domain.records import Kind, State

# What a row weighs in memory beside its attributes, which are there as an object and as text.
ROW_BYTES = 800
BYTES_PER_TEXT_BYTE = 6
# What COPY's text format escapes.
_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})


class Row(NamedTuple):
    """A state to be written: its message key, the state, and its attributes as compact JSON text."""

    key: bytes
    state: State
    attributes: str


class Rows(Protocol):
    """States of one kind, each the newest of its key. They do not change."""

    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[Row]: ...

    def get(self, key: bytes) -> State | None:
        """The state of a key."""

    def attributes_bytes(self) -> int:
        """The bytes of all attributes together, as text."""

    def received(self) -> list[int]:
        """When the last event of each row was received, in microseconds since the epoch, in order of time."""

    def weight(self) -> int:
        """What the rows take in memory, in bytes, about."""

    def then(self, later: Self) -> Self:
        """These rows, but for those of which the later ones have a newer state, and the later ones."""

    def copy_text(self) -> bytes:
        """The rows in COPY's text format, one a line, in the order of the stage tables' columns."""

    def messages(self, codec: StateCodec, generation: int) -> Iterable[tuple[bytes, bytes]]:
        """Keys and values for the state topic."""


class PlainRows:
    """`Rows` of Python's objects."""

    def __init__(self, kind: Kind, rows: Iterable[Row] = ()) -> None:
        """Of rows with the same key the last one counts."""
        self._kind = kind
        self._rows = {row.key: row for row in rows}

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[Row]:
        return iter(self._rows.values())

    def get(self, key: bytes) -> State | None:
        row = self._rows.get(key)
        return None if row is None else row.state

    def attributes_bytes(self) -> int:
        return sum(len(row.attributes) for row in self)

    def received(self) -> list[int]:
        return sorted([row.state.updated_at for row in self])

    def weight(self) -> int:
        return ROW_BYTES * len(self) + BYTES_PER_TEXT_BYTE * self.attributes_bytes()

    def then(self, later: PlainRows) -> PlainRows:
        return PlainRows(self._kind, [*self, *later])

    def copy_text(self) -> bytes:
        lines, items = [], self._kind == "items"
        for _, state, attributes in self:
            org_id, entity_id, detail, status, _, version, first_seen_at, updated_at, partition, offset, _, keys, ids = state
            line = f"{entity_id}\t{detail}\t{status}\t{attributes}"
            if "\\" in line or "\n" in line or "\r" in line or line.count("\t") != 3:
                line = "\t".join(str(field).translate(_ESCAPES) for field in (entity_id, detail, status, attributes))
            last = "\t" if items else "\t{" + ",".join(f'"\\\\\\\\x{key_id.hex()}"' for key_id in keys) + "}\t"
            if ids:
                last += f"\\\\x{ids.hex()}"
            lines.append(f"{org_id}\t{line}\t{version}\t{first_seen_at}\t{updated_at}\t{partition}\t{offset}{last}\n")
        return "".join(lines).encode()

    def messages(self, codec: StateCodec, generation: int) -> Iterable[tuple[bytes, bytes]]:
        encode = codec.encode
        return [(row.key, encode(row.state, row.attributes, generation)) for row in self]


class CompiledRows:
    """`Rows` that were folded by the compiled fold."""

    def __init__(self, rows: Any) -> None:
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[Row]:
        for key, fields in self._rows.items():
            yield Row(key, state_of(fields), fields[0][4])

    def get(self, key: bytes) -> State | None:
        fields = self._rows.get(key)
        return None if fields is None else state_of(fields)

    def attributes_bytes(self) -> int:
        return self._rows.attributes_bytes()  # type: ignore[no-any-return]

    def received(self) -> list[int]:
        return self._rows.received()  # type: ignore[no-any-return]

    def weight(self) -> int:
        return self._rows.weight()  # type: ignore[no-any-return]

    def then(self, later: CompiledRows) -> CompiledRows:
        return CompiledRows(self._rows.then(later._rows))

    def copy_text(self) -> bytes:
        return self._rows.copy_text()  # type: ignore[no-any-return]

    def messages(self, codec: StateCodec, generation: int) -> Iterable[tuple[bytes, bytes]]:
        return self._rows.messages(codec.prefix, generation)  # type: ignore[no-any-return]


Fields: TypeAlias = tuple[tuple[Any, ...], tuple[int, ...], tuple[list[bytes], bytes]]


def state_of(fields: Fields) -> State:
    """The state of which the compiled fold gives the fields."""
    (*head, text), numbers, (keys, ids) = fields
    return State._make((*head, orjson.loads(text), *numbers, len(text.encode()), tuple(keys), ids))


def fields_of(state: State) -> Fields:
    """The fields of a state for the compiled fold."""
    text = orjson.dumps(state.attributes).decode()
    return (*state[:4], text), state[5:10], (list(state.keys), state.ids)
