"""A deletion that begins while a key is being made, on a real PostgreSQL: whichever comes first, the other one sees it."""

from __future__ import annotations

import threading
from typing import Any

import psycopg
import pytest

from foldline.adapters.postgres import connect
from foldline.adapters.seals import new_data_key
from foldline.embedded.processes import until
from projections.generations import migrate
from projections.keys import ensure_keyring
from projections.sql import queries
from tests.keys import MASTERS

SQL = queries("keys")
Row = tuple[Any, ...]


@pytest.fixture
def initialised(database: str) -> str:
    with connect(database, "test") as connection:
        migrate(connection)
        ensure_keyring(connection, MASTERS)
    return database


def make_key(connection: psycopg.Connection[Row], user_id: str = "ada") -> Row:
    key_id, secret = new_data_key(b"i" * 32, "o", user_id)
    wrapped = MASTERS.current.wrap(key_id, secret)
    (row,) = connection.execute(SQL["keys_for"].encode(), ("o", [user_id], [key_id], [wrapped], "req")).fetchall()
    return row


def begin(connection: psycopg.Connection[Row], user_id: str = "ada") -> list[Row]:
    nobody: dict[str, Any] = {name: [] for name in ("own_users", "own_keys", "own_wrapped", "own_events")}
    asked = {"org_id": "o", "request_id": "deletes", "seconds": 60.0, "users": [user_id], "events": ["deletes-0"]}
    return connection.execute(SQL["begin_deletions"].encode(), asked | nobody).fetchall()


def waits(database: str) -> bool:
    with psycopg.connect(database) as observer:
        query = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        ((count,),) = observer.execute(query).fetchall()
    return bool(count)


def test_a_key_that_is_being_made_is_retired_by_the_deletion_that_begins_meanwhile(initialised: str) -> None:
    def delete() -> None:
        with psycopg.connect(initialised) as second:
            assert begin(second) == []

    with psycopg.connect(initialised) as first:
        _, key_id, _, deleting = make_key(first)
        assert not deleting
        deletion = threading.Thread(target=delete)
        deletion.start()
        assert until(lambda: waits(initialised), 10)
        first.commit()
        deletion.join(10)
        query = "SELECT k.retired_at IS NOT NULL, e.event_id FROM foldline_control.user_keys k"
        query += " JOIN foldline_control.key_ends e USING (key_id) WHERE key_id = %s"
        assert first.execute(query.encode(), (key_id,)).fetchall() == [(True, "deletes-0")]


def test_who_makes_a_key_while_a_deletion_begins_is_told_of_it(initialised: str) -> None:
    found: list[Row] = []

    def make() -> None:
        with psycopg.connect(initialised) as second:
            found.append(make_key(second))

    with psycopg.connect(initialised) as first:
        assert begin(first) == []
        making = threading.Thread(target=make)
        making.start()
        assert until(lambda: waits(initialised), 10)
        first.commit()
        making.join(10)
    ((_, _, _, deleting),) = found
    assert deleting
