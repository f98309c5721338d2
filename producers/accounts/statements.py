"""The statements of `accounts.sql`, run on a connection."""

from __future__ import annotations

from typing import Any, Final

from foldline.adapters.postgres import Connection
from projections.sql import queries

SQL: Final = queries("accounts")


def execute(connection: Connection, query: str, **parameters: Any) -> list[tuple[Any, ...]]:
    """The rows of a named statement, none where it returns none. Raises the driver's errors."""
    cursor = connection.execute(SQL[query].encode(), parameters)
    return cursor.fetchall() if cursor.description else []
