"""Every fault is found where it is, none is missed, none invented; and what holds here, the fold accepts."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from foldline.domain.fold import FOLD
from foldline.domain.records import Kind, State, Upsert
from foldline.domain.values import normalised
from producers.files import ColumnType
from tests.laws import strategies as laws
from tests.producers.files.faulty import TYPES, Faulty, csv_files, json_files
from tests.producers.files.reading import Read, attributes, places, read

SIZES = st.sampled_from([1, 2, 5, 64, 1 << 20])


def found_in(file: Faulty, size: int) -> Read:
    found = read(file.data, types=TYPES, size=size)
    assert places(found.errors) == file.errors
    assert places(found.warnings) == file.warnings
    assert [upsert.entity_id for upsert in found.upserts] == file.good
    return found


@given(csv_files(), SIZES)
def test_every_fault_of_a_csv_file_is_named_where_it_is(file: Faulty, size: int) -> None:
    found = found_in(file, size)
    if found.failed:
        again = read(found.failed, types=TYPES, size=size)
        assert again.survey.rows == found.wrong_rows


@given(json_files(lines=False), SIZES)
def test_every_fault_of_a_json_array_is_named_where_it_is(file: Faulty, size: int) -> None:
    _again(found_in(file, size), size)


@given(json_files(lines=True), SIZES)
def test_every_fault_of_json_lines_is_named_where_it_is(file: Faulty, size: int) -> None:
    _again(found_in(file, size), size)


def _again(found: Read, size: int) -> None:
    """The wrong records are just as wrong when they are read again."""
    if found.failed:
        again = read(found.failed, size=size)
        wrong = [problem.code for problem in found.errors if problem.column != "error"]  # that is ours, then
        assert [problem.code for problem in again.errors] == wrong


CELLS = st.one_of(
    st.sampled_from(
        ["", "0", "-0", "-0.0", "1e5", "1.0", "1e18", "123456789012345", "1e-60", "1e60", "1e61", "02139", "true"]
    ),
    st.sampled_from(["false", "TRUE", "null", "[]", '{"a": 1e16}', "[1e400]", '"\\u0000"', "{", "a\nb", '"', "=1", "\x00"]),
    st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=5),
    st.floats(allow_nan=False, allow_infinity=False, width=32).map(str),
    laws.objects.map(lambda one: one.text),
)
KINDS_OF_COLUMN: st.SearchStrategy[ColumnType | None] = st.sampled_from(["text", "number", "boolean", "json", None, None])


@given(st.lists(st.tuples(CELLS, CELLS, CELLS), min_size=1, max_size=5), KINDS_OF_COLUMN, KINDS_OF_COLUMN)
def test_what_holds_of_a_csv_file_the_fold_accepts(
    rows: list[tuple[str, str, str]], first: ColumnType | None, second: ColumnType | None
) -> None:
    text = "item_id,item_type,status,x,y,attributes\n"
    for number, cells in enumerate(rows):
        text += ",".join([f"{number},p,active", *('"' + cell.replace('"', '""') + '"' for cell in cells)]) + "\n"
    types = {name: kind for name, kind in (("x", first), ("y", second)) if kind}
    found = read(text, types=types)
    for upsert, sent in zip(found.upserts, attributes(found), strict=True):
        x, y, _ = rows[upsert.record_index]
        kept = _folded("items", upsert)
        assert kept == normalised(sent or {})
        for name, cell, column in zip("xy", (x, y), found.survey.columns[3:], strict=False):
            assert _means(column.type, cell, kept.get(name))


def _means(kind: ColumnType, cell: str, kept: Any) -> bool:
    match kind:
        case _ if not cell:
            return True
        case "number":
            return type(kept) in (int, float) and kept == float(cell)
        case "boolean":
            return kept is (cell.lower() == "true")
        case "json":
            return bool(kept == json.loads(cell))
    return bool(kept == cell)


@st.composite
def record(draw: st.DrawFn, kind: Kind) -> tuple[str, Any]:
    """The text of a record that may have faults, and its attributes where it has none."""
    sent = draw(laws.sent(kind, statuses=laws.STATUSES, bad=False))
    fields = [
        f'"{"item_id" if kind == "items" else "user_id"}":{json.dumps(draw(laws.IDS))}',
        f'"status":"{sent.event.status}"',
    ]
    detail = draw(
        st.sampled_from(['"p"', '"é"'] if kind == "items" else ['"2025-01-12T09:00:00Z"', '"2025-01-12T09:00:00.5-01:30"'])
    )
    fields.append(f'"{"item_type" if kind == "items" else "created_at"}":{detail}')
    carried = draw(st.one_of(st.none(), laws.objects, laws.objects, laws.bad_attributes))
    return "{" + ", ".join(fields + ([f'"attributes" : {carried.text}'] if carried else [])) + "}", carried and carried.kept


@given(st.data(), st.sampled_from(["items", "users"]), st.booleans(), SIZES)
def test_what_holds_of_a_json_file_the_fold_accepts(data: st.DataObject, kind: Kind, lines: bool, size: int) -> None:
    sent = data.draw(st.lists(record(kind).filter(lambda one: lines or one[0].count("[") < 600), min_size=1, max_size=4))
    texts = [text for text, _ in sent]
    found = read(("\n".join(texts) if lines else f"[{','.join(texts)}]").encode(), kind, size=size)
    if lines or not any(kept == "invalid_json" for _, kept in sent):
        assert [row for row, (_, kept) in enumerate(sent) if not isinstance(kept, str)] == [
            u.record_index for u in found.upserts
        ]
    for upsert in found.upserts:
        if kind == "items" or upsert.status != "deleted":
            assert _folded(kind, upsert) == (sent[upsert.record_index][1] or {})


def _folded(kind: Kind, upsert: Upsert) -> Any:
    state = FOLD[kind](None, upsert, 0, 1)
    assert isinstance(state, State), state
    assert (state.entity_id, state.detail, state.status) == (upsert.entity_id, upsert.detail, upsert.status)
    return state.attributes
