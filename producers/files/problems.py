"""What is wrong with a file, or worth knowing about it: a value with a place and a code."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import Any, Final, NamedTuple, TypeVar

from foldline.domain.errors import FoldlineError
from foldline.domain.records import ATTRIBUTES_MAX_BYTES
from foldline.domain.values import printable

VALUE_CHARACTERS: Final = 100
MOST_A_ROW: Final = 100
MORE: Final = ("more_errors", f"the row has more than {MOST_A_ROW} errors; these are the first")
LARGE: Final = ("record_too_large", f"the attributes have more than {ATTRIBUTES_MAX_BYTES:,} bytes as JSON")

_One = TypeVar("_One")


class Problem(NamedTuple):
    """An error or a warning. `line` is the physical line, from 1, at which its row starts; `row` counts from 1 without the
    header, 0 being the file as a whole; `column` is a column or a path; `value` is what stands there, cut."""

    line: int
    row: int
    column: str
    code: str
    message: str
    value: str
    id: str | None

    def as_json(self) -> dict[str, Any]:
        return self._asdict()


class BadFile(FoldlineError):
    """The file as a whole cannot be read: why."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__(problems[0].message)
        self.problems = problems


def bad_file(code: str, message: str, line: int = 1, column: str = "", value: str = "") -> BadFile:
    """A file with one problem."""
    return BadFile([Problem(line, 0, column, code, message, shown(value), None)])


def named(path: str) -> str:
    """A column or a path as a problem shows it."""
    return path if path.isprintable() and len(path) <= VALUE_CHARACTERS else printable(path)


def shown(value: str) -> str:
    """A value as a problem shows it."""
    if len(value) <= VALUE_CHARACTERS and value.isprintable():
        return value
    return printable(value if len(value) <= VALUE_CHARACTERS else value[: VALUE_CHARACTERS - 1] + "…")


def first_ones(found: Iterable[_One], more: _One) -> list[_One]:
    """What is wrong with a row; `more` in place of what is beyond `MOST_A_ROW`."""
    listed = list(islice(found, MOST_A_ROW + 1))
    return [*listed[:MOST_A_ROW], more] if len(listed) > MOST_A_ROW else listed
