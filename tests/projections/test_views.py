"""The views that readers may rely on: described in the database itself, and all that the reader's role sees."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from foldline.adapters.postgres import Connection, connect
from projections.generations import begin, live_generation, migrate, point_views

VIEWS = ["active_items", "active_users", "items", "known_items", "known_users", "positions", "users"]
# Whatever the role may look into, wherever it lies, beside what PostgreSQL shows to everybody.
READABLE = """
SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'v', 'm', 'p', 'f', 'S') AND n.nspname NOT IN ('pg_catalog', 'information_schema')
    AND has_schema_privilege('foldline_reader', n.oid, 'USAGE')
    AND CASE c.relkind WHEN 'S' THEN has_sequence_privilege('foldline_reader', c.oid, 'SELECT, USAGE, UPDATE')
        ELSE has_any_column_privilege('foldline_reader', c.oid, 'SELECT, INSERT, UPDATE, REFERENCES') END
ORDER BY 1, 2
"""
WRITABLE = """
SELECT c.oid::regclass::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = 'foldline' AND has_table_privilege('foldline_reader', c.oid, 'INSERT, UPDATE, DELETE, TRUNCATE, TRIGGER')
"""
UNDESCRIBED = """
SELECT c.relname, a.attname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
WHERE c.relnamespace = 'foldline'::regnamespace AND coalesce(col_description(c.oid, a.attnum), '') NOT LIKE '%.'
UNION ALL SELECT relname, '' FROM pg_class
WHERE relnamespace = 'foldline'::regnamespace AND coalesce(obj_description(oid, 'pg_class'), '') NOT LIKE '%.'
"""


@pytest.fixture
def connection(database: str) -> Iterator[Connection]:
    with connect(database, "test") as opened:
        migrate(opened)
        yield opened


def rows(connection: Connection, query: str) -> list[tuple[str, ...]]:
    return connection.execute(query.encode()).fetchall()


def test_every_view_and_column_is_described(connection: Connection) -> None:
    found = rows(connection, "SELECT relname FROM pg_class WHERE relnamespace = 'foldline'::regnamespace ORDER BY 1")
    assert [name for (name,) in found] == VIEWS
    assert rows(connection, UNDESCRIBED) == []


def test_the_reader_sees_the_views_and_nothing_else(connection: Connection) -> None:
    """Also after a swap, which points the views at tables that the role knows nothing of."""
    generation, _ = begin(connection, "test")
    for live in (1, generation):
        connection.execute(b"UPDATE foldline_control.generations SET live = false")
        connection.execute(b"UPDATE foldline_control.generations SET live = true WHERE generation = %s", (live,))
        point_views(connection)
        assert live_generation(connection) == live
        assert rows(connection, READABLE) == [("foldline", view) for view in VIEWS]
        assert rows(connection, WRITABLE) == []
        connection.execute(b"SET ROLE foldline_reader")
        for view in VIEWS:
            assert rows(connection, f"SELECT * FROM foldline.{view}") == []  # noqa: S608
        for table in ("foldline_control.api_keys", f"gen_{live}.items", "public.foldline_migrations"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                rows(connection, f"SELECT * FROM {table}")  # noqa: S608
        connection.execute(b"RESET ROLE")
