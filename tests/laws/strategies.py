"""Events as strangers send them: awkward ids, awkward values, and some that must be refused, each with what it means."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from hypothesis import strategies as st

from foldline.domain.records import Kind, Upsert

KINDS: st.SearchStrategy[Kind] = st.sampled_from(["items", "users"])
ORG_IDS = st.sampled_from(["org_1", "org_2", "o", "-", "O" * 64])
AWKWARD_IDS = [
    "PROD-1", "prod-1", " PROD-1", "a:b", ":", "a/b?c#d", "%2F", "\u00e9", "e\u0301", "😀", "\\", "\\N", "\\.", "'\"",
    "\u2028", "i" * 256, "é" * 256,
]  # fmt: skip
IDS = st.sampled_from(AWKWARD_IDS)
STATUSES = st.sampled_from(["active", "inactive", "deleted"])
TIMES = st.integers(0, 2_000_000_000_000_000) | st.integers(0, 60).map(lambda hour: hour * 3_600_000_000)
# Of the second, the bytes are the same from any place on: that ids are found where they begin only is put to the test.
IDEMPOTENCY_IDS = st.none() | st.sampled_from([bytes(range(16)), bytes(16), b"\0" * 8 + b"\1" * 8])
ITEM_TYPES = st.sampled_from(["product", "article", " ", "\t", "a\\b", "😀", "t" * 128])

# Numbers as they may be written, and as they are kept.
NUMBERS = {
    "0": 0, "-0": 0, "-0.0": 0, "0e9": 0, "1": 1, "1.0": 1, "1E2": 100, "-7": -7, "1.5": 1.5, "1e-5": 1e-5, "2.5e-9": 2.5e-9,
    "9223372036854775807": 2**63 - 1, "-9223372036854775808": -(2**63), "1e16": 10**16, "1e19": 10**19, "1e22": 1e22,
    "1e60": 1e60, "-1e60": -1e60, "1e-60": 1e-60, "0.1": 0.1, "123456789.123456789": 123456789.123456789,
    "-9223372036854775808.0": -(2**63), "18446744073709551616.0": 2.0**64, "1e+2": 100,
}  # fmt: skip

# Attributes that the contract refuses, and its code for them.
BAD_ATTRIBUTES = {
    "": "invalid_json", "{": "invalid_json", '{"a":}': "invalid_json", "{'a':1}": "invalid_json", "\ufeff{}": "invalid_json",
    "null": "invalid_type", "[]": "invalid_type", '"{}"': "invalid_type", "1": "invalid_type",
    '{"a":NaN}': "invalid_number", '{"a":-Infinity}': "invalid_number", '{"a":1e999}': "invalid_number",
    '{"a":1e-400}': "invalid_number", '{"a":1e61}': "invalid_number", '{"a":[1e-61]}': "invalid_number",
    '{"a":9223372036854775808}': "invalid_number", '{"a":-9223372036854775809}': "invalid_number",
    '{"a":' + "9" * 5000 + "}": "invalid_number",
    '{"a":"\\u0000"}': "invalid_string", '{"\\u0000":1}': "invalid_string", '{"a":"\\ud800"}': "invalid_string",
    '{"a":' * 33 + "1" + "}" * 33: "too_deep", '{"a":' + "[" * 100_000 + "]" * 100_000 + "}": "too_deep",
}  # fmt: skip


class Json(NamedTuple):
    """A JSON text and the value that is to be kept of it."""

    text: str
    kept: Any


class Sent(NamedTuple):
    """An event and what its attributes mean: an object, None where none were sent, or the code of why they are refused."""

    event: Upsert
    attributes: dict[str, Any] | str | None


def kept_number(number: float) -> int | float:
    """Rule 5, written down once more."""
    return int(number) if number == int(number) and -(2**63) <= number < 2**64 else number


texts = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=5)
strings = st.builds(lambda text, ascii: Json(json.dumps(text, ensure_ascii=ascii), text), texts, st.booleans())
integers = st.integers(-(2**63), 2**63 - 1).map(lambda number: Json(str(number), number))
doubles = st.one_of(st.floats(1e-60, 1e60), st.floats(-1e60, -1e-60)).map(lambda x: Json(repr(x), kept_number(x)))
constants = st.sampled_from([Json("null", None), Json("true", True), Json("false", False)])
numbers = st.sampled_from([Json(*pair) for pair in NUMBERS.items()])
leaves = st.one_of(constants, numbers, strings, integers, doubles)
names = st.one_of(st.sampled_from(["a", "b", "c", "", "é"]).map(lambda name: Json(json.dumps(name), name)), strings)


def _array(members: list[Json]) -> Json:
    return Json("[ " + ",".join(member.text for member in members) + "]", [member.kept for member in members])


def _object(members: list[tuple[Json, Json]]) -> Json:
    # Repeated keys are left in: the last counts.
    text = "{" + " ,".join(f"{name.text}: {member.text}" for name, member in members) + "}"
    return Json(text, {name.kept: member.kept for name, member in members})


values = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(_array), st.lists(st.tuples(names, inner), max_size=3).map(_object)
    ),
    max_leaves=6,
)
objects = st.lists(st.tuples(names, values), max_size=4).map(_object)
bad_attributes = st.sampled_from([Json(*pair) for pair in BAD_ATTRIBUTES.items()])


@st.composite
def sent(
    draw: st.DrawFn,
    kind: Kind,
    org_id: str = "org_1",
    entity_id: str = "PROD-1",
    bad: bool = True,
    statuses: st.SearchStrategy[str | None] | None = None,
    ids: st.SearchStrategy[bytes | None] | None = None,
    times: st.SearchStrategy[int] = TIMES,
) -> Sent:
    """One upsert of an entity. With `bad`, a few have a fault."""
    fault = draw(st.sampled_from([None, None, None, "attributes", "status", "detail"])) if bad else None
    carried = None if draw(st.booleans()) else draw(objects)
    if fault == "attributes":
        carried = draw(bad_attributes)
    status = draw(statuses if statuses is not None else st.one_of(st.none(), STATUSES))
    if fault == "status":
        status = draw(st.sampled_from(["", "Active", "gone", " active"]))
    details: dict[Kind, st.SearchStrategy[Any]] = {"items": ITEM_TYPES, "users": TIMES}
    detail = draw(st.one_of(st.none(), details[kind]))
    if fault == "detail":
        bad_details: list[str | int] = ["", "t" * 129, "a\x00"] if kind == "items" else [2**62, -(2**62)]
        detail = draw(st.sampled_from(bad_details))
    text = None if carried is None else carried.text
    idempotency_id = draw(IDEMPOTENCY_IDS if ids is None else ids)
    event = Upsert(org_id, entity_id, detail, status, text, draw(times), "req_1", draw(st.integers(0, 9)), idempotency_id)
    return Sent(event, None if carried is None else carried.kept)


def histories(kind: Kind, max_size: int = 8, **others: Any) -> st.SearchStrategy[list[Sent]]:
    """What was sent of one entity, in the order of the log."""
    return st.lists(sent(kind, **others), max_size=max_size)


@st.composite
def logs(draw: st.DrawFn, max_size: int = 30) -> list[tuple[Kind, Sent]]:
    """What was sent of several entities of both kinds, in the order of the log."""
    entities = draw(st.lists(st.tuples(KINDS, ORG_IDS, IDS), min_size=1, max_size=4, unique=True))
    chosen = draw(st.lists(st.sampled_from(entities), max_size=max_size))
    return [(kind, draw(sent(kind, org_id, entity_id))) for kind, org_id, entity_id in chosen]
