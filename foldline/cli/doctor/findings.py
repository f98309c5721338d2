"""What a check has found."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Literal, NamedTuple, TypeAlias

Status: TypeAlias = Literal["ok", "warning", "fault"]


class Finding(NamedTuple):
    """One sentence of what is so, and unless all is well one of what to do."""

    status: Status
    message: str
    remedy: str | None = None


Findings: TypeAlias = Iterable[Finding]


def ok(message: str) -> Finding:
    return Finding("ok", message)


def warning(message: str, remedy: str) -> Finding:
    return Finding("warning", message, remedy)


def fault(message: str, remedy: str) -> Finding:
    return Finding("fault", message, remedy)


def unless(found: Findings, message: str) -> Iterator[Finding]:
    """What was found, or that all is well where nothing was."""
    nothing = True
    for finding in found:
        nothing = False
        yield finding
    if nothing:
        yield ok(message)
