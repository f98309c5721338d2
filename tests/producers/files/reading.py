"""A file read as a whole: what it is, what comes out of it, and what is wrong with it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import pytest

from foldline.domain.records import DETAIL_FIELD, ID_FIELD, Kind, Upsert
from producers import files
from producers.files import BadFile, ColumnType, Problem, Survey, source
from producers.validation import Stamp

STAMP = Stamp("org_a", "0123456789abcdef0123456789abcdef", 1_736_672_400_000_000)
BLOCK_BYTES = 64 * 1024


class Read(NamedTuple):
    """A file that was read. `failed` is the file of wrong rows, empty where none is."""

    survey: Survey
    upserts: list[Upsert]
    errors: list[Problem]
    warnings: list[Problem]
    failed: bytes
    wrong_rows: int
    wrong_ids: list[str]
    wrong_without_id: int


def blocks_of(data: bytes, size: int = BLOCK_BYTES) -> files.Blocks:
    def blocks() -> Iterator[bytes]:
        return (data[at : at + size] for at in range(0, len(data), size))

    return blocks


def read(
    data: str | bytes, kind: Kind = "items", types: Mapping[str, ColumnType] = {}, size: int = BLOCK_BYTES, from_row: int = 0
) -> Read:
    """Reads a file both times, in blocks of `size` bytes and no larger steps. Raises `BadFile`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(source, "CHUNK_BYTES", max(size, len(source.BOM)))
        return _read(data, kind, types, size, from_row)


def _read(data: str | bytes, kind: Kind, types: Mapping[str, ColumnType], size: int, from_row: int) -> Read:
    blocks = blocks_of(data.encode() if isinstance(data, str) else data, size)
    survey = files.survey(kind, blocks, types)
    upserts, errors, warnings, failed, wrong, ids, without = list[Upsert](), [], [], b"", 0, list[str](), 0
    row = 0
    for checked in files.read(kind, blocks, survey, STAMP, from_row):
        assert checked.first_row == max(row, from_row)
        row = checked.first_row + checked.rows
        upserts += checked.upserts
        errors += checked.errors
        warnings += checked.warnings
        failed += checked.failed
        wrong += checked.wrong_rows
        ids += checked.wrong_ids
        without += checked.wrong_without_id
    assert row == survey.rows or from_row >= survey.rows
    if failed:
        failed = files.failed_header(survey) + failed + files.failed_footer(survey)
    assert max(0, survey.rows - from_row) == len(upserts) + wrong
    return Read(survey, upserts, errors, warnings, failed, wrong, ids, without)


def records(found: Read, kind: Kind = "items") -> list[dict[str, Any]]:
    """The upserts as the API would have been sent them, with their time in microseconds."""
    return [
        {
            ID_FIELD[kind]: upsert.entity_id,
            DETAIL_FIELD[kind]: upsert.detail,
            "status": upsert.status,
            **({} if upsert.attributes is None else {"attributes": json.loads(upsert.attributes)}),
        }
        for upsert in found.upserts
    ]


def attributes(found: Read) -> list[Any]:
    """The attributes of each upsert, None where it has none."""
    return [upsert.attributes and json.loads(upsert.attributes) for upsert in found.upserts]


def places(problems: list[Problem]) -> list[tuple[int, int, str, str]]:
    """Line, row, column and code of each."""
    return [(problem.line, problem.row, problem.column, problem.code) for problem in problems]


def refused(data: str | bytes, kind: Kind = "items") -> list[Problem]:
    """The problems of a file that cannot be read as a whole."""
    with pytest.raises(BadFile) as raised:
        read(data, kind)
    assert all(problem.row == 0 for problem in raised.value.problems)
    return raised.value.problems
