"""The examples for consumers: killed and started at random, the index ends as the table is; an export has what is there."""

from __future__ import annotations

import csv
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing, suppress
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from foldline.adapters.postgres import connect
from foldline.domain.records import Upsert
from foldline.domain.times import EPOCH, MICROSECOND
from foldline.embedded.processes import until
from foldline.settings import Settings
from processors import rebuild
from projections import generations
from tests.pipeline import append, prepared, running, table, wait_applied, wait_readable

ROOT = Path(__file__).resolve().parents[2]
WORDS = ("red", "green", "blue", "shoe", "kettle", "Größe", "naïve", '"quoted"', "and")
BACKLOG = 10_000
STATE = ("detail", "status", "attributes", "version", "first_seen_at", "updated_at", "partition", "offset")


@pytest.fixture
def settings(kafka: str, database: str, topic_prefix: str) -> Settings:
    return prepared(kafka, database, topic_prefix)


def example(settings: Settings, tmp_path: Path, name: str, *arguments: str) -> subprocess.Popen[str]:
    environment = os.environ | {
        "FOLDLINE_KAFKA_BOOTSTRAP": settings.kafka_bootstrap,
        "FOLDLINE_TOPIC_PREFIX": settings.topic_prefix,
        "FOLDLINE_DATA_DIR": str(tmp_path / "none"),
        "FOLDLINE_RETRY_SECONDS": "0.1",
    }
    command = [sys.executable, str(ROOT / "examples" / name), *arguments]
    with (tmp_path / "stderr").open("a") as stderr:
        return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=stderr, text=True)


def ended(process: subprocess.Popen[str]) -> str:
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, "see the file stderr"
    return output


def events(chosen: random.Random, number_of: int, keys: int, org_id: str = "org_1", first: int = 0) -> list[Upsert]:
    """Upserts of items whose numbers go from `first` on."""
    return [
        Upsert(
            org_id, f"P-{first + chosen.randrange(keys)}", chosen.choice(("shoe", "kettle")),
            chosen.choice((None, None, "active", "inactive", "deleted")),
            json.dumps({"name": " ".join(chosen.sample(WORDS, 2)), f"k{chosen.randrange(3)}": [chosen.random(), None]}),
            1_700_000_000_000_000 + number, "0" * 32, number,
        )
        for number in range(number_of)
    ]  # fmt: skip


def indexed(index: sqlite3.Connection) -> dict[tuple[str, str, str], dict[str, Any]]:
    """What the index has, as `table` gives what the database has."""
    rows = index.execute(
        "SELECT org_id, item_id, item_type, status, attributes, version, first_seen_at, updated_at,"
        ' "partition", "offset" FROM items'
    )
    return {
        ("items", row[0], row[1]): dict(
            zip(STATE, (row[2], row[3], json.loads(row[4]), row[5], *map(micros, row[6:8]), *row[8:]), strict=True)
        )
        for row in rows
    }


def micros(text: str) -> int:
    return (datetime.fromisoformat(text) - EPOCH) // MICROSECOND


def position(file: Path) -> str:
    with suppress(sqlite3.OperationalError), closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=30)) as index:
        return str(index.execute("SELECT text FROM position").fetchone())
    return ""


def test_an_index_that_is_killed_and_started_at_random_ends_as_the_table_is(settings: Settings, tmp_path: Path) -> None:
    """While events come, a processor is replaced, all is published again, and a rebuild finds rows that somebody changed."""
    file, chosen, over = tmp_path / "index.sqlite", random.Random(11), threading.Event()

    def write() -> None:
        """Most items are never upserted again: what is lost of them is lost."""
        sender = random.Random(12)
        for first in count(BACKLOG, 50):
            if over.wait(0.1):
                return
            append(settings, "items", events(sender, 50, keys=70, first=first))

    def follow_and_be_killed() -> None:
        process = example(settings, tmp_path, "search_index.py", "follow", "--index", str(file))
        for _ in range(chosen.randrange(5)):  # 0: killed while it starts
            before = position(file)
            assert until(lambda seen=before: position(file) != seen or process.poll() is not None, 60)  # type: ignore[misc]
        with suppress(subprocess.TimeoutExpired):
            process.wait(chosen.choice((0.0, 0.0, chosen.random())))
        assert process.poll() is None, (tmp_path / "stderr").read_text()
        process.send_signal(signal.SIGKILL)
        process.communicate()

    append(settings, "items", events(random.Random(13), BACKLOG, keys=BACKLOG))
    with running(settings):
        wait_applied(settings)
    writer = threading.Thread(target=write)
    writer.start()
    try:
        with running(settings):
            for _ in range(2):
                follow_and_be_killed()
        with connect(settings.database_url, "test") as connection:
            connection.execute(b"UPDATE foldline_control.positions SET published = 0")
            connection.execute(b"UPDATE gen_1.items SET status = 'inactive', attributes = '{}' WHERE item_id LIKE 'P-11%'")
            with running(settings):
                follow_and_be_killed()
                generation, _ = generations.begin(connection, "test", resume=False)
                compared = rebuild.compare(settings, generation, lambda _: None)
                rebuild.swap(connection, settings, generation, compared, lambda _: None)
                follow_and_be_killed()
                # Nothing mends from here on what is lost.
                append(settings, "items", events(random.Random(14), BACKLOG, keys=BACKLOG, first=100 * BACKLOG))
                for _ in range(6):
                    follow_and_be_killed()
    finally:
        over.set()
        writer.join()
    with running(settings):
        wait_applied(settings)
        with connect(settings.database_url, "test") as connection:
            pending = b"SELECT count(*) FROM foldline_control.pending_publications"
            assert until(lambda: connection.execute(pending).fetchall() == [(0,)], 60)
    wait_readable(settings)
    ended(example(settings, tmp_path, "search_index.py", "follow", "--index", str(file), "--once"))

    rows = table(settings)
    with closing(sqlite3.connect(file)) as index:
        assert indexed(index) == rows
        found = {row[0] for row in index.execute("SELECT item_id FROM search")}
        assert found == {item_id for (_, _, item_id), state in rows.items() if state["status"] != "deleted"}
        assert index.execute("SELECT count(*) FROM search").fetchone() == (len(found),)
    for words in (["shoe"], ["größe", "RED"], ['"quoted"', "and"]):
        asked = ended(
            example(settings, tmp_path, "search_index.py", "search", "--index", str(file), "--limit", "999999", *words)
        )
        expected = {
            item_id
            for (_, _, item_id), state in rows.items()
            if state["status"] != "deleted"
            and {word.strip('"').lower() for word in words}
            <= set(state["attributes"]["name"].lower().replace('"', "").split())
        }
        assert {json.loads(line)["item_id"] for line in asked.splitlines()} == expected
        assert expected


def exported(file: Path) -> list[list[str]]:
    with file.open(newline="", encoding="utf-8") as opened:
        return list(csv.reader(opened))


def test_an_export_has_what_is_there(settings: Settings, tmp_path: Path) -> None:
    sent = events(random.Random(1), 600, keys=40) + events(random.Random(2), 100, keys=5, org_id="org_2")
    append(settings, "items", sent)
    append(settings, "users", [Upsert("org_1", "=u,1", 5_000_000, None, '{"a": "x,\\"\\n\\u00e9"}', 7, "0" * 32, 0)])
    with running(settings):
        wait_applied(settings)
    rows = {(org_id, item_id): state for (kind, org_id, item_id), state in table(settings).items() if kind == "items"}

    file = tmp_path / "items.csv"
    file.write_text("an older one")
    ended(example(settings, tmp_path, "csv_export.py", "items", str(file)))
    header, *lines = exported(file)
    assert header == [
        "org_id", "item_id", "item_type", "status", "attributes", "version", "first_seen_at", "updated_at"
    ]  # fmt: skip
    assert [tuple(line[:2]) for line in lines] == sorted(key for key, state in rows.items() if state["status"] != "deleted")
    for line in lines:
        state = rows[line[0], line[1]]
        assert [line[2], line[3], json.loads(line[4]), int(line[5]), micros(line[6]), micros(line[7])] == [
            state[name] for name in STATE[:6]
        ]

    ended(example(settings, tmp_path, "csv_export.py", "items", str(file), "--org", "org_2", "--include-deleted"))
    assert {tuple(line[:2]) for line in exported(file)[1:]} == {key for key in rows if key[0] == "org_2"}
    ended(example(settings, tmp_path, "csv_export.py", "users", str(file)))
    assert exported(file)[1:] == [
        [
            "org_1", "=u,1", "1970-01-01T00:00:05Z", "active", '{"a": "x,\\"\\né"}', "1",
            "1970-01-01T00:00:00.000007Z", "1970-01-01T00:00:00.000007Z",
        ]
    ]  # fmt: skip
    assert sorted(path.name for path in tmp_path.iterdir()) == ["items.csv", "stderr"]


def test_an_export_that_fails_leaves_the_older_one(kafka: str, topic_prefix: str, tmp_path: Path) -> None:
    """Here there is no topic at all."""
    (tmp_path / "items.csv").write_text("an older one")
    settings = Settings(kafka_bootstrap=kafka, topic_prefix=topic_prefix)
    process = example(settings, tmp_path, "csv_export.py", "items", str(tmp_path / "items.csv"))
    process.communicate(timeout=60)
    assert process.returncode == 1
    assert (tmp_path / "items.csv").read_text() == "an older one"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["items.csv", "stderr"]
