"""Listings and searches read what they show, whatever the planner believes: counted by the database itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

import psycopg
import pytest

from foldline.adapters.postgres import Connection, connect
from foldline.domain.errors import BadData
from foldline.domain.records import Kind
from projections.catalogue import END, Page, Row, Stretch, Wanted, page, record, search, types
from projections.generations import migrate

T = TypeVar("T")
NOT_DELETED = ("active", "inactive")


@pytest.fixture(scope="module")
def catalogue(postgres: str) -> Iterator[Connection]:
    """org_a, of whose 20,060 items all but the last 60 are deleted, beside org_b, whose items are active and of 40 types."""
    with psycopg.connect(postgres, autocommit=True) as server:
        server.execute("DROP DATABASE IF EXISTS catalogue WITH (FORCE)")
        server.execute("CREATE DATABASE catalogue")
        with connect(postgres.rpartition("/")[0] + "/catalogue", "test") as connection:
            migrate(connection)
            connection.execute(
                "INSERT INTO gen_1.items SELECT org_id, lpad(n::text, 6, '0'),"
                " CASE WHEN org_id = 'org_b' THEN 'type-' || n % 40 WHEN n % 1000 = 7 THEN 'rare' ELSE 'common' END,"
                " CASE WHEN org_id = 'org_b' OR n >= 20000 THEN 'active' ELSE 'deleted' END,"
                " jsonb_build_object('name', 'Thing ' || n, 'text', repeat('x', 50)), 1, now(), now(), 0, n"
                " FROM generate_series(0, 20059) n, unnest(ARRAY['org_a', 'org_b']) org_id ORDER BY md5(n::text)"
            )
            connection.execute(
                "INSERT INTO gen_1.users SELECT 'org_a', lpad(n::text, 6, '0'), now(), 'active', '{}', 1, now(), now(), 0, n"
                " FROM generate_series(1, 20000) n ORDER BY md5(n::text)"
            )
            connection.execute("ANALYZE")
            yield connection
        server.execute("DROP DATABASE catalogue WITH (FORCE)")


def rows_read(connection: Connection, act: Callable[[], T]) -> tuple[T, int]:
    """What a function returns, and how many rows and entries of indexes of the state the database read for it."""

    def total() -> int:
        connection.execute("SELECT pg_stat_force_next_flush()")
        query = (
            "SELECT (SELECT sum(seq_tup_read + idx_tup_fetch) FROM pg_stat_user_tables WHERE schemaname = 'gen_1')"
            " + (SELECT sum(idx_tup_read) FROM pg_stat_user_indexes WHERE schemaname = 'gen_1')"
        )
        (found,) = connection.execute(query).fetchone() or (0,)
        return int(found)

    before = total()
    return act(), total() - before


def ids(found: Page | Stretch) -> list[str]:
    return [row.entity_id for row in found.rows]


@pytest.mark.parametrize(
    ("kind", "wanted", "ends", "first"),
    [
        ("items", Wanted(NOT_DELETED), {}, "020000"),
        ("items", Wanted(("active",)), {"after": "019000"}, "020000"),
        ("items", Wanted(("inactive",)), {}, None),
        ("items", Wanted(NOT_DELETED, "common"), {"before": "020000"}, None),
        ("items", Wanted(NOT_DELETED, "rare"), {}, "020007"),
        ("items", Wanted(("deleted",), "rare"), {"before": END}, "010007"),
        ("items", Wanted(("active", "inactive", "deleted"), "nope"), {}, None),
        ("items", Wanted(("active", "inactive", "deleted"), "common"), {"before": END}, "020050"),
        ("items", Wanted(NOT_DELETED, None, "0200"), {}, "020000"),
        ("items", Wanted(NOT_DELETED, None, "01"), {}, None),
        ("users", Wanted(NOT_DELETED), {"before": END}, "019991"),
        ("users", Wanted(("inactive",)), {}, None),
        ("users", Wanted(("deleted",)), {"before": END}, None),
    ],
)
def test_a_page_reads_what_it_shows(
    catalogue: Connection, kind: Kind, wanted: Wanted, ends: dict[str, str], first: str | None
) -> None:
    found, read = rows_read(catalogue, lambda: page(catalogue, kind, "org_a", wanted, 10, **ends))
    assert (found.rows[0].entity_id if found.rows else None) == first
    assert read <= 2 * 3 * 12  # of each status as many as are shown and one, in the index and in the table


@pytest.mark.parametrize(
    ("wanted", "text", "after", "found"),
    [
        (Wanted(NOT_DELETED), "20059", None, ["020059"]),
        (Wanted(NOT_DELETED, "rare"), "thing", None, ["020007"]),
        (Wanted(("inactive",)), "thing", None, []),
        (Wanted(("deleted",), "rare"), "thing", "018007", ["019007"]),
    ],
)
def test_a_search_reads_what_the_filters_leave(
    catalogue: Connection, wanted: Wanted, text: str, after: str | None, found: list[str]
) -> None:
    stretch, read = rows_read(catalogue, lambda: search(catalogue, "items", "org_a", wanted, text, 10, after))
    assert (ids(stretch), stretch.reached) == (found, None)
    assert read <= 2 * 62


@pytest.mark.parametrize(
    "wanted", [Wanted(("deleted",)), Wanted(("deleted",), "common"), Wanted(("active", "deleted"), "common")]
)
def test_a_search_stops_where_it_has_found_enough(catalogue: Connection, wanted: Wanted) -> None:
    stretch, read = rows_read(catalogue, lambda: search(catalogue, "items", "org_a", wanted, "thing", 10, "000100"))
    assert ids(stretch) == [f"{n:06}" for n in range(101, 111)]
    assert stretch.reached == "000110"
    assert read <= 2 * 2 * 12


def test_types_are_looked_up_one_by_one(catalogue: Connection) -> None:
    found, read = rows_read(catalogue, lambda: types(catalogue, "org_a"))
    assert found == ["common", "rare"]
    assert read <= 10


def test_a_match_is_named_with_what_is_around_it(database: str) -> None:
    with connect(database, "test") as connection:
        migrate(connection)
        connection.execute(
            "INSERT INTO gen_1.items VALUES ('o', 'i', 't', 'active', %s, 1, now(), now(), 0, 0)",
            ('{"title": "T", "long": "' + "a " * 100 + "needle" + " b" * 100 + '", "in": {"deep": ["Straw"]}}',),
        )

        def match(text: str) -> Row:
            (row,) = search(connection, "items", "o", Wanted(NOT_DELETED), text, 10, None).rows
            return row

        assert match("NEEDLE")[:4] == ("i", "t", "active", "T")
        assert match("NEEDLE").match == ("long", "…" + ("a " * 20) + "needle" + (" b" * 57))
        assert match("straw").match == ("in", '{"deep": ["Straw"]}')
        assert match("deep").match == ("in", '{"deep": ["Straw"]}')
        assert match("long").match == ("long", ("a " * 80))
        found = record(connection, "items", "o", "i")
        assert found is not None
        assert (found.state.detail, found.state.attributes["title"], found.partition, found.offset) == ("t", "T", 0, 0)


def test_a_nul_is_bad_data(catalogue: Connection) -> None:
    with pytest.raises(BadData):
        page(catalogue, "items", "org_a", Wanted(NOT_DELETED, "\0"), 10)
