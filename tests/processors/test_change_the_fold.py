"""The page "How to change the fold", done: its changes applied to a copy of the code, and what it promises of each step."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from confluent_kafka import Consumer, TopicPartition

from foldline.adapters.codec import STATE_TOPIC, BundledRegistry, decoder
from foldline.adapters.consumer import arrived, reader_config, watermarks
from foldline.domain.records import KINDS, Upsert
from foldline.embedded.processes import until
from foldline.settings import Settings
from tests.pipeline import append, ends, prepared, running, table, topic_states, wait_applied, wait_readable

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("foldline", "schemas", "producers", "processors", "projections")
DIFF = re.compile(r"^```diff\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NAMES = ("Running  SHOES", "Größe", " x ", "ß")

Differences = dict[str, Any]


@pytest.fixture(scope="module")
def changed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the code, changed as the page says."""
    if shutil.which("git") is None:
        pytest.skip("the page changes the code by git, and there is none")
    copy = tmp_path_factory.mktemp("changed")
    for name in (*PACKAGES, "tests/laws", "tests/golden"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__", "node_modules"))
    for file in (ROOT / "pyproject.toml", ROOT / "tests" / "master.key", *(ROOT / "tests").glob("*.py")):
        shutil.copy(file, copy / file.relative_to(ROOT))
    diffs = DIFF.findall((ROOT / "docs" / "how-to-change-the-fold.md").read_text())
    assert len(diffs) == 3
    environment = os.environ | {"GIT_CEILING_DIRECTORIES": str(copy.parent)}
    subprocess.run(["git", "apply"], cwd=copy, env=environment, input="".join(diffs), text=True, check=True)
    return copy


@pytest.fixture
def settings(kafka: str, database: str, topic_prefix: str) -> Settings:
    return prepared(kafka, database, topic_prefix)


def python(code: Path, settings: Settings | None, *arguments: str) -> subprocess.Popen[str]:
    """Python with that code, on those servers."""
    environment = os.environ | {"PYTHONPATH": str(code), "FOLDLINE_DATA_DIR": str(code / "none")}
    if settings is not None:
        for name in ("kafka_bootstrap", "database_url", "topic_prefix", "partitions", "session_timeout_seconds"):
            environment[f"FOLDLINE_{name.upper()}"] = str(getattr(settings, name))
    command = [sys.executable, "-m", *arguments]
    return subprocess.Popen(command, cwd=code, env=environment, stdout=subprocess.PIPE, text=True)


def foldline(code: Path, settings: Settings, *arguments: str) -> tuple[int, Differences]:
    """A command's exit code, and the JSON that it prints."""
    process = python(code, settings, "foldline", *arguments, "--json")
    output, _ = process.communicate(timeout=120)
    return process.returncode, json.loads(output)


@contextmanager
def processor(code: Path, settings: Settings) -> Iterator[None]:
    process = python(code, settings, "foldline", "process")
    try:
        yield
        assert process.poll() is None
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)


def item(number: int, **attributes: Any) -> Upsert:
    return Upsert("org_1", f"P-{number}", "product", None, json.dumps(attributes), 1_700_000_000_000_000, "0" * 32, 0)


def published_since(settings: Settings, starts: dict[tuple[str, int], int]) -> list[tuple[str, int, Any]]:
    """The states published since these ends of the state topics: id, generation and search name, in the order of ids."""
    found, unread, decode = [], set(starts), decoder(BundledRegistry())
    consumer = Consumer(reader_config(settings))
    consumer.assign([TopicPartition(topic, partition, start) for (topic, partition), start in starts.items()])
    while unread:
        for message in arrived(consumer, 1000, 10.0):
            if message.error() is not None:
                unread.discard((message.topic(), message.partition()))
            else:
                state = decode(message.value())
                name = json.loads(state["attributes"]).get("search_name")
                found.append((state.get("item_id") or state["user_id"], state["generation"], name))
    consumer.close()
    return sorted(found)


def state_ends(settings: Settings) -> dict[tuple[str, int], int]:
    return {
        (settings.topic_prefix + STATE_TOPIC[kind], partition): high
        for kind in KINDS
        for partition, (_, high) in enumerate(watermarks(settings, settings.topic_prefix + STATE_TOPIC[kind], 3))
    }


def test_the_laws_hold_after_it(changed: Path) -> None:
    tests = python(changed, None, "pytest", "-q", "-p", "no:cacheprovider", "tests/laws", "tests/golden")
    output, _ = tests.communicate(timeout=280)
    assert tests.returncode == 0, output
    assert (changed / "tests" / "laws" / "test_search_name.py").exists()


def test_verify_finds_and_a_swap_publishes_just_what_it_changes(changed: Path, settings: Settings) -> None:
    chosen = random.Random(1)
    named = {f"P-{number}": chosen.choice(NAMES) for number in range(40)}
    append(settings, "items", [item(number, name=named[f"P-{number}"], n=number) for number in range(40)])
    append(settings, "items", [item(number, price=1) for number in (*range(20), *range(40, 70))])
    append(settings, "users", [item(number, name="Alice")._replace(detail=5) for number in range(10)])
    with running(settings):
        wait_applied(settings)
    before = table(settings)

    code, said = foldline(ROOT, settings, "verify")
    assert (code, said["difference_count"]) == (0, 0)
    code, said = foldline(changed, settings, "verify")
    assert (code, said["difference_count"], said["rows"]) == (1, 40, {"live": 80, "replayed": 80})
    assert {(one["kind"], one["missing"]) for one in said["differences"]} == {("items", "")}
    assert {one["entity_id"] for one in said["differences"]} <= named.keys()
    assert table(settings) == before

    with processor(changed, settings):
        append(settings, "items", [item(0, price=2)])
        wait_applied(settings)
        starts = state_ends(settings)
        code, said = foldline(changed, settings, "rebuild", "--swap")
        assert (code, said["difference_count"], said["replaced"]) == (0, 39, 1)
        append(settings, "items", [item(100, name="After")])
        wait_applied(settings)
        with psycopg.connect(settings.database_url, autocommit=True) as connection:
            pending = "SELECT count(*) FROM foldline_control.pending_publications"
            assert until(lambda: connection.execute(pending).fetchall() == [(0,)], 60)
        wait_readable(settings)
        assert published_since(settings, starts) == sorted(
            [(key, 2, " ".join(name.split()).casefold()) for key, name in named.items() if key != "P-0"]
            + [("P-100", 2, "after")]
        )

    code, said = foldline(changed, settings, "verify")
    assert (code, said["difference_count"], said["rows"]) == (0, 0, {"live": 81, "replayed": 81})
    after = table(settings)
    assert topic_states(settings) == after
    for (kind, org_id, key), state in before.items():
        expected = state["attributes"] | ({"price": 2} if (kind, key) == ("items", "P-0") else {})
        if kind == "items" and key in named:
            expected |= {"search_name": " ".join(named[key].split()).casefold()}
        assert after[kind, org_id, key]["attributes"] == expected
    assert sum(ends(settings).values()) == 40 + 50 + 10 + 2
