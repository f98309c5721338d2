"""Columns of a CSV file: what type each has, and its cells as values.

1. A column is a number only if every filled cell is a JSON number of at most 15 significant digits, 0 or between 1e-60 and
   1e60 in magnitude: what a double holds without changing it. `02139` and `1e400` make it text.
2. It is true/false only if every filled cell is `true` or `false`. Otherwise it is text.
3. An empty cell is absent, whatever the column's type.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any, Final, Literal, NamedTuple, TypeAlias

import orjson

from foldline.domain.records import ATTRIBUTES_MAX_BYTES, Rejection
from foldline.domain.values import DOUBLE_MAX, DOUBLE_MIN, PLAIN, Unparsable, faults, look, parse, parse_exactly, printable
from producers.files.problems import LARGE, MOST_A_ROW

ColumnType: TypeAlias = Literal["text", "number", "boolean", "json", "omit"]
TYPES: Final[tuple[ColumnType, ...]] = ("text", "number", "boolean", "json", "omit")
ABSENT: Final = None
SIGNIFICANT_DIGITS: Final = 15

_SIMPLE: Final = r"-?(?:0|[1-9][0-9]{0,8})(?:\.[0-9]{1,6})?"
_ALL_SIMPLE: Final = re.compile(rf"(?:{_SIMPLE}\n)*{_SIMPLE}")
_NUMBER: Final = re.compile(r"-?((?:0|[1-9][0-9]*)(?:\.[0-9]+)?)(?:[eE][+-]?[0-9]+)?", re.ASCII)
_PLACE: Final = re.compile(r" at line [0-9]+(?= column)")
_BOOLEANS: Final = frozenset(("true", "false"))
_TRUTH: Final = {"true": True, "false": False}

Fault: TypeAlias = tuple[str, str, str]
"""A path, a code and a sentence."""
Faults: TypeAlias = dict[int, list[Fault]]


class Column(NamedTuple):
    """A column. `found` is the type that its cells have, `type` the one that they are given; a `field` is one of the
    schema's, whose type is fixed. `filled` cells are not empty."""

    name: str
    found: ColumnType
    type: ColumnType
    field: bool
    filled: int


class Guess:
    """What a column may be, after some of its cells."""

    __slots__ = ("_boolean", "_number", "filled")

    def __init__(self) -> None:
        self.filled = 0
        self._number = self._boolean = True

    def add(self, cells: Sequence[str]) -> None:
        filled = [cell for cell in cells if cell] if "" in cells else cells
        if not filled:
            return
        self.filled += len(filled)
        if self._number:
            self._number = _all_numbers(filled)
        if self._boolean:
            self._boolean = _BOOLEANS.issuperset(filled)

    @property
    def type(self) -> ColumnType:
        if not self.filled:
            return "text"
        return "number" if self._number else "boolean" if self._boolean else "text"


def is_number(cell: str) -> bool:
    """Whether a cell is a number by rule 1."""
    match = _NUMBER.fullmatch(cell)
    if match is None:
        return False
    mantissa = match[1]
    if len(mantissa.replace(".", "").lstrip("0")) > SIGNIFICANT_DIGITS:
        return False
    size = abs(float(cell))
    return DOUBLE_MIN <= size <= DOUBLE_MAX or not mantissa.strip("0.")


def values(name: str, kind: ColumnType, cells: Sequence[str], faulty: Faults) -> Sequence[Any]:
    """The values of an attribute's cells, `ABSENT` where a cell is empty; what does not hold is added to `faulty`."""
    return _CONVERT[kind](printable(name), cells, faulty)


def _texts(name: str, cells: Sequence[str], faulty: Faults) -> Sequence[Any]:
    if "\0" in "".join(cells):
        for place, cell in enumerate(cells):
            if "\0" in cell:
                faulty.setdefault(place, []).append((name, "invalid_string", f"{name} has U+0000"))
    if max(map(len, cells)) > ATTRIBUTES_MAX_BYTES:
        for place, cell in enumerate(cells):
            if len(cell) > ATTRIBUTES_MAX_BYTES:
                faulty.setdefault(place, []).append(("attributes", *LARGE))
    return [cell or ABSENT for cell in cells] if "" in cells else cells


def _numbers(name: str, cells: Sequence[str], faulty: Faults) -> Sequence[Any]:
    filled = [cell for cell in cells if cell]
    if _all_numbers(filled):
        numbers = iter(orjson.loads(f"[{','.join(filled)}]"))
        return [next(numbers) if cell else ABSENT for cell in cells] if len(filled) < len(cells) else list(numbers)
    found: list[Any] = [ABSENT] * len(cells)
    for place, cell in enumerate(cells):
        if cell and is_number(cell):
            found[place] = orjson.loads(cell)
        elif cell:
            message = f"{name} must be a number as JSON writes it, with at most {SIGNIFICANT_DIGITS} digits"
            faulty.setdefault(place, []).append((name, "invalid_number", message))
    return found


def _truths(name: str, cells: Sequence[str], faulty: Faults) -> Sequence[Any]:
    found = [_TRUTH.get(cell.lower(), ABSENT) for cell in cells]
    for place, cell in enumerate(cells):
        if cell and found[place] is ABSENT:
            faulty.setdefault(place, []).append((name, "invalid_boolean", f"{name} must be true or false"))
    return found


def _jsons(name: str, cells: Sequence[str], faulty: Faults) -> Sequence[Any]:
    found: list[Any] = [ABSENT] * len(cells)
    for place, cell in enumerate(cells):
        if cell:
            value = json_value(name, cell, 2, faulty.setdefault(place, []))
            found[place] = value
            if not faulty[place]:
                del faulty[place]
    return found


class Json(NamedTuple):
    """A JSON value in a cell: `null` is not an empty cell."""

    value: Any


def json_value(name: str, cell: str, depth: int, faulty: list[Fault]) -> Json | None:
    """The JSON value of a cell, which lies so deep in `attributes`; what does not hold is added to `faulty`."""
    raw = cell.encode()
    try:
        value, exact = parse(raw)
        if exact or b"\\u0000" in raw or look([value], depth - 1) is not PLAIN:
            value = parse_exactly(raw)
            found: Iterator[Rejection] = islice(faults(value, name, depth), MOST_A_ROW + 1)
            faulty += [(fault.field, fault.code, fault.message) for fault in found]
    except Unparsable as unparsable:
        faulty.append((name, unparsable.code, f"{name}: {_PLACE.sub('', unparsable.message)}"))
        return None
    return Json(value)


def _omitted(name: str, cells: Sequence[str], faulty: Faults) -> Sequence[Any]:
    return [ABSENT] * len(cells)


def _all_numbers(cells: Sequence[str]) -> bool:
    joined = "\n".join(cells)
    if joined.count("\n") == len(cells) - 1 and _ALL_SIMPLE.fullmatch(joined):
        return True
    return all(map(is_number, cells))


_CONVERT: Final[dict[ColumnType, Callable[[str, Sequence[str], Faults], Sequence[Any]]]] = {
    "text": _texts,
    "number": _numbers,
    "boolean": _truths,
    "json": _jsons,
    "omit": _omitted,
}
