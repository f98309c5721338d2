"""What goes in and what comes out: events and states, immutable, as plain tuples with names.

Times are integers: microseconds since 1970-01-01T00:00:00Z. `attributes` of a state is a JSON object whose numbers are
normalised (`foldline.domain.values`); `attributes` of an event is the JSON text of one, or None where it was not sent.
A user's are sealed in the log: `sealed` is how they lie there, and `attributes` is what opening it gave, or None.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, TypeAlias

Status: TypeAlias = Literal["active", "inactive", "deleted"]
STATUSES: frozenset[str] = frozenset(("active", "inactive", "deleted"))

Kind: TypeAlias = Literal["items", "users"]
KINDS: tuple[Kind, ...] = ("items", "users")
ID_FIELD: dict[Kind, str] = {"items": "item_id", "users": "user_id"}
DETAIL_FIELD: dict[Kind, str] = {"items": "item_type", "users": "created_at"}

ITEM_TYPE_MAX_CHARACTERS = 128
ID_MAX_CHARACTERS = 256
ATTRIBUTES_MAX_BYTES = 1024 * 1024
ATTRIBUTES_MAX_DEPTH = 32
KEY_ID_BYTES = 16


class Upsert(NamedTuple):
    """One record of a request, as an event of the log. None means: not sent, keep what is there.

    `detail` is what items and users differ in: an item's `item_type` (str) or a user's `created_at` (microseconds).
    `request_id` and `record_index` name the record of the request; together they are the event's id. `idempotency_id`, of 16
    bytes, is what a repetition of the request has in common with it. `sealed` is empty where its key had ended before.
    """

    org_id: str
    entity_id: str
    detail: str | int | None
    status: str | None
    attributes: str | None
    received_at: int
    request_id: str
    record_index: int
    idempotency_id: bytes | None = None
    sealed: bytes | None = None

    @property
    def event_id(self) -> str:
        return f"{self.request_id}-{self.record_index}"


class State(NamedTuple):
    """What the events of one key add up to. `detail` is `item_type` or `created_at`, as in `Upsert`.

    `partition` and `offset` name the last event folded. `attributes_bound` is not below the size in bytes of the
    attributes as compact UTF-8 JSON; it saves measuring them at every event and is nowhere stored. `keys` are the ids of the
    keys under which events of a user were folded since its last erasure, sorted. `ids` are the idempotency ids folded lately
    (`foldline.domain.idempotency`).
    """

    org_id: str
    entity_id: str
    detail: str | int
    status: str
    attributes: dict[str, Any]
    version: int
    first_seen_at: int
    updated_at: int
    partition: int
    offset: int
    attributes_bound: int
    keys: tuple[bytes, ...] = ()
    ids: bytes = b""


def key_id_of(sealed: bytes) -> bytes:
    """The id of the key under which attributes are sealed."""
    return sealed[:KEY_ID_BYTES]


class Rejection(NamedTuple):
    """Why an event went to the dead letters. `field` is a path or empty; `code` is one of the contract's."""

    code: str
    field: str
    message: str
