"""The append side of the log: one suite for Kafka and its in-memory twin, and what only Kafka can do."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, TypeAlias

import pytest
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, TopicPartition

from foldline.adapters import producer
from foldline.adapters.codec import UPSERTS_TOPIC, BundledRegistry, UpsertCodec
from foldline.adapters.memory import MemoryLog
from foldline.adapters.producer import Appended, KafkaLog, Log, MemoryAppender, NotAppended
from foldline.adapters.topics import admin_client, describe_topics, ensure_topics
from foldline.domain.errors import Unreachable
from foldline.domain.keys import message_key, partition_of
from foldline.domain.records import KINDS, Kind, Upsert
from foldline.embedded.processes import until
from foldline.settings import Settings

PARTITIONS = 3
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
REQUEST = "0123456789abcdef0123456789abcdef"
AT = 1_736_672_400_000_000

Read: TypeAlias = Callable[[Kind], dict[tuple[int, int], tuple[bytes, bytes, list[tuple[str, bytes]]]]]
DETAIL: dict[Kind, str | int] = {"items": "t", "users": AT}


def upsert(kind: Kind, entity_id: str, index: int) -> Upsert:
    return Upsert("org_a", entity_id, DETAIL[kind], None, f'{{"n":{index}}}', AT, REQUEST, index)


@pytest.fixture(params=["memory", pytest.param("kafka", marks=pytest.mark.server)])
def log(request: pytest.FixtureRequest) -> Iterator[tuple[Log, Read, dict[Kind, str]]]:
    """A log, what is in it by (partition, offset), and its topics' ids."""
    if request.param == "memory":
        memory = MemoryLog(BundledRegistry(), PARTITIONS)
        appender = MemoryAppender(memory)

        def read_memory(kind: Kind) -> Any:
            found = {}
            for partition in range(PARTITIONS):
                for record in memory.stretch(kind, partition, *memory.watermarks(kind, partition)):
                    place = partition, record.offset()
                    found[place] = record.key(), record.value(), appender.headers[kind, *place]
            return found

        yield appender, read_memory, {kind: memory.topic_id(kind) for kind in KINDS}
        return
    settings = Settings(
        kafka_bootstrap=request.getfixturevalue("kafka"),
        topic_prefix=request.getfixturevalue("topic_prefix"),
        partitions=PARTITIONS,
    )
    ensure_topics(settings)
    names = {kind: settings.topic_prefix + topic for kind, topic in UPSERTS_TOPIC.items()}
    described = describe_topics(admin_client(settings), list(names.values()))
    ids = {kind: described[name].topic_id for kind, name in names.items()}
    yield KafkaLog(settings, BundledRegistry(), lambda *_: None), lambda kind: read_kafka(settings, kind), ids


def read_kafka(settings: Settings, kind: Kind) -> Any:
    consumer = Consumer({"bootstrap.servers": settings.kafka_bootstrap, "group.id": "none", "enable.partition.eof": True})
    topic = settings.topic_prefix + UPSERTS_TOPIC[kind]
    consumer.assign([TopicPartition(topic, partition, OFFSET_BEGINNING) for partition in range(PARTITIONS)])
    found, ended = {}, 0
    while ended < PARTITIONS:
        message = consumer.poll(10)
        assert message is not None
        if message.error():
            ended += 1
        else:
            found[message.partition(), message.offset()] = message.key(), message.value(), message.headers()
    consumer.close()
    return found


def run(log: Log, act: Callable[[], Awaitable[Any]]) -> Any:
    """Opens the log, acts, closes it."""

    async def main() -> Any:
        await log.open()
        try:
            return await act()
        finally:
            await log.close(5)

    return asyncio.run(main())


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_appended_is_in_the_log_in_order(log: tuple[Log, Read, dict[Kind, str]], kind: Kind) -> None:
    appender, read, topic_ids = log
    ids = ["a", "b", "é😀 a/b:c", "a", "c", "a", *(f"i{n}" for n in range(94))]
    events = [upsert(kind, entity_id, index) for index, entity_id in enumerate(ids)]
    appended: Appended = run(appender, lambda: appender.append(kind, events, TRACE))

    found = read(kind)
    codec = UpsertCodec(kind, BundledRegistry())
    decoded = {place: codec.decode(value) for place, (_, value, _) in found.items()}
    assert sorted(decoded.values(), key=lambda event: event.record_index) == events
    for partition in range(PARTITIONS):
        on_partition = [event for place, event in sorted(decoded.items()) if place[0] == partition]
        assert on_partition == [
            e for e in events if partition_of(message_key(e.org_id, e.entity_id), PARTITIONS) == partition
        ]
    assert appended.topic_id == topic_ids[kind]
    assert sum(end.records for end in appended.ends) == len(events)
    assert [(end.partition, end.records, end.last_offset) for end in appended.ends] == [
        (partition, count, count - 1)
        for partition in range(PARTITIONS)
        if (count := sum(place[0] == partition for place in found))
    ]


def test_every_event_carries_its_cloudevents_attributes_and_the_trace(log: tuple[Log, Read, dict[Kind, str]]) -> None:
    appender, read, _ = log
    run(appender, lambda: appender.append("users", [upsert("users", "é", 0)], TRACE))
    ((key, _, headers),) = read("users").values()
    assert key == "org_a:é".encode()
    assert dict(headers) == {
        "ce_specversion": b"1.0",
        "ce_type": b"foldline.user.upserted.v1",
        "ce_source": b"/foldline/gateway",
        "ce_time": b"2025-01-12T09:00:00Z",
        "ce_id": f"{REQUEST}-0".encode(),
        "ce_subject": "é".encode(),
        "traceparent": TRACE.encode(),
    }


def test_requests_at_once_do_not_share_their_ends(log: tuple[Log, Read, dict[Kind, str]]) -> None:
    appender, read, _ = log

    async def both() -> list[Appended]:
        requests = ([upsert("items", f"{n}-{m}", m) for m in range(n)] for n in range(1, 30))
        return await asyncio.gather(*(appender.append("items", events, TRACE) for events in requests))

    appended: list[Appended] = run(appender, both)
    assert [sum(end.records for end in one.ends) for one in appended] == list(range(1, 30))
    found = read("items")
    for one, number in zip(appended, range(1, 30), strict=True):
        for end in one.ends:
            assert found[end.partition, end.last_offset][0].startswith(f"org_a:{number}-".encode())
    assert appender.queued() == 0


def test_it_can_be_reached(log: tuple[Log, Read, dict[Kind, str]]) -> None:
    run(log[0], log[0].check)


def test_memory_that_is_away_takes_nothing() -> None:
    memory = MemoryLog(BundledRegistry(), PARTITIONS)
    appender = MemoryAppender(memory)
    appender.away = True
    with pytest.raises(NotAppended) as refused:
        run(appender, lambda: appender.append("items", [upsert("items", "a", 0)], TRACE))
    assert not refused.value.may_appear
    with pytest.raises(Unreachable):
        run(appender, appender.check)


def away(**others: Any) -> KafkaLog:
    settings = Settings(kafka_bootstrap="127.0.0.1:1", delivery_timeout_seconds=1.5, **others)
    return KafkaLog(settings, BundledRegistry(), lambda *_: None)


@pytest.mark.server
def test_kafka_that_is_away_is_noticed_in_time_and_nothing_was_queued() -> None:
    log = away()
    began = time.monotonic()
    with pytest.raises(NotAppended) as refused:
        run(log, lambda: log.append("items", [upsert("items", "a", 0)], TRACE))
    assert not refused.value.may_appear
    assert time.monotonic() - began < 9  # the thread that asks Kafka for its topics is waited for
    with pytest.raises(Unreachable):
        run(log, log.check)


@pytest.fixture
def settings(kafka: str, topic_prefix: str) -> Settings:
    settings = Settings(kafka_bootstrap=kafka, topic_prefix=topic_prefix, partitions=PARTITIONS, producer_queue_messages=100)
    ensure_topics(settings)
    return settings


def test_a_request_enters_the_queue_as_a_whole_or_not_at_all(settings: Settings) -> None:
    log = KafkaLog(settings, BundledRegistry(), lambda *_: None)

    async def crowd() -> list[Appended | BaseException]:
        requests = [[upsert("items", f"{n}-{m}", m) for m in range(60)] for n in range(2)]
        return await asyncio.gather(*(log.append("items", r, TRACE) for r in requests), return_exceptions=True)

    passed, refused = run(log, crowd)
    assert isinstance(passed, Appended)
    assert isinstance(refused, NotAppended)
    assert not refused.may_appear
    assert "full" in str(refused)
    assert len(read_kafka(settings, "items")) == 60


def test_a_fatal_error_replaces_the_producer(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    failures: list[str] = []
    monkeypatch.setattr(producer, "LINGER_MS", 4000)  # what is handed over is still there when the error comes
    log = KafkaLog(settings, BundledRegistry(), lambda error, records: failures.append(f"{error.name()} {records}"))

    async def fail_and_go_on() -> tuple[BaseException, Appended]:
        lost = asyncio.create_task(log.append("items", [upsert("items", "a", 0), upsert("items", "b", 1)], TRACE))
        assert await asyncio.to_thread(until, lambda: log.queued() > 0, 10)
        monkeypatch.undo()
        log._noticed(KafkaError(KafkaError._FATAL, "out of sequence", fatal=True))
        log._poll()
        (failed,) = await asyncio.gather(lost, return_exceptions=True)
        assert isinstance(failed, BaseException)
        return failed, await log.append("items", [upsert("items", "c", 0)], TRACE)

    failed, after = run(log, fail_and_go_on)
    assert isinstance(failed, NotAppended)
    assert failed.may_appear
    assert [end.records for end in after.ends] == [1]
    assert failures == ["_PURGE_QUEUE 2"]
