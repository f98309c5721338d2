"""How far the processors are behind the log, from its ends and the positions of the live generation."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import closing
from typing import NamedTuple

from confluent_kafka import Consumer, TopicPartition

from foldline.adapters.consumer import arrived, partition_watermarks, reader_config
from foldline.adapters.topics import TIMEOUT_SECONDS
from foldline.domain.errors import Unreachable
from foldline.settings import Settings

# Of each partition that is behind, one record is wanted: no more is fetched than that needs.
FETCH_BYTES = 64 * 1024
CHUNK_RECORDS = 100


class Applied(NamedTuple):
    """How far a partition is folded: `applied` is the offset of the next record."""

    topic: str
    partition: int
    applied: int


class Lag(NamedTuple):
    """Records that are not applied yet, in all partitions, and the age of the oldest of them in seconds."""

    records: int
    seconds: float


class PartitionLag(NamedTuple):
    """The same of one partition."""

    topic: str
    partition: int
    records: int
    seconds: float


def lag_of(settings: Settings, positions: Sequence[Applied]) -> Lag:
    """How far these positions are behind the log, all together. Raises `Unreachable`."""
    lags = lags_of(settings, positions)
    return Lag(sum(lag.records for lag in lags), max((lag.seconds for lag in lags), default=0.0))


def lags_of(settings: Settings, positions: Sequence[Applied]) -> list[PartitionLag]:
    """How far each of these positions is behind the log. Raises `Unreachable`."""
    config = reader_config(settings) | {"fetch.message.max.bytes": FETCH_BYTES}
    with closing(Consumer(config)) as consumer:
        records = {}
        behind = []
        for topic, partition, applied in positions:
            begin, end = partition_watermarks(settings, consumer, topic, partition)
            records[topic, partition] = max(0, end - applied)
            if end > applied:
                behind.append(TopicPartition(topic, partition, max(begin, applied)))
        logged_at = _logged_at(settings, consumer, behind) if behind else {}
        now = time.time()
        return [PartitionLag(*place, count, max(0.0, now - logged_at.get(place, now))) for place, count in records.items()]


def _logged_at(settings: Settings, consumer: Consumer, places: list[TopicPartition]) -> dict[tuple[str, int], float]:
    """When the log took the record at each of these places, in seconds since the epoch; without those that have none."""
    consumer.assign(places)
    waiting = {(place.topic, place.partition) for place in places}
    times = {}
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while waiting and (left := deadline - time.monotonic()) > 0:
        for message in arrived(consumer, CHUNK_RECORDS, left):
            place = (message.topic(), message.partition())
            if place in waiting:
                waiting.discard(place)
                if message.error() is None:
                    times[place] = message.timestamp()[1] / 1000
    if waiting:
        raise Unreachable(f"Kafka at {settings.kafka_bootstrap} did not give its oldest records in time")
    return times
