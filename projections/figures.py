"""Figures over time: what organisations sent, how soon it was readable, how many records they have, how far behind we are.

1. Time goes in steps of ten seconds, aligned to UTC. A figure belongs to the step in which it was taken.
2. Any number of processes may sample: one at a time does, and a step is sampled once.
3. A count holds for what was sent before it and applied by then. What was sent later, or not yet applied, is counted again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

import structlog

from foldline.adapters.pool import Database
from foldline.adapters.postgres import Connection, translated
from foldline.domain.errors import FoldlineError
from foldline.domain.records import Kind
from foldline.settings import Settings
from projections.lag import Applied, Lag, lag_of
from projections.sql import queries

STEP_SECONDS: Final = 10
# So many are counted in a step; the rest in the next ones.
MAX_COUNTED: Final = 200

_SQL = queries("figures")
_log = structlog.get_logger("foldline.figures")


class Activity(NamedTuple):
    """What an organisation sent of a kind in the step that began `at` (seconds since the epoch): `events` more than were
    known, and the milliseconds until one of them was readable, where that was measured."""

    at: int
    org_id: str
    kind: Kind
    events: int
    freshness_ms: float | None = None


def activity_parameters(rows: Sequence[Activity]) -> dict[str, Any]:
    """The parameters of the query `add_activity` for rows of which no two have the same organisation, step and kind."""
    return {
        "org_ids": [row.org_id for row in rows],
        "ats": [row.at for row in rows],
        "kinds": [row.kind for row in rows],
        "events": [row.events for row in rows],
        "freshness_ms": [row.freshness_ms for row in rows],
    }


async def add_activities(database: Database, rows: Sequence[Activity]) -> None:
    """Adds to what is known, in one statement. Raises `Unreachable`: then it is not known whether they were added."""
    await database.fetch(_SQL["add_activity"], activity_parameters(rows))


def add_activity(connection: Connection, org_id: str, kind: Kind, events: int) -> None:
    """Adds events that an organisation has just sent. Raises `Unreachable`."""
    with translated():
        step, _ = _one(connection, "step")
        row = Activity(int(step.timestamp()), org_id, kind, events)
        _one(connection, "add_activity", activity_parameters([row]))


def sample(connection: Connection, settings: Settings) -> bool:
    """Notes down the lag, counts what has changed, and forgets what is too old. To be called every ten seconds.

    Returns False where another process does that, or has done it in this step. Where Kafka is away there is no lag to be
    noted, and the rest goes on. Raises `Unreachable` where the database is away.
    """
    with translated():
        (locked,) = _one(connection, "lock")
        if not locked:
            return False
        try:
            step, sampled = _one(connection, "step")
            if not sampled:
                _sample(connection, settings, step)
            return not sampled
        finally:
            _one(connection, "unlock")


def _sample(connection: Connection, settings: Settings, step: datetime) -> None:
    # 1. The lag is measured before anything is counted: what is not applied now may be missing in the counts.
    lag = _lag(connection, settings)
    due = connection.execute(_SQL["due"].encode(), {"step": step, "limit": MAX_COUNTED}).fetchall()
    with connection.transaction():
        connection.execute("SET LOCAL max_parallel_workers_per_gather = 0")
        for org_id, kind in due:
            connection.execute(_SQL[f"count_{kind}"].encode(), {"org_id": org_id, "step": step})
    past = {"step": step, "seconds": settings.activity_retention_seconds}
    for name in ("thin_activity", "thin_lag", "forget_activity", "forget_counts", "forget_lag"):
        connection.execute(_SQL[name].encode(), past)
    # 2. The step counts as sampled once all of it is.
    if lag is not None:
        connection.execute(_SQL["insert_lag"].encode(), {"step": step, **lag._asdict()})


def _lag(connection: Connection, settings: Settings) -> Lag | None:
    rows = connection.execute(queries("reads")["status"].encode()).fetchall()
    try:
        return lag_of(settings, [Applied(topic, partition, applied) for _, topic, partition, applied, _ in rows])
    except FoldlineError as error:
        _log.warning("the lag is not known", reason=str(error))
        return None


def _one(connection: Connection, name: str, parameters: Mapping[str, Any] | None = None) -> Any:
    return connection.execute(_SQL[name].encode(), parameters).fetchone()
