"""The file of wrong rows: as the file was, with what is wrong; mended, it is read like any other."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.producers.files.reading import places, read, records

HEADER = "item_id,item_type,status,name,price\n"
EXAMPLES = Path(__file__).resolve().parents[3] / "examples"


def test_a_csv_file_gets_a_column_more() -> None:
    found = read(HEADER + 'A,p,sold,"two\nlines, ""quoted""",1\nB,p,active,x,1\n,p,,=1+1,2\n')
    assert found.failed.decode() == (
        "item_id,item_type,status,name,price,error\n"
        'A,p,sold,"two\nlines, ""quoted""",1,"line 2: status must be active, inactive or deleted"\n'
        ",p,,=1+1,2,line 5: item_id is required in every row; status is required in every row\n"
    )


@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
def test_it_is_the_same_dialect(delimiter: str) -> None:
    data = "\ufeff" + HEADER.replace(",", delimiter) + f'A,p,sold,"a{delimiter}b",1\r\n'.replace(",", delimiter)
    failed = read(data).failed.decode()
    assert failed.startswith("\ufeff" + delimiter.join(["item_id", "item_type", "status", "name", "price", "error"]))
    again = read(failed)
    assert (again.survey.delimiter, again.survey.bom) == (delimiter, True)
    assert places(again.errors) == [(2, 1, "status", "invalid_status")]


SHAPES = [
    ("A,p,sold", ["A", "p", "sold", "", ""], []),
    ("A,p,sold,a,b,c,d", ["A", "p", "sold", "a", "b"], ["c", "d"]),
    ('A,p,sold,"a\rb",', ["A", "p", "sold", "a\rb", ""], []),
    # As it is, where it has the right number of cells for programs that are not strict; else in the first cell.
    ('A,p,sold,"a"b,1', ["A", "p", "sold", "ab", "1"], []),
    ('A,p,sold,"a"b', ['A,p,sold,"a"b', "", "", "", ""], []),
    ('A,p,sold,"a"b,"c', ['A,p,sold,"a"b,"c', "", "", "", ""], []),
    ('A,p,sold,"a,1', ['A,p,sold,"a,1', "", "", "", ""], []),
    ("A,p\rq,sold,a,1", ["A,p\rq,sold,a,1", "", "", "", ""], []),
]


@pytest.mark.parametrize(("row", "cells", "surplus"), SHAPES, ids=[row for row, *_ in SHAPES])
def test_the_error_of_a_row_is_in_its_column_whatever_shape_it_has(row: str, cells: list[str], surplus: list[str]) -> None:
    failed = read(HEADER + row + "\nB,p,sold,x,1\n").failed.decode()
    first, second = list(csv.reader(io.StringIO(failed, newline="")))[1:]
    assert first[:5] == cells
    assert first[5].startswith("line 2: ")
    assert first[6:] == surplus
    assert second[5] == "line 3: status must be active, inactive or deleted"
    again = read(failed)
    assert (again.wrong_rows, again.survey.rows) == (2, 2)
    assert read(again.failed).failed == again.failed


MENDED: list[tuple[str, Callable[[str], str]]] = [
    ("A,p,sold,x,1", lambda text: text.replace("sold", "active")),
    (",p,active,x,1", lambda text: text.replace("\n,p", "\nA,p")),
    ('A,p,sold,"x\n1,\r\n",1', lambda text: text.replace("sold", "active")),
    ("A,p,active,x", lambda text: text),
    ("A,p,active,x,1,2", lambda text: text.removesuffix(",2\n") + "\n"),
    ('A,p,active,"x"y,1', lambda text: text.replace('"x"y', "xy")),
]


@pytest.mark.parametrize(("row", "mend"), MENDED, ids=[row for row, _ in MENDED])
def test_a_mended_row_holds(row: str, mend: Callable[[str], str]) -> None:
    failed = read(HEADER + row + "\n").failed.decode()
    again = read(mend(failed))
    assert (again.errors, again.survey.rows) == ([], 1)
    assert again.upserts[0].entity_id == "A"
    assert "error" not in (again.upserts[0].attributes or "")
    (column,) = [column for column in again.survey.columns if column.name == "error"]
    assert (column.found, column.type) == ("omit", "omit")
    assert "error" in (read(mend(failed), types={"error": "text"}).upserts[0].attributes or "")


def test_what_is_wrong_again_does_not_pile_up() -> None:
    failed = read(HEADER + "A,p,sold,x,1\n,p,active,x,1\nB,,active\nC,p,active,x,1,2\n").failed
    again = read(failed)
    assert [problem[2:4] for problem in again.errors] == [
        ("status", "invalid_status"), ("item_id", "required"), ("item_type", "required"), ("", "too_many_cells"),
    ]  # fmt: skip
    assert again.failed.startswith(failed.partition(b"\n")[0] + b"\n")
    assert again.failed.count(b"line 2:") == 1


def test_only_a_last_column_called_error_is_ours() -> None:
    found = read("item_id,error,item_type,status\nA,x,p,active\nB,x,p,sold\n")
    assert found.upserts[0].attributes == '{"error":"x"}'
    assert found.failed.startswith(b"item_id,error,item_type,status,foldline_error\n")


def test_a_second_column_called_error_is_told_from_ours() -> None:
    failed = read("item_id,error,item_type,status\nB,x,p,sold\n").failed.decode()
    again = read(failed.replace("sold", "active"))
    assert records(again) == [{"item_id": "B", "item_type": "p", "status": "active", "attributes": {"error": "x"}}]


GOOD = '{"item_id":"A","item_type":"p","status":"active"}'
WRONG = '{"item_id":"B", "item_type":"p",\n "status":"sold", "attributes":{"n":1.50}}'
SOLD = "status must be active, inactive or deleted"
KEPT = f'{WRONG[:-1]},"error":"line %d: {SOLD}"}}'.replace("\n", " ")


def test_an_array_stays_an_array() -> None:
    found = read(f"[{GOOD},\n{WRONG},\n5,{{}}]")
    assert found.failed.decode() == (
        "[\n" + KEPT % 2 + ",\n"
        '{"error":"line 4: a record must be a JSON object","record":"5"},\n'
        '{"error":"line 4: item_id is required; item_type is required in every row; status is required in every row"}\n]\n'
    )
    again = read(found.failed)
    assert [(problem.row, problem.code) for problem in again.errors] == [
        (1, "invalid_status"), (2, "invalid_type"), (3, "required"), (3, "required"), (3, "required"),
    ]  # fmt: skip
    assert again.failed == found.failed.replace(b"1: ", b"2: ").replace(b"4: a", b"3: a").replace(b"4: i", b"4: i")


def test_a_record_a_line_stays_a_record_a_line() -> None:
    wrong = WRONG.replace("\n", " ")
    found = read(f'{GOOD}\n{wrong}\n{{"item_id": "C"\n\n{wrong.replace("1.50", "1e400")}\n')
    lines = found.failed.decode().splitlines()
    assert len(lines) == 3
    assert lines[0] == KEPT % 2
    assert json.loads(lines[1]) == {
        "error": "line 3: malformed JSON: Expecting ',' delimiter at column 16", "record": '{"item_id": "C"',
    }  # fmt: skip
    assert "1e400" in lines[2]


def test_mended_records_hold() -> None:
    wrong = WRONG.replace("\n", " ")
    for data in (f"[{wrong},\n{GOOD}]", f"{wrong}\n{GOOD}\n"):
        again = read(read(data).failed.decode().replace("sold", "active"))
        assert records(again) == [{"item_id": "B", "item_type": "p", "status": "active", "attributes": {"n": 1.5}}]


def test_a_line_that_is_no_json_is_mended_where_it_stands_or_taken_out() -> None:
    failed = read(GOOD[:-1] + "\n" + GOOD).failed.decode()
    kept = json.loads(failed)["record"]
    assert kept == GOOD[:-1]
    inside = json.dumps({"error": "as it was", "record": kept + "}"})
    for mended in (inside, inside.replace(" ", ""), GOOD, failed.replace('active\\"', 'active\\"}')):
        again = read(mended + "\n" + GOOD.replace('"A"', '"A2"'))
        assert (again.errors, [upsert.entity_id for upsert in again.upserts]) == ([], ["A", "A2"])
    again = read(failed)
    assert places(again.errors) == [(1, 1, "", "invalid_json")]
    assert again.failed.decode() == failed


def test_no_error_begins_like_a_formula() -> None:
    found = read("item_id,item_type,status,=x,+y,-z,@a\n" + "A,p,active,1,1,1,1\nB,p,active,x,x,x,x\n", types={
        "=x": "number", "+y": "number", "-z": "boolean", "@a": "json",
    })  # fmt: skip
    for row in list(csv.reader(io.StringIO(found.failed.decode())))[1:]:
        assert row[-1].startswith("line ")


def test_the_examples_say_the_same_but_for_one_attribute() -> None:
    table = {one["item_id"]: one for one in records(read((EXAMPLES / "catalog.csv").read_bytes()))}
    listed = {one["item_id"]: one for one in records(read((EXAMPLES / "catalog.json").read_bytes()))}
    assert set(table) == {"PROD-001", "PROD-002", "PROD-003", "PROD-004"}
    assert table["PROD-002"] == listed["PROD-002"]
    assert listed["PROD-001"]["attributes"].pop("brand") == "Acoustix"
    assert table["PROD-001"] == listed["PROD-001"]


def test_the_example_of_users_is_read() -> None:
    found = read((EXAMPLES / "users.csv").read_bytes(), "users")
    assert (found.errors, found.warnings) == ([], [])
    assert records(found, "users")[0]["attributes"] == {"email": "alice@example.com", "age": 32, "interests": "tech,music"}
