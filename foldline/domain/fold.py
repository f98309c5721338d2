"""The fold: what the upserts of one key add up to. Pure; every law has its property in `tests/laws/`.

1. State depends on the events of its key, in log order, and on nothing else. Clocks, batch sizes, restarts, the number of
   workers and the runner change nothing.
2. A field that an upsert carries replaces the old one; a field that it omits stays.
3. `attributes` merge one level deep: each key carried replaces that key's whole value, `null` included; others stay.
4. What breaks a rule is rejected with a reason, and the log goes on: a new item without `item_type`; anything that the
   contract's checks would have refused; a record whose key is not its value's `org_id:entity_id` or does not hash to its
   partition; an item whose merged attributes would pass 1 MiB. What was rejected stays rejected in every replay. `status`
   defaults to `active` on a new record, a user's `created_at` to the event's time.
5. `deleted` is a status. An item keeps its attributes and can come back by an upsert that carries another status.
6. Deleting a user erases: attributes become `{}`, and every key that has opened an event of this user since the last
   erasure ends (`ended_keys`). Attributes that the delete carries are ignored; `user_id` and `created_at` stay (a carried
   `created_at` still replaces); `version` goes on counting. While a user is deleted, upserts without a status change nothing
   but `version` and `updated_at`; with `active` or `inactive` the user starts again with just the attributes of that upsert,
   and keeps `created_at` unless it is carried.
7. A key that has ended opens nothing after the event that ended it. A user's event whose seal cannot be opened, or whose
   attributes do not parse or would pass the size limit, folds as if it carried none. Acceptance and `version` never depend
   on what a user's attributes contain.
8. `fold(a + b) = fold(b, starting from fold(a))`; `version` is the number of events folded.
9. An event that carries an idempotency id which is among its record's ids of the last 25 h of event time changes nothing and
   is not folded. Of a record's ids the last 10,000 count. An event sealed with a key that has ended leaves no id: what it
   brought is lost, and a repetition is to bring it again.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Final, TypeAlias

import orjson

from foldline.domain.idempotency import is_among, kept, with_id
from foldline.domain.keys import id_fault, message_key, partition_of
from foldline.domain.records import (
    ATTRIBUTES_MAX_BYTES,
    ID_FIELD,
    ITEM_TYPE_MAX_CHARACTERS,
    STATUSES,
    Kind,
    Rejection,
    State,
    Upsert,
    key_id_of,
)
from foldline.domain.times import EARLIEST, LATEST
from foldline.domain.values import attributes_of, string_fault

# The number of this wording of the laws. A compiled fold that has learned another one is not used.
LAWS: Final = 1

Fold: TypeAlias = Callable[[State | None, Upsert, int, int], State | Rejection]
_ORG_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_NONE: tuple[dict[str, Any], int] = ({}, 2)


def fold_item(state: State | None, event: Upsert, partition: int, offset: int) -> State | Rejection:
    """The state of an item after one more event, which lies at this partition and offset. Changes nothing it was given."""
    org_id, item_id, item_type, status, text, received_at, _, _, idempotency_id, _ = event
    if status is not None and status not in STATUSES:
        return _bad_status(status)
    if item_type is not None and (state is None or item_type != state.detail):
        fault = item_type_fault(item_type)
        if fault is not None:
            return fault
    if not EARLIEST <= received_at <= LATEST:
        return _bad_received_at(received_at)
    if text is None:
        attributes, bound = _NONE
    else:
        carried = attributes_of(text)
        if type(carried) is Rejection:
            return carried
        attributes, bound = carried  # type: ignore[misc]
    if state is None:
        if item_type is None:
            return Rejection("item_type_required", "item_type", "a new item needs an item_type: send it once")
        merged, version, first_seen_at, ids = attributes, 1, received_at, b""
    else:
        _, _, old_type, old_status, old, version, first_seen_at, _, _, _, old_bound, _, ids = state
        if ids:
            if idempotency_id is not None and is_among(ids, idempotency_id, received_at):
                return state
            ids = kept(ids, received_at)
        item_type = item_type or old_type
        status = status or old_status
        merged = {**old, **attributes} if attributes else old
        bound += old_bound
        version += 1
    if bound > ATTRIBUTES_MAX_BYTES:
        bound = len(orjson.dumps(merged))
        if bound > ATTRIBUTES_MAX_BYTES:
            return Rejection(
                "record_too_large",
                "attributes",
                f"the merged attributes would take {bound} bytes; {ATTRIBUTES_MAX_BYTES} is the limit",
            )
    if idempotency_id is not None:
        ids = with_id(ids, idempotency_id, received_at)
    return State._make(
        (
            org_id,
            item_id,
            item_type,
            status or "active",
            merged,
            version,
            first_seen_at,
            received_at,
            partition,
            offset,
            bound,
            (),
            ids,
        )
    )


def fold_user(state: State | None, event: Upsert, partition: int, offset: int) -> State | Rejection:
    """The state of a user after one more event, which lies at this partition and offset. Changes nothing it was given."""
    org_id, user_id, created_at, status, text, received_at, _, _, idempotency_id, sealed = event
    if status is not None and status not in STATUSES:
        return _bad_status(status)
    if created_at is not None and not (type(created_at) is int and EARLIEST <= created_at <= LATEST):
        return Rejection("invalid_timestamp", "created_at", "created_at is outside the years 1 to 9999")
    if not EARLIEST <= received_at <= LATEST:
        return _bad_received_at(received_at)
    if state is None:
        version, first_seen_at, erased, ids = 1, received_at, False, b""
        attributes, bound = _NONE
        created_at = received_at if created_at is None else created_at
    else:
        ids = state.ids
        if ids:
            if idempotency_id is not None and is_among(ids, idempotency_id, received_at):
                return state
            ids = kept(ids, received_at)
        version, first_seen_at, erased = state.version + 1, state.first_seen_at, state.status == "deleted"
        attributes, bound = (state.attributes, state.attributes_bound) if not erased else _NONE
        ignored = erased and status is None
        created_at = state.detail if created_at is None or ignored else created_at
        status = status or state.status
    keys = () if state is None else state.keys
    if event.status == "deleted":
        keys = ()
    elif sealed is not None and text is not None and key_id_of(sealed) not in keys:
        keys = tuple(sorted((*keys, key_id_of(sealed))))
    if status == "deleted":
        attributes, bound = _NONE
    elif text is not None:
        attributes, bound = _merged(attributes, bound, text)
    if idempotency_id is not None and sealed != b"":
        ids = with_id(ids, idempotency_id, received_at)
    return State(
        org_id, user_id, created_at, status or "active", attributes, version, first_seen_at, received_at, partition, offset,
        bound, keys, ids,
    )  # fmt: skip


def ended_keys(state: State | None, event: Upsert) -> frozenset[bytes]:
    """Law 6: the keys that a user's event ends, given the state before it. Never one that did not open what it names: it may
    be another user's."""
    if event.status != "deleted":
        return frozenset()
    own = () if event.sealed is None or event.attributes is None else (key_id_of(event.sealed),)
    return frozenset((*(() if state is None else state.keys), *own))


FOLD: Mapping[Kind, Fold] = {"items": fold_item, "users": fold_user}


def fold_all(kind: Kind, events: list[tuple[Upsert, int, int]], state: State | None = None) -> State | None:
    """The state after (event, partition, offset) triples of one key, in log order; what is rejected changes nothing."""
    fold = FOLD[kind]
    for event, partition, offset in events:
        after = fold(state, event, partition, offset)
        state = state if isinstance(after, Rejection) else after
    return state


def key_fault(kind: Kind, key: bytes | None, event: Upsert, partition: int, partitions: int) -> Rejection | None:
    """Law 4 for a record's key: it is the value's `org_id:entity_id`, holds as an id, and belongs on this partition."""
    field = ID_FIELD[kind]
    if not _org_id_holds(event.org_id):
        return Rejection("invalid_id", "org_id", "an organisation's id has 1 to 64 letters, digits, _ and -")
    fault = id_fault(event.entity_id)
    if fault is not None:
        return Rejection(fault[0], field, fault[1])
    expected = message_key(event.org_id, event.entity_id)
    if key != expected:
        return Rejection("wrong_key", field, f"the record's key is not its value's org_id:{field}")
    if partition_of(expected, partitions) != partition:
        return Rejection("wrong_partition", field, f"the key belongs on partition {partition_of(expected, partitions)}")
    return None


@lru_cache(4096)
def _org_id_holds(org_id: str) -> bool:
    return _ORG_ID.fullmatch(org_id) is not None


def item_type_fault(item_type: object) -> Rejection | None:
    """The contract's check of an `item_type`: 1 to 128 characters, a valid string."""
    if type(item_type) is not str:
        return Rejection("invalid_type", "item_type", "item_type must be a string")
    if not item_type:
        return Rejection("invalid_string", "item_type", "item_type must not be empty")
    if len(item_type) > ITEM_TYPE_MAX_CHARACTERS:
        return Rejection("too_long", "item_type", f"item_type has at most {ITEM_TYPE_MAX_CHARACTERS} characters")
    if (not item_type.isascii() or "\x00" in item_type) and string_fault(item_type):
        return Rejection("invalid_string", "item_type", "item_type has U+0000 or an unpaired surrogate")
    return None


def _merged(attributes: dict[str, Any], bound: int, text: str) -> tuple[dict[str, Any], int]:
    carried = attributes_of(text)
    if isinstance(carried, Rejection):
        return attributes, bound
    merged = {**attributes, **carried[0]}
    merged_bound = bound + carried[1]
    if merged_bound > ATTRIBUTES_MAX_BYTES:
        merged_bound = len(orjson.dumps(merged))
        if merged_bound > ATTRIBUTES_MAX_BYTES:
            return attributes, bound
    return merged, merged_bound


def _bad_status(status: str) -> Rejection:
    return Rejection("invalid_status", "status", "status must be active, inactive or deleted")


def _bad_received_at(received_at: int) -> Rejection:
    return Rejection("invalid_timestamp", "received_at", f"received_at {received_at} is outside the years 1 to 9999")
