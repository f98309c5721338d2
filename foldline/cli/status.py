"""`foldline status`: the generation in use and where each partition of the log stands."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable
from contextlib import closing
from typing import NamedTuple

from confluent_kafka import Consumer, KafkaException, TopicPartition
from rich.console import Console
from rich.table import Table

from foldline.adapters.consumer import arrived, partition_watermarks, reader_config
from foldline.adapters.postgres import translated
from foldline.adapters.topics import TIMEOUT_SECONDS
from foldline.cli.context import DataDir, Json, settings_for, stack_for
from foldline.cli.orgs import connected
from foldline.domain.errors import FoldlineError, Unreachable
from foldline.settings import Settings
from projections.sql import queries

REACHED_SECONDS = 5.0


class PartitionStatus(NamedTuple):
    """`end`, `applied` and `published` are offsets of the next record; `lag_seconds`, the age of the oldest not applied."""

    topic: str
    partition: int
    end: int
    applied: int
    published: int
    lag_records: int
    lag_seconds: float


def status(data_dir: DataDir = None, as_json: Json = False) -> None:
    """Show the generation in use and each partition's position."""
    settings = settings_for(data_dir)
    with connected(settings) as connection, translated():
        positions = connection.execute(queries("reads")["status"].encode()).fetchall()
    if not positions:
        raise FoldlineError("the database has no positions: run `foldline init`")
    generation = positions[0][0]
    with closing(Consumer(reader_config(settings))) as consumer:
        partitions_of(settings, consumer, positions[0][1])
        partitions = [_status(settings, consumer, *place) for _, *place in positions]
    stack = stack_for(data_dir)
    metrics = dict(stack.metrics) if stack else {}
    if as_json:
        document = {"generation": generation, "partitions": [partition._asdict() for partition in partitions]}
        print(json.dumps(document | ({"metrics": metrics} if metrics else {})))
    else:
        _show(generation, partitions)
        for name, url in metrics.items():
            print(f"metrics of {name}: {url}", file=sys.stderr)


def partitions_of(settings: Settings, consumer: Consumer, topic: str) -> int:
    """How many partitions a topic has. Raises `Unreachable` where Kafka does not answer, `FoldlineError` for no topic."""
    try:
        found = consumer.list_topics(topic, timeout=REACHED_SECONDS).topics[topic]
    except KafkaException as error:
        raise Unreachable(f"Kafka at {settings.kafka_bootstrap} cannot be reached: is it running?") from error
    if found.error is not None:
        raise FoldlineError(f"Kafka at {settings.kafka_bootstrap} has no topic {topic}: run `foldline init`")
    return len(found.partitions)


def _status(
    settings: Settings, consumer: Consumer, topic: str, partition: int, applied: int, published: int
) -> PartitionStatus:
    begin, end = partition_watermarks(settings, consumer, topic, partition)
    lag_seconds = 0.0
    if end > applied:
        logged_at = _logged_at(settings, consumer, TopicPartition(topic, partition, max(begin, applied)))
        lag_seconds = 0.0 if logged_at is None else max(0.0, round(time.time() - logged_at, 3))
    return PartitionStatus(topic, partition, end, applied, published, max(0, end - applied), lag_seconds)


def _logged_at(settings: Settings, consumer: Consumer, place: TopicPartition) -> float | None:
    """When the log took the first record from that place on, in seconds since the epoch; None where there is none."""
    consumer.assign([place])
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while (left := deadline - time.monotonic()) > 0:
        for message in arrived(consumer, 1, left):
            if (message.topic(), message.partition()) == (place.topic, place.partition):
                return None if message.error() else message.timestamp()[1] / 1000
    raise Unreachable(f"Kafka at {settings.kafka_bootstrap} did not give {place.topic}[{place.partition}]")


def _show(generation: int, partitions: Iterable[PartitionStatus]) -> None:
    table = Table(title=f"Generation {generation}", title_justify="left", box=None, pad_edge=False)
    table.add_column("topic", no_wrap=True)
    for name in ("partition", "end", "applied", "published", "lag records", "lag seconds"):
        table.add_column(name, justify="right", no_wrap=True)
    for partition in partitions:
        table.add_row(*(f"{value:,.1f}" if isinstance(value, float) else str(value) for value in partition))
    Console(width=10_000 if not Console().is_terminal else None, highlight=False).print(table, markup=False)
