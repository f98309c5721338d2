"""PostgreSQL: how connections are made and what its errors mean to us. Driver errors are translated only here."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

import psycopg

from foldline.domain.errors import BadData, Conflict, FoldlineError, MasterKeyChanged, Unreachable
from foldline.settings import masked_url

Connection: TypeAlias = psycopg.Connection[tuple[Any, ...]]

CONFLICT = "FL001"
MASTER_KEY_CHANGED = "FL002"
BAD_DATA_CLASSES = ("22", "23", "54")
NOT_INITIALISED = ("3F000", "42P01", "42883")  # no such schema, table or function
HOW_TO_INITIALISE = "PostgreSQL is not initialised: run `foldline init`"


def connect(url: str, application_name: str, timeout_seconds: float = 5.0) -> Connection:
    """An autocommit connection whose session speaks UTC. Raises `Unreachable`."""
    try:
        connection = psycopg.connect(
            url,
            autocommit=True,
            application_name=application_name,
            connect_timeout=max(1, round(timeout_seconds)),
            options="-c timezone=UTC -c client_min_messages=warning",
        )
    except psycopg.Error as error:
        raise Unreachable(f"PostgreSQL at {masked_url(url)} cannot be reached: {_one_line(error)}") from error
    connection.prepare_threshold = 2
    return connection


@contextmanager
def translated() -> Iterator[None]:
    """Turns driver errors into ours: `Conflict`, `MasterKeyChanged`, `BadData`, `FoldlineError` before `foldline init` has
    run, and `Unreachable` for everything else, which may pass."""
    try:
        yield
    except psycopg.Error as error:
        raise translation(error) from error


def translation(error: psycopg.Error) -> FoldlineError:
    """Our error for one of the driver's."""
    state = error.sqlstate or ""
    if state == CONFLICT:
        return Conflict(_one_line(error))
    if state == MASTER_KEY_CHANGED:
        return MasterKeyChanged(_one_line(error))
    if state[:2] in BAD_DATA_CLASSES or isinstance(error, psycopg.DataError):
        return BadData(_one_line(error))
    if state in NOT_INITIALISED:
        return FoldlineError(HOW_TO_INITIALISE)
    return Unreachable(f"PostgreSQL did not do what it was asked ({state or type(error).__name__}): {_one_line(error)}")


def _one_line(error: psycopg.Error) -> str:
    """What the server said, without the rows that it quotes: its detail and its context may hold what nobody may read."""
    return " ".join((error.diag.message_primary or str(error)).split())
