"""The database's schema and the generations of state in it.

A generation is a schema `gen_N` that holds a whole state, with its positions; the live one stands behind the views.
"""

from __future__ import annotations

import secrets

from foldline.adapters.postgres import Connection, translated
from foldline.domain.errors import FoldlineError
from projections.sql import migrations, queries, script

_SQL = queries("generations")
OPERATIONS_SECRET = "operations"


def schema_name(generation: int) -> str:
    """The PostgreSQL schema of a generation."""
    return f"gen_{generation}"


def migrate(connection: Connection) -> list[str]:
    """Brings the database to this version's schema, in one transaction; returns the migrations that it ran.

    Safe to repeat and to run twice at once. Raises `FoldlineError` for a database that a newer version has migrated, or
    whose past migrations were others than ours.
    """
    with translated(), connection.transaction():
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
        for migration in ran:
            connection.execute(migration.text.encode())
            connection.execute(_SQL["record_migration"], (migration.name, migration.digest))
        connection.execute(_SQL["make_secret"], (OPERATIONS_SECRET, secrets.token_bytes(32)))
        if live_generation(connection) is None:
            make_generation(connection, 1)
            connection.execute(_SQL["set_live"], (1,))
        point_views(connection)
        return [migration.name for migration in ran]


def make_generation(connection: Connection, generation: int) -> None:
    """Makes the empty tables of a generation and names it."""
    connection.execute(script("generation").format(schema=schema_name(generation)).encode())
    connection.execute(_SQL["record_generation"], (generation,))


def point_views(connection: Connection) -> None:
    """Puts the live generation behind the views."""
    generation = live_generation(connection)
    assert generation is not None
    connection.execute(script("views").format(schema=schema_name(generation), generation=generation).encode())


def live_generation(connection: Connection) -> int | None:
    """The number of the live generation, or None before there is one."""
    row = connection.execute(_SQL["live_generation"]).fetchone()
    return None if row is None else int(row[0])
