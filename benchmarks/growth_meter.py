"""What the parts of a pipeline have used so far: CPU time of each, and bytes of what they write."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import psutil
import psycopg
from confluent_kafka import Consumer, TopicPartition

from benchmarks.servers import Servers
from foldline.adapters.codec import STATE_TOPIC, UPSERTS_TOPIC
from foldline.settings import Settings

TIMEOUT_SECONDS = 10.0


class Reading(NamedTuple):
    """Totals at a moment. Times are in seconds, those of a part in seconds of CPU; sizes are in bytes.

    `service` is what was started for the measurement: processors or a gateway. `postgres` is all processes of the server,
    backends and what works in the background. `states` counts the records of the items' state topic.
    """

    wall: float
    service: float
    postgres: float
    broker: float
    wal_bytes: float
    log_bytes: float
    state_bytes: float
    states: float

    def per(self, before: Reading, events: float) -> Reading:
        """What one event took since the reading before."""
        return Reading(*((now - then) / events for now, then in zip(self, before, strict=True)))


def read(started: Servers, settings: Settings, services: Sequence[int]) -> Reading:
    """The totals now. `services` are process ids."""
    with psycopg.connect(settings.database_url) as connection:
        row = connection.execute("SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::float8").fetchone()
    assert row is not None
    state_topic = settings.topic_prefix + STATE_TOPIC["items"]
    return Reading(
        time.monotonic(),
        sum(map(family_seconds, services)),
        family_seconds(started.pids["postgres"]),
        family_seconds(started.pids["kafka"]),
        row[0],
        _topic_bytes(started, settings.topic_prefix + UPSERTS_TOPIC["items"]),
        _topic_bytes(started, state_topic),
        sum(topic_ends(settings, state_topic)),
    )


def family_seconds(pid: int) -> float:
    """CPU time of a process, of its children that run, and of those that it has waited for."""
    process = psutil.Process(pid)
    total = sum(process.cpu_times()[:4])
    for child in process.children(recursive=True):
        try:
            total += sum(child.cpu_times()[:4])
        except psutil.NoSuchProcess:
            continue
    return total


def largest_memory(pid: int) -> int:
    """The most memory that a process has had at a time, in bytes."""
    status = Path(f"/proc/{pid}/status").read_text()
    return 1024 * int(status.partition("VmHWM:")[2].split()[0])


def topic_ends(settings: Settings, topic: str) -> list[int]:
    """The offset after the last record of each partition."""
    with closing(
        Consumer({"bootstrap.servers": settings.kafka_bootstrap, "group.id": "growth", "log_level": 0})
    ) as consumer:
        return [
            consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=TIMEOUT_SECONDS)[1]
            for number in range(settings.partitions)
        ]


def _topic_bytes(started: Servers, topic: str) -> int:
    segments = (started.root / "kafka").glob(f"{topic}-*/*.log")
    return sum(segment.stat().st_size for segment in segments)
