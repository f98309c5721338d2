"""CSV as people have it: rows of cells with the line at which each starts.

1. Newlines inside quotes stay as they are. A line that is blank is no row.
2. What breaks the rules of quoting is one bad row; reading goes on at the next line.
3. A quote that is never closed swallows lines until something does not hold. Where one of them alone reads as a row of the
   table, the bad row ends before it. Nothing is kept of a row of more than `ROW_BYTES` but its beginning.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Final, NamedTuple

from producers.files.source import ROW_BYTES, Blocks, texts

BATCH_ROWS: Final = 1000
CUT_CHARACTERS: Final = 1000

csv.field_size_limit(2 * ROW_BYTES)

_ENDS: Final = "unexpected end"
_UNCLOSED: Final = "a quote is opened and not closed in this row"
_TOO_LARGE: Final = f"the row has more than {ROW_BYTES:,} bytes"
_NOT_DOUBLED: Final = "a quote inside quotes is not doubled, or text follows a closing quote"
_RETURN: Final = "a carriage return stands alone outside quotes: put the cell in quotes"


class Line(NamedTuple):
    """One row that could not be split into cells: its text, and why."""

    text: str
    code: str
    message: str


class Batch(NamedTuple):
    """Up to `BATCH_ROWS` rows, and the line at which each starts."""

    rows: list[Sequence[str] | Line]
    lines: list[int]
    plain: bool
    """All of them have as many cells as the header."""


def batches(blocks: Blocks, delimiter: str, columns: int) -> Iterator[Batch]:
    """The rows after the header, in order."""
    splitter = _Splitter(delimiter, columns)
    for text in texts(blocks):
        yield from splitter.feed(text)
    yield from splitter.end()


class _Splitter:
    """Finds the rows as the text comes. A row that breaks off at its end waits for twice as much of it."""

    def __init__(self, delimiter: str, columns: int) -> None:
        self._delimiter, self._columns = delimiter, columns
        self._waiting, self._wanted = "", 0
        self._skipping, self._quoted = False, False
        self._header = True
        self._line = 1
        self._rows: list[Sequence[str] | Line] = []
        self._lines: list[int] = []
        self._plain = True

    def feed(self, text: str) -> Iterator[Batch]:
        """The rows that the text completes."""
        self._waiting += self._skip(text) if self._skipping else text
        if len(self._waiting) >= self._wanted:
            yield from self._split(ended=False)
        while _is_long(self._waiting):
            yield from self._split(ended=False)
            if _is_long(self._waiting):
                self._cut()

    def end(self) -> Iterator[Batch]:
        """What is left when the text is over."""
        yield from self._split(ended=True)

    def _split(self, ended: bool) -> Iterator[Batch]:
        """Takes whole rows off what waits."""
        text = self._waiting if ended else self._waiting[: self._waiting.rfind("\n") + 1]
        stream = io.StringIO(text)
        reader = csv.reader(stream, delimiter=self._delimiter, strict=True)
        start, self._wanted = 0, 0
        while start < len(text):
            rows, broken = _taken(reader, BATCH_ROWS - len(self._rows))
            start = self._add(rows, text, start, None if broken else stream.tell())
            if broken and not ended and _ENDS in broken:
                self._wanted = 2 * (len(text) - start)
                break
            if broken:
                start = stream.seek(self._add_broken(text, start, stream.tell(), broken))
            if len(self._rows) == BATCH_ROWS:
                yield self._batch()
        self._waiting = self._waiting[start:]
        if self._rows:
            yield self._batch()

    def _add(self, rows: list[list[str]], text: str, start: int, end: int | None) -> int:
        """Adds rows that begin at a place of the text, and returns the place after them."""
        lines = -1 if end is None or self._header else text.count("\n", start, end)
        if lines == len(rows) and set(map(len, rows)) == {self._columns}:
            self._rows += rows
            self._lines += range(self._line, self._line + lines)
            self._line += lines
            return end or 0
        before = self._line
        for row in rows:
            if self._header:
                self._header = False
            elif row and not (len(row) == 1 and row[0].isspace()):
                self._rows.append(row)
                self._lines.append(self._line)
                self._plain = self._plain and len(row) == self._columns
            self._line += 1 + "".join(row).count("\n")
        if end is None:
            end = start
            for _ in range(before, self._line):
                end = text.index("\n", end) + 1
        return end

    def _add_broken(self, text: str, start: int, end: int, error: str) -> int:
        """Adds the row that begins at a place and does not hold at the end, and returns the place after it."""
        if place := self._next_row(text, start, end):
            self._add_line(text[start:place], "unclosed_quote", _UNCLOSED)
            return place
        code = "unclosed_quote" if _ENDS in error else "bad_quoting"
        self._add_line(
            text[start:end], code, _UNCLOSED if _ENDS in error else _RETURN if "new-line" in error else _NOT_DOUBLED
        )
        return end

    def _cut(self) -> None:
        """Ends the row that waits and is too long, or begins to pass it over."""
        text = self._waiting
        if place := self._next_row(text, 0, len(text)):
            self._add_line(text[:place], "unclosed_quote", _UNCLOSED)
            self._waiting, self._wanted = text[place:], 0
        else:
            self._add_line(text, "row_too_large", _TOO_LARGE)
            self._waiting, self._wanted = "", 0
            self._skipping, self._quoted = True, text.count('"') % 2 == 1

    def _skip(self, text: str) -> str:
        """What follows the row that is passed over: it ends with a line, outside quotes."""
        place = 0
        for number, piece in enumerate(text.split('"')):
            self._quoted ^= number > 0
            if not self._quoted and (newline := piece.find("\n")) >= 0:
                place += newline + 1
                self._skipping = False
                break
            place += len(piece) + 1
        self._line += text.count("\n", 0, place)
        return text[place:]

    def _next_row(self, text: str, start: int, end: int) -> int:
        """Where a line after the first begins that alone reads as a row of the table, or 0."""
        place = text.find("\n", start, end) + 1
        while 0 < place < end:
            after = text.find("\n", place, end) + 1 or end
            if text.count(self._delimiter, place, after) >= self._columns - 1:
                rows, broken = _taken(csv.reader([text[place:after]], delimiter=self._delimiter, strict=True), 1)
                if not broken and len(rows[0]) == self._columns:
                    return place
            place = after
        return 0

    def _add_line(self, text: str, code: str, message: str) -> None:
        self._rows.append(Line(text[:CUT_CHARACTERS] if code == "row_too_large" else text, code, message))
        self._lines.append(self._line)
        self._line += text.count("\n")
        self._plain = False

    def _batch(self) -> Batch:
        batch = Batch(self._rows, self._lines, self._plain)
        self._rows, self._lines, self._plain = [], [], True
        return batch


def _taken(reader: Iterator[list[str]], count: int) -> tuple[list[list[str]], str]:
    """Up to so many rows, and why there are no more where the next one does not hold."""
    rows: list[list[str]] = []
    try:
        rows.extend(islice(reader, count))
    except csv.Error as error:
        return rows, str(error)
    return rows, ""


def _is_long(text: str) -> bool:
    return 4 * len(text) > ROW_BYTES and len(text if text.isascii() else text.encode()) > ROW_BYTES
