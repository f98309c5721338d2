"""A request's body into upserts, or into every field error of it. Pure; the API and the files share it.

1. Nothing of a request is accepted unless all of it holds.
2. The errors of the whole request are counted; the first 100 are named, in the order of the records, and no more.
3. The fast look accepts only what certainly holds. Whatever it does not accept is parsed again exactly and judged by name.
4. No message and no path contains the value of an attribute; what is echoed of a request can be printed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, Final, NamedTuple, TypeAlias

import orjson

from foldline.domain.fold import item_type_fault
from foldline.domain.keys import id_fault
from foldline.domain.records import (
    DETAIL_FIELD,
    ID_FIELD,
    ITEM_TYPE_MAX_CHARACTERS,
    STATUSES,
    Kind,
    Rejection,
    Upsert,
)
from foldline.domain.times import parse_rfc3339
from foldline.domain.values import (
    PLAIN,
    SUSPICIOUS,
    ZERO,
    BadNumber,
    Unparsable,
    fault_count,
    faults,
    look,
    may_have_vanished,
    parse_exactly,
    printable,
)

MAX_LISTED: Final = 100
FIELDS: Final[dict[Kind, frozenset[str]]] = {
    kind: frozenset((ID_FIELD[kind], DETAIL_FIELD[kind], "status", "attributes")) for kind in ID_FIELD
}


class FieldError(NamedTuple):
    """One thing that does not hold. `place` is the record's, from 0; `id` is None unless it is known; `field` is a path."""

    place: int
    id: str | None
    field: str
    code: str
    message: str

    def as_json(self) -> dict[str, Any]:
        named = {} if self.id is None else {"id": self.id}
        return {"index": self.place, **named, "field": self.field, "code": self.code, "message": self.message}


class Refused(NamedTuple):
    """Why a request is refused: its first errors, and how many there are."""

    errors: list[FieldError]
    total: int


class TooMany(NamedTuple):
    """The request has more records than one may have."""

    records: int


class Stamp(NamedTuple):
    """What the events of one request share. `received_at` is in microseconds since the epoch."""

    org_id: str
    request_id: str
    received_at: int


Outcome: TypeAlias = list[Upsert] | Refused | TooMany


def validate(kind: Kind, body: bytes, stamp: Stamp, max_records: int) -> Outcome:
    """The upserts of a body of one record or an array of them, in its order; or why it is refused."""
    if not body.strip():
        return _whole("empty_batch", "the body is empty: send a record or an array of records")
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        return _judge(kind, body, stamp, max_records)
    records = value if type(value) is list else (value,)
    if not records or len(records) > max_records:
        return _judge(kind, body, stamp, max_records)
    upserts = certain(kind, body, records, stamp)
    return _judge(kind, body, stamp, max_records) if upserts is None else upserts


def certain(kind: Kind, text: bytes, records: Iterable[Any], stamp: Stamp, first: int = 0) -> list[Upsert] | None:
    """The upserts of records that orjson made of a text, counted from `first`, or None unless every one certainly holds."""
    if b"\\" in text and b"\\u0000" in text:
        return None
    return _fast(kind, text, records, stamp, first)


def judge(kind: Kind, index: int, record: Any) -> Iterator[FieldError]:
    """Every error of one record that was parsed exactly (`foldline.domain.values.parse_exactly`)."""
    if type(record) is not dict:
        yield FieldError(index, None, "", "invalid_type", "a record must be a JSON object")
        return
    id_field = ID_FIELD[kind]
    entity_id = record.get(id_field)
    known = entity_id if type(entity_id) is str and id_fault(entity_id) is None else None
    if id_field not in record:
        yield FieldError(index, None, id_field, "required", f"{id_field} is required")
    for name, value in record.items():
        check = _CHECKS[kind].get(name)
        for fault in _unknown(name) if check is None else check(name, value):
            yield FieldError(index, known, fault.field, fault.code, fault.message)


def error_count(kind: Kind, record: Any) -> int:
    """How many errors `judge` finds in a record. They are not named: a request may have very many, and few are listed."""
    if type(record) is not dict:
        return 1
    count = int(ID_FIELD[kind] not in record)
    for name, value in record.items():
        check = _CHECKS[kind].get(name)
        if check is None:
            count += 1
        elif check is _attributes and type(value) is dict:
            count += fault_count(value)
        else:
            count += sum(1 for _ in check(name, value))
    return count


def _judge(kind: Kind, body: bytes, stamp: Stamp, max_records: int) -> Outcome:
    try:
        value = parse_exactly(body)
    except Unparsable as unparsable:
        return _whole(unparsable.code, unparsable.message)
    records = value if type(value) is list else [value]
    if not records:
        return _whole("empty_batch", "the array is empty: send at least one record")
    if len(records) > max_records:
        return TooMany(len(records))
    listed: list[FieldError] = []
    count = 0
    for index, record in enumerate(records):
        if found := error_count(kind, record):
            count += found
            listed += islice(judge(kind, index, record), min(found, MAX_LISTED - len(listed)))
    return Refused(listed, count) if count else [upsert_of(kind, stamp, *indexed) for indexed in enumerate(records)]


def upsert_of(kind: Kind, stamp: Stamp, index: int, record: Mapping[str, Any]) -> Upsert:
    """The upsert of a record that was parsed exactly, and in which `judge` finds nothing."""
    detail = record.get(DETAIL_FIELD[kind])
    if kind == "users" and detail is not None:
        detail = parse_rfc3339(detail)
    text = orjson.dumps(record["attributes"]).decode() if "attributes" in record else None
    return Upsert(
        stamp.org_id, record[ID_FIELD[kind]], detail, record.get("status"), text, stamp.received_at, stamp.request_id, index
    )


def _fast(kind: Kind, text: bytes, records: Iterable[Any], stamp: Stamp, first: int) -> list[Upsert] | None:
    """The upserts, or None unless every record certainly holds."""
    org_id, request_id, received_at = stamp
    id_field, detail_field, detail_of = ID_FIELD[kind], DETAIL_FIELD[kind], _FAST_DETAIL[kind]
    new, dumps = tuple.__new__, orjson.dumps  # half the time of `Upsert(…)`
    upserts = []
    worst = PLAIN
    for index, record in enumerate(records, first):
        if type(record) is not dict:
            return None
        get = record.get
        entity_id, detail, status, attributes = get(id_field), get(detail_field), get("status"), get("attributes")
        carried = None
        sent = 1
        if type(entity_id) is not str or id_fault(entity_id) is not None:
            return None
        if detail is not None:
            sent += 1
            if (detail := detail_of(detail)) is None:
                return None
        if status is not None:
            sent += 1
            if type(status) is not str or status not in STATUSES:
                return None
        if attributes is not None:
            sent += 1
            if type(attributes) is not dict:
                return None
            if (found := look(attributes)) > worst:
                if found is SUSPICIOUS:
                    return None
                worst = found
            carried = dumps(attributes).decode()
        if sent != len(record):
            return None
        upserts.append(new(Upsert, (org_id, entity_id, detail, status, carried, received_at, request_id, index, None, None)))
    return None if worst is ZERO and may_have_vanished(text) else upserts


def _fast_item_type(sent: object) -> str | None:
    return sent if type(sent) is str and 0 < len(sent) <= ITEM_TYPE_MAX_CHARACTERS else None


def _fast_created_at(sent: object) -> int | None:
    return parse_rfc3339(sent) if type(sent) is str else None


_FAST_DETAIL: Final[dict[Kind, Callable[[object], str | int | None]]] = {"items": _fast_item_type, "users": _fast_created_at}


def _whole(code: str, message: str) -> Refused:
    return Refused([FieldError(0, None, "", code, message)], 1)


def _unknown(name: str) -> Iterator[Rejection]:
    shown = printable(name)
    yield Rejection("unknown_field", shown, f"{shown} is not a field of a record: put it inside `attributes`")


def _id(name: str, value: Any) -> Iterator[Rejection]:
    if type(value) is not str:
        yield _wrong_type(name, "a string", value)
    elif fault := id_fault(value):
        yield Rejection(fault[0], name, fault[1])


def _item_type(name: str, value: Any) -> Iterator[Rejection]:
    if value is None:
        yield _wrong_type(name, "a string", value)
    elif fault := item_type_fault(value):
        yield fault


def _status(name: str, value: Any) -> Iterator[Rejection]:
    if type(value) is not str:
        yield _wrong_type(name, "a string", value)
    elif value not in STATUSES:
        yield Rejection("invalid_status", name, "status must be active, inactive or deleted")


def _created_at(name: str, value: Any) -> Iterator[Rejection]:
    if type(value) is not str:
        yield _wrong_type(name, "a string", value)
    elif parse_rfc3339(value) is None:
        yield Rejection(
            "invalid_timestamp", name, f"{name} must be RFC 3339 with Z or an offset, such as 2025-01-12T09:00:00Z"
        )


def _attributes(name: str, value: Any) -> Iterator[Rejection]:
    if type(value) is dict:
        yield from faults(value, name)
    else:
        yield _wrong_type(name, "a JSON object", value)


def _wrong_type(name: str, wanted: str, value: Any) -> Rejection:
    hint = ": leave it out to keep what is there" if value is None and name not in ID_FIELD.values() else ""
    return Rejection("invalid_type", name, f"{name} must be {wanted}, not {_JSON_TYPE.get(type(value), 'null')}{hint}")


_JSON_TYPE: Final[dict[type, str]] = {
    str: "a string",
    int: "a number",
    float: "a number",
    BadNumber: "a number",
    bool: "a boolean",
    list: "an array",
    dict: "an object",
}
_Check: TypeAlias = Callable[[str, Any], Iterator[Rejection]]
_CHECKS: Final[dict[Kind, dict[str, _Check]]] = {
    "items": {"item_id": _id, "item_type": _item_type, "status": _status, "attributes": _attributes},
    "users": {"user_id": _id, "created_at": _created_at, "status": _status, "attributes": _attributes},
}
