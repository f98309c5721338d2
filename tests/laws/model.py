"""The contract's text as a naive program: dictionaries, no sharing of code with the fold."""

from __future__ import annotations

from typing import Any

import orjson

from foldline.domain.records import Kind, State
from tests.laws.strategies import Sent

YEAR_1, YEAR_10000 = -62_135_596_800_000_000, 253_402_300_800_000_000
HOURS_25 = 25 * 60 * 60 * 1_000_000

Record = dict[str, Any]


def step(kind: Kind, record: Record | None, sent: Sent) -> Record | str:
    """The record after one more upsert, or the code of why that is rejected."""
    fault = item_fault(record, sent) if kind == "items" else user_fault(sent)
    if fault is not None:
        return fault
    event = sent.event
    ids: list[list[Any]] = [] if record is None else record["ids"]
    own_id = None if event.idempotency_id is None else event.idempotency_id.hex()
    if any(known == own_id and at >= event.received_at - HOURS_25 for known, at in ids):
        assert record is not None
        return record
    while ids and ids[0][1] < event.received_at - HOURS_25:
        ids = ids[1:]
    after = item_step(record, sent) if kind == "items" else user_step(record, sent)
    own = [] if own_id is None else [[own_id, event.received_at]]
    return after | {"ids": ids + own}


def replay(kind: Kind, history: list[Sent], record: Record | None = None) -> Record | None:
    """What a history adds up to."""
    for sent in history:
        after = step(kind, record, sent)
        record = record if isinstance(after, str) else after
    return record


def item_fault(record: Record | None, sent: Sent) -> str | None:
    event = sent.event
    if event.status not in (None, "active", "inactive", "deleted"):
        return "invalid_status"
    if event.detail is not None:
        if event.detail == "" or "\x00" in str(event.detail):
            return "invalid_string"
        if len(str(event.detail)) > 128:
            return "too_long"
    if isinstance(sent.attributes, str):
        return sent.attributes
    return "item_type_required" if record is None and event.detail is None else None


def item_step(record: Record | None, sent: Sent) -> Record:
    event = sent.event
    new: Record = {"status": "active", "attributes": {}, "version": 0, "first_seen_at": event.received_at}
    after = new if record is None else record
    after = after | {"version": after["version"] + 1, "updated_at": event.received_at}
    if event.detail is not None:
        after["detail"] = event.detail
    if event.status is not None:
        after["status"] = event.status
    if sent.attributes is not None:
        after["attributes"] = after["attributes"] | sent.attributes
    return after


def user_fault(sent: Sent) -> str | None:
    event = sent.event
    if event.status not in (None, "active", "inactive", "deleted"):
        return "invalid_status"
    if event.detail is not None and not YEAR_1 <= int(event.detail) < YEAR_10000:
        return "invalid_timestamp"
    return None


def user_step(record: Record | None, sent: Sent) -> Record:
    event = sent.event
    attributes = sent.attributes if isinstance(sent.attributes, dict) else {}
    if record is None:
        return {
            "detail": event.received_at if event.detail is None else event.detail,
            "status": event.status or "active",
            "attributes": {} if event.status == "deleted" else attributes,
            "version": 1,
            "first_seen_at": event.received_at,
            "updated_at": event.received_at,
        }
    after = record | {"version": record["version"] + 1, "updated_at": event.received_at}
    if record["status"] == "deleted" and event.status is None:
        return after
    if event.detail is not None:
        after["detail"] = event.detail
    if event.status is not None:
        after["status"] = event.status
    after["attributes"] = {} if after["status"] == "deleted" else record["attributes"] | attributes
    return after


def plain(state: State | None) -> Record | None:
    """A state of the fold as the model writes it."""
    if state is None:
        return None
    return {
        "detail": state.detail,
        "status": state.status,
        "attributes": state.attributes,
        "version": state.version,
        "first_seen_at": state.first_seen_at,
        "updated_at": state.updated_at,
        "ids": [
            [state.ids[place : place + 16].hex(), int.from_bytes(state.ids[place + 16 : place + 24], "big", signed=True)]
            for place in range(0, len(state.ids), 24)
        ],
    }


def same(a: Any, b: Any) -> bool:
    """Equality that tells 1 from 1.0 and from true."""
    return bool(a == b) and orjson.dumps(a, option=orjson.OPT_SORT_KEYS) == orjson.dumps(b, option=orjson.OPT_SORT_KEYS)
