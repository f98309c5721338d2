"""Kafka and PostgreSQL keep their data over a kill, wherever they are put and whoever starts them."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]

from foldline.embedded import postgres
from foldline.embedded.jars import cache_directory, kafka_jars, locked_jars
from foldline.embedded.kafka import kafka_part
from foldline.embedded.ports import Ports
from foldline.embedded.postgres import postgres_part, postgres_url
from foldline.embedded.supervisor import Supervisor

pytestmark = pytest.mark.server


async def killed_and_back(supervisor: Supervisor, name: str) -> None:
    """Kills the part; returns when the supervisor has it ready again."""
    back = asyncio.Event()
    supervisor.changed = back.set
    supervisor.identities()[name].signal(signal.SIGKILL)
    await asyncio.wait_for(back.wait(), 60)


def produce(bootstrap: str, value: bytes) -> None:
    producer = Producer({"bootstrap.servers": bootstrap, "acks": "all", "message.max.bytes": 5 * 1024 * 1024})
    producer.produce("kept", value)
    assert producer.flush(20) == 0


def consume(bootstrap: str, count: int) -> list[bytes | None]:
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "any", "auto.offset.reset": "earliest"})
    consumer.assign([TopicPartition("kept", 0, 0)])
    try:
        return [message.value() for message in consumer.consume(count, 20) if not message.error()]
    finally:
        consumer.close()


def test_kafka_keeps_its_data(tmp_path: Path) -> None:
    ports = Ports(tmp_path / "ports.json")
    port, controller = ports.get("kafka"), ports.get("kafka-controller")
    bootstrap = f"127.0.0.1:{port}"
    large = b"x" * 4 * 1024 * 1024

    async def conversation() -> None:
        supervisor = Supervisor(tmp_path)
        await supervisor.start(kafka_part(tmp_path, port, controller))
        admin = AdminClient({"bootstrap.servers": bootstrap})
        admin.create_topics([NewTopic("kept", 1)])["kept"].result(20)
        produce(bootstrap, large)
        await killed_and_back(supervisor, "kafka")
        produce(bootstrap, b"before the stop")
        await supervisor.stop("kafka")

        await supervisor.start(kafka_part(tmp_path, port, controller))
        assert await asyncio.to_thread(consume, bootstrap, 2) == [large, b"before the stop"]
        await supervisor.stop("kafka")

    asyncio.run(conversation())


def test_postgres_keeps_its_data(tmp_path: Path) -> None:
    port = Ports(tmp_path / "ports.json").get("postgres")
    url = postgres_url(tmp_path, port)

    def execute(statement: str) -> list[tuple[object, ...]]:
        with psycopg.connect(url) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []

    async def conversation() -> None:
        supervisor = Supervisor(tmp_path)
        await supervisor.start(postgres_part(tmp_path, port))
        execute("CREATE TABLE kept AS SELECT 'before the kill' AS written")
        with psycopg.connect(url, autocommit=True) as busy:
            busy.execute("SELECT 1")
            await killed_and_back(supervisor, "postgres")
        execute("INSERT INTO kept VALUES ('before the stop')")
        await supervisor.stop("postgres")

        await supervisor.start(postgres_part(tmp_path, port))
        assert execute("SELECT * FROM kept") == [("before the kill",), ("before the stop",)]
        assert execute("SHOW fsync") == [("on",)]
        await supervisor.stop("postgres")

    asyncio.run(conversation())


def test_postgres_asks_for_its_password(tmp_path: Path) -> None:
    port = Ports(tmp_path / "ports.json").get("postgres")
    wrong = f"postgresql://foldline:wrong@127.0.0.1:{port}/foldline"

    async def conversation() -> None:
        supervisor = Supervisor(tmp_path)
        await supervisor.start(postgres_part(tmp_path, port))
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            psycopg.connect(wrong)
        await supervisor.stop("postgres")

    asyncio.run(conversation())
    assert (tmp_path / "postgres.password").stat().st_mode & 0o777 == 0o600


def test_the_data_of_another_version_are_refused(tmp_path: Path) -> None:
    (tmp_path / "postgres").mkdir()
    (tmp_path / "postgres" / "PG_VERSION").write_text("9\n")
    with pytest.raises(Exception, match="belongs to PostgreSQL 9"):
        postgres_part(tmp_path, 15432)


@pytest.fixture
def foreign_directory() -> Iterator[Path]:
    """A directory of another user, outside of the private one that `tmp_path` lies in."""
    with tempfile.TemporaryDirectory(prefix="foldline-tests-") as directory:
        os.chown(directory, 65534, 65534)
        yield Path(directory)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_another_user_than_root_starts_them_too(foreign_directory: Path) -> None:
    become = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--securebits=+no_setuid_fixup"]
    capability = ["--inh-caps=+dac_override", "--ambient-caps=+dac_override"]  # to read this checkout, wherever it is
    command = [*become, *capability, sys.executable, "-m", "tests.embedded.standins", str(foreign_directory)]
    environment = {**os.environ, "XDG_CACHE_HOME": str(cache_directory().parent), "PYTHONDONTWRITEBYTECODE": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout
        try:
            assert process.stdout.readline().startswith("ready at http://127.0.0.1:")
            assert (foreign_directory / "postgres").stat().st_uid == 65534
        finally:
            process.terminate()
    assert process.returncode == 0


def test_a_complete_cache_needs_no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full = kafka_jars()
    monkeypatch.setattr("socket.socket.connect", lambda *_: pytest.fail("the network was used"))
    assert kafka_jars() == full
    assert {file.name for file in full.glob("*.jar")} == {jar.file_name for jar in locked_jars()}


def test_a_jar_that_was_cut_is_fetched_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full, fetched = kafka_jars(), []
    copy = tmp_path / "foldline" / full.name
    copy.mkdir(parents=True)
    for file in full.glob("*.jar"):
        (copy / file.name).symlink_to(file)
    smallest = min(locked_jars(), key=lambda jar: jar.size)
    (copy / smallest.file_name).unlink()
    (copy / smallest.file_name).write_bytes(b"cut")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("foldline.embedded.jars._fetch", lambda jar, *_: fetched.append(jar))

    assert kafka_jars() == copy
    assert fetched == [smallest]
    assert not (copy / "partial").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root needs another user for PostgreSQL")
def test_postgres_runs_from_a_private_installation(monkeypatch: pytest.MonkeyPatch) -> None:
    with tempfile.TemporaryDirectory() as private:  # of mode 0700, like a checkout in a home folder
        package = postgres._installation().parent
        for folder in (package, package.with_name(f"{package.name}.libs")):
            shutil.copytree(folder, Path(private) / folder.name)
        installation = Path(private) / package.name / postgres._installation().name
        monkeypatch.setattr(postgres, "_installation", lambda: installation)
        root = Path(private).resolve() / "data"
        root.mkdir()
        port = Ports(root / "ports.json").get("postgres")

        async def conversation() -> None:
            supervisor = Supervisor(root)
            await supervisor.start(postgres_part(root, port))
            with psycopg.connect(postgres_url(root, port)) as connection:
                assert connection.execute("SELECT 1").fetchone() == (1,)
            await supervisor.stop("postgres")

        asyncio.run(conversation())
