"""The projection topics: states and dead letters, published by each partition's owner.

Delivery guarantee: at least once and in order per key. A partition's publications are Kafka transactions under a
`transactional.id` of its own, so that opening a partition fences whoever had it open before, and a paused predecessor can
never put an older state after a newer one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, Protocol, TypeAlias

from confluent_kafka import KafkaException, Producer

from foldline.adapters.codec import STATE_TOPIC, UPSERTS_TOPIC, Registry, StateCodec
from foldline.adapters.security import client_config
from foldline.adapters.topics import DEAD_LETTERS_TOPIC, unreachable
from foldline.domain.errors import Conflict
from foldline.domain.records import Kind
from foldline.settings import Settings
from foldline.steps import Steps
from projections.rows import Rows
from projections.state import DeadLetter, Partition

Headers: TypeAlias = list[tuple[str, str | bytes | None]]


class Publication(NamedTuple):
    """What a partition has to publish: rows, the newest of each key, and dead letters."""

    rows: Rows
    letters: Sequence[DeadLetter]


class StateTopics(Protocol):
    """Where states are published. `Unreachable` and `Conflict` mean that this object is closed and made anew."""

    def open(self, partitions: Sequence[Partition]) -> None:
        """Takes over partitions: whoever had them open cannot publish any more. Raises `Unreachable`."""

    def publish(self, publications: Mapping[Partition, Publication], generation: int) -> None:
        """Publishes for open partitions and returns when all of it is durable. Raises `Conflict` once fenced."""

    def close(self) -> None:
        """Ends every open partition; what was not yet published is not."""


class KafkaStateTopics:
    """`StateTopics` on Kafka: one transactional producer a partition, made when it is first needed."""

    def __init__(self, settings: Settings, registry: Registry, steps: Steps | None = None) -> None:
        """`steps` are told how long publishing takes."""
        self._settings, self._steps = settings, steps or Steps()
        self._codecs: dict[Kind, StateCodec] = {kind: StateCodec(kind, registry) for kind in STATE_TOPIC}
        self._topics = {kind: settings.topic_prefix + topic for kind, topic in STATE_TOPIC.items()}
        self._sources = {kind: settings.topic_prefix + topic for kind, topic in UPSERTS_TOPIC.items()}
        self._dead_letters = settings.topic_prefix + DEAD_LETTERS_TOPIC
        self._producers: dict[Partition, Producer] = {}

    def open(self, partitions: Sequence[Partition]) -> None:
        if not partitions:
            return
        with ThreadPoolExecutor(len(partitions)) as threads:
            self._producers |= dict(zip(partitions, threads.map(self._open, partitions), strict=True))

    def publish(self, publications: Mapping[Partition, Publication], generation: int) -> None:
        try:
            for partition, publication in publications.items():
                producer = self._producers[partition]
                producer.begin_transaction()
                with self._steps.step("encode states"):
                    messages = list(self._messages(partition, publication, generation))
                with self._steps.step("produce"):
                    for topic, key, value, headers in messages:
                        while True:
                            try:
                                producer.produce(topic, value, key, partition[1], headers=headers)
                                break
                            except BufferError:
                                producer.poll(0.1)
            with self._steps.step("wait for acknowledgement"):
                for partition in publications:
                    self._producers[partition].commit_transaction(self._settings.transaction_timeout_seconds)
        except KafkaException as error:
            raise self._translated(error) from error

    def close(self) -> None:
        for producer in self._producers.values():
            producer.purge()
        self._producers.clear()

    def _open(self, partition: Partition) -> Producer:
        kind, number = partition
        producer = Producer(
            {
                **client_config(self._settings),
                "transactional.id": f"{self._sources[kind]}-{number}",
                "transaction.timeout.ms": round(self._settings.transaction_timeout_seconds * 1000),
                "message.max.bytes": self._settings.message_max_bytes,
                "compression.type": "lz4",
                "linger.ms": 5,
                "batch.size": 1_000_000,
                "queue.buffering.max.messages": 100_000,
                "queue.buffering.max.kbytes": 64 * 1024,
                "log_level": 0,
            }
        )
        try:
            producer.init_transactions(self._settings.transaction_timeout_seconds)
        except KafkaException as error:
            raise self._translated(error) from error
        return producer

    def _messages(
        self, partition: Partition, publication: Publication, generation: int
    ) -> Iterator[tuple[str, bytes | None, bytes | None, Headers | None]]:
        kind = partition[0]
        topic = self._topics[kind]
        for key, value in publication.rows.messages(self._codecs[kind], generation):
            yield topic, key, value, None
        for letter in publication.letters:
            yield self._dead_letters, letter.key, letter.value, self._letter_headers(letter)

    def _letter_headers(self, letter: DeadLetter) -> Headers:
        return [
            ("reason", f"{letter.code}: {letter.message}".encode()),
            ("code", letter.code.encode()),
            ("source_topic", self._sources[letter.kind].encode()),
            ("source_partition", str(letter.partition).encode()),
            ("source_offset", str(letter.offset).encode()),
        ]

    def _translated(self, error: KafkaException) -> Exception:
        kafka_error = error.args[0]
        if kafka_error.name() in ("_FENCED", "INVALID_PRODUCER_EPOCH", "PRODUCER_FENCED"):
            return Conflict(f"another worker publishes this partition now: {kafka_error.str()}")
        return unreachable(self._settings, error)
