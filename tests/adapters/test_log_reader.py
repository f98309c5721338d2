"""What every `LogReader` does, in memory and on Kafka."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Protocol

import pytest
from confluent_kafka import Producer, TopicPartition

from foldline.adapters.codec import UPSERTS_TOPIC, BundledRegistry
from foldline.adapters.consumer import Claim, KafkaLogReader, LogReader, Record, digest
from foldline.adapters.memory import MemoryLog, MemoryLogReader
from foldline.adapters.topics import admin_client, describe_topics, ensure_topics
from foldline.domain.errors import LogReplaced
from foldline.domain.records import Kind
from foldline.settings import Settings


class Log(Protocol):
    """What these tests do to a log."""

    reader: LogReader

    def topic_id(self) -> str: ...
    def append(self, *records: tuple[bytes | None, bytes | None], kind: Kind = "items", partition: int = 0) -> None: ...
    def append_marker(self) -> None:
        """An offset of the items' partition 0 that holds no record: the end of a transaction that was taken back."""

    def delete_before(self, offset: int) -> None: ...


def claim(log: Log, applied: int, last: Record | None = None) -> Claim:
    return Claim("items", 0, log.topic_id(), applied, last and last.offset(), last and digest(last))


def offsets(records: Iterator[Record]) -> list[int]:
    return [record.offset() for record in records]


class LogReaderContract:
    @pytest.fixture
    def filled(self, log: Log) -> Log:
        """Five records at the offsets 0 to 4."""
        log.append(*[(b"org_1:A", b"%d" % number) for number in range(5)])
        return log

    def last(self, log: Log, offset: int) -> Record:
        return next(log.reader.read("items", 0, offset, offset + 1))

    def test_reads_what_was_written(self, log: Log) -> None:
        written = [
            (b"org_1:A", b"1"),
            (None, b"2"),
            (b"org_1:\xff", None),
            (b"", b""),
            (b"org_1:B", bytes(range(256)) * 999),
        ]
        log.append(*written)
        log.append((b"other", b"partition"), partition=1)
        log.append((b"other", b"kind"), kind="users")
        records = list(log.reader.read("items", 0, 0, 5))
        assert [(record.key(), record.value()) for record in records] == written
        assert [record.offset() for record in records] == [0, 1, 2, 3, 4]
        assert {(record.topic().rpartition("items")[1:], record.partition()) for record in records} == {
            (("items", ".upserts.v1"), 0)
        }
        times = [record.timestamp() for record in records]
        assert {kind for kind, _ in times} == {2}
        assert times == sorted(times)
        assert times[0][1] > 1_600_000_000_000

    def test_reads_a_stretch(self, filled: Log) -> None:
        read = filled.reader.read
        assert offsets(read("items", 0, 1, 3)) == [1, 2]
        assert offsets(read("items", 0, 4, 5)) == [4]
        assert offsets(read("items", 0, 3, 100)) == [3, 4]
        assert offsets(read("items", 0, 3, 3)) == offsets(read("items", 0, 5, 5)) == offsets(read("items", 0, 5, 9)) == []
        assert offsets(read("users", 1, 0, 10)) == []

    def test_may_be_left_in_the_middle(self, filled: Log) -> None:
        assert offsets(islice(filled.reader.read("items", 0, 0, 5), 2)) == [0, 1]

    def test_passes_offsets_without_a_record(self, log: Log) -> None:
        log.append((b"org_1:A", b"0"))
        log.append_marker()
        log.append((b"org_1:A", b"1"))
        log.append_marker()
        first, second = log.reader.read("items", 0, 0, 100)
        assert second.offset() > first.offset() + 1
        assert offsets(log.reader.read("items", 0, 1, second.offset())) == []
        assert offsets(log.reader.read("items", 0, 1, second.offset() + 1)) == [second.offset()]
        assert offsets(log.reader.read("items", 0, second.offset() + 1, second.offset() + 2)) == []
        log.reader.verify([claim(log, second.offset() + 1, second), claim(log, 1, first)])

    @pytest.mark.parametrize("start", [0, 1, 6])
    def test_an_offset_that_is_not_there(self, filled: Log, start: int) -> None:
        filled.delete_before(2)
        with pytest.raises(LogReplaced):
            list(filled.reader.read("items", 0, start, 9))
        assert offsets(filled.reader.read("items", 0, 2, 9)) == [2, 3, 4]

    def test_the_log_that_was_folded(self, filled: Log) -> None:
        verify = filled.reader.verify
        verify([])
        verify([claim(filled, 0)])
        verify([claim(filled, 5, self.last(filled, 4)), claim(filled, 3, self.last(filled, 2))])
        filled.delete_before(3)
        verify([claim(filled, 4, self.last(filled, 3))])

    def test_a_topic_made_anew(self, filled: Log) -> None:
        with pytest.raises(LogReplaced, match=r"items\.upserts\.v1\[0\] is not the topic that was folded"):
            filled.reader.verify([claim(filled, 0)._replace(topic_id="another")])

    def test_a_beginning_that_is_lost(self, filled: Log) -> None:
        last = self.last(filled, 1)
        filled.delete_before(3)
        with pytest.raises(LogReplaced):
            filled.reader.verify([claim(filled, 2, last)])
        with pytest.raises(LogReplaced):
            filled.reader.verify([claim(filled, 0)])

    def test_a_last_record_that_is_lost(self, filled: Log) -> None:
        last = self.last(filled, 2)
        filled.delete_before(3)
        with pytest.raises(LogReplaced):
            filled.reader.verify([claim(filled, 3, last)])

    def test_an_end_that_is_lost(self, filled: Log) -> None:
        with pytest.raises(LogReplaced):
            filled.reader.verify([claim(filled, 6, self.last(filled, 4))])

    def test_another_last_record(self, filled: Log) -> None:
        right = claim(filled, 5, self.last(filled, 4))
        for other in (right._replace(last_digest=b"x" * 16), right._replace(last_offset=3)):
            with pytest.raises(LogReplaced, match="another record"):
                filled.reader.verify([claim(filled, 0), other])


def test_a_digest_tells_key_from_value() -> None:
    log = MemoryLog(BundledRegistry(), 1)
    pairs = [(b"ab", b"c"), (b"a", b"bc"), (b"", b"abc"), (b"abc", b""), (None, b"abcd"), (b"ab", b"d")]
    digests = {digest(log.append_raw("items", key, value)) for key, value in pairs}
    assert len(digests) == len(pairs)
    assert {len(one) for one in digests} == {16}


class MemoryHandle:
    def __init__(self) -> None:
        self.log = MemoryLog(BundledRegistry(), 2)
        self.reader: LogReader = MemoryLogReader(self.log)

    def topic_id(self) -> str:
        return self.log.topic_id("items")

    def append(self, *records: tuple[bytes | None, bytes | None], kind: Kind = "items", partition: int = 0) -> None:
        for key, value in records:
            self.log.append_raw(kind, key, value, partition)

    def append_marker(self) -> None:
        self.log.skip("items", 0)

    def delete_before(self, offset: int) -> None:
        self.log.delete_before("items", 0, offset)


class KafkaHandle:
    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.reader: LogReader = KafkaLogReader(settings)
        self.topics = {kind: settings.topic_prefix + topic for kind, topic in UPSERTS_TOPIC.items()}

    def topic_id(self) -> str:
        name = self.topics["items"]
        return describe_topics(admin_client(self.settings), [name])[name].topic_id

    def append(self, *records: tuple[bytes | None, bytes | None], kind: Kind = "items", partition: int = 0) -> None:
        producer = Producer({"bootstrap.servers": self.settings.kafka_bootstrap})
        for key, value in records:
            producer.produce(self.topics[kind], value, key, partition)
        assert producer.flush(30) == 0

    def append_marker(self) -> None:
        transactional_id = f"{self.settings.topic_prefix}test"
        producer = Producer({"bootstrap.servers": self.settings.kafka_bootstrap, "transactional.id": transactional_id})
        producer.init_transactions(10)
        producer.begin_transaction()
        producer.produce(self.topics["items"], b"taken back", b"org_1:A", 0)
        producer.flush(10)
        producer.abort_transaction(10)

    def delete_before(self, offset: int) -> None:
        place = TopicPartition(self.topics["items"], 0, offset)
        admin = admin_client(self.settings)
        admin.delete_records([place])[place].result(10)


class TestMemory(LogReaderContract):
    @pytest.fixture
    def log(self) -> Log:
        return MemoryHandle()

    def test_damage_is_seen(self) -> None:
        log = MemoryHandle()
        log.append((b"org_1:A", b"0"), (b"org_1:A", b"1"))
        right = claim(log, 2, self.last(log, 1))
        log.log.truncate("items", 0, 1)
        with pytest.raises(LogReplaced):
            log.reader.verify([right])
        log.append((b"org_1:A", b"another"))
        with pytest.raises(LogReplaced):
            log.reader.verify([right])
        log.log.recreate("items")
        with pytest.raises(LogReplaced):
            log.reader.verify([right._replace(applied=0, last_offset=None, last_digest=None)])


class TestKafka(LogReaderContract):
    @pytest.fixture
    def log(self, kafka: str, topic_prefix: str) -> Log:
        settings = Settings(kafka_bootstrap=kafka, topic_prefix=topic_prefix, partitions=2)
        ensure_topics(settings)
        return KafkaHandle(settings)
