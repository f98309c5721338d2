"""Bodies: what is refused, where and with which code; and what passes comes out as it went in."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

import foldline.domain.values
import producers.validation
from foldline.domain.records import KINDS, Kind, Upsert
from foldline.domain.times import format_rfc3339, parse_rfc3339
from foldline.domain.values import BAD_NUMBER
from producers.validation import MAX_LISTED, Outcome, Refused, Stamp, TooMany, error_count, judge, validate

STAMP = Stamp("org_a", "0123456789abcdef0123456789abcdef", 1_736_672_400_000_000)


def nested(depth: int) -> bytes:
    """Attributes that are `depth` deep, themselves included."""
    return b'{"item_id":"A","attributes":{"x":' + b"[" * (depth - 1) + b"]" * (depth - 1) + b"}}"


def attributes(text: str) -> bytes:
    return b'{"item_id":"A","attributes":{"x":' + text.encode() + b"}}"


def items(body: bytes) -> Outcome:
    return validate("items", body, STAMP, 10_000)


WHOLE = [
    (b"", "empty_batch"),
    (b" \r\n\t ", "empty_batch"),
    (b"[]", "empty_batch"),
    (b" [ ] ", "empty_batch"),
    (b"{", "invalid_json"),
    (b"nope", "invalid_json"),
    (b'{"item_id":"A"} x', "invalid_json"),
    (b'{"item_id":"A"}{"item_id":"B"}', "invalid_json"),
    (b'{"item_id":"A",}', "invalid_json"),
    (b"{'item_id':'A'}", "invalid_json"),
    (b'{"item_id":"A\xff"}', "invalid_json"),
    (b'{"item_id":"\xed\xa0\x80"}', "invalid_json"),
    (b'\xef\xbb\xbf{"item_id":"A"}', "invalid_json"),
    ('{"item_id":"A"}'.encode("utf-16"), "invalid_json"),
    (b'{"item_id":"A\nB"}', "invalid_json"),
    (b'{"item_id":"A","attributes":{"x":01}}', "invalid_json"),
    (b'{"item_id":"A","attributes":{"x":+1}}', "invalid_json"),
    (b'{"item_id":"A","attributes":{"x":.5}}', "invalid_json"),
    (b'{"item_id":"A","attributes":{"x":"\\x"}}', "invalid_json"),
    (b"\x00", "invalid_json"),
    (b"[" * 100_000, "too_deep"),
    (b'{"a":' * 600 + b"1" + b"}" * 600, "too_deep"),
    (b"null", "invalid_type"),
    (b"7", "invalid_type"),
    (b"1e999", "invalid_type"),
    (b'"A"', "invalid_type"),
    (b"true", "invalid_type"),
]


@pytest.mark.parametrize(("body", "code"), WHOLE, ids=[repr(body)[:40] for body, _ in WHOLE])
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_record_at_all(kind: Kind, body: bytes, code: str) -> None:
    outcome = validate(kind, body, STAMP, 10_000)
    assert isinstance(outcome, Refused)
    assert outcome.total == 1
    assert outcome.errors[0][:4] == (0, None, "", code)


ITEMS = [
    (b"{}", None, "item_id", "required"),
    (b'{"item_type":"t"}', None, "item_id", "required"),
    (b'{"item_id":null}', None, "item_id", "invalid_type"),
    (b'{"item_id":7}', None, "item_id", "invalid_type"),
    (b'{"item_id":true}', None, "item_id", "invalid_type"),
    (b'{"item_id":["A"]}', None, "item_id", "invalid_type"),
    (b'{"item_id":{"A":1}}', None, "item_id", "invalid_type"),
    (b'{"item_id":1e999}', None, "item_id", "invalid_type"),
    (b'{"item_id":""}', None, "item_id", "invalid_id"),
    (b'{"item_id":"a\\u0000b"}', None, "item_id", "invalid_id"),
    (b'{"item_id":"a\\nb"}', None, "item_id", "invalid_id"),
    (b'{"item_id":"a\\u007f"}', None, "item_id", "invalid_id"),
    ('{"item_id":"a\u0085"}'.encode(), None, "item_id", "invalid_id"),
    (b'{"item_id":"\\ud800"}', None, "item_id", "invalid_string"),
    (b'{"item_id":"' + b"x" * 257 + b'"}', None, "item_id", "too_long"),
    ('{"item_id":"' + "😀" * 257 + '"}', None, "item_id", "too_long"),
    (b'{"user_id":"A","item_id":"A"}', "A", "user_id", "unknown_field"),
    (b'{"item_id":"A","price":3}', "A", "price", "unknown_field"),
    (b'{"item_id":"A","":3}', "A", "", "unknown_field"),
    (b'{"item_id":"A","a\\u0000":3}', "A", "a\\x00", "unknown_field"),
    (b'{"item_id":"A","\\ud800":3}', "A", "\\ud800", "unknown_field"),
    (b'{"item_id":"A","created_at":"2025-01-12T09:00:00Z"}', "A", "created_at", "unknown_field"),
    (b'{"item_id":"A","org_id":"other"}', "A", "org_id", "unknown_field"),
    (b'{"item_id":"A","item_type":null}', "A", "item_type", "invalid_type"),
    (b'{"item_id":"A","item_type":7}', "A", "item_type", "invalid_type"),
    (b'{"item_id":"A","item_type":""}', "A", "item_type", "invalid_string"),
    (b'{"item_id":"A","item_type":"a\\u0000"}', "A", "item_type", "invalid_string"),
    (b'{"item_id":"A","item_type":"\\udfff"}', "A", "item_type", "invalid_string"),
    (b'{"item_id":"A","item_type":"' + b"t" * 129 + b'"}', "A", "item_type", "too_long"),
    (b'{"item_id":"A","status":null}', "A", "status", "invalid_type"),
    (b'{"item_id":"A","status":1}', "A", "status", "invalid_type"),
    (b'{"item_id":"A","status":["active"]}', "A", "status", "invalid_type"),
    (b'{"item_id":"A","status":"gone"}', "A", "status", "invalid_status"),
    (b'{"item_id":"A","status":"Active"}', "A", "status", "invalid_status"),
    (b'{"item_id":"A","status":""}', "A", "status", "invalid_status"),
    (b'{"item_id":"A","attributes":null}', "A", "attributes", "invalid_type"),
    (b'{"item_id":"A","attributes":[]}', "A", "attributes", "invalid_type"),
    (b'{"item_id":"A","attributes":"{}"}', "A", "attributes", "invalid_type"),
    (b'{"item_id":"A","attributes":1e999}', "A", "attributes", "invalid_type"),
    (attributes("NaN"), "A", "attributes.x", "invalid_number"),
    (attributes("Infinity"), "A", "attributes.x", "invalid_number"),
    (attributes("-Infinity"), "A", "attributes.x", "invalid_number"),
    (attributes("1e999"), "A", "attributes.x", "invalid_number"),
    (attributes("1e-999"), "A", "attributes.x", "invalid_number"),
    (attributes("-1e-400"), "A", "attributes.x", "invalid_number"),
    (attributes("0." + "0" * 400 + "1"), "A", "attributes.x", "invalid_number"),
    (attributes("1.1e60"), "A", "attributes.x", "invalid_number"),
    (attributes("9e-61"), "A", "attributes.x", "invalid_number"),
    (attributes(str(2**63)), "A", "attributes.x", "invalid_number"),
    (attributes(str(-(2**63) - 1)), "A", "attributes.x", "invalid_number"),
    (attributes("1" * 30), "A", "attributes.x", "invalid_number"),
    (attributes("1" * 5000), "A", "attributes.x", "invalid_number"),
    (attributes("[0,{\"y\":[1,1e61]}]"), "A", "attributes.x[1].y[1]", "invalid_number"),
    (attributes('"\\u0000"'), "A", "attributes.x", "invalid_string"),
    (attributes('"\\ud83d"'), "A", "attributes.x", "invalid_string"),
    (attributes('"\\ude00\\ud83d"'), "A", "attributes.x", "invalid_string"),
    (attributes('{"a\\u0000b":1}'), "A", "attributes.x.a\\x00b", "invalid_string"),
    (attributes('{"\\ud800":1}'), "A", "attributes.x.\\ud800", "invalid_string"),
    (nested(33), "A", "attributes.x" + "[0]" * 31, "too_deep"),
]  # fmt: skip


@pytest.mark.parametrize(("body", "known", "field", "code"), ITEMS, ids=[str(body)[:60] for body, *_ in ITEMS])
def test_what_does_not_hold_of_an_item(body: bytes | str, known: str | None, field: str, code: str) -> None:
    outcome = items(body if isinstance(body, bytes) else body.encode())
    assert isinstance(outcome, Refused)
    assert [error[:4] for error in outcome.errors] == [(0, known, field, code)]
    orjson.dumps(outcome.errors[0].as_json())


USERS = [
    (b'{"item_id":"A"}', None, ["required user_id", "unknown_field item_id"]),
    (b'{"user_id":"A","item_type":"t"}', "A", ["unknown_field item_type"]),
    (b'{"user_id":"A","created_at":null}', "A", ["invalid_type created_at"]),
    (b'{"user_id":"A","created_at":1736672400}', "A", ["invalid_type created_at"]),
    (b'{"user_id":"A","created_at":"2025-01-12"}', "A", ["invalid_timestamp created_at"]),
    (b'{"user_id":"A","created_at":"2025-01-12T09:00:00"}', "A", ["invalid_timestamp created_at"]),
    (b'{"user_id":"A","created_at":"2025-02-30T09:00:00Z"}', "A", ["invalid_timestamp created_at"]),
    (b'{"user_id":"A","created_at":"0001-01-01T00:00:00+01:00"}', "A", ["invalid_timestamp created_at"]),
    (b'{"user_id":"A","created_at":""}', "A", ["invalid_timestamp created_at"]),
    (
        b'{"user_id":7,"created_at":"x","status":"y","attributes":3,"z":0}',
        None,
        ["invalid_type user_id", "invalid_timestamp created_at", "invalid_status status", "invalid_type attributes",
         "unknown_field z"],
    ),
]  # fmt: skip


@pytest.mark.parametrize(("body", "known", "faults"), USERS, ids=[repr(body)[:60] for body, *_ in USERS])
def test_what_does_not_hold_of_a_user(body: bytes, known: str | None, faults: list[str]) -> None:
    outcome = validate("users", body, STAMP, 10_000)
    assert isinstance(outcome, Refused)
    assert [f"{error.code} {error.field}" for error in outcome.errors] == faults
    assert {error.id for error in outcome.errors} == {known}


HOLDS = [
    ('{"item_id":"A"}', ("A", None, None, None)),
    ('{"item_id":" A "}', (" A ", None, None, None)),
    ('{"item_id":"Café \\u00e9 e\\u0301 😀 a/b:c"}', ("Café é e\u0301 😀 a/b:c", None, None, None)),
    ('{"item_id":"\\ud83d\\ude00"}', ("😀", None, None, None)),
    ('{"item_id":"' + "x" * 256 + '","item_type":"' + "t" * 128 + '"}', ("x" * 256, "t" * 128, None, None)),
    ('{"item_id":"A","item_id":"B"}', ("B", None, None, None)),
    ('{"item_id":"A","status":"deleted","attributes":{}}', ("A", None, "deleted", "{}")),
    ('{"item_id":"A","attributes":{"a":null,"b":[1.5,true,"é"]}}', ("A", None, None, '{"a":null,"b":[1.5,true,"é"]}')),
    ('{"item_id":"A","attributes":{"a":1,"a":2}}', ("A", None, None, '{"a":2}')),
    ('{"item_id":"A","attributes":{"a":0,"b":0.0,"c":0e-999}}', ("A", None, None, '{"a":0,"b":0.0,"c":0.0}')),
    ('{"item_id":"A","attributes":{"a":1e-60,"b":1e60}}', ("A", None, None, '{"a":1e-60,"b":1e+60}')),
    ('{"item_id":"A","attributes":{"a":9223372036854775807}}', ("A", None, None, '{"a":9223372036854775807}')),
    ('{"item_id":"A","attributes":{"a":-9223372036854775808}}', ("A", None, None, '{"a":-9223372036854775808}')),
    ('{"item_id":"A","attributes":{"a":"\\\\u0000 e-400"}}', ("A", None, None, '{"a":"\\\\u0000 e-400"}')),
    ('{"item_id":"A","attributes":{"a":"\\u0001"}}', ("A", None, None, '{"a":"\\u0001"}')),
    (nested(32).decode(), ("A", None, None, '{"x":' + "[" * 31 + "]" * 31 + "}")),
]


@pytest.mark.parametrize(("body", "fields"), HOLDS, ids=[body[:60] for body, _ in HOLDS])
def test_what_holds_comes_out_as_it_went_in(body: str, fields: tuple[Any, ...]) -> None:
    assert items(body.encode()) == [Upsert("org_a", *fields, STAMP.received_at, STAMP.request_id, 0)]


def test_an_array_keeps_its_order_and_its_repetitions() -> None:
    outcome = items(b'[{"item_id":"B"},{"item_id":"A"},{"item_id":"B","status":"deleted"}]')
    assert isinstance(outcome, list)
    assert [(event.entity_id, event.status, event.record_index) for event in outcome] == [
        ("B", None, 0),
        ("A", None, 1),
        ("B", "deleted", 2),
    ]


def test_every_error_of_a_request_is_counted_and_the_first_are_listed() -> None:
    outcome = items(orjson.dumps([{"item_id": f"i{n}", "status": "x", "price": n} for n in range(200)]))
    assert isinstance(outcome, Refused)
    assert (outcome.total, len(outcome.errors)) == (400, MAX_LISTED)
    assert [(e.place, e.id, e.field) for e in outcome.errors[-2:]] == [(49, "i49", "status"), (49, "i49", "price")]


MANY = [
    (b'{"item_id":"A","attributes":{"x":[' + b"1e99," * 200_000 + b"0]}}", 200_000, "attributes.x[99]"),
    (
        b'{"item_id":"A","attributes":{"x":' + b"[" * 31 + b"[]," * 300_000 + b"0" + b"]" * 31 + b"}}",
        300_000,
        "attributes.x" + "[0]" * 30 + "[99]",
    ),
    (b'{"item_id":"A",' + b",".join(b'"%d":0' % n for n in range(90_000)) + b"}", 90_000, "99"),
]


@pytest.mark.parametrize(("body", "total", "last"), MANY, ids=["numbers", "arrays", "fields"])
def test_only_what_is_listed_is_named_however_many_there_are(body: bytes, total: int, last: str, named: list[str]) -> None:
    outcome = items(body)
    assert isinstance(outcome, Refused)
    assert (outcome.total, len(outcome.errors), outcome.errors[-1].field) == (total, MAX_LISTED, last)
    assert len(named) <= 2 * MAX_LISTED


@pytest.fixture
def named(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The paths of the rejections that are made: what naming errors costs."""
    paths: list[str] = []
    for module in (foldline.domain.values, producers.validation):
        make = module.Rejection
        monkeypatch.setattr(module, "Rejection", lambda *fields, make=make: paths.append(fields[1]) or make(*fields))
    return paths


def test_one_bad_record_refuses_the_good_ones() -> None:
    outcome = items(b'[{"item_id":"A"},7,{"item_id":"B","attributes":{"x":"secret","y":1e999}}]')
    assert isinstance(outcome, Refused)
    assert [error.as_json() for error in outcome.errors] == [
        {"index": 1, "field": "", "code": "invalid_type", "message": "a record must be a JSON object"},
        {
            "index": 2,
            "id": "B",
            "field": "attributes.y",
            "code": "invalid_number",
            "message": outcome.errors[1].message,
        },
    ]
    assert "secret" not in str(outcome)


def test_too_many_records_are_another_matter_than_bad_ones() -> None:
    body = b"[" + b",".join([b'{"item_id":"A"}'] * 11) + b"]"
    assert validate("items", body, STAMP, 10) == TooMany(11)
    assert validate("items", b"[" + b",".join([b"0"] * 11) + b"]", STAMP, 10) == TooMany(11)
    assert isinstance(validate("items", body, STAMP, 11), list)


NUMBERS = st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False).filter(
    lambda x: x == 0 or 1e-60 <= abs(x) <= 1e60
)
STRINGS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"))
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | STRINGS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(STRINGS, inner, max_size=4),
    max_leaves=12,
)
IDS = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=256)
STATUS = st.sampled_from(["active", "inactive", "deleted"])
TIMES = st.integers(parse_rfc3339("0001-01-01T00:00:00Z") or 0, parse_rfc3339("9999-12-31T23:59:59Z") or 0)
OPTIONAL = {"status": STATUS, "attributes": st.dictionaries(STRINGS, VALUES, max_size=5)}
TYPES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), min_size=1, max_size=128)
RECORDS: dict[Kind, st.SearchStrategy[dict[str, Any]]] = {
    "items": st.fixed_dictionaries({"item_id": IDS}, optional=OPTIONAL | {"item_type": TYPES}),
    "users": st.fixed_dictionaries({"user_id": IDS}, optional=OPTIONAL | {"created_at": TIMES.map(format_rfc3339)}),
}


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
def test_what_a_valid_record_says_is_what_the_event_says(kind: Kind, data: st.DataObject) -> None:
    records = data.draw(st.lists(RECORDS[kind], min_size=1, max_size=3))
    single = len(records) == 1 and data.draw(st.booleans())
    outcome = validate(kind, orjson.dumps(records[0] if single else records), STAMP, 10_000)
    assert isinstance(outcome, list)
    for place, (record, event) in enumerate(zip(records, outcome, strict=True)):
        detail = record.get("item_type") or parse_rfc3339(record.get("created_at", ""))
        text = event.attributes
        assert event[:4] == ("org_a", record[f"{kind[:-1]}_id"], detail, record.get("status"))
        assert event[5:] == (STAMP.received_at, STAMP.request_id, place, None, None)
        assert (text is None) == ("attributes" not in record)
        assert text is None or orjson.loads(text) == record["attributes"]


@pytest.mark.parametrize("kind", KINDS)
@given(body=st.binary(max_size=60) | VALUES.map(orjson.dumps) | st.lists(VALUES, max_size=3).map(orjson.dumps))
def test_any_bytes_have_an_outcome_that_can_be_told(kind: Kind, body: bytes) -> None:
    outcome = validate(kind, body, STAMP, 10_000)
    if isinstance(outcome, Refused):
        assert orjson.dumps([error.as_json() for error in outcome.errors])


FAULTY = st.recursive(
    VALUES | st.just(BAD_NUMBER) | st.sampled_from(["\x00", "\ud800", "deep"]).map(lambda s: s if s != "deep" else deep(33)),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4),
    max_leaves=12,
)
NAMES = st.sampled_from(["item_id", "user_id", "item_type", "created_at", "status", "attributes", "price", "\x00"])


def deep(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels):
        value = [value, BAD_NUMBER]
    return value


@pytest.mark.parametrize("kind", KINDS)
@given(record=st.dictionaries(NAMES, FAULTY | STATUS, max_size=6) | FAULTY)
def test_errors_are_counted_as_they_are_named(kind: Kind, record: Any) -> None:
    assert error_count(kind, record) == len(list(judge(kind, 0, record)))
