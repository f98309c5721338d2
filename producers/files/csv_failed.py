"""The file of wrong rows of a CSV file: the same table with a column more, which says what is wrong.

1. What it says is in its own column, whatever shape the row has: cells that lack are added, surplus ones come after it.
2. A row that cannot be split stays as it is where a program that is not strict finds as many cells in it as it should have;
   else its text is the first cell.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from producers.files.csv_rows import Line
from producers.files.first_pass import ERROR_COLUMN, OTHER_ERROR_COLUMN, Survey
from producers.files.rows import Bad


class FailedRows:
    """Writes the wrong rows of a surveyed file."""

    def __init__(self, survey: Survey) -> None:
        self._delimiter = survey.delimiter
        self._text = io.StringIO()
        self._writer = csv.writer(self._text, delimiter=survey.delimiter, lineterminator="\n")
        self._quoting = csv.writer(self._text, delimiter=survey.delimiter, lineterminator="\n", quoting=csv.QUOTE_ALL)
        self._had_errors = survey.has_errors
        self._width = len(survey.columns)
        self._names = survey.names[:-1] if survey.has_errors else survey.names

    def header(self) -> bytes:
        return self._row([*self._names, OTHER_ERROR_COLUMN if ERROR_COLUMN in self._names else ERROR_COLUMN])

    def rows(self, rows: Sequence[Bad]) -> bytes:
        """The rows as they were, each with what is wrong."""
        return b"".join(map(self._failed, rows))

    def _failed(self, bad: Bad) -> bytes:
        error = f"line {bad.line}: " + "; ".join(problem.message for problem in bad.problems)
        if not isinstance(bad.source, Line):
            return self._row(self._whole(bad.source, error))
        text = self._without_error(bad.source.text.rstrip("\r\n"))
        as_it_is = text.encode() + self._delimiter.encode() + self._row([error])
        found = self._cells(as_it_is.decode())
        is_row = len(found) == len(self._names) + 1 and found[-1] == error
        return as_it_is if is_row else self._row(self._whole([text], error))

    def _without_error(self, text: str) -> str:
        """The text of a row without what an earlier file of wrong rows said."""
        if not self._had_errors or not (cells := self._cells(text)):
            return text
        return text.removesuffix(self._delimiter + self._row(cells[-1:]).decode().rstrip("\n"))

    def _whole(self, cells: Sequence[str], error: str) -> list[str]:
        """Cells with the error in its column."""
        width = len(self._names)
        surplus = cells[self._width :]
        return [*cells[:width], *[""] * (width - len(cells)), error, *surplus]

    def _cells(self, text: str) -> list[str]:
        """The cells of a row as programs see it that are not strict; none where there are more rows."""
        try:
            (cells,) = csv.reader(io.StringIO(text), delimiter=self._delimiter)
        except (csv.Error, ValueError):
            return []
        return cells

    def _row(self, cells: Sequence[str]) -> bytes:
        # The writer does not see that a carriage return needs quotes.
        writer = self._quoting if "\r" in "".join(cells) else self._writer
        writer.writerow(cells)
        row = self._text.getvalue()
        self._text.seek(0)
        self._text.truncate()
        return row.encode()
