"""The header of a CSV file, which is line 1: its delimiter, and the names of its columns."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from typing import Final

from foldline.domain.records import DETAIL_FIELD, ID_FIELD, Kind
from foldline.domain.values import printable, string_fault
from producers.files.problems import BadFile, Problem, bad_file, shown
from producers.files.source import Blocks, texts

DELIMITERS: Final = ",;\t|"
MAX_COLUMNS: Final = 2000
HEADER_CHARACTERS: Final = 512 * 1024


def required_fields(kind: Kind) -> tuple[str, str, str]:
    """What every row of a file must have."""
    return ID_FIELD[kind], DETAIL_FIELD[kind], "status"


def header_of(kind: Kind, blocks: Blocks) -> tuple[str, list[str]]:
    """The delimiter, under which the header names most of what is required, and the names of the columns.

    Raises `BadFile` for a header that cannot be one.
    """
    head = _head(blocks)
    if not head.partition("\n")[0].strip():
        raise bad_file("missing_header", "Line 1 is blank: the names of the columns belong there")
    if len(head) >= HEADER_CHARACTERS and "\n" not in head:
        raise bad_file("row_too_large", f"The header (line 1) has more than {HEADER_CHARACTERS:,} characters")
    required = required_fields(kind)
    loosely = {delimiter: _cells(head, delimiter, strict=False) for delimiter in DELIMITERS}
    delimiter = max(DELIMITERS, key=lambda one: (sum(name in loosely[one] for name in required), len(loosely[one])))
    if not (names := _cells(head, delimiter, strict=True)):
        raise bad_file("bad_quoting", "The header (line 1) cannot be split: is a quote in it not closed, or not doubled?")
    if len(names) > MAX_COLUMNS:
        raise bad_file("too_many_columns", f"The header (line 1) has {len(names):,} columns; {MAX_COLUMNS:,} is the limit")
    if problems := list(_problems(names, required)):
        raise BadFile(problems)
    return delimiter, names


def _head(blocks: Blocks) -> str:
    head = ""
    for text in texts(blocks):
        head += text
        if len(head) >= HEADER_CHARACTERS:
            break
    return head[:HEADER_CHARACTERS]


def _cells(head: str, delimiter: str, strict: bool) -> list[str]:
    """The names under a delimiter; none where that cannot be."""
    try:
        return next(csv.reader(io.StringIO(head), delimiter=delimiter, strict=strict), [])
    except csv.Error:
        return []


def _problems(names: list[str], required: Sequence[str]) -> Iterator[Problem]:
    for name in required:
        if name not in names:
            near = next((other for other in names if other.strip().lower() == name), "")
            hint = f": rename the column {printable(near)!r}" if near else ": every row needs it"
            yield _problem(name, "missing_column", f"The header (line 1) has no column {name}{hint}", near)
    for place, name in enumerate(names):
        title = printable(name)
        if not name:
            message = f"Column {place + 1} has no name in the header (line 1): name it, or take it out"
            yield _problem("", "unnamed_column", message)
        elif names.index(name) == place and (times := names.count(name)) > 1:
            message = f"The header (line 1) has the column {title} {'twice' if times == 2 else f'{times} times'}: rename one"
            yield _problem(title, "duplicate_column", message, name)
        elif string_fault(name):
            yield _problem(title, "invalid_string", f"The name of column {place + 1} has U+0000: take it out", name)


def _problem(column: str, code: str, message: str, value: str = "") -> Problem:
    return Problem(1, 0, column, code, message, shown(value), None)
