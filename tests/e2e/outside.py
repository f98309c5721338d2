"""Foldline as others see it: the program, HTTP, SQL, and a plain Avro consumer. None of our own code reads a topic here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import fastavro
import httpx
import psutil
import psycopg
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, Message, TopicPartition

KINDS = ("items", "users")
ID = {"items": "item_id", "users": "user_id"}
LOG = {"items": "items.upserts.v1", "users": "users.upserts.v1"}
STATES = {"items": "items.state.v1", "users": "users.state.v1"}
DEAD_LETTERS = "upserts.dead-letters.v1"

Json = dict[str, Any]
States = dict[tuple[str, str], Json]  # by kind and id


def eventually(condition: Callable[[], bool], seconds: float, pause_seconds: float = 0.05) -> bool:
    """Waits until the condition holds; False where it does not in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(pause_seconds)
    return True


class Organisation(NamedTuple):
    """An organisation, and a client that asks as it."""

    org_id: str
    secret_key: str
    publishable_key: str
    client: httpx.Client

    def upsert(self, kind: str, records: Json | list[Json], wait: bool = True) -> Json:
        """The `data` of an accepted upsert; of its operation, once it is applied, with `wait`."""
        answer = self.client.post(f"/v1/ingest/{kind}/upsert", json=records, headers={"Prefer": "wait=30"} if wait else {})
        assert answer.status_code == (200 if wait else 202), answer.text
        return data(answer)

    def state(self, kind: str, entity_id: str, **parameters: str) -> httpx.Response:
        return self.client.get(path_of(kind, entity_id), params={"include_deleted": "true"} | parameters)

    def listing(self, kind: str, **parameters: str) -> list[Json]:
        """Every record that a listing shows, page by page."""
        found: list[Json] = []
        cursor: str | None = ""
        while cursor is not None:
            page = data(self.client.get(f"/v1/{kind}", params=parameters | ({"cursor": cursor} if cursor else {})))
            assert len(page[kind]) <= int(parameters.get("limit", 100))
            found += page[kind]
            cursor = page["next_cursor"]
        return found


def data(answer: httpx.Response) -> Json:
    body = answer.json()
    assert body["success"] is True
    assert body.keys() == {"success", "message", "data"}
    found: Json = body["data"]
    return found


def path_of(kind: str, entity_id: str) -> str:
    """The path of a record, with every byte of its id escaped: no client can then take it for anything else."""
    return f"/v1/{kind}/" + "".join(f"%{byte:02X}" for byte in entity_id.encode())


def client(url: str, key: str | None = None) -> httpx.Client:
    headers = {} if key is None else {"X-API-KEY": key}
    return httpx.Client(base_url=url, headers=headers, timeout=60, trust_env=False)


class Stack:
    """`foldline up` on a directory, from outside."""

    def __init__(self, directory: Path, *arguments: str, **variables: str) -> None:
        self.directory = directory
        self._arguments = arguments
        self._environment = {name: value for name, value in os.environ.items() if not name.startswith("FOLDLINE_")}
        self._environment |= variables
        self._log = directory.with_suffix(".log")
        self.up: subprocess.Popen[str]
        self.url = self.kafka = self.database_url = ""

    def start(self) -> None:
        """Returns once the stack accepts and applies work."""
        command = [*self.program("up"), "--json", *self._arguments]
        with self._log.open("a") as log:
            self.up = subprocess.Popen(command, env=self._environment, stdout=subprocess.PIPE, stderr=log, text=True)
        assert self.up.stdout
        line = self.up.stdout.readline()
        assert line, self._log.read_text()
        ready = json.loads(line)
        assert ready["pid"] == self.up.pid
        self.url, self.kafka, self.database_url = ready["url"], ready["kafka"], ready["database_url"]

    def stop(self) -> int:
        """Drains the stack and returns its exit code."""
        self.up.terminate()
        return self.up.wait(90)

    def close(self) -> None:
        """Stops what still runs."""
        if self.up.poll() is None:
            self.stop()

    def program(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "foldline", *arguments, "--data-dir", str(self.directory)]

    def foldline(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Runs a command for this stack to its end."""
        return subprocess.run(self.program(*arguments), env=self._environment, capture_output=True, text=True, check=False)

    def organisation(self, name: str = "Test", rate_limit: int | None = 0) -> Organisation:
        """A new organisation, unlimited unless a limit is given; None leaves the default."""
        made = self.foldline("orgs", "create", name, "--json")
        assert made.returncode == 0, made.stderr
        found = json.loads(made.stdout)
        if rate_limit is not None:
            assert self.foldline("orgs", "set", found["org_id"], "--rate-limit", str(rate_limit)).returncode == 0
        return Organisation(**found, client=client(self.url, found["secret_key"]))

    def processes(self, name: str) -> list[psutil.Process]:
        """The processes of `up` by what they are: gateway, process, postgres or kafka; oldest first."""
        children = psutil.Process(self.up.pid).children(recursive=True)
        return sorted((child for child in children if _is(child, name)), key=lambda child: child.create_time())

    def sql(self, query: str, *parameters: Any) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.database_url, options="-c timezone=UTC") as connection:
            return connection.execute(query.encode(), parameters).fetchall()

    def ends(self, *topics: str, isolation: str = "read_committed") -> dict[tuple[str, int], int]:
        """The offset after the last record of each partition of the topics that such a reader sees."""
        consumer = self._consumer(isolation)
        try:
            return {
                (topic, partition): consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=10)[1]
                for topic in topics
                for partition in consumer.list_topics(topic, timeout=10).topics[topic].partitions
            }
        finally:
            consumer.close()

    def wait_published(self, seconds: float = 60) -> None:
        """Waits until all of the log is folded, and readers of the projection topics see what came of it."""
        ends = self.ends(*LOG.values())
        query = "SELECT topic, partition, published FROM foldline.positions"
        assert eventually(lambda: {(t, p): o for t, p, o in self.sql(query)} == ends, seconds), (self.sql(query), ends)
        # Kafka marks the end of a transaction a moment after it has said that it is committed.
        topics = (*STATES.values(), DEAD_LETTERS)
        written = self.ends(*topics, isolation="read_uncommitted")

        def readable() -> bool:  # what is published again meanwhile comes on top
            ends = self.ends(*topics)
            return all(ends[partition] >= end for partition, end in written.items())

        assert eventually(readable, seconds), (self.ends(*topics), written)

    def records(self, topic: str) -> Iterator[Message]:
        """Everything committed on a topic, partition by partition in order."""
        consumer = self._consumer()
        try:
            left = {partition for _, partition in self.ends(topic)}
            consumer.assign([TopicPartition(topic, partition, OFFSET_BEGINNING) for partition in left])
            deadline = time.monotonic() + 60
            while left:
                assert time.monotonic() < deadline, (topic, left)
                for message in consumer.consume(1000, 0.2):
                    if (error := message.error()) is None:
                        yield message
                    else:
                        assert error.code() == KafkaError._PARTITION_EOF, error
                        left.discard(message.partition())
        finally:
            consumer.close()

    def values(self, topic: str, org_id: str) -> Iterator[tuple[Message, Json]]:
        """An organisation's records of a topic with their values, decoded by the schemas of the gateway's registry."""
        parsed: dict[int, Any] = {}
        with client(self.url) as registry:
            for message in self.records(topic):
                key, value = message.key(), message.value()
                if not (isinstance(key, bytes) and key.startswith(f"{org_id}:".encode())):
                    continue
                assert isinstance(value, bytes)
                assert value[0] == 0
                schema_id = int.from_bytes(value[1:5], "big")
                if schema_id not in parsed:
                    answer = registry.get(f"/registry/schemas/ids/{schema_id}")
                    parsed[schema_id] = fastavro.parse_schema(json.loads(answer.json()["schema"]))
                decoded = fastavro.schemaless_reader(BytesIO(value[5:]), parsed[schema_id], None)
                assert isinstance(decoded, dict)
                assert decoded["org_id"] == org_id
                yield message, decoded

    def topic_states(self, org_id: str) -> States:
        """The last value of each of an organisation's keys on the state topics.

        Asserts that no state of a key comes after a newer one, and that keys and partitions are what they must be.
        """
        found: States = {}
        for kind, topic in STATES.items():
            for message, value in self.values(topic, org_id):
                entity = (kind, value[ID[kind]])
                assert message.key() == f"{org_id}:{entity[1]}".encode()
                assert message.partition() == value["partition"]
                if entity in found:
                    assert found[entity]["offset"] <= value["offset"], f"a stale state of {entity} was published"
                found[entity] = value | {"attributes": json.loads(value["attributes"])}
        return found

    def table_states(self, org_id: str) -> States:
        """The rows of an organisation, in the shape of `topic_states` where they were written in the live generation."""
        ((generation,),) = self.sql("SELECT DISTINCT generation FROM foldline.positions")
        found: States = {}
        for kind, detail in (("items", "item_type"), ("users", "created_at")):
            columns = (
                "org_id", ID[kind], detail, "status", "attributes", "version", "first_seen_at", "updated_at", "partition",
                "offset",
            )  # fmt: skip
            names = ", ".join(f'"{column}"' for column in columns)
            rows = self.sql(f"SELECT {names} FROM foldline.known_{kind} WHERE org_id = %s", org_id)  # noqa: S608
            found |= {(kind, row[1]): dict(zip(columns, row, strict=True)) | {"generation": generation} for row in rows}
        return found

    def assert_topics_equal_table(self, org_id: str) -> States:
        """Returns the states, once everything is published."""
        self.wait_published()
        rows = self.table_states(org_id)
        published = self.topic_states(org_id)
        assert published.keys() == rows.keys()
        for entity, row in rows.items():
            assert canonical(published[entity]) == canonical(row)
        return rows

    def _consumer(self, isolation: str = "read_committed") -> Consumer:
        return Consumer(
            {
                "bootstrap.servers": self.kafka,
                "group.id": "somebody-else",
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                "isolation.level": isolation,
                "log_level": 0,
            }
        )


def headers_of(message: Message) -> dict[str, str]:
    """A record's headers, each of which is text."""
    headers = message.headers()
    assert isinstance(headers, list)
    found = {}
    for name, value in headers:
        assert isinstance(value, bytes)
        found[name] = value.decode()
    return found


def canonical(value: Any) -> Any:
    """A value in which equal JSON is equal and nothing else: numbers by their value, booleans apart from them."""
    if isinstance(value, Mapping):
        return {key: canonical(member) for key, member in value.items()}
    if isinstance(value, list | tuple):
        return [canonical(member) for member in value]
    if isinstance(value, bool):
        return ("boolean", value)
    if isinstance(value, int | float):
        whole = isinstance(value, int) or value.is_integer()
        return int(value) if whole and -(2**63) <= value < 2**63 else float(value)
    return value


def _is(process: psutil.Process, name: str) -> bool:
    try:
        command = process.cmdline()
        if name == "postgres":  # the server itself, not one of its own children
            return "-D" in command and Path(command[0]).name in ("postgres", "setpriv")
        return "kafka.Kafka" in command if name == "kafka" else name in command and "foldline" in " ".join(command)
    except psutil.Error:
        return False
