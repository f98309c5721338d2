"""Services at their start: without a master key, with another database's, and where the keys of users are lost."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from foldline.adapters.pool import Database
from foldline.adapters.producer import KafkaLog
from foldline.adapters.registry import registry_of
from foldline.adapters.seals import new_master_key
from foldline.domain.records import Upsert
from foldline.settings import Settings
from producers.sealing import SealedLog
from tests.cli.test_commands import assert_ends
from tests.keys import MASTER_KEY_FILE, MASTERS
from tests.pipeline import prepared, running, table, wait_applied

COMMANDS = (["init"], ["gateway", "--port", "0"], ["process"], ["process", "--runner", "faust"])


@pytest.fixture
def settings(kafka: str, database: str, topic_prefix: str) -> Settings:
    return prepared(kafka, database, topic_prefix)


def run(settings: Settings, directory: Path, *command: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """A command that knows these servers, and no master key but one of the variables."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FOLDLINE_")} | {
        "FOLDLINE_KAFKA_BOOTSTRAP": settings.kafka_bootstrap,
        "FOLDLINE_DATABASE_URL": settings.database_url,
        "FOLDLINE_TOPIC_PREFIX": settings.topic_prefix,
        "FOLDLINE_PARTITIONS": str(settings.partitions),
    }
    program = [sys.executable, "-m", "foldline", *command]
    return subprocess.run(
        program, cwd=directory, env=environment | variables, capture_output=True, text=True, check=False, timeout=90
    )


def test_without_the_databases_master_key_nothing_starts(settings: Settings, tmp_path: Path) -> None:
    other = new_master_key()
    file = tmp_path / "wrong"
    file.write_text(other)
    fingerprint = MASTERS.current.fingerprint.hex()
    cases: list[tuple[dict[str, str], str]] = [
        ({}, "there is no master key"),
        ({"FOLDLINE_MASTER_KEY": ""}, "FOLDLINE_MASTER_KEY is empty"),
        ({"FOLDLINE_MASTER_KEY": "hunter2"}, "32 bytes in base64"),
        ({"FOLDLINE_MASTER_KEY": other}, fingerprint),
        ({"FOLDLINE_MASTER_KEY_FILE": str(file)}, fingerprint),
        ({"FOLDLINE_MASTER_KEY_FILE": str(tmp_path / "none")}, "cannot be read"),
    ]
    for number, (variables, words) in enumerate(cases):
        for command in COMMANDS if number == 3 else COMMANDS[number % 3 : number % 3 + 1]:
            done = run(settings, tmp_path, *command, **variables)
            assert_ends(done, 2, words)
            assert other not in done.stderr
            assert "hunter2" not in done.stderr
    given = (f"{other},{Path(MASTER_KEY_FILE).read_text().strip()}", Path(MASTER_KEY_FILE).read_text())
    for text in given:
        assert run(settings, tmp_path, "init", FOLDLINE_MASTER_KEY=text).returncode == 0


def test_settings_do_not_show_the_master_key(settings: Settings, tmp_path: Path) -> None:
    key = new_master_key()
    for arguments in ((), ("--json",)):
        shown = run(settings, tmp_path, "settings", *arguments, FOLDLINE_MASTER_KEY=key)
        assert (shown.returncode, key in shown.stdout, "FOLDLINE_MASTER_KEY" in shown.stdout) == (0, False, True)
        assert "***" in shown.stdout


def test_a_deployment_rotates_to_the_first_of_the_keys_that_it_gives(settings: Settings, tmp_path: Path) -> None:
    old, new = Path(MASTER_KEY_FILE).read_text().strip(), new_master_key()
    asyncio.run(_seal(settings, "ada"))
    done = run(settings, tmp_path, "master-key", "rotate", FOLDLINE_MASTER_KEY=new)
    assert_ends(done, 2, MASTERS.current.fingerprint.hex())
    done = run(settings, tmp_path, "master-key", "rotate", FOLDLINE_MASTER_KEY=f"{new},{old}")
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr.startswith("1 keys were wrapped anew")
    assert run(settings, tmp_path, "init", FOLDLINE_MASTER_KEY=new).returncode == 0
    assert_ends(run(settings, tmp_path, "process", FOLDLINE_MASTER_KEY=old), 2, MASTERS.current.fingerprint.hex())


@pytest.mark.parametrize("runner", ["native", "faust"])
@pytest.mark.parametrize(
    ("loss", "words"),
    [
        ("DELETE FROM foldline_control.user_keys", "though it was given here"),
        (
            "DELETE FROM foldline_control.user_keys; DELETE FROM foldline_control.keyring",
            "whose keyring is younger than the event",
        ),
    ],
    ids=["keys", "keyring"],
)
def test_lost_keys_stop_the_fold_with_a_sentence(
    settings: Settings, tmp_path: Path, loss: str, words: str, runner: str
) -> None:
    """Nothing is folded as if it had been erased. Once the table is restored the fold goes on where it was."""
    asyncio.run(_seal(settings, "ada"))
    with psycopg.connect(settings.database_url) as connection:
        connection.execute("CREATE TABLE saved_keys AS TABLE foldline_control.user_keys")
        connection.execute("CREATE TABLE saved_keyring AS TABLE foldline_control.keyring")
        connection.execute(loss)
    key = {"FOLDLINE_MASTER_KEY_FILE": MASTER_KEY_FILE}
    assert run(settings, tmp_path, "init", **key).returncode == 0
    done = run(settings, tmp_path, "process", "--runner", runner, **key)
    assert (done.returncode, done.stdout) == (1, ""), done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith("foldline: the key ")
    assert words in last
    assert "Traceback" not in done.stderr
    with psycopg.connect(settings.database_url) as connection:
        assert connection.execute("SELECT sum(applied) FROM foldline.positions").fetchone() == (0,)
        assert connection.execute("SELECT count(*) FROM foldline.known_users").fetchone() == (0,)
        connection.execute("DELETE FROM foldline_control.keyring")
        connection.execute("INSERT INTO foldline_control.keyring SELECT * FROM saved_keyring")
        connection.execute("INSERT INTO foldline_control.user_keys SELECT * FROM saved_keys")
    with running(settings):
        wait_applied(settings)
    assert [state["attributes"] for state in table(settings).values()] == [{"v": 1}]


async def _seal(settings: Settings, user_id: str) -> None:
    """A user's event through a gateway."""
    pool, log = Database(settings, "test"), KafkaLog(settings, registry_of(settings), lambda *_: None)
    await pool.open()
    await log.open()
    try:
        event = Upsert("org_1", user_id, None, None, '{"v":1}', 1_000, f"req_{user_id}", 0)
        await SealedLog(log, pool.fetch, settings).append("users", [event], "00")
    finally:
        await log.close(2)
        await pool.close()
