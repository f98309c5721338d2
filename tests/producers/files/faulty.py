"""Good files with faults planted in some of their rows, and where each is to be found."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import NamedTuple

from hypothesis import strategies as st

from producers.files import ColumnType

Place = tuple[int, int, str, str]


class Faulty(NamedTuple):
    """A file, its faults as (line, row, column, code) in their order, its repeated ids likewise, and its good rows."""

    data: bytes
    errors: list[Place]
    warnings: list[Place]
    good: list[str]


# CSV: a row is the text of its cells by name. A fault changes it, and says which column it is in and its code.
TYPES: dict[str, ColumnType] = {"number": "number", "on": "boolean", "data": "json", "gone": "omit"}
REQUIRED = ["item_id", "item_type", "status"]
OTHERS = ["name", "note", "number", "on", "data", "gone", "attributes"]
CELLS: dict[str, Sequence[str]] = {
    "item_type": ["product", "x y", "t" * 128],
    "status": ["active", "inactive", "deleted"],
    "name": ["", "Shoe", "Größe", "😀", "=1", "5' tube", "a\u2028b"],
    "note": ["", "two\nlines", "two\r\nlines\n\nand more", 'said "no"', "a, b; c\td|e", "a\rb"],
    "number": ["", "0", "-1.50", "1e60", "123456789012345"],
    "on": ["", "true", "FALSE"],
    "data": ["", "null", "[1, 2]", '{"a": {"b": "c\\n"}}'],
    "gone": ["", "what\never", "02139"],
    "attributes": ["", "{}", '{"k": [1.5, null],\n"l": "m"}'],
}
CELL_FAULTS: dict[str, list[tuple[str, str, str]]] = {
    "item_id": [("", "item_id", "required"), ("a\nb", "item_id", "invalid_id"), ("i" * 257, "item_id", "too_long")],
    "item_type": [
        ("", "item_type", "required"),
        ("t" * 129, "item_type", "too_long"),
        ("\0", "item_type", "invalid_string"),
    ],
    "status": [("", "status", "required"), ("sold", "status", "invalid_status"), ("active ", "status", "invalid_status")],
    "name": [("a\0", "name", "invalid_string")],
    "number": [("02139", "number", "invalid_number"), ("x\ny", "number", "invalid_number")],
    "on": [("yes", "on", "invalid_boolean")],
    "data": [
        ("{", "data", "invalid_json"),
        ('{"a":\n1e400}', "data.a", "invalid_number"),
        ('["\\ud800"]', "data[0]", "invalid_string"),
        ("[" * 32 + "]" * 32, "data" + "[0]" * 31, "too_deep"),
    ],
    "attributes": [
        ("[]", "attributes", "invalid_type"),
        ("{a}", "attributes", "invalid_json"),
        ('{"a": {"b": 1e99}}', "attributes.a.b", "invalid_number"),
    ],
}
SHAPES = ["too_few_cells", "too_many_cells", "bad_quoting", "unclosed_quote"]


def quoted(cell: str, delimiter: str, always: bool) -> str:
    needs = always or any(character in cell for character in f'{delimiter}"\n\r')
    return '"' + cell.replace('"', '""') + '"' if needs else cell


class _Plan:
    """What is to be found in a file, as its rows are written."""

    def __init__(self) -> None:
        self.errors: list[Place] = []
        self.warnings: list[Place] = []
        self.good: list[str] = []
        self._rows = 0
        self._used: set[str] = set()

    def row(self, line: int, known: str | None, faults: Sequence[tuple[str, str]]) -> None:
        self._rows += 1
        self.errors += [(line, self._rows, column, code) for column, code in faults]
        if known in self._used:
            self.warnings.append((line, self._rows, "item_id", "duplicate_id"))
        if known is not None:
            self._used.add(known)
        if known is not None and not faults:
            self.good.append(known)

    def faulty(self, text: str) -> Faulty:
        return Faulty(text.encode("utf-8"), self.errors, self.warnings, self.good)


IDS = st.sampled_from(["A", "B", "a:b", "ü/x", " ", "P-1", "P-2", "P-3", "P-4"])


@st.composite
def csv_files(draw: st.DrawFn) -> Faulty:
    delimiter, end = draw(st.sampled_from(",;\t|")), draw(st.sampled_from(["\n", "\r\n"]))
    names = draw(st.permutations(REQUIRED + draw(st.lists(st.sampled_from(OTHERS), unique=True))))
    ordered = [*REQUIRED, *(name for name in names if name not in REQUIRED and name != "attributes"), "attributes"]
    text, plan = draw(st.sampled_from(["", "\ufeff"])) + delimiter.join(names) + end, _Plan()
    for _ in range(draw(st.integers(1, 8))):
        text += draw(st.sampled_from(["", "", "", end, end + end, f"  {end}"]))
        line = text.count("\n") + 1
        cells = {name: draw(IDS if name == "item_id" else st.sampled_from(CELLS[name])) for name in names}
        known: str | None = cells["item_id"]
        shape = draw(st.sampled_from([*[""] * 6, *SHAPES]))
        faults = [("", shape)] if shape else []
        wrong = draw(st.lists(st.sampled_from(ordered), unique=True, max_size=3))
        for name in sorted(set(wrong) & set(names) & set(CELL_FAULTS), key=ordered.index) if not shape else ():
            cells[name], column, code = draw(st.sampled_from(CELL_FAULTS[name]))
            faults.append((column, code))
        if (
            shape in ("bad_quoting", "unclosed_quote")
            or ("item_id" in wrong and not shape)
            or (shape == "too_few_cells" and names[-1] == "item_id")
        ):
            known = None
        always = draw(st.booleans())
        text += _shaped(shape, [quoted(cells[name], delimiter, always) for name in names], delimiter) + end
        plan.row(line, known, faults)
        if shape == "unclosed_quote":
            # What follows is swallowed until something does not hold: a plain row ends that.
            plain = {"item_id": "plain", "item_type": "t", "status": "active"}
            plan.row(text.count("\n") + 1, "plain", [])
            text += delimiter.join(plain.get(name, "") for name in names) + end
    return plan.faulty(text.removesuffix(draw(st.sampled_from(["", end]))))


def _shaped(shape: str, row: list[str], delimiter: str) -> str:
    match shape:
        case "too_few_cells":
            return delimiter.join(row[:-1])
        case "too_many_cells":
            return delimiter.join([*row, ""])
        case "bad_quoting":
            return delimiter.join(['"a"b', *row[1:]]).replace("\n", " ").replace("\r", " ")
        case "unclosed_quote":
            return delimiter.join(['"a', *["x"] * (len(row) - 1)])
    return delimiter.join(row)


# JSON: the text of a record's members by name.
MEMBERS: dict[str, Sequence[str]] = {
    "item_type": ['"product"', '"\\u00e9"'],
    "status": ['"active"', '"deleted"'],
    "attributes": ["{}", '{"a.b": [{"c": "]}\\\\\\""}, 1e60, -0.0]}', '{"a":\n{"b" :\n[[[{}]]]}}', '{"n": 1e-7, "n": null}'],
    "error": ['"what it was"'],
}
MEMBER_FAULTS: dict[str, list[tuple[str, str, str]]] = {
    "item_id": [("7", "item_id", "invalid_type"), ('""', "item_id", "invalid_id"), ('"\\n"', "item_id", "invalid_id")],
    "item_type": [("null", "item_type", "invalid_type"), ('""', "item_type", "invalid_string")],
    "status": [('"sold"', "status", "invalid_status")],
    "attributes": [
        ("[1]", "attributes", "invalid_type"),
        ('{"a.b": {"c": [0, 1E400]}}', "attributes.a.b.c[1]", "invalid_number"),
        ('{"a": "\\ud83d"}', "attributes.a", "invalid_string"),
        ('{"a":\n' + "[" * 32 + "]" * 32 + "}", "attributes.a" + "[0]" * 31, "too_deep"),
    ],
    "error": [("[]", "error", "unknown_field")],
    "price": [("1", "price", "unknown_field")],
}
NO_RECORDS = [("7", "invalid_type"), ("[{}]", "invalid_type"), ('{"a" 1}', "invalid_json"), ("nope", "invalid_json")]
NO_LINES = [('{"item_id":', "invalid_json"), ('"', "invalid_json"), ("]", "invalid_json"), ("[" * 600, "too_deep")]


@st.composite
def _json_record(draw: st.DrawFn) -> tuple[str, str | None, list[tuple[str, str]]]:
    """The text of a record, its id where that is known, and its faults."""
    entity_id = draw(IDS)
    names = draw(
        st.permutations(["item_id", "item_type", "status", *draw(st.sampled_from([[], ["attributes"], ["error"]]))])
    )
    members = {name: json.dumps(entity_id) if name == "item_id" else draw(st.sampled_from(MEMBERS[name])) for name in names}
    faults: list[tuple[str, str]] = []
    known: str | None = entity_id
    missing: list[tuple[str, str]] = []
    if draw(st.integers(0, 2)) == 0:
        for name in [*names, "price"]:
            if name in MEMBER_FAULTS and draw(st.booleans()):
                members[name], column, code = draw(st.sampled_from(MEMBER_FAULTS[name]))
                faults.append((column, code))
                known = None if name == "item_id" else known
        for name in REQUIRED:
            if draw(st.integers(0, 4)) == 0 and members.pop(name):
                faults = [fault for fault in faults if fault[0] != name]
                missing.append((name, "required"))
                known = None if name == "item_id" else known
    faults = [
        *missing[: missing[:1] == [("item_id", "required")]],
        *faults,
        *(one for one in missing if one[0] != "item_id"),
    ]
    colon = draw(st.sampled_from([":", " : "]))
    return "{" + ",".join(f'"{name}"{colon}{text}' for name, text in members.items()) + "}", known, faults


@st.composite
def json_files(draw: st.DrawFn, lines: bool) -> Faulty:
    """An array, or a record a line."""
    gap = st.sampled_from(["\n", "\r\n", " \n\n \n"] if lines else ["", "", " ", "\n", "\r\n\n"])
    text, plan = draw(st.sampled_from(["", "\ufeff"])) + ("" if lines else "[") + (draw(gap) if not lines else ""), _Plan()
    for number in range(draw(st.integers(1, 8))):
        if number:
            text += draw(gap) + ("" if lines else "," + draw(gap))
        raw, known, faults = draw(_json_record())
        if number and draw(st.integers(0, 5)) == 0:
            raw, code = draw(st.sampled_from(NO_RECORDS + (NO_LINES if lines else [])))
            known, faults = None, [("", code)]
        plan.row(text.count("\n") + 1, known, faults)
        text += raw.replace("\n", " ") if lines else raw
    return plan.faulty(text + ("" if lines else draw(gap) + "]") + draw(st.sampled_from(["", "\n", "\r\n\r\n"])))
