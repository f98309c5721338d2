"""The second pass over a file: upserts of its good rows, and every problem of the others, a stretch at a time.

1. A row holds or does not, as a whole. What holds here, the fold accepts.
2. Every error names the physical line where its row starts.
3. An id that occurs again is a warning at each later row; rows are applied in their order.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterator
from typing import Final, NamedTuple

from foldline.domain.records import Kind, Upsert
from producers.files.csv_failed import FailedRows
from producers.files.csv_read import CsvReader
from producers.files.first_pass import Survey
from producers.files.json_read import JsonReader
from producers.files.problems import Problem, shown
from producers.files.rows import Rows
from producers.files.source import BOM, Blocks
from producers.validation import Stamp

FEW: Final = 10_000


class Checked(NamedTuple):
    """Some consecutive rows, from `first_row` (counted from 0).

    `upserts` are the good ones, `record_index` being their row. `failed` are the bytes of the others, for the file of wrong
    rows; `wrong_ids` are theirs, where they are known.
    """

    first_row: int
    rows: int
    upserts: list[Upsert]
    errors: list[Problem]
    warnings: list[Problem]
    failed: bytes
    wrong_rows: int
    wrong_ids: list[str]
    wrong_without_id: int


def read(kind: Kind, blocks: Blocks, survey: Survey, stamp: Stamp, from_row: int = 0) -> Iterator[Checked]:
    """The rows of a surveyed file from `from_row` on, in their order."""
    reader: CsvReader | JsonReader
    reader = CsvReader(kind, survey, stamp) if survey.format == "csv" else JsonReader(kind, survey, stamp)
    repeats = _Repeats(survey)
    separator = b""
    for rows in reader.read(blocks, from_row):
        failed = reader.failed(rows)
        checked = _checked(rows, repeats.warnings(rows), separator + failed if failed else b"")
        separator = reader.separator if failed else separator
        yield checked


def failed_header(survey: Survey) -> bytes:
    """How the file of wrong rows begins."""
    if survey.format != "csv":
        return b"[\n" if survey.format == "json" else b""
    return (BOM if survey.bom else b"") + FailedRows(survey).header()


def failed_footer(survey: Survey) -> bytes:
    """How it ends."""
    return b"\n]\n" if survey.format == "json" else b""


def _checked(rows: Rows, warnings: list[Problem], failed: bytes) -> Checked:
    ids = [bad.id for bad in rows.bad if bad.id is not None]
    return Checked(
        rows.first,
        rows.total,
        rows.upserts,
        [problem for bad in rows.bad for problem in bad.problems],
        warnings,
        failed,
        len(rows.bad),
        ids,
        len(rows.bad) - len(ids),
    )


class _Repeats:
    """Knows which ids have been before, and on which line first."""

    def __init__(self, survey: Survey) -> None:
        self._digests = survey.repeated
        self._first = array("q", bytes(8 * len(self._digests)))
        self._few = frozenset(self._digests if len(self._digests) <= FEW else ())

    def warnings(self, rows: Rows) -> list[Problem]:
        """A warning for each row whose id has been before, in the order of the rows."""
        found: list[Problem] = []
        if not self._digests or (self._few and self._few.isdisjoint(hash(entity_id) for _, _, entity_id in rows.ids())):
            return found
        for row, line, entity_id in rows.ids():
            digest = hash(entity_id)
            place = bisect_left(self._digests, digest)
            if place == len(self._digests) or self._digests[place] != digest:
                continue
            if first := self._first[place]:
                message = f"the id is that of line {first}, too: rows are applied in their order"
                found.append(Problem(line, row + 1, rows.id_field, "duplicate_id", message, shown(entity_id), entity_id))
            else:
                self._first[place] = line
        return found
