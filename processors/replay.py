"""Replay: the log folded into a generation from its beginning, by as many processes as there are cores.

The same batches as the live fold's, in fewer and larger commits: a partition is folded by one process, in memory, until the
states that it changed weigh `REPLAY_BYTES`, and is committed with its position, from where a replay that was killed goes on.
Nothing is published.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from contextlib import closing
from typing import Any, Final

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from foldline.adapters.codec import UPSERTS_TOPIC
from foldline.adapters.consumer import Record, arrived, reader_config
from foldline.adapters.registry import registry_of
from foldline.adapters.seals import MasterKeys
from foldline.adapters.topics import TIMEOUT_SECONDS, unreachable
from foldline.domain.errors import FoldlineError, Unreachable
from foldline.settings import Settings
from processors.batch import BatchFolder, Collector, Stretch
from projections.state import Partition
from projections.tables import PostgresStateStore

REPLAY_BYTES: Final = 64 * 1024 * 1024
QUEUED_KILOBYTES: Final = 32 * 1024
CHUNK_RECORDS: Final = 10_000
POLL_SECONDS: Final = 0.1

Ends = Mapping[Partition, int]


class Cancelled(FoldlineError):
    """Somebody asked the replay to end."""


def replay(settings: Settings, generation: int, ends: Ends, on_progress: Callable[[int], None], workers: int) -> None:
    """Folds a generation up to these offsets. `on_progress` is told several times a second how many records were folded.

    Raises `Unreachable`, with what was committed kept, and whatever `on_progress` raises, which ends it.
    """
    positions = _applied(settings, generation)
    left = {partition: end for partition, end in ends.items() if positions[partition] < end}
    if not left:
        return
    context = multiprocessing.get_context("spawn")
    counters = {partition: context.Value("q", 0) for partition in left}
    ending = context.Event()
    # The largest first, so that none begins alone at the end.
    order = sorted(left, key=lambda partition: positions[partition] - left[partition])
    pool = ProcessPoolExecutor(min(workers, len(order)), context, _prepare, (settings, generation, left, counters, ending))
    try:
        running = {pool.submit(_fold_partition, partition) for partition in order}
        while running:
            done, running = wait(running, POLL_SECONDS, FIRST_COMPLETED)
            on_progress(sum(counter.value for counter in counters.values()))
            for future in done:
                future.result()
    finally:
        ending.set()
        pool.shutdown(wait=True, cancel_futures=True)


def fold_partition(
    settings: Settings,
    generation: int,
    partition: Partition,
    end: int,
    count: Callable[[int], None] = lambda _: None,
    ending: Callable[[], bool] = lambda: False,
) -> None:
    """Folds one partition of a generation up to an offset. `count` is told of records folded; `ending`, whether to stop."""
    kind, number = partition
    with closing(PostgresStateStore(settings, "foldline replay", generation)) as store:
        start = store.positions()[partition].applied
        folder = BatchFolder(
            store, registry_of(settings), MasterKeys(settings), settings.partitions, REPLAY_BYTES, compiled=settings.compiled
        )
        if start == 0:
            folder.cache.complete.add(partition)
        collector = Collector(folder)
        place = TopicPartition(settings.topic_prefix + UPSERTS_TOPIC[kind], number, start)
        for records in _records(settings, place, end):
            if ending():
                raise Cancelled("the replay was ended")
            collector.add({partition: Stretch(start, records)}, {})
            start = records[-1].offset() + 1
            count(len(records))
            if collector.weight() > REPLAY_BYTES:
                store.commit(collector.take().commit)
        if collector.records:
            store.commit(collector.take().commit)


def _records(settings: Settings, place: TopicPartition, end: int) -> Iterator[list[Record]]:
    """The records of a partition from a place to before an offset, in chunks."""
    with closing(Consumer(reader_config(settings) | {"queued.max.messages.kbytes": QUEUED_KILOBYTES})) as consumer:
        consumer.assign([place])
        reached = place.offset
        while reached < end:
            chunk = arrived(consumer, CHUNK_RECORDS, TIMEOUT_SECONDS)
            if not chunk:
                raise Unreachable(f"Kafka did not give {place.topic}[{place.partition}] from {reached}")
            records: list[Record] = []
            for message in chunk:
                error = message.error()
                if error is None:
                    records.append(message)  # type: ignore[arg-type]
                elif error.code() == KafkaError._PARTITION_EOF:
                    reached = end
                elif error.fatal() or not error.retriable():
                    raise unreachable(settings, KafkaException(error))
            if records:
                reached = max(reached, records[-1].offset() + 1)
                if reached > end:
                    records = [record for record in records if record.offset() < end]
            if records:
                yield records


def _applied(settings: Settings, generation: int) -> dict[Partition, int]:
    with closing(PostgresStateStore(settings, "foldline replay", generation)) as store:
        return {partition: position.applied for partition, position in store.positions().items()}


# What a worker process was told when it started.
_told: dict[str, Any] = {}


def _prepare(settings: Settings, generation: int, ends: Ends, counters: Mapping[Partition, Any], ending: Any) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that asked for the replay
    threading.Thread(target=_end_with_parent, daemon=True).start()
    gc.disable()
    _told.update(settings=settings, generation=generation, ends=ends, counters=counters, ending=ending)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _fold_partition(partition: Partition) -> None:
    counter = _told["counters"][partition]

    def count(records: int) -> None:
        counter.value += records

    fold_partition(
        _told["settings"], _told["generation"], partition, _told["ends"][partition], count, _told["ending"].is_set
    )
