"""The log of who did what in an organisation.

An entry is written in the transaction of what it tells of: there is neither without the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

from psycopg.types.json import Jsonb

from foldline.adapters.postgres import Connection, translated
from producers.accounts.statements import SQL, execute

COMMAND_LINE: Final = "command line"
PAGE_ENTRIES: Final = 50
ERASED: Final = "user.erased"


class Entry(NamedTuple):
    """One thing that was done. `action` is a dotted name, `subject` what it was done to, `detail` small JSON values."""

    audit_id: int
    at: datetime
    actor: str
    action: str
    subject: str
    detail: dict[str, Any]


def record(connection: Connection, org_id: str, actor: str, action: str, subject: str, **detail: Any) -> None:
    """Notes what an actor (an e-mail address, or `COMMAND_LINE`) does, in the transaction that is open. Raises the driver's
    errors."""
    execute(connection, "record", org_id=org_id, actor=actor, action=action, subject=subject, detail=Jsonb(detail))


def entries(
    connection: Connection, org_id: str, action: str = "", actor: str = "", before: int | None = None
) -> tuple[list[Entry], int | None]:
    """A page of the log, newest first: of one action and one actor where they are given, from below the entry `before`; and
    where the next page begins, None for nowhere."""
    asked = {"org_id": org_id, "action": action, "actor": actor, "before": before, "limit": PAGE_ENTRIES + 1}
    with translated():
        # Planned anew for what is asked: each filter has an index of its own.
        rows = connection.execute(SQL["entries"].encode(), asked, prepare=False).fetchall()
    found = [Entry(*row) for row in rows[:PAGE_ENTRIES]]
    return found, found[-1].audit_id if len(rows) > PAGE_ENTRIES else None


def askers_of_erasures(connection: Connection, org_id: str, requests: Sequence[str]) -> dict[str, str]:
    """Who asked for a user to be erased, by the id of the request, where it was one of the dashboard's."""
    with translated():
        return dict(execute(connection, "askers_of_erasures", org_id=org_id, action=ERASED, requests=list(requests)))


def known(connection: Connection, org_id: str) -> tuple[list[str], list[str]]:
    """The actions and the actors that the log of an organisation has, each in order."""
    with translated():
        actions, actors = (execute(connection, query, org_id=org_id) for query in ("actions", "actors"))
    return [action for (action,) in actions], [actor for (actor,) in actors]
