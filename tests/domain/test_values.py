"""Which JSON values hold, and in which form they are kept."""

from __future__ import annotations

import json
import time
from typing import Any

import orjson
import pytest
from hypothesis import given

from foldline.domain.records import Rejection
from foldline.domain.values import Unparsable, attributes_of, faults, normalised, parse, parse_exactly, printable
from tests.laws.strategies import Json, objects


def kept(literal: str) -> Any:
    """What is kept of the literal as the value of an attribute; a code where it is refused."""
    found = attributes_of('{"a":' + literal + "}")
    return found.code if isinstance(found, Rejection) else found[0]["a"]


def nested(depth: int) -> str:
    """Attributes of this depth, the outermost object being 1."""
    return '{"a":' + "[" * (depth - 1) + "]" * (depth - 1) + "}"


@pytest.mark.parametrize(
    ("literal", "value"),
    [
        ("0", 0), ("-0", 0), ("0.0", 0), ("-0.0", 0), ("0e400", 0), ("0e-400", 0), ("0." + "0" * 400, 0), ("-0.0E-0999", 0),
        ("9223372036854775807", 2**63 - 1), ("-9223372036854775808", -(2**63)),
        ("9223372036854775808", "invalid_number"), ("-9223372036854775809", "invalid_number"),
        ("18446744073709551616", "invalid_number"), ("1" * 5000, "invalid_number"), ("-" + "1" * 5000, "invalid_number"),
        ("1" * 30 + ".0", "111111111111111111111111111111.0"), ("0." + "1" * 5000, 1 / 9),
        ("1e16", 10**16), ("1e18", 10**18), ("9223372036854775807.0", 2**63), ("9223372036854775808.0", 2**63),
        ("-9223372036854775808.0", -(2**63)), ("-9223372036854777856.0", "-9223372036854777856.0"),
        ("18446744073709549568.0", 2**64 - 2048), ("18446744073709551616.0", "18446744073709551616.0"),
        ("1.0", 1), ("-1.0", -1), ("1.50", 1.5), ("15e-1", 1.5), ("1E+2", 100), ("1e22", "1e22"), ("4.35", 4.35),
        ("1e60", "1e60"), ("-1e60", "-1e60"), ("1.0000001e60", "invalid_number"), ("-1.0000001e60", "invalid_number"),
        ("1e61", "invalid_number"), ("1e308", "invalid_number"), ("1e309", "invalid_number"), ("1e999", "invalid_number"),
        ("1e-60", 1e-60), ("-1e-60", -1e-60), ("9.9e-61", "invalid_number"), ("1e-61", "invalid_number"),
        ("5e-324", "invalid_number"), ("1e-400", "invalid_number"), ("-1E-00400", "invalid_number"),
        ("1.5e-99999", "invalid_number"), ("0." + "0" * 400 + "1", "invalid_number"),
        ("0." + "0" * 250 + "1e-99", "invalid_number"), ("1." + "0" * 400, 1),
        ("NaN", "invalid_number"), ("Infinity", "invalid_number"), ("-Infinity", "invalid_number"),
        *((no_number, "invalid_json") for no_number in ("nan", "+1", "01", ".5", "1.", "0x10", "1_000", "", "١")),
    ],
    ids=lambda value: str(value)[:30],
)  # fmt: skip
def test_numbers(literal: str, value: Any) -> None:
    wanted = float(value) if isinstance(value, str) and not value.startswith("invalid") else value
    assert kept(literal) == wanted
    assert type(kept(literal)) is type(wanted)


@pytest.mark.parametrize(
    ("literal", "value"),
    [
        ('"\\u0000"', "invalid_string"), ('"a\\u0000b"', "invalid_string"), ('"\\\\u0000"', "\\u0000"),
        ('"\\\\\\u0000"', "invalid_string"), ('"\\\\\\\\u0000"', "\\\\u0000"), ('{"\\u0000":1}', "invalid_string"),
        ('"\\ud800"', "invalid_string"), ('"\\udfff"', "invalid_string"), ('"\\ud800x\\udc00"', "invalid_string"),
        ('"\\udc00\\ud800"', "invalid_string"), ('{"\\ud800":1}', "invalid_string"), ('[["\\ud800"]]', "invalid_string"),
        ('"\\ud83d\\ude00"', "😀"), ('"😀"', "😀"), ('"\\u0001\x7f"', "\x01\x7f"), ('"\\/"', "/"), ('"\ufeff"', "\ufeff"),
        ('"\\uFFFF"', "\uffff"), ('"\n"', "invalid_json"), ('"\x00"', "invalid_json"), ('"\\x00"', "invalid_json"),
        ('"', "invalid_json"), ("'a'", "invalid_json"),
    ],
)  # fmt: skip
def test_strings(literal: str, value: Any) -> None:
    assert kept(literal) == value


def test_an_unpaired_surrogate_that_is_not_escaped() -> None:
    assert kept('"\ud800"') == "invalid_json"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (nested(32), None), (nested(33), "too_deep"), (nested(500), "too_deep"), (nested(513), "too_deep"),
        (nested(1100), "too_deep"), (nested(100_000), "too_deep"), ('{"a":' * 32 + "1" + "}" * 32, None),
        ('{"a":' * 33 + "1" + "}" * 33, "too_deep"), ("[" * 100_000, "too_deep"), ('{"a":' * 100_000, "too_deep"),
        ('{"a":"' + "[" * 100_000 + '"}', None), ('{"a":"\\"' + "{" * 100_000 + '"}', None),
    ],
    ids=lambda value: str(value)[:30],
)  # fmt: skip
def test_depth(text: str, code: str | None) -> None:
    found = attributes_of(text)
    assert (found.code if isinstance(found, Rejection) else None) == code


@pytest.mark.parametrize("prefix", ["", '{"a":"', '{"a":[1e999,'])
@pytest.mark.parametrize(
    "pattern", ['"\\"\\"', '"\\"', "\\", '"', '"[', "[", "]", '{"a":', "[1e400,", "1", "0", '"\\u0000', "1e-"]
)
def test_a_hostile_mebibyte_is_judged_at_once(pattern: str, prefix: str) -> None:
    text = prefix + (pattern * 2**20)[: 2**20 - len(prefix)]
    began = time.process_time()
    attributes_of(text)
    assert time.process_time() - began < 0.2


def test_of_a_repeated_key_the_last_counts() -> None:
    assert attributes_of('{"a":1e999,"a":2,"b":{"c":"\\u0000","c":3}}') == ({"a": 2, "b": {"c": 3}}, 19)


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ('{"a":1e61}', "attributes.a"),
        ('{"sizes":[1,2,{"eu":1e61}]}', "attributes.sizes[2].eu"),
        ('{"\\u0000":1}', "attributes.\\x00"),
        ('{"a\\nb":1e61}', "attributes.a\\nb"),
        ('{"\\ud800":1}', "attributes.\\ud800"),
        ('{"":1e61}', "attributes."),
    ],
)
def test_a_fault_has_its_path(text: str, path: str) -> None:
    found = attributes_of(text)
    assert isinstance(found, Rejection)
    assert found.field == path
    assert found.message.startswith(path)


def test_every_fault_is_found_where_all_are_asked_for() -> None:
    value = parse_exactly(b'{"a":[1e999,"\\u0000"],"\\ud800":NaN,"ok":[1,{}]}')
    assert [(fault.code, fault.field) for fault in faults(value, "attributes")] == [
        ("invalid_number", "attributes.a[0]"),
        ("invalid_string", "attributes.a[1]"),
        ("invalid_string", "attributes.\\ud800"),
        ("invalid_number", "attributes.\\ud800"),
    ]


def test_what_is_no_json_says_where() -> None:
    with pytest.raises(Unparsable) as caught:
        parse(b'{"a":1,\n"b":}')
    assert (caught.value.code, "line 2 column 5" in caught.value.message) == ("invalid_json", True)
    with pytest.raises(Unparsable, match="byte 6"):
        parse(b'{"a":"\xff"}')


def test_printable_shortens_and_escapes() -> None:
    assert printable("a\x00\ud800é\n") == "a\\x00\\ud800é\\n"
    assert len(printable("x" * 1000)) == 300


@given(objects)
def test_what_is_kept_survives_a_round_trip(attributes: Json) -> None:
    found = attributes_of(attributes.text)
    assert not isinstance(found, Rejection)
    value, bound = found
    text = orjson.dumps(value)
    assert orjson.dumps(orjson.loads(text)) == text
    assert orjson.dumps(normalised(value)) == text
    assert len(text) <= bound
    assert value == attributes.kept
    # Another reader of JSON, and one that writes every number in full as jsonb does, come to the same.
    assert orjson.dumps(json.loads(text)) == text
    assert orjson.dumps(normalised(json.loads(json.dumps(value)))) == text
