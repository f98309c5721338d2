"""The first pass over a file: what it is, which columns it has, and how many rows."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from typing import Any, Final, Literal, NamedTuple, TypeAlias

from foldline.domain.records import Kind
from foldline.domain.values import Unparsable, parse
from producers.files import csv_rows, json_rows
from producers.files.columns import TYPES, Column, ColumnType, Guess
from producers.files.csv_header import header_of, required_fields
from producers.files.json_rows import Element
from producers.files.problems import bad_file
from producers.files.source import ROW_BYTES, Blocks, Text, chunks, text_of
from producers.validation import FIELDS

Format: TypeAlias = Literal["csv", "json", "ndjson", "single"]
MAX_NAMED: Final = 1000
FIRST_LINES: Final = 100
ERROR_COLUMN: Final = "error"
# Where a column of the file is called like it.
OTHER_ERROR_COLUMN: Final = "foldline_error"
AT_ONCE: Final = 500_000
PARTS, DIGEST_BITS = 8, 61
# A file of 50 MB has fewer rows than these that can hold: repeated ids beyond them are not told of.
MOST_DIGESTS: Final = 5_000_000

_JSON_TYPES: Final[dict[type, ColumnType]] = {str: "text", int: "number", float: "number", bool: "boolean"}


class Survey(NamedTuple):
    """What a file is. `size` is in bytes, inflated; `repeated` are the ordered digests of ids that occur more than once."""

    format: Format
    delimiter: str
    columns: tuple[Column, ...]
    rows: int
    size: int
    bom: bool = False
    repeated: Sequence[int] = ()

    @property
    def names(self) -> list[str]:
        return [column.name for column in self.columns]

    @property
    def has_errors(self) -> bool:
        """Whether the last column says what was wrong with the rows, in a file of ours."""
        last = self.columns[-1]
        return last.name in (ERROR_COLUMN, OTHER_ERROR_COLUMN) and last.type == "omit"

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
        whole = batch.rows
        if not batch.plain:
            ids = [row[id_at] for row in whole if type(row) is list and id_at < len(row) != width]
            _add_digests(digests, ids)
            whole = [row for row in whole if type(row) is list and len(row) == width]
        cells = list(zip(*whole, strict=True))
        if cells:
            _add_digests(digests, cells[id_at])
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
    ours = place == len(names) - 1 and name in (ERROR_COLUMN, OTHER_ERROR_COLUMN)
    found: ColumnType = "omit" if ours else guess.type
    chosen = types.get(name, found)
    return Column(name, found, chosen if chosen in TYPES else found, False, guess.filled)


def _json(kind: Kind, blocks: Blocks, text: Text) -> Survey:
    file_format: Format = "json" if text.first == b"[" else "single" if _is_single(blocks, text) else "ndjson"
    rows, keys, digests = 0, _Keys(kind), array("q")
    for batch in elements(blocks, file_format):
        rows += len(batch)
        _add_digests(digests, keys.add(batch))
    return Survey(file_format, "", keys.columns(), rows, text.size, text.bom, _repeated(digests))


class _Keys:
    """What there is in records: how often each field, and each key of `attributes` by the type of its value."""

    def __init__(self, kind: Kind) -> None:
        self._required = required_fields(kind)
        self._fields: Counter[str] = Counter()
        self._keys: dict[str, Counter[ColumnType]] = {}

    def add(self, batch: list[Element]) -> list[str]:
        """Adds records, and returns their ids. Nothing of them is alive afterwards."""
        records = [record for element in batch if type(record := _loaded(element)) is dict]
        self._fields.update({name: sum(name in record for record in records) for name in self._required})
        objects: list[dict[str, Any]] = [sent for record in records if type(sent := record.get("attributes")) is dict]
        values = chain.from_iterable(map(dict.values, objects))
        for (name, kind), count in Counter(zip(chain.from_iterable(objects), map(type, values), strict=True)).items():
            if name in self._keys or len(self._keys) < MAX_NAMED:
                self._keys.setdefault(name, Counter())[_JSON_TYPES.get(kind, "json")] += count
        return [sent for record in records if type(sent := record.get(self._required[0])) is str]

    def columns(self) -> tuple[Column, ...]:
        fields = [Column(name, "text", "text", True, self._fields[name]) for name in self._required]
        found = [
            (name, next(iter(types)) if len(types) == 1 else "json", types.total()) for name, types in self._keys.items()
        ]
        return (*fields, *(Column(name, kind, kind, False, count) for name, kind, count in found))


def _loaded(element: Element) -> Any:
    try:
        return None if element.code else element.record or parse(element.raw)[0]
    except Unparsable:
        return None


def _is_single(blocks: Blocks, text: Text) -> bool:
    """Whether the file is one record over several lines: none of its first lines is one."""
    if text.size > ROW_BYTES:
        return False
    data = b"".join(chunks(blocks)).strip()
    first = list(islice((line for line in data.split(b"\n") if not line.isspace()), FIRST_LINES))
    return len(first) > 1 and not any(map(json_rows.is_record, first))


def _add_digests(digests: array[int], ids: Iterable[str]) -> None:
    if len(digests) < MOST_DIGESTS:
        digests.extend(map(hash, filter(None, ids)))


def _repeated(digests: array[int]) -> array[int]:
    """The digests that occur more than once, in order; by their first bits where a set of all would take much memory."""
    if len(digests) <= AT_ONCE:
        return array("q", _twice(digests))
    found = array("q")
    for part in range(-PARTS // 2, PARTS // 2):
        found.extend(_twice(digest for digest in digests if digest >> DIGEST_BITS == part))
    return found


def _twice(digests: Iterable[int]) -> list[int]:
    once: set[int] = set()
    twice: set[int] = set()
    for digest in digests:
        (twice if digest in once else once).add(digest)
    return sorted(twice)
