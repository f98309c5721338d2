"""A processor that cannot finish ends all the same, and whoever comes next folds what it has not: each event once."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import psycopg
import pytest

from foldline.cli.ending import CLOSE_SECONDS
from foldline.cli.runners import Name
from foldline.embedded.processes import until
from tests.clock import HOUR_SECONDS, WAYS, OwnClock
from tests.pipeline import assert_equal, prepared, wait_applied
from tests.processors.test_runners import WAIT_SECONDS, append_all, process, random_events

SET_BACK_WITHIN_SECONDS = 10


@pytest.fixture(params=list(Name))
def runner(request: pytest.FixtureRequest) -> Name:
    return request.param  # type: ignore[no-any-return]


@pytest.mark.parametrize("way", WAYS)
def test_where_the_clock_is_set_back_it_ends_at_once(
    kafka: str, database: str, topic_prefix: str, runner: Name, way: str, tmp_path: Path
) -> None:
    settings = prepared(kafka, database, topic_prefix, batch_records=200)
    events = random_events(seed=21, count=3000, keys=200)
    clock = OwnClock(tmp_path, way)
    append_all(settings, events[:500])
    with process(settings, runner, tmp_path, clock=clock) as befallen:
        wait_applied(settings)
        append_all(settings, events[500:2000])
        clock.set(-HOUR_SECONDS)
        assert befallen.process.wait(SET_BACK_WITHIN_SECONDS) == 1, befallen.log.read_text()
        said = befallen.log.read_text()
        assert said.count("the clock was set back") == 1, said
        assert "Traceback" not in said, said
    with process(settings, runner, tmp_path):
        append_all(settings, events[2000:])
        wait_applied(settings)
    assert_equal(settings, events)


def test_told_to_end_it_does_whatever_it_waits_for(
    kafka: str, database: str, topic_prefix: str, runner: Name, tmp_path: Path
) -> None:
    settings = prepared(kafka, database, topic_prefix, batch_records=200, transaction_timeout_seconds=2)
    events = random_events(seed=22, count=1000, keys=200)
    append_all(settings, events[:500])
    with (
        psycopg.connect(database) as locking,
        psycopg.connect(database, autocommit=True) as watching,
        process(settings, runner, tmp_path) as waiting,
    ):
        wait_applied(settings)
        locking.execute("LOCK TABLE foldline_control.positions IN ACCESS EXCLUSIVE MODE")
        append_all(settings, events[500:])
        waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        assert until(lambda: watching.execute(waits).fetchone() != (0,), WAIT_SECONDS), waiting.log.read_text()
        waiting.signal(signal.SIGTERM)
        told = time.monotonic()
        limit = settings.transaction_timeout_seconds + CLOSE_SECONDS
        assert waiting.process.wait(limit + 5) == 1, waiting.log.read_text()
        assert time.monotonic() - told > limit - 1
        assert "ends without waiting any longer" in waiting.log.read_text()
    with process(settings, runner, tmp_path):
        wait_applied(settings)
    assert_equal(settings, events)
