"""What is left of an erased row in a table's file, on a real PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from foldline.adapters.postgres import Connection, connect
from projections.generations import migrate
from projections.scrub import scrub

VALUE = "ada-unmistakable-value"


@pytest.fixture
def tables(database: str) -> Iterator[Connection]:
    with connect(database, "test") as connection:
        migrate(connection)
        yield connection


def put(tables: Connection) -> None:
    tables.execute(
        "INSERT INTO gen_1.users SELECT 'o', 'u' || n, now(), 'active', jsonb_build_object('email', %s::text), 1,"
        " now(), now(), 0, n, '{}' FROM generate_series(1, 100) n",
        (VALUE,),
    )


def erase(tables: Connection, offset: int) -> None:
    tables.execute("UPDATE gen_1.users SET attributes = '{}', status = 'deleted'")
    tables.execute(
        'INSERT INTO foldline_control.erasures (org_id, user_id, topic, partition, "offset", request_id, keys)'
        " VALUES ('o', 'u1', 't', 0, %s, 'r', 1)",
        (offset,),
    )


def dead_rows(tables: Connection) -> int:
    """Row versions in the table's file that no query sees: every one of them still has its old values."""
    return counted(tables, "n_dead_tup")


def vacuums(tables: Connection) -> int:
    return counted(tables, "vacuum_count")


def counted(tables: Connection, what: str) -> int:
    tables.execute("SELECT pg_stat_force_next_flush()")
    query = f"SELECT {what} FROM pg_stat_all_tables WHERE relid = 'gen_1.users'::regclass"  # noqa: S608
    ((count,),) = tables.execute(query.encode()).fetchall()
    return int(count)


def test_what_was_erased_is_vacuumed_and_only_once(tables: Connection) -> None:
    put(tables)
    assert scrub(tables, None) is None
    erase(tables, 1)
    assert dead_rows(tables) == 100
    after = scrub(tables, None)
    assert dead_rows(tables) == 0
    assert vacuums(tables) == 1
    assert scrub(tables, after) == after is not None
    assert vacuums(tables) == 1
    erase(tables, 2)
    scrub(tables, after)
    assert vacuums(tables) == 2


def test_what_an_old_reader_held_back_is_vacuumed_later(tables: Connection, database: str) -> None:
    put(tables)
    with psycopg.connect(database) as reader:
        reader.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        reader.execute("SELECT count(*) FROM gen_1.users")
        erase(tables, 1)
        assert dead_rows(tables) == 100
        held = scrub(tables, None)
        assert dead_rows(tables) == 100
        reader.rollback()
    scrub(tables, held)
    assert dead_rows(tables) == 0


def test_a_table_at_which_somebody_else_is_is_left_out(tables: Connection, database: str) -> None:
    put(tables)
    erase(tables, 1)
    with psycopg.connect(database) as other:
        other.execute("LOCK TABLE gen_1.users IN SHARE UPDATE EXCLUSIVE MODE")
        assert dead_rows(tables) == 100
        again = scrub(tables, None)
        assert dead_rows(tables) == 100
    assert scrub(tables, again) is not None
    assert dead_rows(tables) == 0
