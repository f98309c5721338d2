"""Rows of a CSV file as upserts. Cells are looked at column by column: what is common is decided for a thousand at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final, TypeAlias

import orjson

from foldline.domain.fold import item_type_fault
from foldline.domain.keys import id_fault
from foldline.domain.records import ID_MAX_CHARACTERS, STATUSES, Kind, Upsert
from foldline.domain.times import parse_rfc3339
from producers.files.columns import ABSENT, Faults, Json, json_value, values
from producers.files.csv_failed import FailedRows
from producers.files.csv_header import required_fields
from producers.files.csv_rows import Batch, Line, batches
from producers.files.first_pass import Survey
from producers.files.problems import LARGE, MORE, Problem, first_ones, named, shown
from producers.files.rows import Bad, Rows, is_large
from producers.files.source import Blocks
from producers.validation import FIELDS, Stamp

ATTRIBUTES: Final = "attributes"
_Cells: TypeAlias = Sequence[str]


class CsvReader:
    """Reads the rows of a surveyed CSV file."""

    separator = b""

    def __init__(self, kind: Kind, survey: Survey, stamp: Stamp) -> None:
        self._kind, self._survey, self._stamp = kind, survey, stamp
        self._names, self._failed = survey.names, FailedRows(survey)
        self._places = {name: at for at, name in enumerate(self._names)}
        self._fields = required_fields(kind)
        self._at = [self._names.index(name) for name in self._fields]
        others = [(at, column) for at, column in enumerate(survey.columns) if column.name not in FIELDS[kind]]
        self._others = [(at, column) for at, column in others if column.type != "omit"]
        self._json = any(column.type == "json" for _, column in self._others)
        self._attributes_at = self._names.index(ATTRIBUTES) if ATTRIBUTES in self._names else None
        self._detail = _item_types if kind == "items" else _created_ats

    def read(self, blocks: Blocks, from_row: int) -> Iterator[Rows]:
        first = 0
        for batch in batches(blocks, self._survey.delimiter, len(self._names)):
            after = first + len(batch.rows)
            if after > from_row:
                skipped = max(0, from_row - first)
                yield self._rows(Batch(batch.rows[skipped:], batch.lines[skipped:], batch.plain), first + skipped)
            first = after

    def failed(self, rows: Rows) -> bytes:
        """The wrong rows as they were, each with what is wrong in a column of its own."""
        return self._failed.rows(rows.bad)

    def _rows(self, batch: Batch, first: int) -> Rows:
        bad: list[Bad] = []
        rows, places = batch.rows, list(range(len(batch.rows)))
        if not batch.plain:
            shaped = []
            for place, row in enumerate(rows):
                if problem := self._misshapen(row, batch.lines[place], first + place):
                    bad.append(problem)
                else:
                    shaped.append(place)
            rows, places = [rows[place] for place in shaped], shaped
        upserts = self._upserts(rows, places, first, batch.lines, bad) if rows else []
        bad.sort()
        return Rows(first, len(batch.rows), batch.lines, upserts, bad, self._fields[0])

    def _misshapen(self, row: Sequence[str] | Line, line: int, number: int) -> Bad | None:
        if isinstance(row, Line):
            problem = Problem(line, number + 1, "", row.code, row.message, shown(row.text.rstrip("\r\n")), None)
            return Bad(number, line, None, [problem], row)
        width = len(self._names)
        if len(row) == width:
            return None
        code = "too_few_cells" if len(row) < width else "too_many_cells"
        entity_id = row[self._at[0]] if len(row) > self._at[0] else ""
        known = entity_id if entity_id and id_fault(entity_id) is None else None
        hint = "is a line broken in a cell" if len(row) < width else "is a delimiter in a cell"
        message = f"the row has {len(row)} cells, the header has {width}: {hint} without quotes?"
        return Bad(number, line, known, [Problem(line, number + 1, "", code, message, shown(row[0]), known)], row)

    def _upserts(
        self, rows: Sequence[_Cells], places: Sequence[int], first: int, lines: Sequence[int], bad: list[Bad]
    ) -> list[Upsert]:
        columns = list(zip(*rows, strict=True))
        faulty: Faults = {}
        id_at, detail_at, status_at = self._at
        ids, statuses = columns[id_at], columns[status_at]
        id_name, detail_name, _ = self._fields
        _check_ids(id_name, ids, faulty)
        details = self._detail(detail_name, columns[detail_at], faulty)
        _check_statuses(statuses, faulty)
        texts = self._texts(columns, len(rows), faulty)
        org_id, request_id, received_at = self._stamp
        bad += [self._bad(rows[at], first + places[at], lines[places[at]], faulty[at]) for at in sorted(faulty)]
        made = zip(places, ids, details, statuses, texts, strict=True)
        return [
            Upsert(org_id, entity_id, detail, status, text, received_at, request_id, first + place)
            for at, (place, entity_id, detail, status, text) in enumerate(made)
            if at not in faulty
        ]

    def _texts(self, columns: Sequence[_Cells], count: int, faulty: Faults) -> list[str | None]:
        """The attributes of each row as JSON text, None where no cell of them is filled."""
        names = [column.name for _, column in self._others]
        found = [values(column.name, column.type, columns[at], faulty) for at, column in self._others]
        whole: Sequence[dict[str, Any] | None] = [None] * count
        if self._attributes_at is not None:
            whole = _objects(columns[self._attributes_at], faulty)
        texts: list[str | None] = []
        for place, row in enumerate(zip(*found, strict=True) if found else [()] * count):
            attributes = dict(zip(names, row, strict=True))
            if ABSENT in row:
                attributes = {name: value for name, value in attributes.items() if value is not ABSENT}
            if self._json:
                attributes = {name: value.value if type(value) is Json else value for name, value in attributes.items()}
            if (base := whole[place]) is not None:
                attributes = base | attributes
            elif not attributes:
                texts.append(None)
                continue
            text = orjson.dumps(attributes).decode() if place not in faulty else ""
            if is_large(text):
                faulty[place] = [(ATTRIBUTES, *LARGE)]
            texts.append(text)
        return texts

    def _bad(self, row: _Cells, number: int, line: int, faults: list[tuple[str, str, str]]) -> Bad:
        entity_id = row[self._at[0]]
        known = entity_id if entity_id and id_fault(entity_id) is None else None
        problems = [
            Problem(line, number + 1, named(path), code, message, shown(self._cell(row, path)), known)
            for path, code, message in first_ones(faults, ("", *MORE))
        ]
        return Bad(number, line, known, problems, row)

    def _cell(self, row: _Cells, path: str) -> str:
        """The cell that a path leads to or into."""
        at = self._places.get(path)
        if at is None:
            at = next((at for name, at in self._places.items() if path.startswith((f"{name}.", f"{name}["))), None)
        return "" if at is None else row[at]


def _check_ids(name: str, cells: _Cells, faulty: Faults) -> None:
    joined = "".join(cells)
    if joined.isascii() and joined.isprintable() and "" not in cells and max(map(len, cells)) <= ID_MAX_CHARACTERS:
        return
    for place, cell in enumerate(cells):
        if not cell:
            faulty.setdefault(place, []).append(_required(name))
        elif fault := id_fault(cell):
            faulty.setdefault(place, []).append((name, *fault))


def _check_statuses(cells: _Cells, faulty: Faults) -> None:
    if STATUSES.issuperset(cells):
        return
    for place, cell in enumerate(cells):
        if not cell:
            faulty.setdefault(place, []).append(_required("status"))
        elif cell not in STATUSES:
            faulty.setdefault(place, []).append(("status", "invalid_status", "status must be active, inactive or deleted"))


def _item_types(name: str, cells: _Cells, faulty: Faults) -> _Cells:
    wrong = {cell: item_type_fault(cell) for cell in set(cells)}
    if any(wrong.values()):
        for place, cell in enumerate(cells):
            if not cell:
                faulty.setdefault(place, []).append(_required(name))
            elif fault := wrong[cell]:
                faulty.setdefault(place, []).append((name, fault.code, fault.message))
    return cells


def _created_ats(name: str, cells: _Cells, faulty: Faults) -> list[int | None]:
    found = [parse_rfc3339(cell) for cell in cells]
    if None in found:
        for place, cell in enumerate(cells):
            if not cell:
                faulty.setdefault(place, []).append(_required(name))
            elif found[place] is None:
                message = f"{name} must be RFC 3339 with Z or an offset, such as 2025-01-12T09:00:00Z"
                faulty.setdefault(place, []).append((name, "invalid_timestamp", message))
    return found


def _objects(cells: _Cells, faulty: Faults) -> list[dict[str, Any] | None]:
    """The JSON objects of the column `attributes`."""
    found: list[dict[str, Any] | None] = []
    for place, cell in enumerate(cells):
        own: list[tuple[str, str, str]] = []
        value = json_value(ATTRIBUTES, cell, 1, own) if cell else None
        if value is not None and type(value.value) is not dict and not own:
            own.append((ATTRIBUTES, "invalid_type", "attributes must be a JSON object"))
        if own:
            faulty.setdefault(place, []).extend(own)
        found.append(value.value if value is not None and not own else None)
    return found


def _required(name: str) -> tuple[str, str, str]:
    return name, "required", f"{name} is required in every row"
