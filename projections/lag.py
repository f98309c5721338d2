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


def lag_of(settings: Settings, positions: Sequence[Applied]) -> Lag:
    """How far these positions are behind the log. Raises `Unreachable`."""
    config = reader_config(settings) | {"fetch.message.max.bytes": FETCH_BYTES}
    with closing(Consumer(config)) as consumer:
        records = 0
        behind = []
        for topic, partition, applied in positions:
            begin, end = partition_watermarks(settings, consumer, topic, partition)
            if end > applied:
                records += end - applied
                behind.append(TopicPartition(topic, partition, max(begin, applied)))
        logged_at = _oldest(settings, consumer, behind) if behind else None
        return Lag(records, 0.0 if logged_at is None else max(0.0, time.time() - logged_at))


def _oldest(settings: Settings, consumer: Consumer, places: list[TopicPartition]) -> float | None:
    """When the log took the oldest of the records at these places, in seconds since the epoch; None for no records."""
    consumer.assign(places)
    waiting = {(place.topic, place.partition) for place in places}
    times = []
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while waiting and (left := deadline - time.monotonic()) > 0:
        for message in arrived(consumer, CHUNK_RECORDS, left):
            place = (message.topic(), message.partition())
            if place in waiting:
                waiting.discard(place)
                if message.error() is None:
                    times.append(message.timestamp()[1] / 1000)
    if waiting:
        raise Unreachable(f"Kafka at {settings.kafka_bootstrap} did not give its oldest records in time")
    return min(times, default=None)
