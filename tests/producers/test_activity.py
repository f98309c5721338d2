"""What organisations send is counted, and noted down whatever happens to the database."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping

import pytest

from foldline.adapters.pool import Database
from foldline.adapters.postgres import Connection, connect
from foldline.adapters.producer import Appended, PartitionEnd
from foldline.domain.records import Kind
from foldline.settings import Settings
from producers.gateway import activity
from producers.gateway.activity import Activities
from producers.gateway.progress import Watcher
from producers.gateway.tokens import Operation
from projections.generations import migrate
from projections.reader import FoldedTo
from tests.producers.conftest import NewOrg, gateway_of
from tests.producers.test_ingest import applied


def operation(org_id: str, kind: Kind = "items", last_offset: int = 0) -> Operation:
    return Operation(org_id, kind, "0" * 32, Appended("topic", (PartitionEnd(0, 1, last_offset),)))


@pytest.fixture
def tables(database: str) -> Iterator[Connection]:
    """A migrated database with the organisations a and b."""
    with connect(database, "test") as connection:
        migrate(connection)
        connection.execute("INSERT INTO foldline_control.organisations (org_id, name) VALUES ('a', 'A'), ('b', 'B')")
        yield connection


def events(tables: Connection) -> list[tuple[str, str, int]]:
    return tables.execute(
        "SELECT org_id, kind, sum(events)::int FROM foldline_control.activity GROUP BY 1, 2 ORDER BY 1, 2"
    ).fetchall()


def freshness(tables: Connection) -> dict[str, float]:
    return dict(
        tables.execute(
            "SELECT org_id, freshness_ms FROM foldline_control.activity WHERE freshness_ms IS NOT NULL"
        ).fetchall()
    )


def counting(url: str, act: Callable[[Activities], Awaitable[None]], applied_to: int = 0) -> None:
    """Runs a function with activities of a gateway whose log is folded up to there."""

    async def positions() -> Mapping[tuple[Kind, int], FoldedTo]:
        return {("items", 0): FoldedTo("topic", applied_to), ("users", 0): FoldedTo("topic", applied_to)}

    async def main() -> None:
        database = Database(Settings(database_url=url, database_timeout_seconds=1), "test")
        await database.open()
        activities = Activities(database, Watcher(positions))
        activities.open()
        try:
            await act(activities)
        finally:
            await activities.close()
            await database.close()

    asyncio.run(main())


def test_what_is_accepted_is_added_up_by_organisation_and_kind(database: str, tables: Connection) -> None:
    async def act(activities: Activities) -> None:
        activities.accepted(operation("a"), 3)
        activities.accepted(operation("a", "users"), 1)
        activities.accepted(operation("b"), 5)
        activities.accepted(operation("a"), 4)
        await activities.note()
        activities.accepted(operation("a"), 10)

    counting(database, act)
    assert events(tables) == [("a", "items", 17), ("a", "users", 1), ("b", "items", 5)]
    steps = tables.execute("SELECT DISTINCT extract(epoch FROM at)::bigint FROM foldline_control.activity").fetchall()
    assert all(at % 10 == 0 and 0 <= time.time() - at < 30 for (at,) in steps)


def test_one_write_of_a_step_is_followed_until_it_is_readable(database: str, tables: Connection) -> None:
    async def act(activities: Activities) -> None:
        activities.accepted(operation("a", last_offset=4), 1)
        activities.accepted(operation("b", last_offset=5), 1)
        while "a" not in freshness(tables):
            await asyncio.sleep(0.005)
            await activities.note()

    counting(database, act, applied_to=5)
    assert freshness(tables).keys() == {"a"}
    assert 0 < freshness(tables)["a"] < 1000


def test_what_takes_longer_than_a_moment_is_still_followed(
    database: str, tables: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(activity, "MOMENT_SECONDS", 0.05)
    monkeypatch.setattr(activity, "FOLLOWED_SECONDS", 0.4)

    async def act(activities: Activities) -> None:
        activities.accepted(operation("a", last_offset=5), 1)
        while "a" not in freshness(tables):
            await asyncio.sleep(0.005)
            await activities.note()

    counting(database, act, applied_to=5)
    assert 400 < freshness(tables)["a"] < 5000


def test_what_cannot_be_noted_down_is_kept(database: str, tables: Connection) -> None:
    async def act(activities: Activities) -> None:
        activities.accepted(operation("a"), 3)
        with connect(database, "test") as other:
            other.execute("ALTER TABLE foldline_control.activity RENAME TO elsewhere")
            await activities.note()
            activities.accepted(operation("a"), 4)
            await activities.note()
            other.execute("ALTER TABLE foldline_control.elsewhere RENAME TO activity")
        activities.accepted(operation("b"), 1)
        await activities.note()

    counting(database, act)
    assert events(tables) == [("a", "items", 7), ("b", "items", 1)]


def test_what_another_gateway_noted_down_is_added_to(database: str, tables: Connection) -> None:
    async def act(activities: Activities) -> None:
        activities.accepted(operation("a"), 3)

    counting(database, act)
    counting(database, act)
    assert events(tables) == [("a", "items", 6)]


def test_an_organisation_that_is_gone_keeps_nobody_elses_figures_back(database: str, tables: Connection) -> None:
    async def act(activities: Activities) -> None:
        activities.accepted(operation("gone"), 3)
        activities.accepted(operation("b"), 1)

    counting(database, act)
    assert events(tables) == [("b", "items", 1)]


def test_a_gateway_notes_down_what_it_accepted_before_it_ends(stage: Settings, new_org: NewOrg) -> None:
    org = new_org()
    with gateway_of(stage) as gateway, gateway.client(org.secret_key) as client:
        applied(client, "items", [{"item_id": f"i{n}", "item_type": "t"} for n in range(7)])
        applied(client, "items", {"item_id": "i0", "attributes": {"a": 1}})
        applied(client, "users", {"user_id": "u"})
        assert client.post("/v1/ingest/items/upsert", json=[]).status_code == 400
    with connect(stage.database_url, "test") as connection:
        rows = connection.execute(
            "SELECT kind, sum(events)::int FROM foldline_control.activity WHERE org_id = %s GROUP BY 1 ORDER BY 1",
            (org.org_id,),
        ).fetchall()
    assert rows == [("items", 8), ("users", 1)]
