"""The first pass over a file: what it is, which columns it has, and how many rows."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from typing import Any, Final, Literal, NamedTuple, TypeAlias

import orjson

from foldline.domain.records import Kind
from producers.files import csv_rows, json_rows
from producers.files.columns import TYPES, Column, ColumnType, Guess
from producers.files.csv_header import header_of, required_fields
from producers.files.json_rows import Element
from producers.files.problems import bad_file
from producers.files.source import ROW_BYTES, Blocks, Text, text_of
from producers.validation import FIELDS

Format: TypeAlias = Literal["csv", "json", "ndjson", "single"]
MAX_NAMED: Final = 1000
ERROR_COLUMN: Final = "error"
SORTED_AT_ONCE: Final = 1_000_000

_JSON_TYPES: Final[dict[type, ColumnType]] = {str: "text", int: "number", float: "number", bool: "boolean"}


class Survey(NamedTuple):
    """What a file is. `size` is in bytes, inflated; `repeated` are digests of the ids that may occur more than once."""

    format: Format
    delimiter: str
    columns: tuple[Column, ...]
    rows: int
    size: int
    bom: bool = False
    repeated: frozenset[int] = frozenset()

    @property
    def names(self) -> list[str]:
        return [column.name for column in self.columns]

    def as_json(self) -> dict[str, Any]:
        """What `surveyed` makes the same survey of, but for `repeated`."""
        columns = [column._asdict() for column in self.columns]
        return self._asdict() | {"columns": columns, "repeated": None}


def surveyed(kept: Mapping[str, Any]) -> Survey:
    """The survey that was kept as JSON: good for reading rows, without looking for repeated ids."""
    columns = tuple(Column(**column) for column in kept["columns"])
    return Survey(kept["format"], kept["delimiter"], columns, kept["rows"], kept["size"], kept["bom"])


def survey(
    kind: Kind, blocks: Blocks, types: Mapping[str, ColumnType] = {}, on_bytes: Callable[[int], None] = lambda _: None
) -> Survey:
    """Reads the file once, having made sure that it is text. `types` are what a person has chosen for columns; `on_bytes` is
    told how many bytes have been read. Raises `BadFile`."""
    text = text_of(blocks)

    def counted() -> Iterator[bytes]:
        read = 0
        for block in blocks():
            yield block
            read += len(block)
            on_bytes(read)

    found = _csv(kind, counted, text, types) if text.first not in b"[{" else _json(kind, counted, text)
    if not found.rows:
        raise bad_file("no_rows", "The file has no rows")
    return found


def elements(blocks: Blocks, file_format: Format) -> Iterator[list[Element]]:
    """The records of a JSON file, in batches."""
    match file_format:
        case "json":
            return json_rows.array(blocks)
        case "single":
            return json_rows.single(blocks)
    return json_rows.lines(blocks)


def _csv(kind: Kind, blocks: Blocks, text: Text, types: Mapping[str, ColumnType]) -> Survey:
    delimiter, names = header_of(kind, blocks)
    id_at, width = names.index(required_fields(kind)[0]), len(names)
    guesses = [Guess() for _ in names]
    rows, digests = 0, array("q")
    for batch in csv_rows.batches(blocks, delimiter, width):
        rows += len(batch.rows)
        whole = batch.rows if batch.plain else [row for row in batch.rows if type(row) is list and len(row) == width]
        cells = list(zip(*whole, strict=True))
        if cells:
            digests.extend(map(hash, cells[id_at]))
            for guess, column in zip(guesses, cells, strict=True):
                guess.add(column)
    columns = tuple(_column(kind, names, place, guess, types) for place, guess in enumerate(guesses))
    return Survey("csv", delimiter, columns, rows, text.size, text.bom, _repeated(digests))


def _column(kind: Kind, names: list[str], place: int, guess: Guess, types: Mapping[str, ColumnType]) -> Column:
    name = names[place]
    if name in FIELDS[kind]:
        fixed: ColumnType = "json" if name == "attributes" else "text"
        return Column(name, fixed, fixed, True, guess.filled)
    # Our own file of wrong rows, mended and sent again.
    found: ColumnType = "omit" if name == ERROR_COLUMN and place == len(names) - 1 else guess.type
    chosen = types.get(name, found)
    return Column(name, found, chosen if chosen in TYPES else found, False, guess.filled)


def _json(kind: Kind, blocks: Blocks, text: Text) -> Survey:
    file_format: Format = "json" if text.first == b"[" else "single" if _is_single(blocks, text) else "ndjson"
    id_field = required_fields(kind)[0]
    fields: dict[str, _Seen] = {name: _Seen() for name in required_fields(kind)}
    attributes: dict[str, _Seen] = {}
    rows, digests = 0, array("q")
    for batch in elements(blocks, file_format):
        rows += len(batch)
        for element in batch:
            try:
                record = orjson.loads(element.raw)
            except orjson.JSONDecodeError:
                continue
            if type(record) is not dict:
                continue
            digests.append(hash(record.get(id_field)) if type(record.get(id_field)) is str else 0)
            for name, seen in fields.items():
                if name in record:
                    seen.add(record[name])
            sent = record.get("attributes")
            for name, value in sent.items() if type(sent) is dict else ():
                if (seen_of := attributes.get(name)) is None:
                    if len(attributes) >= MAX_NAMED:
                        continue
                    seen_of = attributes[name] = _Seen()
                seen_of.add(value)
    columns = [Column(name, "text", "text", True, seen.filled) for name, seen in fields.items()]
    columns += [Column(name, seen.type, seen.type, False, seen.filled) for name, seen in attributes.items()]
    return Survey(file_format, "", tuple(columns), rows, text.size, text.bom, _repeated(digests))


class _Seen:
    """The types of the values of a key."""

    __slots__ = ("_types", "filled")

    def __init__(self) -> None:
        self.filled = 0
        self._types: set[type] = set()

    def add(self, value: Any) -> None:
        self.filled += 1
        self._types.add(type(value))

    @property
    def type(self) -> ColumnType:
        found = {_JSON_TYPES.get(one, "json") for one in self._types}
        return found.pop() if len(found) == 1 else "json"


def _is_single(blocks: Blocks, text: Text) -> bool:
    """Whether the file is one record over several lines: its first line is no record."""
    if text.size > ROW_BYTES:
        return False
    data = b"".join(blocks()).lstrip(b"\xef\xbb\xbf").strip()
    try:
        orjson.loads(data.partition(b"\n")[0])
    except orjson.JSONDecodeError:
        try:
            orjson.loads(data)
        except orjson.JSONDecodeError:
            return False
        return True
    return False


def _repeated(digests: array[int]) -> frozenset[int]:
    """The digests that occur more than once. In parts where there are many: a sorted list takes several times an array."""
    if len(digests) <= SORTED_AT_ONCE:
        return frozenset(_neighbours(sorted(digests)))
    found: set[int] = set()
    for part in range(4):
        found.update(_neighbours(sorted(digest for digest in digests if digest & 3 == part)))
    return frozenset(found)


def _neighbours(ordered: list[int]) -> Iterator[int]:
    return (one for one, other in pairwise(ordered) if one == other)
