"""Figures over time: activity, counts by status and lag, on tables that are written by hand and on a pipeline."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from foldline.adapters.postgres import Connection, connect
from foldline.domain.errors import Unreachable
from foldline.domain.records import Upsert
from foldline.embedded.processes import until
from foldline.settings import Settings
from projections.figures import add_activity, sample
from projections.lag import Applied, lag_of
from tests.pipeline import append, ends, prepared, running, wait_applied

AT = "2025-01-12T09:00:00Z"


@pytest.fixture
def stage(kafka: str, database: str, topic_prefix: str) -> Settings:
    """Settings of an initialised pipeline on which nothing runs, once Kafka knows where all of the log is."""
    settings = prepared(kafka, database, topic_prefix)
    assert until(lambda: end_known(settings), 30)
    return settings


def end_known(settings: Settings) -> bool:
    try:
        return len(ends(settings)) > 0
    except Unreachable:
        return False


@pytest.fixture
def tables(stage: Settings) -> Iterator[Connection]:
    with connect(stage.database_url, "test") as connection:
        connection.execute("INSERT INTO foldline_control.organisations (org_id, name) VALUES ('a', 'A'), ('b', 'B')")
        yield connection


def put_items(tables: Connection, org_id: str, status: str, items: int) -> None:
    tables.execute(
        "INSERT INTO gen_1.items SELECT %s, gen_random_uuid()::text, 't', %s, '{}', 1, %s, %s, 0, 0"
        " FROM generate_series(1, %s::int)",
        (org_id, status, AT, AT, items),
    )


def counts(tables: Connection, org_id: str, kind: str = "items") -> list[tuple[int, int, int]]:
    """The counts of an organisation so far: active, inactive, deleted."""
    return tables.execute(
        "SELECT active, inactive, deleted FROM foldline_control.record_counts WHERE org_id = %s AND kind = %s ORDER BY at",
        (org_id, kind),
    ).fetchall()


def pass_time(tables: Connection, seconds: float) -> None:
    """Moves all figures into the past: by a thousand years first, so that no row meets another on its way."""
    for table in ("activity", "record_counts", "lag"):
        for years, more in ((1000, seconds), (-1000, 0)):
            tables.execute(
                f"UPDATE foldline_control.{table} SET at = at - %s * interval '1 year' - %s * interval '1 s'".encode(),  # noqa: S608
                (years, more),
            )


def this_step(tables: Connection) -> object:
    return tables.execute("SELECT date_bin('10 s', now(), 'epoch')").fetchone()


def test_every_organisation_is_counted_once_even_if_it_sent_nothing(stage: Settings, tables: Connection) -> None:
    put_items(tables, "b", "active", 5)
    put_items(tables, "b", "deleted", 2)
    assert sample(tables, stage)
    assert counts(tables, "a") == counts(tables, "a", "users") == counts(tables, "b", "users") == [(0, 0, 0)]
    assert counts(tables, "b") == [(5, 0, 2)]


def test_a_step_is_sampled_once_and_by_one(stage: Settings, tables: Connection) -> None:
    step = began = None
    while step is None or step != began:  # until both are tried in one step
        began = this_step(tables)
        assert sample(tables, stage)
        again = sample(tables, stage)
        step = this_step(tables)
        pass_time(tables, 10)
    assert not again
    with connect(stage.database_url, "test") as other:
        other.execute("SELECT pg_advisory_lock(4846821007739151182)")
        assert not sample(tables, stage)
        other.execute("SELECT pg_advisory_unlock(4846821007739151182)")
    assert sample(tables, stage)


def test_only_who_has_sent_is_counted_again(stage: Settings, tables: Connection) -> None:
    sample(tables, stage)
    pass_time(tables, 60)
    put_items(tables, "a", "active", 1)
    put_items(tables, "b", "inactive", 1)
    add_activity(tables, "a", "items", 1)
    sample(tables, stage)
    assert counts(tables, "a") == [(0, 0, 0), (1, 0, 0)]
    assert counts(tables, "a", "users") == counts(tables, "b") == [(0, 0, 0)]
    for _ in range(2):  # once more, for what came in the step of the count
        pass_time(tables, 60)
        sample(tables, stage)
    assert counts(tables, "a") == [(0, 0, 0), (1, 0, 0), (1, 0, 0)]


def test_what_was_not_applied_at_a_count_is_counted_again(stage: Settings, tables: Connection) -> None:
    sample(tables, stage)
    pass_time(tables, 60)
    add_activity(tables, "a", "items", 1)
    sample(tables, stage)
    tables.execute("UPDATE foldline_control.lag SET seconds = 5 WHERE at = (SELECT max(at) FROM foldline_control.lag)")
    pass_time(tables, 120)
    put_items(tables, "a", "active", 1)
    sample(tables, stage)
    assert counts(tables, "a") == [(0, 0, 0), (0, 0, 0), (1, 0, 0)]


def test_a_large_catalogue_is_counted_once_a_minute(stage: Settings, tables: Connection) -> None:
    sample(tables, stage)
    tables.execute("UPDATE foldline_control.record_counts SET active = 1000000 WHERE org_id = 'a' AND kind = 'items'")
    for seconds, counted in ((10, 1), (10, 1), (40, 2)):
        pass_time(tables, seconds)
        add_activity(tables, "a", "items", 1)
        sample(tables, stage)
        assert len(counts(tables, "a")) == counted


def test_an_import_adds_to_what_was_sent(tables: Connection) -> None:
    add_activity(tables, "a", "items", 4)
    add_activity(tables, "a", "items", 5)
    add_activity(tables, "a", "users", 1)
    add_activity(tables, "gone", "users", 1)
    rows = tables.execute(
        "SELECT org_id, kind, sum(events) FROM foldline_control.activity GROUP BY 1, 2 ORDER BY 2"
    ).fetchall()
    assert rows == [("a", "items", 9), ("a", "users", 1)]


def test_figures_become_minutes_after_a_day(stage: Settings, tables: Connection) -> None:
    tables.execute(
        "INSERT INTO foldline_control.lag"
        " SELECT date_bin('1 min', now(), 'epoch') - n * interval '10 s', n, n FROM generate_series(1, 18) n"
    )
    tables.execute(
        "INSERT INTO foldline_control.activity"
        " SELECT 'a', at, 'items', records, CASE WHEN records % 5 = 0 THEN records END FROM foldline_control.lag"
    )
    pass_time(tables, 86_400)
    for _ in range(2):
        sample(tables, stage)
        pass_time(tables, 60)
    assert tables.execute("SELECT events, freshness_ms FROM foldline_control.activity ORDER BY at").fetchall() == [
        (93, 15),
        (57, 10),
        (21, 5),
    ]
    assert tables.execute("SELECT records FROM foldline_control.lag ORDER BY at LIMIT 3").fetchall() == [(18,), (12,), (6,)]


def test_what_is_too_old_is_forgotten_but_for_the_count_that_holds_since_then(stage: Settings, tables: Connection) -> None:
    sample(tables, stage)
    tables.execute(
        "INSERT INTO foldline_control.record_counts"
        " SELECT 'a', now() - days * interval '1 day', 'items', days, 0, 0 FROM unnest(ARRAY[50, 40, 5]) days"
    )
    tables.execute(
        "INSERT INTO foldline_control.activity"
        " SELECT 'a', now() - days * interval '1 day', 'items', days, NULL FROM unnest(ARRAY[31, 29]) days"
    )
    tables.execute("INSERT INTO foldline_control.lag SELECT now() - interval '31 days', 1, 1")
    pass_time(tables, 10)
    sample(tables, stage)
    assert counts(tables, "a") == [(40, 0, 0), (5, 0, 0), (0, 0, 0)]
    assert tables.execute("SELECT events FROM foldline_control.activity").fetchall() == [(29,)]
    assert tables.execute("SELECT records FROM foldline_control.lag").fetchall() == [(0,), (0,)]


def event(entity_id: str) -> Upsert:
    return Upsert("a", entity_id, "t", None, None, 0, "0" * 32, 0)


def test_lag_is_what_is_in_the_log_and_not_applied(stage: Settings, tables: Connection) -> None:
    positions = [Applied(topic, partition, 0) for topic, partition in ends(stage)]
    assert lag_of(stage, positions) == (0, 0)
    append(stage, "items", [event(f"i{n}") for n in range(20)])
    behind = lag_of(stage, positions)
    assert behind.records == 20
    assert 0 < behind.seconds < 60
    assert sample(tables, stage)
    with running(stage):
        wait_applied(stage)
    pass_time(tables, 10)
    assert sample(tables, stage)
    assert tables.execute("SELECT records FROM foldline_control.lag ORDER BY at").fetchall() == [(20,), (0,)]
    at_end = [Applied(topic, partition, end) for (topic, partition), end in ends(stage).items()]
    assert lag_of(stage, at_end) == (0, 0)
    one_behind = [place._replace(applied=max(0, place.applied - 1)) for place in at_end]
    assert lag_of(stage, one_behind).records == sum(1 for place in at_end if place.applied)


def test_without_kafka_there_is_no_lag_and_the_rest_goes_on(stage: Settings, tables: Connection) -> None:
    away = stage.model_copy(update={"kafka_bootstrap": "127.0.0.1:1"})
    assert sample(tables, away)
    assert counts(tables, "a") == [(0, 0, 0)]
    assert tables.execute("SELECT count(*) FROM foldline_control.lag").fetchone() == (0,)


def test_without_the_database_it_is_told(stage: Settings, tables: Connection) -> None:
    tables.close()
    with pytest.raises(Unreachable):
        sample(tables, stage)
