"""CSV as people have it: rows of cells with the line at which each starts.

1. The header is line 1. The delimiter is the one of `,` `;` tab `|` under which the header names most of what is required.
2. Newlines inside quotes stay as they are. A line that is blank is no row.
3. What breaks the rules of quoting is one bad row; reading goes on at the next line.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Final, NamedTuple

from foldline.domain.records import DETAIL_FIELD, ID_FIELD, Kind
from foldline.domain.values import printable, string_fault
from producers.files.problems import BadFile, Problem, bad_file
from producers.files.source import ROW_BYTES, Blocks

DELIMITERS: Final = ",;\t|"
BATCH_ROWS: Final = 1000
MAX_COLUMNS: Final = 2000
HEADER_CHARACTERS: Final = 1024 * 1024

csv.field_size_limit(ROW_BYTES)


class Line(NamedTuple):
    """One row that could not be split into cells: its text, and why."""

    text: str
    code: str
    message: str


class Batch(NamedTuple):
    """Up to `BATCH_ROWS` rows, and the line at which each starts."""

    rows: list[Sequence[str] | Line]
    lines: Sequence[int]
    plain: bool
    """All of them have as many cells as the header."""


def required_fields(kind: Kind) -> tuple[str, str, str]:
    """What every row of a file must have."""
    return ID_FIELD[kind], DETAIL_FIELD[kind], "status"


def header_of(kind: Kind, blocks: Blocks) -> tuple[str, list[str]]:
    """The delimiter and the names of the columns. Raises `BadFile` for a header that cannot be one."""
    with _opened(blocks) as text:
        head = text.read(HEADER_CHARACTERS)
    required = required_fields(kind)
    found = [(delimiter, _cells(head, delimiter)) for delimiter in DELIMITERS]
    delimiter, names = max(found, key=lambda one: (sum(name in one[1] for name in required), len(one[1])))
    if len(names) > MAX_COLUMNS:
        raise bad_file("too_many_columns", f"The header has {len(names):,} columns; {MAX_COLUMNS:,} is the limit")
    if problems := list(_header_problems(names, required)):
        raise BadFile(problems)
    return delimiter, names


def batches(blocks: Blocks, delimiter: str, columns: int) -> Iterator[Batch]:
    """The rows after the header, in order."""
    with _opened(blocks) as text:
        kept: list[str] = []
        reader = csv.reader(_remembering(text, kept), delimiter=delimiter, strict=True)
        next(reader)
        line = reader.line_num + 1
        ended = False
        while not ended:
            kept.clear()
            rows: list[Sequence[str] | Line] = []
            try:
                rows.extend(islice(reader, BATCH_ROWS))
                ended = len(rows) < BATCH_ROWS
                broken = None
            except csv.Error as error:
                broken = str(error)
            one_each = broken is None and reader.line_num - line + 1 == len(rows)
            batch, line = _placed(rows, line, columns, one_each)
            if broken is not None:
                raw = "".join(kept[line - (reader.line_num - len(kept)) - 1 :])
                batch.rows.append(_bad_line(raw, broken))
                batch = Batch(batch.rows, [*batch.lines, line], False)
                line = reader.line_num + 1
            if batch.rows:
                yield batch


def written(rows: Sequence[Sequence[str]], delimiter: str) -> bytes:
    """Rows as lines of a CSV file."""
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()


def _placed(rows: list[Sequence[str] | Line], line: int, columns: int, one_each: bool) -> tuple[Batch, int]:
    """The rows without blank lines, each with its line; and the line after them. `one_each`: a row is a line."""
    if one_each and set(map(len, rows)) == {columns}:
        return Batch(rows, range(line, line + len(rows)), True), line + len(rows)
    kept: list[Sequence[str] | Line] = []
    lines = []
    for row in rows:
        if row:
            kept.append(row)
            lines.append(line)
        line += 1 + sum(cell.count("\n") for cell in row)
    return Batch(kept, lines, {len(row) for row in kept} == {columns}), line


def _bad_line(raw: str, error: str) -> Line:
    if "unexpected end" in error:
        return Line(raw, "unclosed_quote", "a quote is opened and never closed")
    if "field limit" in error:
        return Line(raw[:1000], "unclosed_quote", f"a cell has more than {ROW_BYTES:,} characters: is a quote never closed?")
    if "new-line" in error:
        return Line(raw, "bad_quoting", "a carriage return stands alone outside quotes")
    return Line(raw, "bad_quoting", "a quote inside quotes is not doubled, or text follows a closing quote")


def _remembering(text: io.TextIOWrapper, kept: list[str]) -> Iterator[str]:
    for line in text:
        kept.append(line)
        yield line


def _cells(head: str, delimiter: str) -> list[str]:
    try:
        return next(iter(csv.reader(io.StringIO(head, newline="\n"), delimiter=delimiter, strict=True)), [])
    except csv.Error:
        return []


def _header_problems(names: list[str], required: Sequence[str]) -> Iterator[Problem]:
    for name in required:
        if name not in names:
            near = next((other for other in names if other.strip().lower() == name), None)
            hint = "" if near is None else f": the column {printable(near)!r} is not spelled like it"
            yield Problem(1, 0, name, "missing_column", f"The header (line 1) has no column {name}{hint}", near or "", None)
    for place, name in enumerate(names):
        if not name:
            message = f"Column {place + 1} has no name in the header (line 1): name it, or take it out"
            yield Problem(1, 0, "", "unnamed_column", message, "", None)
        elif name in names[:place]:
            if names.index(name, names.index(name) + 1) == place:
                shown = printable(name)
                yield Problem(
                    1, 0, shown, "duplicate_column", f"The header (line 1) has the column {shown} twice", shown, None
                )
        elif string_fault(name):
            shown = printable(name)
            yield Problem(1, 0, shown, "invalid_string", f"The name of column {place + 1} has U+0000", shown, None)


class _Raw(io.RawIOBase):
    """Blocks as a file."""

    def __init__(self, blocks: Iterator[bytes]) -> None:
        self._blocks = blocks
        self._left = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        while not self._left:
            block = next(self._blocks, None)
            if block is None:
                return 0
            self._left = memoryview(block)
        size = min(len(buffer), len(self._left))
        buffer[:size] = self._left[:size]
        self._left = self._left[size:]
        return size


def _opened(blocks: Blocks) -> io.TextIOWrapper:
    """The file as text, its lines as they are. The encoding was checked (`text_of`)."""
    return io.TextIOWrapper(io.BufferedReader(_Raw(blocks()), 256 * 1024), encoding="utf-8-sig", newline="\n")
