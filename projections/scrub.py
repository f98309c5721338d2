"""Dead rows: what an erasure has replaced stays in a table's file until a vacuum has removed it. This sees to it early.

What a vacuum removes can be read by no query any more. Its bytes may stay in the free space of a page until other rows are
written there, and in the write-ahead log and in backups for as long as these are kept.
"""

from __future__ import annotations

from datetime import datetime

from psycopg.errors import Diagnostic

from foldline.adapters.postgres import Connection, translated
from projections.sql import queries

_SQL = queries("scrub")


def scrub(connection: Connection, since: datetime | None) -> datetime | None:
    """Vacuums the tables in which something was erased in transactions that began then or later; None for ever.

    Returns since when erasures are to be looked for the next time: not before those that somebody who still reads holds
    back, nor those in a table at which somebody else is. Outside a transaction. Raises `Unreachable`.
    """
    skipped: list[Diagnostic] = []
    with translated():
        ((any_erased, until),) = connection.execute(_SQL["erased"].encode(), {"since": since}).fetchall()
        if not any_erased:
            return since
        connection.add_notice_handler(skipped.append)
        try:
            for (table,) in connection.execute(_SQL["tables"].encode()).fetchall():
                connection.execute(_SQL["vacuum"].replace("{table}", table).encode(), prepare=False)
        finally:
            connection.remove_notice_handler(skipped.append)
    found: datetime = until
    return since if skipped else found
