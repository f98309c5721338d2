"""The database's schema and the generations of state in it.

A generation is a schema `gen_N` that holds a whole state, with its positions; the live one stands behind the views.
"""

from __future__ import annotations

import random
import secrets
import time
from datetime import datetime
from typing import NamedTuple

import psycopg

from foldline.adapters.postgres import Connection, translated
from foldline.domain.errors import FoldlineError
from projections.sql import migrations, queries, script

_SQL = queries("generations")
OPERATIONS_SECRET = "operations"
MIGRATE_SECONDS = 60.0
RETRY_SECONDS = 0.5
# Less than it takes PostgreSQL to find a deadlock, which might then end a service's transaction instead of ours.
LOCK_MILLISECONDS = 300
# A command that is stopped while it holds what services need is ended by the server.
IDLE_MILLISECONDS = 10_000


def schema_name(generation: int) -> str:
    """The PostgreSQL schema of a generation."""
    return f"gen_{generation}"


def migrate(connection: Connection) -> list[str]:
    """Brings the database to this version's schema, in one transaction; returns the migrations that it ran.

    Safe to repeat, to run twice at once, and while services work: where it would wait for one of them for long it lets go
    of everything and begins again, for up to `MIGRATE_SECONDS`. Raises `FoldlineError` for a database that a newer version
    has migrated, or whose past migrations were others than ours.
    """
    deadline = time.monotonic() + MIGRATE_SECONDS
    with translated():
        while True:
            try:
                with connection.transaction():
                    connection.execute(f"SET LOCAL lock_timeout = {LOCK_MILLISECONDS}".encode())
                    connection.execute(f"SET LOCAL idle_in_transaction_session_timeout = {IDLE_MILLISECONDS}".encode())
                    return _migrate(connection)
            except psycopg.errors.LockNotAvailable:
                if time.monotonic() > deadline:
                    raise
            time.sleep(random.uniform(0, RETRY_SECONDS))


def _migrate(connection: Connection) -> list[str]:
    connection.execute(_SQL["lock_migrations"])
    connection.execute(_SQL["make_migrations_table"])
    past: dict[str, str] = dict(connection.execute(_SQL["past_migrations"]).fetchall())
    known = {migration.name: migration for migration in migrations()}
    for name, digest in past.items():
        if name not in known:
            raise FoldlineError(f"the database has migration {name}, which this version does not know: use a newer one")
        if known[name].digest != digest:
            raise FoldlineError(f"migration {name} of the database is another one than this version's")
    ran = [migration for migration in migrations() if migration.name not in past]
    if ran and past:
        # A commit begins with the positions: who has these meets nobody in the middle of one. A reader begins with a view.
        views = [name for (name,) in connection.execute(_SQL["views"]).fetchall()]
        connection.execute(f"LOCK TABLE {', '.join(views)} IN ACCESS EXCLUSIVE MODE".encode())
    for migration in ran:
        connection.execute(migration.text.encode())
        connection.execute(_SQL["record_migration"], (migration.name, migration.digest))
    connection.execute(_SQL["make_secret"], (OPERATIONS_SECRET, secrets.token_bytes(32)))
    if live_generation(connection) is None:
        make_generation(connection, 1, "")
        connection.execute(_SQL["set_live"], (1,))
    point_views(connection)
    connection.execute(script("roles").encode())
    return [migration.name for migration in ran]


def make_generation(connection: Connection, generation: int, purpose: str) -> None:
    """Makes the empty tables of a generation and names it."""
    connection.execute(script("generation").format(schema=schema_name(generation)).encode())
    connection.execute(_SQL["record_generation"], (generation, purpose))


def point_views(connection: Connection) -> None:
    """Puts the live generation behind the views."""
    generation = live_generation(connection)
    assert generation is not None
    connection.execute(script("views").format(schema=schema_name(generation), generation=generation).encode())


def live_generation(connection: Connection) -> int | None:
    """The number of the live generation, or None before there is one."""
    row = connection.execute(_SQL["live_generation"]).fetchone()
    return None if row is None else int(row[0])


class Generation(NamedTuple):
    """A whole state. `status` is `building`, `built`, `live` or `old`; `records` of the log are folded into it."""

    generation: int
    status: str
    purpose: str
    created_at: datetime
    live_at: datetime | None
    retired_at: datetime | None
    records: int


def generations(connection: Connection) -> list[Generation]:
    """All of them, oldest first."""
    with translated():
        return [Generation(*row) for row in connection.execute(_SQL["generations"]).fetchall()]


def hold(connection: Connection, seconds: float = 0) -> None:
    """Keeps everybody else from building and dropping generations while this connection lasts. Raises `FoldlineError` where
    somebody does so for `seconds` more."""
    deadline = time.monotonic() + seconds
    with translated():
        while not connection.execute(_SQL["lock_generations"]).fetchall()[0][0]:
            if time.monotonic() >= deadline:
                raise FoldlineError("another rebuild or verification is under way: wait for it, or end it")
            time.sleep(random.uniform(0, RETRY_SECONDS))


def begin(connection: Connection, purpose: str, *, resume: bool = True) -> tuple[int, bool]:
    """An empty generation with positions at the beginning of the log, or the one that was begun for the same purpose; and
    whether it is one that was begun."""
    with translated(), connection.transaction():
        found = connection.execute(_SQL["building"], (purpose,)).fetchone() if resume else None
        if found is not None:
            return int(found[0]), True
        ((generation,),) = connection.execute(_SQL["next_generation"]).fetchall()
        make_generation(connection, generation, purpose)
        connection.execute(script("roles").encode())
        connection.execute(_SQL["begin_positions"], (generation,))
        return int(generation), False


def built(connection: Connection, generation: int) -> None:
    """Notes that a generation is all there."""
    with translated():
        connection.execute(_SQL["set_built"], (generation,))


def drop(connection: Connection, generation: int) -> None:
    """Removes a generation that is not live, with all that belongs to it. Raises `FoldlineError`."""
    with translated(), connection.transaction():
        known = {found.generation: found.status for found in generations(connection)}
        if known.get(generation, "live") == "live":
            why = "is live" if generation in known else "does not exist"
            raise FoldlineError(f"generation {generation} {why}: `foldline generations list` shows which may be dropped")
        connection.execute(f"DROP SCHEMA IF EXISTS {schema_name(generation)} CASCADE".encode())
        connection.execute(_SQL["drop_rows"], {"generation": generation})
        connection.execute(_SQL["drop_generation"], (generation,))


def drop_expired(connection: Connection) -> list[int]:
    """Removes the generations that were live more than a day ago, and all but the newest of those that were live."""
    with translated():
        expired = [int(row[0]) for row in connection.execute(_SQL["expired"]).fetchall()]
    for generation in expired:
        drop(connection, generation)
    return expired
