"""Records of a JSON file as upserts: the API's rules, and the fields that every row of a file must have."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any, Final

import orjson

from foldline.domain.keys import id_fault
from foldline.domain.records import ATTRIBUTES_MAX_BYTES, Kind, Upsert
from foldline.domain.values import Unparsable, parse_exactly
from producers.files.csv_header import required_fields
from producers.files.first_pass import ERROR_COLUMN, Survey, elements
from producers.files.json_rows import Element, is_record
from producers.files.problems import LARGE, MORE, Problem, first_ones, shown
from producers.files.rows import Bad, Rows, is_large
from producers.files.source import Blocks
from producers.validation import FieldError, Stamp, certain, judge, upsert_of

# A batch that does not hold as a whole is looked at in so many parts, down to so few records at once.
PARTS, TOGETHER = 8, 16

# A longer integer is nothing that Python makes a number of.
LITERAL_CHARACTERS: Final = 100

_ERROR: Final = f'"{ERROR_COLUMN}":'.encode()
_SAID: Final = re.compile(rb'"error":\s*"(?:[^"\\]++|\\.)*+"\s*\}')
_PLACE: Final = re.compile(r"(?: at)? at line ([0-9]+) column ([0-9]+)$")
_INDEX: Final = re.compile(r"\[([0-9]+)\]\.?")


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
        upserts: list[Upsert] = []
        bad: list[Bad] = []
        self._add(batch, first, upserts, bad)
        return Rows(first, len(batch), [element.line for element in batch], upserts, bad, self._required[0])

    def _add(self, batch: list[Element], first: int, upserts: list[Upsert], bad: list[Bad]) -> None:
        """Adds the records of a batch to those that hold, or to the others."""
        certain = self._certain(batch, first)
        if certain is not None:
            upserts += certain
        elif len(batch) > TOGETHER:
            size = -(-len(batch) // PARTS)
            for at in range(0, len(batch), size):
                self._add(batch[at : at + size], first + at, upserts, bad)
        else:
            for row, element in enumerate(batch, first):
                found = self._one(element, row)
                if isinstance(found, Bad):
                    bad.append(found)
                else:
                    upserts.append(found)

    def _certain(self, batch: list[Element], first: int) -> list[Upsert] | None:
        """The upserts of records all of which certainly hold; else None."""
        required = frozenset(self._required)
        if batch[-1].code:
            return None
        try:
            records = [element.record or orjson.loads(element.raw) for element in batch]
        except orjson.JSONDecodeError:
            return None
        for record in records:
            if type(record) is not dict or not required <= record.keys():
                return None
            if ERROR_COLUMN in record and type(record[ERROR_COLUMN]) is str:
                del record[ERROR_COLUMN]
        text = b"\n".join([element.raw for element in batch])
        upserts = certain(self._kind, text, records, self._stamp, first)
        if upserts is None or (
            4 * len(text) > ATTRIBUTES_MAX_BYTES and any(is_large(upsert.attributes) for upsert in upserts)
        ):
            return None
        return upserts

    def _one(self, element: Element, row: int) -> Upsert | Bad:
        try:
            if element.code:
                raise Unparsable(element.code, element.message)
            record = parse_exactly(element.raw)
        except Unparsable as unparsable:
            message = _PLACE.sub(lambda match: _place(match, element), unparsable.message)
            problem = Problem(element.line, row + 1, "", unparsable.code, message, _text(element.raw), None)
            return Bad(row, element.line, None, [problem], element)
        if type(record) is dict and type(record.get(ERROR_COLUMN)) is str:
            del record[ERROR_COLUMN]
        errors = first_ones(self._errors(record, row), FieldError(row, None, "", *MORE))
        if not errors:
            upsert = upsert_of(self._kind, self._stamp, row, record)
            if not is_large(upsert.attributes):
                return upsert
            errors = [FieldError(row, upsert.entity_id, "attributes", *LARGE)]
        del record  # it may take a hundred megabytes, and is parsed once more to be shown
        values = _values(element.raw, [error.field for error in errors])
        problems = [
            Problem(element.line, row + 1, error.field, error.code, error.message, value, error.id)
            for error, value in zip(errors, values, strict=True)
        ]
        return Bad(row, element.line, problems[0].id, problems, element)

    def _errors(self, record: Any, row: int) -> Iterator[FieldError]:
        """The API's errors of a record, and the required fields that the API would not ask for."""
        yield from judge(self._kind, row, record)
        if type(record) is dict:
            entity_id = record.get(self._required[0])
            known = entity_id if type(entity_id) is str and id_fault(entity_id) is None else None
            for name in self._required[1:]:
                if name not in record:
                    yield FieldError(row, known, name, "required", f"{name} is required in every row")


def _place(match: re.Match[str], element: Element) -> str:
    """Where a record breaks off: `match` says it as if the record were the file."""
    line = int(match[1])
    return f" at column {match[2]}" if line == 1 else f" at column {match[2]} of line {element.line + line - 1}"


def _mendable(bad: Bad) -> bytes:
    element: Element = bad.source
    error = orjson.dumps(f"line {bad.line}: " + "; ".join(problem.message for problem in bad.problems))
    raw = element.raw
    if is_record(raw):
        raw = _without_error(raw)
        comma = b"," if raw[1:-1].strip() else b""
        return raw.replace(b"\n", b" ").replace(b"\r", b" ")[:-1] + comma + _ERROR + error + b"}"
    return b"{" + _ERROR + error + b',"record":' + orjson.dumps(raw.decode("utf-8", "replace")) + b"}"


def _without_error(raw: bytes) -> bytes:
    """A record without what it says at its end of an error, as it does in a file of wrong rows."""
    place = raw.rfind(_ERROR)
    return raw[:place].rstrip(b", ") + b"}" if place >= 0 and _SAID.fullmatch(raw, place) else raw


def _values(raw: bytes, paths: Sequence[str]) -> list[str]:
    """What stands at each path of a record."""
    record = json.loads(raw, parse_int=_integer)
    literals: Any = None
    shown_ones = []
    for path in paths:
        value = _at(record, path) if path or type(record) is not dict else ""
        if type(value) is int or type(value) is float:
            literals = literals or json.loads(raw, parse_int=str, parse_float=str, parse_constant=str)
            value = _at(literals, path)
        shown_ones.append(shown(value if type(value) is str else json.dumps(value, ensure_ascii=False)))
    return shown_ones


def _integer(literal: str) -> int | str:
    return int(literal) if len(literal) <= LITERAL_CHARACTERS else literal


def _at(value: Any, path: str) -> Any:
    if type(value) is list and (index := _INDEX.match(path)):
        return _at(value[int(index[1])], path[index.end() :])
    if type(value) is dict and path:
        ends = [place for place, character in enumerate(path) if character in ".["]
        for end in [len(path), *reversed(ends)]:
            if path[:end] in value:
                return _at(value[path[:end]], path[end:].removeprefix("."))
        return ""
    return value


def _text(raw: bytes) -> str:
    return shown(raw[:400].decode("utf-8", "replace"))
