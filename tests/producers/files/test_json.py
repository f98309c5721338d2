"""JSON as people have it: an array, a record a line, or one record; and each fault at the line where its row starts."""

from __future__ import annotations

import json

import pytest

from tests.producers.files.reading import Read, attributes, places, read, records, refused

A = '{"item_id":"A","item_type":"p","status":"active","attributes":{"price":1.50}}'
B = '{"item_id":"B","item_type":"p","status":"active"}'
SIZES = [1, 7, 1 << 20]


def lines_of(found: Read) -> list[tuple[int, int, str, str]]:
    return places(found.errors)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("bom", ["", "\ufeff"])
@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (f"[{A},{B}]", "json"),
        (f" \r\n[\n{A}\n,\r\n  {B}  \n]\n\n", "json"),
        (f"{A}\n{B}", "ndjson"),
        (f"\n \n{A}\r\n\r\n   {B}\n\n", "ndjson"),
    ],
)
def test_forms(data: str, kind: str, bom: str, size: int) -> None:
    found = read(bom + data, size=size)
    assert (found.survey.format, found.survey.rows, found.survey.bom) == (kind, 2, bool(bom))
    assert records(found) == [
        {"item_id": "A", "item_type": "p", "status": "active", "attributes": {"price": 1.5}},
        {"item_id": "B", "item_type": "p", "status": "active"},
    ]
    assert [upsert.record_index for upsert in found.upserts] == [0, 1]
    assert (found.errors, found.warnings, found.failed) == ([], [], b"")


def test_one_record_over_several_lines() -> None:
    text = json.dumps(json.loads(A), indent=2)
    assert read(text).survey.format == "single"
    assert attributes(read("\n" + text)) == [{"price": 1.5}]
    assert lines_of(read("\n\n" + text.replace('"active"', '"sold"'))) == [(3, 1, "status", "invalid_status")]
    broken = read("\n" + text.replace('"p",', '"p"'))
    assert lines_of(broken) == [(2, 1, "", "invalid_json")]
    assert broken.errors[0].message == "malformed JSON: Expecting ',' delimiter at column 3 of line 5"


def test_columns_are_what_is_in_attributes() -> None:
    extra = '{"item_id":"C","item_type":"p","status":"active","attributes":{"price":null,"tags":["x"],"on":true,"n":"x"}}'
    found = read(f'[{A},{B},{extra},{extra.replace("null", "2")},5,{{"attributes":7}}]')
    assert [(column.name, column.type, column.field, column.filled) for column in found.survey.columns] == [
        ("item_id", "text", True, 4),
        ("item_type", "text", True, 4),
        ("status", "text", True, 4),
        ("price", "json", False, 3),
        ("tags", "json", False, 2),
        ("on", "boolean", False, 2),
        ("n", "text", False, 2),
    ]


def test_numbers_stay_what_they_are() -> None:
    found = read('{"item_id":"A","item_type":"p","status":"active","attributes":{"a":[9223372036854775807,1e60,-0.0,1.0]}}')
    assert attributes(found) == [{"a": [9223372036854775807, 1e60, 0, 1]}]


def item(members: str) -> str:
    return '{"item_id":"X","item_type":"p","status":"active",' + members + "}"


ROWS = [
    ("5", [("", "invalid_type")], "5"),
    ("null", [("", "invalid_type")], "null"),
    ('"x"', [("", "invalid_type")], "x"),
    ("[]", [("", "invalid_type")], "[]"),
    ("{}", [("item_id", "required"), ("item_type", "required"), ("status", "required")], ""),
    ('{"item_id":"X"}', [("item_type", "required"), ("status", "required")], ""),
    ('{"item_id":"","item_type":"p","status":"active"}', [("item_id", "invalid_id")], ""),
    ('{"item_id":7,"item_type":null,"status":"sold"}',
     [("item_id", "invalid_type"), ("item_type", "invalid_type"), ("status", "invalid_status")], "7"),
    (item('"price":3'), [("price", "unknown_field")], "3"),
    (item('"error":5'), [("error", "unknown_field")], "5"),
    (item('"attributes":null'), [("attributes", "invalid_type")], "null"),
    (item('"attributes":[1, 2]'), [("attributes", "invalid_type")], "[1, 2]"),
    (item('"attributes":{"a.b":{"c":[0,1.50e400]}}'), [("attributes.a.b.c[1]", "invalid_number")], "1.50e400"),
    (item('"attributes":{"n":12345678901234567890}'), [("attributes.n", "invalid_number")], "12345678901234567890"),
    (item('"attributes":{"n":NaN}'), [("attributes.n", "invalid_number")], "NaN"),
    (item('"attributes":{"s":"a\\u0000"}'), [("attributes.s", "invalid_string")], "a\\x00"),
    (item('"attributes":{"s":"\\ud800"}'), [("attributes.s", "invalid_string")], "\\ud800"),
    (item('"attributes":{"a":' * 1 + "[" * 32 + "]" * 32 + "}"), [("attributes.a" + "[0]" * 31, "too_deep")], "[]"),
    (item('"attributes":{"a":1} "b":2'), [("", "invalid_json")], item('"attributes":{"a":1} "b":2')),
    (item('"attributes":{"a":01}'), [("", "invalid_json")], item('"attributes":{"a":01}')),
]  # fmt: skip


@pytest.mark.parametrize(("row", "faults", "value"), ROWS, ids=[row[:60] for row, _, _ in ROWS])
@pytest.mark.parametrize("size", [5, 1 << 20])
def test_a_wrong_record_is_named_and_reading_goes_on(row: str, faults: list[tuple[str, str]], value: str, size: int) -> None:
    for data, line in ((f"\n{A}\n\n{row}\n{B}\n", 4), (f"[{A},\n\n {row} ,{B}]", 3)):
        found = read(data, size=size)
        assert lines_of(found) == [(line, 2, *fault) for fault in faults]
        assert found.errors[0].value == value[:99] + "…" * (len(value) > 100)
        assert [upsert.record_index for upsert in found.upserts] == [0, 2]


def test_what_is_no_json_at_all_on_a_line_of_its_own() -> None:
    for row in ("item_id", "{", "}", '"', "[1", "{'item_id':'A'}", A[:-1], A + A, A + "]"):
        found = read(f"{A}\n{row}\n{B}")
        assert lines_of(found) == [(2, 2, "", "invalid_json")]
        assert [upsert.entity_id for upsert in found.upserts] == ["A", "B"]
        assert " line " not in found.errors[0].message


BROKEN = [
    (f"[{A}\n{B}]", 2, 2, "a comma is missing"),
    (f"[{A},\n,{B}]", 2, 2, "a comma is followed by no record"),
    (f"[{A},\n]", 2, 2, "a comma is followed by no record"),
    (f"[\n,{A}]", 2, 1, "a record is missing"),
    (f"[{A},\n{B}", 2, 3, "the file ends inside the array"),
    (f"[{A},\n" + A[:30], 2, 2, "the file ends inside the array"),
    (f"[{A}]\n\n{B}", 3, 2, "something follows the end of the array"),
    (f"[{A},\n" + A[:-2] + "\n]]," + B + "]", 2, 2, "] on line 3 closes nothing"),
    (f"[{A},\n}}]", 2, 2, "a comma is followed by no record"),
    (f'[{A},\nx"y"]', 2, 2, "a comma is missing"),
]


@pytest.mark.parametrize(("data", "line", "row", "why"), BROKEN, ids=[why for *_, why in BROKEN])
@pytest.mark.parametrize("size", SIZES)
def test_an_array_that_breaks_off_is_one_error_and_the_last(data: str, line: int, row: int, why: str, size: int) -> None:
    found = read(data.rstrip("\n"), size=size)
    assert lines_of(found) == [(line, row, "", "invalid_json")]
    assert found.errors[0].message == f"{why}: nothing after it was read"
    assert found.survey.rows == row


def test_words_that_are_no_json_are_one_record() -> None:
    found = read(f"[{A},\noops, {B}]")
    assert lines_of(found) == [(2, 2, "", "invalid_json")]
    assert [upsert.entity_id for upsert in found.upserts] == ["A", "B"]


def test_brackets_in_strings_and_quotes_in_strings_are_text() -> None:
    name = json.dumps('}]"\\{[,')
    found = read(
        f'[{item(f"""{chr(34)}attributes{chr(34)}:{{{name}:{name},"deep":{{"a":[[{{"b":{name}}}]]}}}}""")},\n{B}]', size=3
    )
    assert (lines_of(found), len(found.upserts)) == ([], 2)
    assert attributes(found)[0] == {'}]"\\{[,': '}]"\\{[,', "deep": {"a": [[{"b": '}]"\\{[,'}]]}}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("between", [",", " ,\n  "])
def test_what_looks_like_the_end_of_a_record_and_is_none(size: int, between: str) -> None:
    sent = [
        {"stock": [{"shop": 1}, {"shop": 2}]},
        {"text": "},{", "other": '"},{"'},
        {"text": "}]", "stock": [{"shop": "\\\\"}, {"shop": "{"}, {}]},
        {},
        {"text": "}"},
    ]
    common = {"item_id": "A", "item_type": "p", "status": "active"}
    rows = [json.dumps(common | {"attributes": own}) for own in sent]
    rows = [row.replace("}, {", "}" + between + "{") for row in rows]
    found = read("[" + between.join(rows * 3) + "]", size=size)
    assert (found.errors, attributes(found)) == ([], sent * 3)
    lines = between.count("\n")
    wrong = read("[" + between.join([A, rows[1], A, "5"]) + "]", size=size)
    assert lines_of(wrong) == [(1 + 3 * lines, 4, "", "invalid_type")]


def test_an_id_that_comes_again_is_a_warning() -> None:
    for data, lines in ((f"[{A},\n{B},\n\n{A}\n,{A}]", (4, 5)), (f"{A}\n{B}\n\n{A}\n{A}", (4, 5))):
        found = read(data)
        assert places(found.warnings) == [(line, row, "item_id", "duplicate_id") for row, line in enumerate(lines, 3)]
        assert "line 1" in found.warnings[0].message


def test_records_before_the_first_wanted_one_are_passed_over() -> None:
    rows = [A.replace('"A"', f'"{n}"') for n in range(1500)]
    for data in ("[" + ",\n".join(rows) + "]", "\n".join(rows)):
        for first in (0, 1, 1000, 1499, 1500):
            found = read(data, from_row=first)
            assert [upsert.record_index for upsert in found.upserts] == list(range(first, 1500))


def test_a_record_with_very_many_faults_names_the_first_hundred() -> None:
    numbers = ",".join(["1e999"] * 5000)
    found = read(f"{item(chr(34) + 'attributes' + chr(34) + ':{' + chr(34) + 'n' + chr(34) + ':[' + numbers + ']}')}\n{B}")
    assert [problem.code for problem in found.errors] == ["invalid_number"] * 100 + ["more_errors"]
    assert (found.wrong_rows, found.errors[99].column) == (1, "attributes.n[99]")


def test_brackets_without_end() -> None:
    (problem,) = refused("[" * 500_000)
    assert (problem.line, problem.code) == (1, "too_deep")
    (problem,) = refused(f"[{A},\n" + '{"a":' * 500_000)
    assert (problem.line, problem.code) == (2, "too_deep")
    found = read(f"{A}\n" + '{"a":' * 300_000 + f"\n{B}")
    assert lines_of(found) == [(2, 2, "", "too_deep")]


def test_no_message_tells_the_value_of_an_attribute() -> None:
    for attributes_of_it in ('{"x":"s3cret\\u0000"}', '"s3cret"', '{"x":s3cret}', '{"x":"s3cret" 1}', '{"x":"s3cret\\x"}'):
        (problem,) = read(item(f'"attributes":{attributes_of_it}')).errors
        assert "s3cret" not in problem.message
