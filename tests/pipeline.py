"""What tests of the pipeline share: settings of a test's own, events into the log, and the state that came of them."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import orjson
import psycopg
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Producer, TopicPartition

from foldline.adapters.codec import STATE_TOPIC, UPSERTS_TOPIC, UpsertCodec, decoder
from foldline.adapters.consumer import arrived, reader_config, watermarks
from foldline.adapters.postgres import connect
from foldline.adapters.registry import ensure_schemas, registry_of
from foldline.adapters.topics import DEAD_LETTERS_TOPIC, ensure_topics
from foldline.cli.process import ports, runner_of
from foldline.cli.runners import Name
from foldline.domain.fold import FOLD
from foldline.domain.keys import message_key
from foldline.domain.records import KINDS, Kind, State, Upsert
from foldline.embedded.processes import until
from foldline.settings import Settings
from processors.runners.lives import Runner
from processors.worker import Ports
from projections.generations import migrate
from projections.keys import ensure_keyring
from projections.tables import ensure_positions
from tests.keys import MASTERS

Entity = tuple[Kind, str, str]


def prepared(kafka: str, database: str, topic_prefix: str, **others: Any) -> Settings:
    """Settings of one test, after what `foldline init` does."""
    values: dict[str, Any] = {"partitions": 3, "session_timeout_seconds": 6, "retry_seconds": 0.2} | others
    settings = Settings(kafka_bootstrap=kafka, database_url=database, topic_prefix=topic_prefix, **values)
    ensure_schemas(settings)
    ensure_topics(settings)
    with connect(settings.database_url, "test") as connection:
        migrate(connection)
        ensure_keyring(connection, MASTERS)
        ensure_positions(connection, settings)
    return settings


def append(settings: Settings, kind: Kind, events: Iterable[Upsert]) -> None:
    """Writes events to the log, where a Java producer would put them."""
    codec = UpsertCodec(kind, registry_of(settings))
    append_raw(settings, kind, ((message_key(event.org_id, event.entity_id), codec.encode(event)) for event in events))


def append_raw(
    settings: Settings, kind: Kind, records: Iterable[tuple[bytes | None, bytes | None]], partition: int = -1
) -> None:
    produce(settings, settings.topic_prefix + UPSERTS_TOPIC[kind], records, partition)


def producer_of(settings: Settings) -> Producer:
    """It writes in order, where a Java producer would."""
    return Producer(
        {
            "bootstrap.servers": settings.kafka_bootstrap,
            "partitioner": "murmur2_random",
            "max.in.flight.requests.per.connection": 1,  # an idempotent producer is ready a second later
            "linger.ms": 5,
            "message.max.bytes": settings.message_max_bytes,
        }
    )


def produce(
    settings: Settings, topic: str, records: Iterable[tuple[bytes | None, bytes | None]], partition: int = -1
) -> None:
    """Writes records to any topic."""
    producer = producer_of(settings)
    for key, value in records:
        producer.produce(topic, value, key, partition)
        producer.poll(0)
    assert producer.flush(30) == 0


@contextmanager
def running(settings: Settings, own: Ports | None = None, name: Name = Name.native) -> Iterator[Runner]:
    """A processor in a thread of this process."""
    stop = threading.Event()
    runner = runner_of(name)(settings, own or ports(settings))
    thread = threading.Thread(target=runner.run, args=(stop,), daemon=True)
    thread.start()
    try:
        yield runner
    finally:
        stop.set()
        thread.join(60)
        assert not thread.is_alive()


def ends(settings: Settings) -> dict[tuple[str, int], int]:
    """The end of the log, by topic and partition."""
    topics = [settings.topic_prefix + topic for topic in UPSERTS_TOPIC.values()]
    return {
        (topic, partition): high
        for topic in topics
        for partition, (_, high) in enumerate(watermarks(settings, topic, settings.partitions))
    }


def wait_applied(settings: Settings, seconds: float = 60, published: bool = True) -> None:
    """Waits until all of the log is folded, and published too."""
    wanted = ends(settings)
    with psycopg.connect(settings.database_url, autocommit=True) as connection:

        def reached() -> bool:
            rows = connection.execute("SELECT topic, partition, applied, published FROM foldline.positions").fetchall()
            return {(t, p): min(a, b) if published else a for t, p, a, b in rows} == wanted

        assert until(reached, seconds), connection.execute("SELECT * FROM foldline.positions").fetchall()
    if published:
        wait_readable(settings, seconds)


def wait_readable(settings: Settings, seconds: float = 60) -> None:
    """Waits until readers of committed records see what was published: Kafka marks the end of a transaction a moment after
    it has said that it is committed."""
    partitions = [
        TopicPartition(settings.topic_prefix + topic, partition)
        for topic in (*STATE_TOPIC.values(), DEAD_LETTERS_TOPIC)
        for partition in range(settings.partitions)
    ]
    committed, written = (
        Consumer(reader_config(settings) | {"isolation.level": level}) for level in ("read_committed", "read_uncommitted")
    )
    try:
        for partition in partitions:
            end = _end(written, partition, seconds)
            assert until(lambda: _end(committed, partition, seconds) >= end, seconds)  # noqa: B023
    finally:
        committed.close()
        written.close()


def _end(consumer: Consumer, partition: TopicPartition, seconds: float) -> int:
    """Kafka does not know at once who leads a partition that has just been made."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return int(consumer.get_watermark_offsets(partition, seconds)[1])
        except KafkaException as error:
            if error.args[0].code() != KafkaError.NOT_LEADER_FOR_PARTITION or time.monotonic() > deadline:
                raise


def table(settings: Settings) -> dict[Entity, dict[str, Any]]:
    """Every record of the live generation, as data teams see it, times as microseconds."""
    found: dict[Entity, dict[str, Any]] = {}
    with psycopg.connect(settings.database_url) as connection:
        for kind, (id_field, detail) in {"items": ("item_id", "item_type"), "users": ("user_id", "created_at")}.items():
            detail = detail if kind == "items" else "(extract(epoch FROM created_at) * 1000000)::bigint"
            for row in connection.execute(
                f"SELECT org_id, {id_field}, {detail}, status, attributes::text, version,"  # noqa: S608
                " (extract(epoch FROM first_seen_at) * 1000000)::bigint, (extract(epoch FROM updated_at) * 1000000)::bigint,"
                f' partition, "offset" FROM foldline.known_{kind}'
            ).fetchall():
                found[kind, row[0], row[1]] = _plain(row[2], row[3], orjson.loads(row[4]), *row[5:])  # type: ignore[index]
    return found


def topic_states(settings: Settings) -> dict[Entity, dict[str, Any]]:
    """The last value of every key on the state topics, read by a plain consumer."""
    found: dict[Entity, dict[str, Any]] = {}
    decode = decoder(registry_of(settings))
    kinds = {settings.topic_prefix + STATE_TOPIC[kind]: kind for kind in KINDS}
    consumer = Consumer(reader_config(settings))
    unread = {(topic, partition) for topic in kinds for partition in range(settings.partitions)}
    consumer.assign([TopicPartition(topic, partition, OFFSET_BEGINNING) for topic, partition in unread])
    while unread:
        for message in arrived(consumer, 1000, 10.0):
            if message.error() is not None:
                assert message.error().code() == KafkaError._PARTITION_EOF
                unread.discard((message.topic(), message.partition()))
                continue
            kind = kinds[message.topic()]
            value = decode(message.value())
            entity_id = value["item_id" if kind == "items" else "user_id"]
            assert message.key() == message_key(value["org_id"], entity_id)
            assert message.partition() == value["partition"]
            found[kind, value["org_id"], entity_id] = _plain(
                value["item_type" if kind == "items" else "created_at"], value["status"],
                orjson.loads(value["attributes"]), value["version"], value["first_seen_at"], value["updated_at"],
                value["partition"], value["offset"],
            )  # fmt: skip
    consumer.close()
    return found


def model(events: Iterable[tuple[Kind, Upsert]]) -> dict[tuple[Kind, str, str], State]:
    """The fold alone, over events in the order in which they were written."""
    states: dict[tuple[Kind, str, str], State] = {}
    for kind, event in events:
        entity = (kind, event.org_id, event.entity_id)
        after = FOLD[kind](states.get(entity), event, 0, 0)
        if isinstance(after, State):
            states[entity] = after
    return states


def assert_equal(settings: Settings, events: Iterable[tuple[Kind, Upsert]]) -> None:
    """The table is what the fold alone makes of the events, and the state topics are what the table is."""
    rows = table(settings)
    expected = model(events)
    assert rows.keys() == expected.keys()
    for entity, state in expected.items():
        wanted = _plain(
            state.detail, state.status, state.attributes, state.version, state.first_seen_at, state.updated_at, 0, 0
        )
        assert rows[entity] | {"partition": 0, "offset": 0} == wanted
    assert topic_states(settings) == rows


def _plain(*values: Any) -> dict[str, Any]:
    names = ("detail", "status", "attributes", "version", "first_seen_at", "updated_at", "partition", "offset")
    return dict(zip(names, values, strict=True))
