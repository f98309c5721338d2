"""The gateway's reads, on tables that are written by hand."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import psycopg
import pytest

from foldline.adapters.pool import Database
from foldline.adapters.postgres import connect
from foldline.adapters.producer import Appended, PartitionEnd
from foldline.domain.errors import BadData, Unreachable
from foldline.settings import Settings
from projections.generations import migrate
from projections.reader import Filter, FoldedTo, Found, Progress, Reader, Rejected, state_json, state_now

T = TypeVar("T")
AT = "2025-01-12T09:00:00.000001Z"
MICROS = 1_736_672_400_000_001
REQUEST = "0123456789abcdef0123456789abcdef"
APPENDED = Appended("topic-1", (PartitionEnd(0, 2, 7), PartitionEnd(2, 3, 9)))


@pytest.fixture
def tables(database: str) -> psycopg.Connection[tuple[Any, ...]]:
    """A migrated database with nothing in it."""
    connection = connect(database, "test")
    migrate(connection)
    return connection


def reading(database: str, act: Callable[[Reader], Awaitable[T]]) -> T:
    async def main() -> T:
        pool = Database(Settings(database_url=database, database_timeout_seconds=3), "test")
        await pool.open()
        try:
            return await act(Reader(pool, "p."))
        finally:
            await pool.close()

    return asyncio.run(main())


def put_items(tables: psycopg.Connection[tuple[Any, ...]], *rows: tuple[str, str, str, str]) -> None:
    for org_id, item_id, status, attributes in rows:
        tables.execute(
            "INSERT INTO gen_1.items VALUES (%s, %s, 't', %s, %s, 3, %s, %s, 0, 5)",
            (org_id, item_id, status, attributes, AT, AT),
        )


def test_a_state_is_read_as_it_is_kept(database: str, tables: psycopg.Connection[tuple[Any, ...]]) -> None:
    put_items(tables, ("o", "é", "deleted", '{"b": 1e22, "a": [1.5, null]}'))
    tables.execute(
        "INSERT INTO gen_1.users VALUES ('o', 'u', '0001-01-01Z', 'active', '{}', 1, %s, '9999-12-31Z', 0, 1)", (AT,)
    )
    found = Found("é", "t", "deleted", {"a": [1.5, None], "b": 1e22}, 3, MICROS, MICROS)
    assert reading(database, lambda reader: reader.state("items", "o", "é")) == found
    assert state_now(tables, "items", "o", "é") == found
    assert state_now(tables, "items", "o", "e\u0301") is None
    assert reading(database, lambda reader: reader.state("items", "p", "é")) is None
    user = reading(database, lambda reader: reader.state("users", "o", "u"))
    assert user is not None
    assert state_json("users", user) == {
        "user_id": "u",
        "created_at": "0001-01-01T00:00:00Z",
        "status": "active",
        "attributes": {},
        "version": 1,
        "first_seen_at": AT,
        "updated_at": "9999-12-31T00:00:00Z",
    }


@pytest.mark.parametrize(
    ("wanted", "after", "limit", "ids", "more"),
    [
        (Filter(), "", 9, ["A", "a", "b"], False),
        (Filter(), "", 2, ["A", "a"], True),
        (Filter(), "a", 2, ["b"], False),
        (Filter(), "", 3, ["A", "a", "b"], False),
        (Filter(include_deleted=True), "", 9, ["A", "a", "b", "é"], False),
        (Filter(status="deleted"), "", 9, ["é"], False),
        (Filter(status="inactive", item_type="t"), "", 9, ["b"], False),
        (Filter(item_type="T"), "", 9, [], False),
        (Filter(ids=["b", "é", "b", "zz"]), "", 9, ["b"], False),
        (Filter(ids=[]), "", 9, [], False),
    ],
)
def test_a_page(
    database: str,
    tables: psycopg.Connection[tuple[Any, ...]],
    wanted: Filter,
    after: str,
    limit: int,
    ids: list[str],
    more: bool,
) -> None:
    put_items(tables, ("o", "b", "inactive", "{}"), ("o", "a", "active", "{}"), ("o", "A", "active", "{}"))
    put_items(tables, ("o", "é", "deleted", "{}"), ("p", "aa", "active", "{}"))
    page = reading(database, lambda reader: reader.page("items", "o", wanted, after, limit))
    assert ([state.entity_id for state in page.states], page.more) == (ids, more)


def position(tables: psycopg.Connection[tuple[Any, ...]], topic: str, partition: int, applied: int) -> None:
    tables.execute(
        "INSERT INTO foldline_control.positions (generation, topic, partition, topic_id, applied)"
        " VALUES (1, %s, %s, 'topic-1', %s)",
        (topic, partition, applied),
    )


def letter(
    tables: psycopg.Connection[tuple[Any, ...]],
    partition: int,
    offset: int,
    index: int,
    org_id: str = "o",
    request: str = REQUEST,
) -> None:
    tables.execute(
        "INSERT INTO foldline_control.dead_letters VALUES"
        " (1, 'p.items.upserts.v1', %s, %s, %s, 'i', %s, %s, 'item_type_required', 'item_type', 'why', NULL, NULL, now())",
        (partition, offset, org_id, request, index),
    )


def progress(database: str, appended: Appended = APPENDED) -> Progress:
    return reading(database, lambda reader: reader.progress("o", "items", REQUEST, appended))


def test_progress_is_a_comparison_with_positions(database: str, tables: psycopg.Connection[tuple[Any, ...]]) -> None:
    assert progress(database) == Progress(False, 0, 0, [])
    position(tables, "p.items.upserts.v1", 0, 8)
    position(tables, "p.items.upserts.v1", 2, 9)
    position(tables, "p.users.upserts.v1", 2, 99)
    assert progress(database) == Progress(False, 2, 0, [])
    tables.execute("UPDATE foldline_control.positions SET applied = 10 WHERE partition = 2")
    assert progress(database) == Progress(True, 5, 0, [])
    assert progress(database, APPENDED._replace(topic_id="topic-2")) == Progress(False, 0, 0, [])
    assert reading(database, lambda reader: reader.positions()) == {
        ("items", 0): FoldedTo("topic-1", 8),
        ("items", 2): FoldedTo("topic-1", 10),
        ("users", 2): FoldedTo("topic-1", 10),
    }


def test_rejections_are_this_requests_and_not_its_redrives(
    database: str, tables: psycopg.Connection[tuple[Any, ...]]
) -> None:
    position(tables, "p.items.upserts.v1", 0, 8)
    position(tables, "p.items.upserts.v1", 2, 8)
    for partition, offset, index in ((2, 9, 4), (0, 7, 3), (0, 8, 0), (1, 1, 1)):
        letter(tables, partition, offset, index)
    letter(tables, 0, 5, 2, org_id="p")
    letter(tables, 0, 6, 2, request="f" * 32)
    rejected = [Rejected(index, "i", "item_type", "item_type_required", "why") for index in (3, 4)]
    assert progress(database) == Progress(False, 1, 2, rejected)


def test_a_database_that_is_not_initialised_is_told_of(database: str) -> None:
    with pytest.raises(Unreachable, match="foldline init"):
        reading(database, lambda reader: reader.secret("operations"))


def test_secrets_are_shared(database: str, tables: psycopg.Connection[tuple[Any, ...]]) -> None:
    secret = reading(database, lambda reader: reader.secret("operations"))
    assert secret is not None
    assert len(secret) == 32
    assert reading(database, lambda reader: reader.secret("operations")) == secret
    assert reading(database, lambda reader: reader.secret("nope")) is None


def test_what_postgres_cannot_hold_is_bad_data(database: str, tables: psycopg.Connection[tuple[Any, ...]]) -> None:
    with pytest.raises(BadData):
        reading(database, lambda reader: reader.state("items", "o", "\x00"))
