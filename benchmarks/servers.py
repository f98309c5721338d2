"""The servers that a benchmark runs on: an embedded Kafka and PostgreSQL of its own, and a fresh database for each run."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic, OffsetSpec  # type: ignore[attr-defined]

from foldline.embedded.kafka import kafka_part
from foldline.embedded.masterkey import master_key_file
from foldline.embedded.parts import Part
from foldline.embedded.ports import Ports
from foldline.embedded.postgres import postgres_part, postgres_url
from foldline.embedded.processes import spawn, until
from foldline.settings import Settings

PARTITIONS = 4
PYTHON = sys.executable


class Servers:
    """Kafka and PostgreSQL, and what each run gets of them."""

    def __init__(
        self, kafka: str, postgres: str, gateway_port: int, master_key_file: Path, root: Path, pids: Mapping[str, int]
    ) -> None:
        """`root` has the data of both servers; `pids` are their processes, `kafka` and `postgres`."""
        self.kafka, self.postgres, self._gateway_port = kafka, postgres, gateway_port
        self._master_key_file = master_key_file
        self.root, self.pids = root, pids
        self._runs = 0
        self._admin = AdminClient({"bootstrap.servers": kafka, "log_level": 0})

    def fresh(self) -> Settings:
        """Settings of one run: topics and a database of its own, made ready."""
        self._runs += 1
        return self.named(f"bench{self._runs}")

    def named(self, name: str) -> Settings:
        """The same under a name; what is there already stays."""
        with psycopg.connect(self.postgres, autocommit=True) as connection:
            if not connection.execute("SELECT FROM pg_database WHERE datname = %s", (name,)).fetchall():
                connection.execute(f"CREATE DATABASE {name}")
        settings = Settings(
            kafka_bootstrap=self.kafka,
            database_url=urlunsplit(urlsplit(self.postgres)._replace(path=f"/{name}")),
            topic_prefix=f"{name}.",
            partitions=PARTITIONS,
            gateway_port=self._gateway_port,
            master_key_file=str(self._master_key_file),
        )
        subprocess.run([PYTHON, "-m", "foldline", "init"], env=environment(settings), check=True, stderr=subprocess.DEVNULL)
        return settings

    def beside(self, log: Settings) -> Settings:
        """Settings with a database of its own, a copy of another run's, and that run's topics."""
        self._runs += 1
        name, url = f"bench{self._runs}", urlsplit(log.database_url)
        with psycopg.connect(self.postgres, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name} TEMPLATE {url.path[1:]}".encode())
        return log.model_copy(update={"database_url": urlunsplit(url._replace(path=f"/{name}"))})

    def settle(self) -> None:
        """Writes to the disk what is to be written: the next contender does not pay for it."""
        with psycopg.connect(self.postgres, autocommit=True) as connection:
            connection.execute("CHECKPOINT")
        os.sync()

    def ends(self, topic: str) -> dict[int, int]:
        """The offset at which the next record of each partition will lie."""
        wanted = {TopicPartition(topic, partition): OffsetSpec.latest() for partition in range(PARTITIONS)}
        found = self._admin.list_offsets(wanted)
        return {partition.partition: offset.result().offset for partition, offset in found.items()}

    def drop_database(self, settings: Settings) -> None:
        """Drops the database of these settings."""
        name = urlsplit(settings.database_url).path[1:]
        with psycopg.connect(self.postgres, autocommit=True) as connection:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())

    def drop_topics(self, prefix: str) -> None:
        """Deletes every topic whose name begins so."""
        names = [name for name in self._admin.list_topics(timeout=10).topics if name.startswith(prefix)]
        for deleted in self._admin.delete_topics(names).values() if names else ():
            deleted.result()

    def make_topic(self, name: str) -> None:
        """Makes a compacted topic for a peer's states."""
        topic = NewTopic(name, PARTITIONS, 1, config={"cleanup.policy": "compact"})
        self._admin.create_topics([topic])[name].result()


def environment(settings: Settings, **others: str) -> dict[str, str]:
    """The environment that gives a process these settings."""
    named = {f"FOLDLINE_{name.upper()}": str(value) for name, value in settings.model_dump().items() if value is not None}
    return os.environ | named | others


@contextmanager
def servers(kept: Path | None = None) -> Iterator[Servers]:
    """Starts both servers, in a temporary directory unless their data are to be `kept` in one, and stops them at the end."""
    with ExitStack() as stack:
        if kept is None:
            root = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="foldline-bench-"))).resolve()
        else:
            root = kept.resolve()
            root.mkdir(parents=True, exist_ok=True)
        key = master_key_file(root)
        ports = Ports(root / "ports.json")
        kafka, controller, postgres = (ports.get(name) for name in ("kafka", "kafka-controller", "postgres"))
        pids = {}
        for part in (kafka_part(root, kafka, controller), postgres_part(root, postgres)):
            process = _start(root, part)
            stack.callback(_stop, part, process)
            pids[part.name] = process.pid
        yield Servers(f"127.0.0.1:{kafka}", postgres_url(root, postgres), ports.get("gateway"), key, root, pids)


def _start(root: Path, part: Part) -> subprocess.Popen[bytes]:
    process = spawn(part.argv, log=root / f"{part.name}.log", directory=part.directory, death_signal=part.death_signal)
    if not until(part.ready, part.start_seconds):
        raise RuntimeError(f"{part.name} did not start")
    return process


def _stop(part: Part, process: subprocess.Popen[bytes]) -> None:
    process.send_signal(part.stop_signal)
    process.wait(part.grace_seconds)
