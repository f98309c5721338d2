"""Records of a JSON file as upserts: the API's rules, and the fields that every row of a file must have."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import orjson

from foldline.domain.records import ATTRIBUTES_MAX_BYTES, Kind, Upsert
from foldline.domain.values import Unparsable, parse_exactly
from producers.files.csv_header import required_fields
from producers.files.first_pass import ERROR_COLUMN, Survey, elements
from producers.files.json_rows import Element
from producers.files.problems import Problem, shown
from producers.files.rows import Bad, Rows
from producers.files.source import Blocks
from producers.validation import FieldError, Stamp, certain, judge, upsert_of

_NOT_A_FIELD: Final = f'"{ERROR_COLUMN}"'.encode()
_REST_UNREAD: Final = ": nothing after it was read"


class JsonReader:
    """Reads the records of a surveyed JSON file."""

    def __init__(self, kind: Kind, survey: Survey, stamp: Stamp) -> None:
        self._kind, self._survey, self._stamp = kind, survey, stamp
        self._required = required_fields(kind)
        self.separator = b",\n" if survey.format == "json" else b""

    def read(self, blocks: Blocks, from_row: int) -> Iterator[Rows]:
        first = 0
        for batch in elements(blocks, self._survey.format):
            after = first + len(batch)
            if after > from_row:
                skipped = max(0, from_row - first)
                yield self._rows(batch[skipped:], first + skipped)
            first = after

    def failed(self, rows: Rows) -> bytes:
        """The wrong records as they were, each with what is wrong in a field of its own."""
        texts = [_mendable(bad) for bad in rows.bad]
        return b",\n".join(texts) if self._survey.format == "json" else b"".join(text + b"\n" for text in texts)

    def _rows(self, batch: list[Element], first: int) -> Rows:
        lines = [element.line for element in batch]
        upserts = self._all_certain(batch, first)
        bad: list[Bad] = []
        if upserts is None:
            upserts = []
            for row, element in enumerate(batch, first):
                found = self._one(element, row)
                (bad if isinstance(found, Bad) else upserts).append(found)  # type: ignore[arg-type]
        return Rows(first, len(batch), lines, upserts, bad, self._required[0])

    def _all_certain(self, batch: list[Element], first: int) -> list[Upsert] | None:
        """The upserts of a batch in which every record certainly holds; else None."""
        try:
            records = [orjson.loads(element.raw) for element in batch if not element.broken]
        except orjson.JSONDecodeError:
            return None
        if len(records) < len(batch):
            return None
        for record in records:
            if type(record) is not dict or not all(name in record for name in self._required):
                return None
            if type(record.get(ERROR_COLUMN)) is str:
                del record[ERROR_COLUMN]
        upserts = certain(self._kind, b"\n".join(element.raw for element in batch), records, self._stamp, first)
        if upserts is None or any(len(upsert.attributes or "") * 4 > ATTRIBUTES_MAX_BYTES for upsert in upserts):
            return None
        return upserts

    def _one(self, element: Element, row: int) -> Upsert | Bad:
        line = element.line
        if element.broken:
            problem = Problem(line, row + 1, "", "invalid_json", element.broken + _REST_UNREAD, _text(element.raw), None)
            return Bad(row, line, None, [problem], element.raw)
        try:
            record = parse_exactly(element.raw)
        except Unparsable as unparsable:
            problem = Problem(line, row + 1, "", unparsable.code, unparsable.message, _text(element.raw), None)
            return Bad(row, line, None, [problem], element.raw)
        if type(record) is dict and type(record.get(ERROR_COLUMN)) is str:
            del record[ERROR_COLUMN]
        errors = [*judge(self._kind, row, record), *self._missing(record, row)]
        if not errors:
            upsert = upsert_of(self._kind, self._stamp, row, record)
            size = len((upsert.attributes or "").encode())
            if size <= ATTRIBUTES_MAX_BYTES:
                return upsert
            message = f"the attributes have {size:,} bytes as JSON; {ATTRIBUTES_MAX_BYTES:,} is the limit"
            errors = [FieldError(row, upsert.entity_id, "attributes", "record_too_large", message)]
        problems = [
            Problem(line, row + 1, error.field, error.code, error.message, _value(record, error.field), error.id)
            for error in errors
        ]
        return Bad(row, line, problems[0].id, problems, element.raw)

    def _missing(self, record: Any, row: int) -> Iterator[FieldError]:
        """The required fields of a row that the API would not ask for."""
        if type(record) is not dict:
            return
        entity_id = record.get(self._required[0])
        known = entity_id if type(entity_id) is str else None
        for name in self._required[1:]:
            if name not in record:
                yield FieldError(row, known, name, "required", f"{name} is required in every row")


def _mendable(bad: Bad) -> bytes:
    raw: bytes = bad.source.strip()
    error = orjson.dumps(f"line {bad.line}: " + "; ".join(problem.message for problem in bad.problems))
    try:
        record = orjson.loads(raw)
    except orjson.JSONDecodeError:
        record = None
        if raw.startswith(b"{") and raw.endswith(b"}") and bad.problems[0].code != "invalid_json":
            record = {}  # JSON, but for numbers or depth that are not ours
    if type(record) is dict:
        comma = b"," if raw[1:-1].strip() else b""
        return raw.replace(b"\n", b" ")[:-1] + comma + _NOT_A_FIELD + b":" + error + b"}"
    return b"{" + _NOT_A_FIELD + b":" + error + b',"record":' + orjson.dumps(raw.decode("utf-8", "replace")) + b"}"


def _value(record: Any, path: str) -> str:
    """What stands at a path, or at what it begins with."""
    value: Any = record
    for name in path.split(".")[:2] if path else ():
        value = value.get(name) if type(value) is dict and name in value else value
    try:
        return "" if not path else shown(value) if type(value) is str else _text(orjson.dumps(value))
    except TypeError:
        return ""


def _text(raw: bytes) -> str:
    return shown(raw[:400].decode("utf-8", "replace"))
