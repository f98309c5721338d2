"""What a processor needs of the state: the port, and the values that cross it.

1. One commit writes states and dead letters and moves positions, or does nothing at all.
2. A position moves by compare-and-set from where the caller's memory is valid; else `Conflict`.
3. `published` follows `applied`, by compare-and-set too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol, TypeAlias

from foldline.domain.records import Kind, State
from projections.rows import Rows

Partition: TypeAlias = tuple[Kind, int]


class Position(NamedTuple):
    """How far a partition is folded and published: both are the offset of the next record.

    `topic_id`, `last_offset` and `last_digest` identify the log that was folded; the last two are None before the first.
    """

    applied: int
    published: int
    topic_id: str
    last_offset: int | None
    last_digest: bytes | None


class Move(NamedTuple):
    """Moves `applied` from `start` to `end`. `last_digest` is the digest of the record at `last_offset`."""

    start: int
    end: int
    last_offset: int
    last_digest: bytes


class DeadLetter(NamedTuple):
    """A record that was not folded, as it came, and why. Times in microseconds; the first four fields may be unknown."""

    org_id: str | None
    entity_id: str | None
    request_id: str | None
    record_index: int | None
    code: str
    field: str
    message: str
    kind: Kind
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    logged_at: int


ERASED = "it was erased with its user"  # the message of a dead letter whose value is gone


class Erasure(NamedTuple):
    """A user's erasure by the delete event at this place, and the keys that it ends.

    In the commit that has it, also the values of the user's dead letters go that lie before it. A letter that lies before it
    and is committed after it, since its partition is another one, is committed without its value.
    """

    org_id: str
    user_id: str
    partition: int
    offset: int
    request_id: str
    keys: frozenset[bytes]


class Commit(NamedTuple):
    """A batch of one or more partitions, folded."""

    moves: Mapping[Partition, Move]
    rows: Mapping[Partition, Rows]
    letters: Sequence[DeadLetter]
    erasures: Sequence[Erasure] = ()


class Keyring(NamedTuple):
    """What tells whether a key's id was given here, wrapped, and since when there are keys, in microseconds."""

    ids_secret: bytes
    made_at: int


class StateStore(Protocol):
    """State and positions of one generation. Every method raises `Unreachable` where the database does not answer."""

    generation: int

    def positions(self) -> dict[Partition, Position]:
        """Every partition's position."""

    def load(self, kind: Kind, ids: Sequence[tuple[str, str]]) -> list[State]:
        """The states of (organisation, id) pairs; those that are unknown are left out."""

    def commit(self, commit: Commit) -> None:
        """Writes a batch durably and exactly once. Raises `Conflict`, and `BadData` where the data itself is refused."""

    def move_published(self, moves: Mapping[Partition, tuple[int, int]]) -> None:
        """Moves `published` from one offset to another, for all or for none. Raises `Conflict`."""

    def letters(self, partition: Partition, start: int, end: int) -> list[DeadLetter]:
        """The dead letters of a partition from offset `start` to before `end`, in order."""

    def keyring(self) -> Keyring:
        """The installation's keyring. Raises `FoldlineError` before `foldline init` has made it."""

    def keys(self, key_ids: Sequence[bytes]) -> dict[bytes, bytes | None]:
        """Users' keys, wrapped, by id; empty for those that an event has ended which this generation has folded, None for
        those that were destroyed by one that it has not. Those that there never were are left out."""

    def key_ends(self, event_ids: Sequence[str]) -> dict[str, list[bytes]]:
        """The keys that delete events end besides those that events were folded under, by the delete event's id."""

    def is_live(self) -> bool:
        """Whether this generation is still the live one."""

    def pending(self, partition: Partition) -> list[tuple[str, str]]:
        """Records, by organisation and id, that are to be published by now though no event changed them."""

    def remove_pending(self, partition: Partition, ids: Sequence[tuple[str, str]]) -> None:
        """Notes that they are published."""

    def close(self) -> None:
        """Gives the connection back. The store is not used again."""
