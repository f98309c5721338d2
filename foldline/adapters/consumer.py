"""Reading the log outside a consumer group: a stretch of one partition, the last record folded, the ends."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import NamedTuple, Protocol, cast

from confluent_kafka import OFFSET_INVALID, Consumer, KafkaError, KafkaException, Message, TopicPartition

from foldline.adapters.codec import UPSERTS_TOPIC
from foldline.adapters.security import client_config
from foldline.adapters.topics import TIMEOUT_SECONDS, admin_client, describe_topics, unreachable
from foldline.domain.errors import LogReplaced, Unreachable
from foldline.domain.records import Kind
from foldline.settings import Settings


class Record(Protocol):
    """A record of the log, as confluent-kafka's `Message` gives it."""

    def topic(self) -> str: ...
    def partition(self) -> int: ...
    def offset(self) -> int: ...
    def key(self) -> bytes | None: ...
    def value(self) -> bytes | None: ...
    def timestamp(self) -> tuple[int, int]:
        """The kind of the timestamp, and milliseconds since the epoch."""


CHUNK_RECORDS = 1000
# How long librdkafka asks for nothing once its queue is full. By itself it waits a second, in which the queue runs empty.
FETCH_BACKOFF_MS = 10

_REMEDY = "Nothing is folded until FOLDLINE_KAFKA_BOOTSTRAP and FOLDLINE_DATABASE_URL belong together again"


def digest(record: Record) -> bytes:
    """What a record is recognised by: 16 bytes of BLAKE2 over its key and value."""
    key = record.key() or b""
    return hashlib.blake2b(len(key).to_bytes(4, "big") + key + (record.value() or b""), digest_size=16).digest()


def reader_config(settings: Settings) -> dict[str, object]:
    """A consumer that belongs to no group, commits nothing, and takes no offset for another."""
    return {
        **client_config(settings),
        "group.id": f"{settings.topic_prefix}foldline-reader",
        "enable.auto.commit": False,
        "auto.offset.reset": "error",
        "enable.partition.eof": True,
        "fetch.message.max.bytes": settings.message_max_bytes,
        "queued.max.messages.kbytes": 16 * 1024,
        "fetch.queue.backoff.ms": FETCH_BACKOFF_MS,
        "log_level": 0,
    }


def arrived(consumer: Consumer, limit: int, wait_seconds: float) -> list[Message]:
    """What has arrived, at most `limit`; after a wait for the first. (`consume` alone waits until it has as many.)"""
    first = consumer.consume(1, wait_seconds)
    return first + consumer.consume(limit - 1, 0) if first and limit > 1 else first


class Claim(NamedTuple):
    """What a position says of the log that was folded: its topic's id, how far, and the last record folded."""

    kind: Kind
    partition: int
    topic_id: str
    applied: int
    last_offset: int | None
    last_digest: bytes | None


class LogReader(Protocol):
    """Reads the log by position. Both methods raise `Unreachable`, and `LogReplaced` where the log is another one."""

    def verify(self, claims: Sequence[Claim]) -> None:
        """Asserts that the log is the one that was folded."""

    def read(self, kind: Kind, partition: int, start: int, end: int) -> Iterator[Record]:
        """The records of a partition from offset `start` to before `end`, or to the end of the log, in order."""


class KafkaLogReader:
    """`LogReader` on Kafka. Each call has a connection of its own."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._topics = {kind: settings.topic_prefix + topic for kind, topic in UPSERTS_TOPIC.items()}

    def verify(self, claims: Sequence[Claim]) -> None:
        names = [self._topics[kind] for kind in {claim.kind for claim in claims}]
        try:
            described = describe_topics(admin_client(self._settings), names) if names else {}
        except KafkaException as error:
            raise unreachable(self._settings, error) from error
        with closing(Consumer(reader_config(self._settings))) as consumer:
            for claim in claims:
                place = f"{self._topics[claim.kind]}[{claim.partition}]"
                if described[self._topics[claim.kind]].topic_id != claim.topic_id:
                    raise LogReplaced(f"{place} is not the topic that was folded: it was deleted and made anew. {_REMEDY}")
                low, high = partition_watermarks(self._settings, consumer, self._topics[claim.kind], claim.partition)
                if low > claim.applied:
                    raise LogReplaced(
                        f"{place} begins at {low}, only {claim.applied} was folded: records are lost. {_REMEDY}"
                    )
                if high < claim.applied:
                    raise LogReplaced(f"{place} ends at {high}, {claim.applied} was folded: its end is lost. {_REMEDY}")
        for claim in claims:
            if claim.last_offset is not None:
                self._verify_last(claim, claim.last_offset)

    def read(self, kind: Kind, partition: int, start: int, end: int) -> Iterator[Record]:
        return stretch(self._settings, self._topics[kind], partition, start, end)

    def _verify_last(self, claim: Claim, offset: int) -> None:
        for record in self.read(claim.kind, claim.partition, offset, offset + 1):
            if digest(record) == claim.last_digest:
                return
        raise LogReplaced(
            f"{self._topics[claim.kind]}[{claim.partition}] has another record at {offset} than was folded. {_REMEDY}"
        )


def stretch(
    settings: Settings, topic: str, partition: int, start: int, end: int, *, uncommitted: bool = False
) -> Iterator[Record]:
    """The records of any topic's partition, as `LogReader.read` gives the log's; `uncommitted` with those of transactions
    that were not, or not yet, committed."""
    level = {"isolation.level": "read_uncommitted"} if uncommitted else {}
    with closing(Consumer(reader_config(settings) | level)) as consumer:
        consumer.assign([TopicPartition(topic, partition, start)])
        while start < end:
            messages = arrived(consumer, CHUNK_RECORDS, TIMEOUT_SECONDS)
            if not messages:
                raise Unreachable(f"Kafka at {settings.kafka_bootstrap} did not give {topic}[{partition}] from {start}")
            for message in messages:
                error = message.error()
                if error is None:
                    record = cast(Record, message)
                    if record.offset() >= end:
                        return
                    yield record
                    start = record.offset() + 1
                elif error.code() == KafkaError._PARTITION_EOF:
                    return
                elif error.code() in (KafkaError.OFFSET_OUT_OF_RANGE, KafkaError._AUTO_OFFSET_RESET):
                    raise LogReplaced(f"{topic}[{partition}] has no offset {start} any more. {_REMEDY}")
                elif error.fatal() or not error.retriable():
                    raise unreachable(settings, KafkaException(error))


def watermarks(settings: Settings, topic: str, partitions: int) -> list[tuple[int, int]]:
    """The first offset and the offset after the last record of each partition. Raises `Unreachable`."""
    with closing(Consumer(reader_config(settings))) as consumer:
        return [partition_watermarks(settings, consumer, topic, partition) for partition in range(partitions)]


def partition_watermarks(settings: Settings, consumer: Consumer, topic: str, partition: int) -> tuple[int, int]:
    """The first offset and the offset after the last record of a partition. Raises `Unreachable`."""
    try:
        low, high = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=TIMEOUT_SECONDS)
    except KafkaException as error:
        raise unreachable(settings, error) from error
    if OFFSET_INVALID in (low, high):
        raise Unreachable(f"Kafka at {settings.kafka_bootstrap} does not know the offsets of {topic}[{partition}]")
    return low, high
