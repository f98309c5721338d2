"""Rows that were looked at: good ones as upserts, the others with all that is wrong with them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from foldline.domain.records import ATTRIBUTES_MAX_BYTES, Rejection, Upsert
from foldline.domain.values import attributes_of
from producers.files.problems import Problem


class Bad(NamedTuple):
    """A wrong row, counted from 0. `source` is what it was: cells, or the text of a record."""

    row: int
    line: int
    id: str | None
    problems: list[Problem]
    source: Any


class Rows(NamedTuple):
    """Consecutive rows from `first` on, in their order. `lines` are those of all of them."""

    first: int
    total: int
    lines: Sequence[int]
    upserts: list[Upsert]
    bad: list[Bad]
    id_field: str

    def ids(self) -> Iterator[tuple[int, int, str]]:
        """Row, line and id of every row whose id is known, in order."""
        first, lines = self.first, self.lines
        named = [(upsert[7], lines[upsert[7] - first], upsert[1]) for upsert in self.upserts]
        if self.bad:
            named += [(bad.row, bad.line, bad.id) for bad in self.bad if bad.id is not None]
            named.sort()
        return iter(named)


def is_large(attributes: str | None) -> bool:
    """Whether the fold would find that attributes have too many bytes. It writes numbers in a form of its own: `1.0` is half
    as long there, `1e18` four times; and a character has up to four bytes."""
    if attributes is None or 5 * len(attributes) <= ATTRIBUTES_MAX_BYTES:
        return False
    if len(attributes) > (2 if ".0" in attributes else 1) * ATTRIBUTES_MAX_BYTES:
        return True
    found = attributes_of(attributes)
    return isinstance(found, Rejection) or found[1] > ATTRIBUTES_MAX_BYTES
