"""The log's append side: upserts become records of a topic, acknowledged by all in-sync replicas, or an error says so.

1. A request is in the queue as a whole or not at all: there must be room for all of it before the first record enters.
2. The queue is bounded, in messages and in bytes. A request that finds no room is refused at once.
3. Every record is reported on, delivered or not, within the delivery timeout. Records of one key keep their order.
4. A fatal error replaces the producer; what it had in flight is reported as perhaps written.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

from confluent_kafka import KafkaError, KafkaException, Producer

from foldline.adapters.codec import UPSERTS_TOPIC, BundledRegistry, Registry, UpsertCodec
from foldline.adapters.memory import MemoryLog
from foldline.adapters.security import client_config
from foldline.adapters.topics import TopicState, admin_client, describe_topics, lacks_topic
from foldline.domain.errors import FoldlineError, Unreachable
from foldline.domain.keys import message_key
from foldline.domain.records import KINDS, Kind, Upsert
from foldline.domain.times import format_rfc3339
from foldline.settings import Settings

LINGER_MS = 5
BATCH_BYTES = 1_000_000
POLL_SECONDS = 0.001
IDLE_POLL_SECONDS = 0.25
PROBE_SECONDS = 2.0
DESCRIBE_SECONDS = 5.0
OVERHEAD_BYTES = 512  # headers, key and bookkeeping of one record in the queue
EVENT_TYPE: dict[Kind, bytes] = {"items": b"foldline.item.upserted.v1", "users": b"foldline.user.upserted.v1"}
EVENT_SOURCE = b"/foldline/gateway"

Header = tuple[str, bytes]
_KIND_HEADERS: dict[Kind, list[Header]] = {
    kind: [("ce_specversion", b"1.0"), ("ce_type", event_type), ("ce_source", EVENT_SOURCE)]
    for kind, event_type in EVENT_TYPE.items()
}
Encoders = dict[Kind, Callable[[Upsert], bytes]]


class PartitionEnd(NamedTuple):
    """What a request left on one partition: how many records, and the offset of the last."""

    partition: int
    records: int
    last_offset: int


class Appended(NamedTuple):
    """Where a request lies in the log. `topic_id` is the broker's id of the topic."""

    topic_id: str
    ends: tuple[PartitionEnd, ...]


class NotAppended(Unreachable):
    """The log did not take the request. `may_appear` says whether some of it may be in the log all the same, or come."""

    def __init__(self, message: str, *, may_appear: bool) -> None:
        super().__init__(message)
        self.may_appear = may_appear


class Log(Protocol):
    """Where upserts are appended. Used from one event loop."""

    async def open(self) -> None:
        """Makes ready, and waits for no server."""

    async def append(self, kind: Kind, events: Sequence[Upsert], traceparent: str) -> Appended:
        """Appends the events of one request, in their order, and returns when all are durable. Raises `NotAppended`."""

    async def append_encoded(self, kind: Kind, key: bytes, value: bytes, headers: Sequence[Header]) -> Appended:
        """Appends one event as it was encoded before, and returns when it is durable. Raises `NotAppended`."""

    async def check(self) -> None:
        """Raises `Unreachable` where the log, or the registry of its schemas, cannot be reached or lacks its topics."""

    def queued(self) -> int:
        """How many records wait for their acknowledgement."""

    async def close(self, timeout_seconds: float) -> None:
        """Waits until what was appended is reported on, or the time is over."""


def headers_of(kind: Kind, event: Upsert, traceparent: str) -> list[Header]:
    """What every event of a request carries: CloudEvents attributes in binary mode, and the trace. `ce_id` is per event.

    Source: https://github.com/cloudevents/spec/blob/main/cloudevents/bindings/kafka-protocol-binding.md
    """
    return [
        *_KIND_HEADERS[kind],
        ("ce_time", format_rfc3339(event.received_at).encode()),
        ("traceparent", traceparent.encode()),
    ]


class KafkaLog:
    """`Log` on Kafka. Delivery reports are served by the event loop itself, so nothing here needs a lock."""

    def __init__(self, settings: Settings, registry: Registry, on_failure: Callable[[KafkaError, int], None]) -> None:
        """`on_failure` is told of every request that was not delivered: one of its errors, and how many records."""
        self._settings = settings
        self._on_failure = on_failure
        self._registry = registry
        self._encoders: Encoders | None = None
        self._preparing: asyncio.Task[Encoders] | None = None
        self._names = {kind: settings.topic_prefix + topic for kind, topic in UPSERTS_TOPIC.items()}
        self._described: dict[str, TopicState] | None = None
        self._describing: asyncio.Task[dict[str, TopicState]] | None = None
        self._producer = self._new_producer()
        self._replaced: list[Producer] = []
        self._fatal = False
        self._messages = self._bytes = 0
        self._awaited: deque[_Reports] = deque()  # by their deadlines
        self._loop: asyncio.AbstractEventLoop
        self._timer: asyncio.TimerHandle | None = None
        self._idle = True

    async def open(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._poll()

    async def append(self, kind: Kind, events: Sequence[Upsert], traceparent: str) -> Appended:
        encode = (self._encoders or await self._ready_encoders())[kind]
        prefix, common = events[0].org_id + ":", headers_of(kind, events[0], traceparent)
        event_id = events[0].request_id + "-%d"
        return await self._delivered(
            self._names[kind],
            [
                (prefix + event[1], encode(event), [*common, ("ce_id", event_id % event[7]), ("ce_subject", event[1])])
                for event in events
            ],
        )

    async def append_encoded(self, kind: Kind, key: bytes, value: bytes, headers: Sequence[Header]) -> Appended:
        return await self._delivered(self._names[kind], [(key, value, [*headers])])

    async def _delivered(self, topic: str, records: Sequence[tuple[str | bytes, bytes, list[Any]]]) -> Appended:
        """Hands the records over as a whole, and waits for their reports: where they lie."""
        topic_id = (self._described or await self._describe())[topic].topic_id
        count = len(records)
        size = OVERHEAD_BYTES * count
        for record in records:
            size += len(record[1])
        self._need_room(count, size)
        reports = _Reports(count, self._loop, self._settings.delivery_timeout_seconds)
        produce, reported = self._producer.produce, reports.reported
        try:
            for key, value, headers in records:
                produce(topic, value, key, -1, reported, None, 0, headers)
        except (BufferError, KafkaException) as error:
            raise NotAppended(f"Kafka's producer refused a record: {error}", may_appear=True) from error
        del records  # who waits holds nothing
        self._messages += count
        self._bytes += size
        self._awaited.append(reports)
        if self._idle:
            self._schedule(POLL_SECONDS)
        try:
            on_time = await reports.on_time
        finally:
            self._messages -= count
            self._bytes -= size
        failure = reports.error if on_time else KafkaError(KafkaError._TIMED_OUT)
        if failure is not None:
            self._described = None
            self._on_failure(failure, count)
            raise NotAppended(f"Kafka did not acknowledge in time: {failure.str()}", may_appear=True)
        return Appended(topic_id, reports.ends())

    async def check(self) -> None:
        if self._encoders is None:
            await self._ready_encoders()
        try:
            present = (await asyncio.to_thread(self._producer.list_topics, timeout=PROBE_SECONDS)).topics
        except KafkaException as error:
            raise Unreachable(f"Kafka cannot be reached: {error.args[0].str()}") from error
        missing = [name for name in self._names.values() if name not in present]
        if missing:
            raise Unreachable(f"Kafka has no topic {missing[0]}: run `foldline init`")

    def queued(self) -> int:
        return self._messages

    async def close(self, timeout_seconds: float) -> None:
        deadline = time.monotonic() + timeout_seconds
        while len(self._producer) and time.monotonic() < deadline:
            self._producer.poll(0)
            await asyncio.sleep(POLL_SECONDS)
        if self._timer is not None:
            self._timer.cancel()
        self._producer.purge()

    def _need_room(self, messages: int, size: int) -> None:
        settings = self._settings
        if (
            self._messages + messages > settings.producer_queue_messages
            or self._bytes + size > settings.producer_queue_kilobytes * 1024
        ):
            raise NotAppended("the gateway's queue to Kafka is full; nothing of this request was queued", may_appear=False)

    async def _ready_encoders(self) -> Encoders:
        """The encoders of all kinds, for which the registry is asked once."""
        if self._preparing is None or self._preparing.done():
            self._preparing = asyncio.create_task(asyncio.to_thread(_encoders_by, self._registry))
        try:
            timeout = self._settings.delivery_timeout_seconds
            self._encoders = await asyncio.wait_for(asyncio.shield(self._preparing), timeout)
        except TimeoutError as error:
            raise NotAppended("the schema registry does not answer", may_appear=False) from error
        except FoldlineError as error:
            raise NotAppended(str(error), may_appear=False) from error
        return self._encoders

    async def _describe(self) -> dict[str, TopicState]:
        """The topics as the broker describes them, for which it is asked once."""
        if self._describing is None or self._describing.done():
            admin = admin_client(self._settings)
            described = asyncio.to_thread(describe_topics, admin, list(self._names.values()), DESCRIBE_SECONDS)
            self._describing = asyncio.create_task(described)
        try:
            timeout = self._settings.delivery_timeout_seconds
            self._described = await asyncio.wait_for(asyncio.shield(self._describing), timeout)
        except KafkaException as error:
            if lacks_topic(error):
                raise NotAppended("Kafka lacks a topic: run `foldline init`", may_appear=False) from error
            raise NotAppended(f"Kafka cannot be reached: {error.args[0].str()}", may_appear=False) from error
        except TimeoutError as error:
            raise NotAppended("Kafka does not answer", may_appear=False) from error
        return self._described

    def _schedule(self, seconds: float) -> None:
        """Polls again after that time: often while reports are awaited, else now and then."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(seconds, self._poll)
        self._idle = seconds == IDLE_POLL_SECONDS

    def _poll(self) -> None:
        self._producer.poll(0)
        for old in self._replaced:
            old.poll(0)
        now = self._loop.time()
        while self._awaited and self._awaited[0].settled(now):
            self._awaited.popleft()
        self._replaced = [old for old in self._replaced if len(old)]
        if self._fatal:
            self._replace_producer()
        self._schedule(POLL_SECONDS if self._messages else IDLE_POLL_SECONDS)

    def _replace_producer(self) -> None:
        old, self._producer = self._producer, self._new_producer()
        self._fatal, self._described = False, None
        old.purge()
        self._replaced.append(old)

    def _noticed(self, error: KafkaError) -> None:
        self._fatal = self._fatal or error.fatal()

    def _new_producer(self) -> Producer:
        settings = self._settings
        timeout_ms = max(1000, round(settings.delivery_timeout_seconds * 1000) - 1000)
        return Producer(
            {
                **client_config(settings),
                "enable.idempotence": True,
                "acks": "all",
                "partitioner": "murmur2_random",  # Java's; every record has a key
                "compression.type": "lz4",
                "linger.ms": LINGER_MS,
                "batch.size": BATCH_BYTES,
                "batch.num.messages": 100_000,
                "message.max.bytes": settings.message_max_bytes,
                "delivery.timeout.ms": timeout_ms,  # looked at once a second, hence the second less
                "request.timeout.ms": timeout_ms,
                "reconnect.backoff.max.ms": 500,
                "retry.backoff.max.ms": 500,
                # The bound is ours (rule 1); these are never reached.
                "queue.buffering.max.messages": settings.producer_queue_messages * 2,
                "queue.buffering.max.kbytes": settings.producer_queue_kilobytes * 4,
                "error_cb": self._noticed,
                "log_level": 0,
            }
        )


def _encoders_by(registry: Registry) -> Encoders:
    return {kind: UpsertCodec(kind, registry).encode for kind in KINDS}


class _Reports:
    """Counts the delivery reports of one request, all by one object; `on_time` tells whether they came in time."""

    __slots__ = ("_deadline", "_ends", "_left", "error", "on_time")

    def __init__(self, records: int, loop: asyncio.AbstractEventLoop, seconds: float) -> None:
        self._left = records
        self._ends: dict[int, list[int]] = {}
        self._deadline = loop.time() + seconds
        self.error: KafkaError | None = None
        self.on_time: asyncio.Future[bool] = loop.create_future()

    def reported(self, error: KafkaError | None, message: Any) -> None:
        if error is not None:
            self.error = error
        else:
            partition = message.partition()
            end = self._ends.get(partition)
            if end is None:
                self._ends[partition] = [1, message.offset()]
            else:
                end[0] += 1
                end[1] = message.offset()
        self._left -= 1
        if not self._left and not self.on_time.done():
            self.on_time.set_result(True)

    def settled(self, now: float) -> bool:
        """Whether nobody waits any longer: all is reported, or it is too late, which is then told."""
        if not self.on_time.done():
            if now < self._deadline:
                return False
            self.on_time.set_result(False)
        return True

    def ends(self) -> tuple[PartitionEnd, ...]:
        return tuple([PartitionEnd(partition, *self._ends[partition]) for partition in sorted(self._ends)])


class MemoryAppender:
    """`Log` on a `MemoryLog`. `away` makes it unreachable; `headers` are kept by kind, partition and offset."""

    def __init__(self, log: MemoryLog) -> None:
        self._log = log
        self._encode = {kind: UpsertCodec(kind, BundledRegistry()).encode for kind in KINDS}
        self.headers: dict[tuple[Kind, int, int], list[Header]] = {}
        self.away = False

    async def open(self) -> None:
        pass

    async def append(self, kind: Kind, events: Sequence[Upsert], traceparent: str) -> Appended:
        if self.away:
            raise NotAppended("the log is away", may_appear=False)
        common = headers_of(kind, events[0], traceparent)
        ends: dict[int, PartitionEnd] = {}
        for event in events:
            key = message_key(event.org_id, event.entity_id)
            record = self._log.append_raw(kind, key, self._encode[kind](event))
            partition, offset = record.partition(), record.offset()
            records = ends[partition].records + 1 if partition in ends else 1
            ends[partition] = PartitionEnd(partition, records, offset)
            own = [("ce_id", event.event_id.encode()), ("ce_subject", event.entity_id.encode())]
            self.headers[kind, partition, offset] = [*common, *own]
        return Appended(self._log.topic_id(kind), tuple(ends[partition] for partition in sorted(ends)))

    async def append_encoded(self, kind: Kind, key: bytes, value: bytes, headers: Sequence[Header]) -> Appended:
        if self.away:
            raise NotAppended("the log is away", may_appear=False)
        record = self._log.append_raw(kind, key, value)
        partition, offset = record.partition(), record.offset()
        self.headers[kind, partition, offset] = [*headers]
        return Appended(self._log.topic_id(kind), (PartitionEnd(partition, 1, offset),))

    async def check(self) -> None:
        if self.away:
            raise Unreachable("the log is away")

    def queued(self) -> int:
        return 0

    async def close(self, timeout_seconds: float) -> None:
        pass
