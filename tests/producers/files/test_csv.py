"""CSV as people have it: dialects, types of columns, and each fault at the line where its row starts."""

from __future__ import annotations

import pytest

from producers.files import ColumnType
from tests.producers.files.reading import attributes, places, read, records, refused

HEADER = "item_id,item_type,status,name,price\n"


def row(cells: str) -> str:
    """A file of one row after the header."""
    return HEADER + cells


def test_rows_become_upserts() -> None:
    found = read(HEADER + "A,product,active,Shoe,19.90\nB,article,deleted,,\n")
    assert records(found) == [
        {"item_id": "A", "item_type": "product", "status": "active", "attributes": {"name": "Shoe", "price": 19.9}},
        {"item_id": "B", "item_type": "article", "status": "deleted"},
    ]
    assert [upsert.record_index for upsert in found.upserts] == [0, 1]
    assert (found.errors, found.warnings, found.failed) == ([], [], b"")
    assert (found.survey.format, found.survey.delimiter, found.survey.rows, found.survey.size) == ("csv", ",", 2, 84)


def test_users_have_a_time() -> None:
    found = read("user_id,status,created_at,age\nu,active,2025-01-12T10:00:00+01:00,32\n", "users")
    assert records(found, "users") == [
        {"user_id": "u", "created_at": 1_736_672_400_000_000, "status": "active", "attributes": {"age": 32}}
    ]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("bom", ["", "\ufeff"])
@pytest.mark.parametrize("size", [1, 3, 7, 1 << 20])
def test_dialects(delimiter: str, end: str, bom: str, size: int) -> None:
    cells = [
        ["item_id", "item_type", "status", "name", "note, with a comma; a semicolon"],
        ["A", "product", "active", '"Größe ""XL"""', f'"two{end}lines{delimiter} {end}{end}three"'],
        ["B", "product", "active", "😀", "a'b"],
    ]
    cells[0][4] = f'"{cells[0][4]}"'
    data = bom + end.join(delimiter.join(row) for row in cells)
    for last in ("", end, end + end):
        found = read((data + last).encode(), size=size)
        assert (found.survey.delimiter, found.survey.bom) == (delimiter, bool(bom))
        assert attributes(found) == [
            {"name": 'Größe "XL"', "note, with a comma; a semicolon": f"two{end}lines{delimiter} {end}{end}three"},
            {"name": "😀", "note, with a comma; a semicolon": "a'b"},
        ]


def test_the_delimiter_is_the_one_that_yields_what_is_required() -> None:
    assert read("item_id;item_type;status;a,b,c,d,e,f\nA;p;active;x\n").survey.delimiter == ";"
    assert read('item_id|"status;,,,;;;"|item_type|status\nA|x|p|active\n').survey.names[1] == "status;,,,;;;"


TYPES: list[tuple[list[str], ColumnType, list[object]]] = [
    (["1", "", "-2.50", "0"], "number", [1, None, -2.5, 0]),
    (["1e3", "1E-60", "1e60"], "number", [1000, 1e-60, 1e60]),
    (["-0", "0.0", "-0.0e5"], "number", [0, 0, 0]),
    (["123456789012345", "0.123456789012345"], "number", [123456789012345, 0.123456789012345]),
    (["0.000000000000000000000000000001"], "number", [1e-30]),
    (["1", "1234567890123456"], "text", ["1", "1234567890123456"]),
    (["1", "02139"], "text", ["1", "02139"]),
    (["1", "1e400"], "text", ["1", "1e400"]),
    (["1", "1e-400"], "text", ["1", "1e-400"]),
    (["1", "1e61"], "text", ["1", "1e61"]),
    (["+5"], "text", ["+5"]),
    ([" 5"], "text", [" 5"]),
    (["5 "], "text", ["5 "]),
    (["5."], "text", ["5."]),
    ([".5"], "text", [".5"]),
    (["1_000"], "text", ["1_000"]),
    (["0x1"], "text", ["0x1"]),
    (["٣"], "text", ["٣"]),
    (["NaN", "1"], "text", ["NaN", "1"]),
    (["1,5"], "text", ["1,5"]),
    (['1"\n"2'], "text", ['1"\n"2']),
    (["1\n2"], "text", ["1\n2"]),
    (["true", "false", ""], "boolean", [True, False, None]),
    (["true", "False"], "text", ["true", "False"]),
    (["true", "1"], "text", ["true", "1"]),
    (["null"], "text", ["null"]),
    (['{"a":1}'], "text", ['{"a":1}']),
    (["", ""], "text", [None, None]),
]


@pytest.mark.parametrize(("cells", "kind", "kept"), TYPES, ids=[repr(cells) for cells, _, _ in TYPES])
def test_types_are_found(cells: list[str], kind: ColumnType, kept: list[object]) -> None:
    lines = [f'A,p,active,"{cell.replace(chr(34), chr(34) * 2)}"\n' for cell in cells]
    found = read("item_id,item_type,status,x\n" + "".join(lines))
    (column,) = [column for column in found.survey.columns if column.name == "x"]
    assert (column.found, column.type, column.field, column.filled) == (kind, kind, False, sum(map(bool, cells)))
    assert [(one or {}).get("x") for one in attributes(found)] == kept
    assert (
        list(map(type, [(one or {}).get("x") for one in attributes(found)]))
        == [float if isinstance(one, int) and "." in cell else type(one) for one, cell in zip(kept, cells, strict=True)]
        or kind == "number"
    )


CHOSEN: list[tuple[ColumnType, str, object]] = [
    ("text", "12", "12"),
    ("number", "1.5", 1.5),
    ("number", "02139", "invalid_number"),
    ("number", "twelve", "invalid_number"),
    ("number", "1234567890123456", "invalid_number"),
    ("boolean", "TRUE", True),
    ("boolean", "False", False),
    ("boolean", "yes", "invalid_boolean"),
    ("boolean", "1", "invalid_boolean"),
    ("json", '{"eu": [40, 41.5]}', {"eu": [40, 41.5]}),
    ("json", "null", None),
    ("json", "7", 7),
    ("json", '"x"', "x"),
    ("json", "{eu: 40}", "invalid_json"),
    ("json", "1e400", "invalid_number"),
    ("json", '"\\ud800"', "invalid_string"),
    ("json", '"a\\u0000b"', "invalid_string"),
    ("json", "[" * 31 + "]" * 31, "["),
    ("json", "[" * 32 + "]" * 32, "too_deep"),
    ("json", "[" * 600 + "]" * 600, "too_deep"),
    ("omit", "anything", "omitted"),
]


@pytest.mark.parametrize(("kind", "cell", "kept"), CHOSEN, ids=[f"{kind} {cell[:20]}" for kind, cell, _ in CHOSEN])
def test_types_are_chosen(kind: ColumnType, cell: str, kept: object) -> None:
    quoted = cell.replace('"', '""')
    found = read(f'item_id,item_type,status,x,y\nA,p,active,"{quoted}",z\nB,p,active,,z\n', types={"x": kind})
    if isinstance(kept, str) and kept.startswith(("invalid", "too")):
        assert [(p.line, p.row, p.column.split("[")[0], p.code, p.id) for p in found.errors] == [(2, 1, "x", kept, "A")]
        assert attributes(found) == [{"y": "z"}]
    elif kept == "omitted":
        assert attributes(found) == [{"y": "z"}, {"y": "z"}]
    elif kept == "[":
        assert found.errors == []
    else:
        assert attributes(found) == [{"x": kept, "y": "z"}, {"y": "z"}]


def test_types_of_fields_and_of_columns_that_are_not_there_are_not_chosen() -> None:
    found = read("item_id,item_type,status\n1,p,active\n", types={"item_id": "number", "nowhere": "json"})
    assert records(found) == [{"item_id": "1", "item_type": "p", "status": "active"}]


def test_the_column_attributes_holds_objects_and_columns_win() -> None:
    found = read(
        "item_id,attributes,item_type,status,size\n"
        'A,"{""size"": ""XL"", ""colour"": null}",p,active,42\n'
        'B,"{""size"": ""XL""}",p,active,\n'
        "C,{},p,active,\n"
        "D,,p,active,\n"
    )
    assert attributes(found) == [{"size": 42, "colour": None}, {"size": "XL"}, {}, None]


ATTRIBUTES = [
    ("[1]", "attributes", "invalid_type"),
    ("7", "attributes", "invalid_type"),
    ("null", "attributes", "invalid_type"),
    ("{", "attributes", "invalid_json"),
    ('{"w": 1e400}', "attributes.w", "invalid_number"),
    ('{"a": {"b": [1, "\\u0000"]}}', "attributes.a.b[1]", "invalid_string"),
    ('{"a":' * 31 + "1" + "}" * 31, "", ""),
    ('{"a":' * 32 + "1" + "}" * 32, "", ""),
    ('{"a":' * 33 + "1" + "}" * 33, "attributes" + ".a" * 32, "too_deep"),
]


@pytest.mark.parametrize(("cell", "column", "code"), ATTRIBUTES, ids=[cell[:12] for cell, _, _ in ATTRIBUTES])
def test_attributes_that_do_not_hold(cell: str, column: str, code: str) -> None:
    quoted = cell.replace('"', '""')
    found = read(f'item_id,item_type,status,attributes\nA,p,active,"{quoted}"\n')
    assert places(found.errors) == ([(2, 1, column, code)] if code else [])
    assert all(problem.message.startswith(column) for problem in found.errors)


ROWS = [
    (",p,active,x,1", "item_id", "required", ""),
    ("A,,active,x,1", "item_type", "required", ""),
    ("A,p,,x,1", "status", "required", ""),
    ("A,p,sold,x,1", "status", "invalid_status", "sold"),
    ("A,p, active,x,1", "status", "invalid_status", " active"),
    ("A,p,Active,x,1", "status", "invalid_status", "Active"),
    ("A\tB,p,active,x,1", "item_id", "invalid_id", "A\\tB"),
    ("i" * 257 + ",p,active,x,1", "item_id", "too_long", "i" * 99 + "…"),
    ("A," + "t" * 129 + ",active,x,1", "item_type", "too_long", "t" * 99 + "…"),
    ("A,p\0,active,x,1", "item_type", "invalid_string", "p\\x00"),
    ("A,p,active,x\0y,1", "name", "invalid_string", "x\\x00y"),
    ("A,p,active,x", "", "too_few_cells", "A"),
    ("A", "", "too_few_cells", "A"),
    ('""', "", "too_few_cells", ""),
    ("A,p,active,x,1,", "", "too_many_cells", "A"),
    ('A,p,active,"x"y,1', "", "bad_quoting", 'A,p,active,"x"y,1'),
    ('A,p,active,"x" ,1', "", "bad_quoting", 'A,p,active,"x" ,1'),
    ("A,p\rB,active,x,1", "", "bad_quoting", "A,p\\rB,active,x,1"),
]


@pytest.mark.parametrize(
    ("cells", "column", "code", "value"), ROWS, ids=[f"{code} {cells[:12]!r}" for cells, _, code, _ in ROWS]
)
def test_a_wrong_row_is_named_and_reading_goes_on(cells: str, column: str, code: str, value: str) -> None:
    before, after = 'G,p,active,"a\n\nb",1\n\n', "H,p,active,x,1\n"
    found = read(HEADER + before + cells + "\n" + after)
    assert places(found.errors) == [(6, 2, column, code)]
    assert found.errors[0].value == value
    assert [(upsert.entity_id, upsert.record_index) for upsert in found.upserts] == [("G", 0), ("H", 2)]
    assert "\n" not in found.errors[0].message


def test_every_fault_of_a_row_is_named() -> None:
    found = read(HEADER + "A\0,,sold,x\0,1\n")
    assert places(found.errors) == [
        (2, 1, "item_id", "invalid_id"),
        (2, 1, "item_type", "required"),
        (2, 1, "status", "invalid_status"),
        (2, 1, "name", "invalid_string"),
    ]
    assert (found.wrong_rows, found.wrong_ids, found.wrong_without_id) == (1, [], 1)


TIMES = ["2025-01-12", "2025-01-12T09:00:00", "2025-02-30T00:00:00Z", "12/01/2025", "2025-01-12 09:00:00Z", "0"]


@pytest.mark.parametrize("time", TIMES)
def test_times_that_are_none(time: str) -> None:
    found = read(f"user_id,status,created_at\nu,active,{time}\nv,active,\n", "users")
    assert places(found.errors) == [(2, 1, "created_at", "invalid_timestamp"), (3, 2, "created_at", "required")]


def test_blank_lines_are_no_rows() -> None:
    found = read(HEADER + "\n\r\n   \nA,p,active,x,1\n\n\n,p,active,x,1\n\t\n\n")
    assert found.survey.rows == 2
    assert places(found.errors) == [(8, 2, "item_id", "required")]


def test_an_id_that_comes_again_is_a_warning() -> None:
    found = read(HEADER + 'A,p,active,"x\ny",1\nB,p,active,x,1\nA,p,sold,x,2\nA,p,active,x,3\n')
    assert places(found.warnings) == [(5, 3, "item_id", "duplicate_id"), (6, 4, "item_id", "duplicate_id")]
    assert "line 2" in found.warnings[0].message
    assert (found.warnings[0].value, found.warnings[0].id) == ("A", "A")
    assert [upsert.record_index for upsert in found.upserts] == [0, 1, 3]


def test_rows_before_the_first_wanted_one_are_passed_over() -> None:
    data = HEADER + "".join(f'{n},p,active,"x\n{n}",{n}\n' for n in range(2500)) + "Z,p,sold,x,1\n"
    for first in (0, 1, 999, 1000, 1001, 2499, 2500, 2501):
        found = read(data, from_row=first)
        assert [upsert.record_index for upsert in found.upserts] == list(range(first, 2500))
        assert places(found.errors) == [(5002, 2501, "status", "invalid_status")][: first <= 2500]


HEADERS = [
    ("item_id,status,name\nA,active,x\n", [("item_type", "missing_column")]),
    ("Item_ID, item_type,status\nA,p,active\n", [("item_id", "missing_column"), ("item_type", "missing_column")]),
    ("sku;kind\nA;p\n", [("item_id", "missing_column"), ("item_type", "missing_column"), ("status", "missing_column")]),
    ("item_id,item_type,status,,x,\nA,p,active,1,2,3\n", [("", "unnamed_column"), ("", "unnamed_column")]),
    (
        "item_id,item_type,status,x,x,x,item_id\nA,p,active,1,2,3,4\n",
        [("item_id", "duplicate_column"), ("x", "duplicate_column")],
    ),
    ("item_id,item_type,status,a\0b\nA,p,active,x\n", [("a\\x00b", "invalid_string")]),
]


@pytest.mark.parametrize(("data", "expected"), HEADERS)
def test_a_header_that_cannot_be_one(data: str, expected: list[tuple[str, str]]) -> None:
    assert [problem[:4] for problem in refused(data)] == [(1, 0, *one) for one in expected]


BROKEN = [
    # A quote that is never closed, at the end of the file.
    ('A,p,active,"x,1\n', [(2, 1, "unclosed_quote")], []),
    ('A,p,active,"x,1\nof two lines\nand three', [(2, 1, "unclosed_quote")], []),
    # What follows it is read, if a line of it is a row.
    ('A,p,active,"x,1\nB,p,active,x,1\nC,p,sold,x,1\n', [(2, 1, "unclosed_quote"), (4, 3, "invalid_status")], ["B"]),
    ('A,p,active,"x,1\nB,p,active,"x",1\nC,p,active,"x\ny",1\n', [(2, 1, "unclosed_quote")], ["B", "C"]),
    ('A,p,active,"x,1\nmore of it\nB,p,active,"x",1\nC,,active,,\n', [(2, 1, "unclosed_quote"), (5, 3, "required")], ["B"]),
    # A quote inside quotes that is not doubled: the row is all lines up to there.
    ('A,p,active,"x\ny "z" a",1\nB,p,active,x,1\n', [(2, 1, "bad_quoting")], ["B"]),
    ('A,p,active,"x\r\ny" ,1\r\nB,p,active,x,1\r\n', [(2, 1, "bad_quoting")], ["B"]),
    ('A,p,active,"a"b,1\nB,p,active,"a"b,1\n', [(2, 1, "bad_quoting"), (3, 2, "bad_quoting")], []),
    # Quotes that are none.
    ('A,p,active,5" tube,1\nB,p,active, "x",1\n', [], ["A", "B"]),
]


@pytest.mark.parametrize(("rows", "errors", "ids"), BROKEN, ids=[rows for rows, _, _ in BROKEN])
@pytest.mark.parametrize("size", [1, 1 << 20])
def test_quoting(rows: str, errors: list[tuple[int, int, str]], ids: list[str], size: int) -> None:
    found = read(HEADER + rows, size=size)
    assert [(problem.line, problem.row, problem.code) for problem in found.errors] == errors
    assert [upsert.entity_id for upsert in found.upserts] == ids


def test_no_message_tells_the_value_of_an_attribute() -> None:
    secret = "s3cret"
    found = read(
        "item_id,item_type,status,a,b,c,attributes\n"
        f'A,p,active,{secret},{secret},{secret},"{{""x"": {secret}}}"\n'
        f'B,p,active,,,"[""{secret}\\u0000""]","{{""x"": ""{secret}\\ud800""}}"\n'
        f"C,p,active,{secret}\n"
        f'D,p,active,"{secret}"{secret}\n',
        types={"a": "number", "b": "boolean", "c": "json"},
    )
    assert [problem.code for problem in found.errors] == [
        "invalid_number", "invalid_boolean", "invalid_json", "invalid_json", "invalid_string", "invalid_string",
        "too_few_cells", "bad_quoting",
    ]  # fmt: skip
    assert [problem.message for problem in found.errors if secret in problem.message] == []
