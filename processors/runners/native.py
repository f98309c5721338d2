"""The native runner: a confluent-kafka consumer group delivers. Offsets are set on assignment, from the positions.

Delivery guarantee: none is needed. A worker lives from one assignment to the next, or until another generation is live,
to which a new worker goes over with the same partitions. Whatever goes wrong ends it, and after a pause the runner joins the
group anew.
"""

from __future__ import annotations

import threading
import time

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from foldline.adapters.consumer import FETCH_BACKOFF_MS, Record, arrived
from foldline.adapters.security import client_config
from foldline.adapters.topics import unreachable
from foldline.domain.errors import Conflict, FoldlineError, Unreachable
from foldline.settings import Settings
from processors.runners.lives import HANDED_RECORDS, end, group, live_until, log, topics
from processors.watch import Watch
from processors.worker import Ports, Worker

POLL_SECONDS = 0.1
# What waits in memory of all partitions together: so many records of each, as long as it is no more than this.
QUEUED_RECORDS, QUEUED_KILOBYTES = 50_000, 16 * 1024
# librdkafka's own words for a broker that went away; what came after it may be another log.
DISTURBANCES = (KafkaError._ALL_BROKERS_DOWN,)


class NativeRunner:
    """Runs a processor until it is stopped. `watch` is told what becomes of it."""

    def __init__(self, settings: Settings, ports: Ports, watch: Watch | None = None) -> None:
        self._settings, self._ports, self._watch = settings, ports, watch or Watch()
        self._worker: Worker | None = None
        self._failure: FoldlineError | None = None
        self._disturbed = False

    def run(self, stop: threading.Event) -> None:
        """Returns once `stop` is set and all that was folded is published. Raises one of `STOPS`."""
        live_until(stop, lambda: self._run_group(stop), self._settings.retry_seconds, self._watch)

    def _run_group(self, stop: threading.Event) -> None:
        self._failure, self._disturbed = None, False
        consumer = Consumer(self._config())
        try:
            consumer.subscribe(topics(self._settings), on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._lost)
            while not stop.is_set():
                self._watch.turns()
                began = time.perf_counter()
                records = self._poll(consumer)
                if records and self._worker is not None:
                    self._worker.steps.seconds["consume"] += time.perf_counter() - began
                if self._failure is not None:
                    raise self._failure
                if self._worker is not None:
                    self._handle(consumer, self._worker, records)
            self._release(drain=True)
        except KafkaException as error:
            raise unreachable(self._settings, error) from error
        finally:
            self._release(drain=False)
            consumer.close()

    def _handle(self, consumer: Consumer, worker: Worker, records: list[Record]) -> None:
        self._watch.delivers(records)
        try:
            back = worker.handle(records, more=len(records) == HANDED_RECORDS)
        except Conflict:
            if worker.is_live():
                raise
            log.info("goes over to the generation that is live now")
            self._assigned(consumer, consumer.assignment())
            return
        for (topic, partition), offset in back.items():
            log.warning("hole in delivery", topic=topic, partition=partition, offset=offset)
            consumer.seek(TopicPartition(topic, partition, offset))

    def _poll(self, consumer: Consumer) -> list[Record]:
        """What has arrived: at once where something has, up to `HANDED_RECORDS`, after a short wait else."""
        records: list[Record] = []
        for message in arrived(consumer, HANDED_RECORDS, POLL_SECONDS):
            error = message.error()
            if error is None:
                records.append(message)  # type: ignore[arg-type]
            elif error.fatal() or not error.retriable():
                raise KafkaException(error)
        if self._disturbed and records:
            raise Unreachable("the connection to Kafka was lost: the log is verified before anything more is folded")
        return records

    def _assigned(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        try:
            self._release(drain=False)
            self._worker = Worker(self._settings, self._ports)
            starts = self._worker.begin((p.topic, p.partition) for p in partitions)
        except FoldlineError as failure:
            self._failure = failure
            consumer.assign([])
            return
        consumer.assign([TopicPartition(topic, partition, offset) for (topic, partition), offset in starts.items()])
        log.info("assigned", partitions={f"{topic}[{partition}]": offset for (topic, partition), offset in starts.items()})
        self._watch.assigned(starts)

    def _revoked(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        log.info("revoked", partitions=len(partitions))
        try:
            self._release(drain=True)
        except FoldlineError as failure:
            self._failure = failure

    def _lost(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        log.warning("lost", partitions=len(partitions))
        self._release(drain=False)

    def _release(self, drain: bool) -> None:
        worker, self._worker = self._worker, None
        self._watch.released()
        if worker is not None:
            end(worker, self._settings.transaction_timeout_seconds if drain else None)

    def _disturbance(self, error: KafkaError) -> None:
        if error.code() in DISTURBANCES:
            self._disturbed = True

    def _config(self) -> dict[str, object]:
        settings = self._settings
        config: dict[str, object] = {
            **client_config(settings),
            "group.id": group(settings),
            "partition.assignment.strategy": "range",
            "enable.auto.commit": False,
            "auto.offset.reset": "error",
            "isolation.level": "read_committed",
            "session.timeout.ms": round(settings.session_timeout_seconds * 1000),
            "heartbeat.interval.ms": round(settings.session_timeout_seconds * 1000 / 5),
            "queued.min.messages": QUEUED_RECORDS,
            "queued.max.messages.kbytes": QUEUED_KILOBYTES,
            "fetch.queue.backoff.ms": FETCH_BACKOFF_MS,
            "error_cb": self._disturbance,
            "log_level": 0,
        }
        if settings.group_instance_id is not None:
            config["group.instance.id"] = settings.group_instance_id
        return config
