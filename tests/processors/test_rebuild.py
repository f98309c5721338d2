"""Generations: built from the log, compared with the live one, and swapped while writes go on."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from foldline.adapters.postgres import Connection, connect
from foldline.domain.errors import FoldlineError, Unreachable
from foldline.domain.records import Upsert
from foldline.settings import Settings
from processors import rebuild
from processors.replay import Cancelled
from projections import generations
from projections.generations import live_generation, schema_name
from tests.pipeline import append, assert_equal, prepared, running, table, wait_applied

ORG = "org_1"


def events(chosen: random.Random, count: int, keys: int = 60) -> list[Upsert]:
    return [
        Upsert(
            ORG, f"P-{chosen.randrange(keys)}", "product", chosen.choice((None, "active", "inactive", "deleted")),
            f'{{"n": {chosen.randrange(9)}, "k{chosen.randrange(5)}": {chosen.random()}}}', 1_700_000_000_000_000 + number,
            "0" * 32, number,
        )
        for number in range(count)
    ]  # fmt: skip


def keyed(sent: list[Upsert]) -> list[Upsert]:
    """The events with ids, every third of them once more a hundred events later."""
    with_ids = [event._replace(idempotency_id=event.record_index.to_bytes(16, "big")) for event in sent]
    return [
        again for place in range(0, len(sent), 100) for again in with_ids[place : place + 100] + with_ids[:place:3][-40:]
    ]


@pytest.fixture
def settings(kafka: str, database: str, topic_prefix: str) -> Settings:
    return prepared(kafka, database, topic_prefix)


@pytest.fixture
def connection(settings: Settings) -> Iterator[Connection]:
    with connect(settings.database_url, "test") as opened:
        yield opened


def ignore(_: int) -> None:
    pass


def built(settings: Settings, connection: Connection) -> rebuild.Comparison:
    """A new generation, as the live one is now."""
    generation, _ = generations.begin(connection, "test", resume=False)
    return rebuild.compare(settings, generation, ignore)


def newest(connection: Connection) -> int:
    return generations.generations(connection)[-1].generation


def swapped(settings: Settings, connection: Connection) -> rebuild.Swap:
    compared = built(settings, connection)
    assert compared.differences == []
    return rebuild.swap(connection, settings, newest(connection), compared, ignore)


def test_a_replay_gives_the_live_state_again(settings: Settings, connection: Connection) -> None:
    append(settings, "items", keyed(events(random.Random(1), 3000)))
    append(settings, "users", keyed([event._replace(detail=5) for event in events(random.Random(2), 500)]))
    with running(settings):
        wait_applied(settings)
    assert sum(state["version"] for state in table(settings).values()) == 3500
    compared = built(settings, connection)
    assert compared.differences == []
    assert compared.rows[0] == compared.rows[1] == len(table(settings))
    assert compared.checksums[0] == compared.checksums[1]
    with connection.transaction():
        connection.execute("UPDATE gen_1.items SET ids = '' WHERE item_id = 'P-7'")
    (forgotten,) = built(settings, connection).differences
    assert (forgotten.kind, forgotten.entity_id) == ("items", "P-7")


def test_swaps_under_writes_lose_and_double_nothing(settings: Settings, connection: Connection) -> None:
    over = threading.Event()
    sent = events(random.Random(4), 500)
    append(settings, "items", sent)

    def write() -> None:
        chosen = random.Random(3)
        while not over.is_set():
            more = events(chosen, 50)
            append(settings, "items", more)
            sent.extend(more)

    writer = threading.Thread(target=write)
    with running(settings):
        writer.start()
        try:
            for turn in range(3):
                found = swapped(settings, connection)
                assert (found.old, found.new) == (turn + 1, turn + 2)
                assert live_generation(connection) == turn + 2
        finally:
            over.set()
            writer.join()
        wait_applied(settings)
    assert_equal(settings, [("items", event) for event in sent])
    assert [one.status for one in generations.generations(connection)] == ["old", "old", "old", "live"]
    assert generations.drop_expired(connection) == [1, 2]


def test_a_swap_that_is_stopped_lets_the_writers_go_on(
    settings: Settings, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared = built(settings, connection)
    append(settings, "items", events(random.Random(6), 10))

    def stopped(*_: Any) -> list[Any]:
        with running(settings):
            wait_applied(settings)
        return []

    monkeypatch.setattr(rebuild, "IDLE_MILLISECONDS", 500)
    monkeypatch.setattr(rebuild, "_moved", stopped)
    with pytest.raises(Unreachable, match="idle-in-transaction"):
        rebuild.swap(connection, settings, newest(connection), compared, ignore)
    with connect(settings.database_url, "test") as another:
        assert live_generation(another) == 1


def test_what_another_fold_makes_another_is_published_though_no_event_changed_it(
    settings: Settings, connection: Connection
) -> None:
    sent = events(random.Random(5), 300, keys=20)
    append(settings, "items", sent)
    with running(settings):
        wait_applied(settings)
    changed = f"UPDATE {schema_name(1)}.items SET attributes = '{{\"old\": true}}' WHERE item_id IN ('P-1', 'P-2')"  # noqa: S608
    connection.execute(changed.encode())
    connection.execute(f"DELETE FROM {schema_name(1)}.items WHERE item_id = 'P-3'".encode())  # noqa: S608
    compared = built(settings, connection)
    assert sorted((d.entity_id, d.missing) for d in compared.differences) == [("P-1", ""), ("P-2", ""), ("P-3", "live")]
    assert compared.checksums[0] != compared.checksums[1]
    rebuild.swap(connection, settings, newest(connection), compared, ignore)
    with running(settings):
        wait_applied(settings)
        pending = b"SELECT count(*) FROM foldline_control.pending_publications"
        while connection.execute(pending).fetchall() != [(0,)]:
            wait_applied(settings)
    assert_equal(settings, [("items", event) for event in sent])


def test_a_replay_that_broke_off_goes_on(settings: Settings, connection: Connection) -> None:
    append(settings, "items", events(random.Random(7), 2000))
    with running(settings):
        wait_applied(settings)
    live = rebuild.positions(connection, settings, 1)
    generation, resumed = generations.begin(connection, "test")
    assert (generation, resumed) == (2, False)
    half = {partition: end // 2 for partition, end in live.items()}
    rebuild.build(settings, generation, half, ignore)
    assert rebuild.positions(connection, settings, generation) == half
    assert generations.begin(connection, "test") == (2, True)
    assert rebuild.compare(settings, generation, ignore).differences == []


def test_who_watches_a_replay_may_end_it(settings: Settings, connection: Connection) -> None:
    append(settings, "items", events(random.Random(8), 500))
    with running(settings):
        wait_applied(settings)

    def end(_: int) -> None:
        raise Cancelled("enough")

    generation, _ = generations.begin(connection, "test")
    with pytest.raises(Cancelled):
        rebuild.build(settings, generation, rebuild.positions(connection, settings, 1), end)
    generations.drop(connection, generation)
    assert [one.generation for one in generations.generations(connection)] == [1]
    with psycopg.connect(settings.database_url) as other:
        assert other.execute("SELECT to_regclass('gen_2.items')").fetchall() == [(None,)]


def test_one_at_a_time_and_never_the_live_one(settings: Settings, connection: Connection) -> None:
    generations.hold(connection)
    with connect(settings.database_url, "test") as other, pytest.raises(FoldlineError, match="another rebuild"):
        generations.hold(other)
    for generation, why in ((1, "is live"), (7, "does not exist")):
        with pytest.raises(FoldlineError, match=why):
            generations.drop(connection, generation)
