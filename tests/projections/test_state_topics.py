"""What every `StateTopics` does, in memory and on Kafka, seen by a reader of committed transactions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import orjson
import pytest
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, TopicPartition

from foldline.adapters.codec import STATE_TOPIC, BundledRegistry, decoder
from foldline.adapters.consumer import arrived, reader_config
from foldline.adapters.topics import DEAD_LETTERS_TOPIC, ensure_topics
from foldline.domain.errors import Conflict
from foldline.domain.keys import message_key
from foldline.domain.records import KINDS, Kind, State
from foldline.settings import Settings
from projections.memory import MemoryStateTopics, MemoryTopics
from projections.rows import PlainRows, Row
from projections.state import DeadLetter, Partition
from projections.topics import KafkaStateTopics, Publication, StateTopics

ITEMS, USERS = ("items", 0), ("users", 1)


class Seen(NamedTuple):
    """What is on the topics: states by partition as (key, detail, attributes, version, offset, generation), and letters."""

    states: dict[Partition, list[tuple[Any, ...]]]
    letters: list[tuple[Any, ...]]


def state(version: int, partition: Partition = ITEMS, **fields: Any) -> Row:
    detail: str | int = "product" if partition[0] == "items" else 5
    attributes = {"a": [version, "é😀"]}
    one = State("org_1", "A", detail, "active", attributes, version, 1, 2, partition[1], version - 1, 2)._replace(**fields)
    return Row(message_key(one.org_id, one.entity_id), one, orjson.dumps(one.attributes).decode())


def seen(row: Row, generation: int = 1) -> tuple[Any, ...]:
    one = row.state
    return row.key, one.detail, one.attributes, one.version, one.offset, generation


def letter(offset: int, key: bytes | None = b"key", value: bytes | None = b"value") -> DeadLetter:
    return DeadLetter(None, None, None, None, "undecodable", "", "nö", *ITEMS, offset, key, value, 7)


def publication(*rows: Row, letters: Sequence[DeadLetter] = ()) -> Publication:
    kind: Kind = "users" if any(type(row.state.detail) is int for row in rows) else "items"
    return Publication(PlainRows(kind, rows), letters)


class StateTopicsContract:
    """`connect` gives another worker's object, `read` what a reader sees."""

    def test_what_is_published_is_there_in_order(self, connect: Callable[[], StateTopics], read: Callable[[], Seen]) -> None:
        topics = connect()
        topics.open([ITEMS, USERS])
        rows = [state(1), state(1, entity_id="B"), state(2), state(3, USERS)]
        topics.publish({ITEMS: publication(*rows[:2])}, 1)
        topics.publish({ITEMS: publication(rows[2]), USERS: publication(rows[3])}, 7)
        assert read().states == {
            ITEMS: [seen(rows[0]), seen(rows[1]), seen(rows[2], 7)],
            USERS: [seen(rows[3], 7)],
        }

    def test_letters_keep_their_bytes(self, connect: Callable[[], StateTopics], read: Callable[[], Seen]) -> None:
        topics = connect()
        topics.open([ITEMS])
        letters = [letter(1, None, None), letter(2, b"", b""), letter(3, b"\x00\xff", bytes(range(256)))]
        topics.publish({ITEMS: publication(letters=letters)}, 1)
        assert read().letters == [("undecodable", *ITEMS, one.offset, one.key, one.value) for one in letters]

    def test_an_older_opener_is_fenced(self, connect: Callable[[], StateTopics], read: Callable[[], Seen]) -> None:
        paused, successor = connect(), connect()
        paused.open([ITEMS])
        paused.publish({ITEMS: publication(state(1))}, 1)
        successor.open([ITEMS])
        with pytest.raises(Conflict):
            paused.publish({ITEMS: publication(state(2), letters=[letter(1)])}, 1)
        successor.publish({ITEMS: publication(state(3))}, 1)
        paused.close()
        assert read() == Seen({ITEMS: [seen(state(1)), seen(state(3))]}, [])

    def test_partitions_are_fenced_one_by_one(self, connect: Callable[[], StateTopics], read: Callable[[], Seen]) -> None:
        first, second = connect(), connect()
        first.open([ITEMS, USERS])
        second.open([ITEMS])
        first.publish({USERS: publication(state(1, USERS))}, 1)
        with pytest.raises(Conflict):
            first.publish({USERS: publication(state(2, USERS)), ITEMS: publication(state(2))}, 1)
        assert ITEMS not in read().states

    def test_who_was_fenced_may_open_again(self, connect: Callable[[], StateTopics], read: Callable[[], Seen]) -> None:
        first, second = connect(), connect()
        first.open([ITEMS])
        second.open([ITEMS])
        first.close()
        again = connect()
        again.open([ITEMS])
        with pytest.raises(Conflict):
            second.publish({ITEMS: publication(state(1))}, 1)
        again.publish({ITEMS: publication(state(2))}, 1)
        assert read().states == {ITEMS: [seen(state(2))]}

    def test_many_partitions_are_opened_at_once(self, connect: Callable[[], StateTopics], read: Callable[[], Seen]) -> None:
        topics = connect()
        places: list[Partition] = [(kind, number) for kind in KINDS for number in range(2)]
        topics.open(places)
        topics.publish({place: publication(state(1, place)) for place in places}, 1)
        assert set(read().states) == set(places)


class TestMemory(StateTopicsContract):
    @pytest.fixture
    def topics(self) -> MemoryTopics:
        return MemoryTopics()

    @pytest.fixture
    def connect(self, topics: MemoryTopics) -> Callable[[], StateTopics]:
        return lambda: MemoryStateTopics(topics)

    @pytest.fixture
    def read(self, topics: MemoryTopics) -> Callable[[], Seen]:
        return lambda: Seen(
            {
                partition: [seen(row, generation) for row, generation in published]
                for partition, published in topics.states.items()
                if published
            },
            [(one.code, one.kind, one.partition, one.offset, one.key, one.value) for one in topics.letters],
        )


class TestKafka(StateTopicsContract):
    @pytest.fixture
    def settings(self, kafka: str, topic_prefix: str) -> Settings:
        settings = Settings(kafka_bootstrap=kafka, topic_prefix=topic_prefix, partitions=2)
        ensure_topics(settings)
        return settings

    @pytest.fixture
    def connect(self, settings: Settings) -> Iterator[Callable[[], StateTopics]]:
        opened: list[StateTopics] = []

        def topics() -> StateTopics:
            opened.append(KafkaStateTopics(settings, BundledRegistry()))
            return opened[-1]

        yield topics
        for one in opened:
            one.close()

    @pytest.fixture
    def read(self, settings: Settings) -> Callable[[], Seen]:
        return lambda: read_committed(settings)


def read_committed(settings: Settings) -> Seen:
    prefix, decode = settings.topic_prefix, decoder(BundledRegistry())
    kinds = {prefix + topic: kind for kind, topic in STATE_TOPIC.items()}
    found = Seen({}, [])
    unread = {(topic, number) for topic in (*kinds, prefix + DEAD_LETTERS_TOPIC) for number in range(settings.partitions)}
    consumer = Consumer(reader_config(settings) | {"isolation.level": "read_committed"})
    consumer.assign([TopicPartition(topic, number, OFFSET_BEGINNING) for topic, number in unread])
    while unread:
        messages = arrived(consumer, 100, 10.0)
        assert messages, unread
        for message in messages:
            topic, number, value = message.topic(), message.partition(), message.value()
            assert topic is not None
            assert number is not None
            if message.error() is not None:
                assert message.error().code() == KafkaError._PARTITION_EOF
                unread.discard((topic, number))
            elif topic in kinds:
                record = decode(value)
                detail = record["item_type" if kinds[topic] == "items" else "created_at"]
                attributes = orjson.loads(record["attributes"])
                found.states.setdefault((kinds[topic], number), []).append(
                    (message.key(), detail, attributes, record["version"], record["offset"], record["generation"])
                )
                assert (record["org_id"], record["status"], record["partition"]) == ("org_1", "active", number)
            else:
                headers = {name: text.decode() for name, text in message.headers()}
                kind = next(kind for kind in KINDS if headers["source_topic"] == f"{prefix}{kind}.upserts.v1")
                assert headers["reason"] == "undecodable: nö"
                source = (kind, int(headers["source_partition"]), int(headers["source_offset"]))
                found.letters.append((headers["code"], *source, message.key(), value))
    consumer.close()
    return found
