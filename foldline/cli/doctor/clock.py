"""Clocks: this machine's, PostgreSQL's, Kafka's, and those of the gateways by what they wrote last.

Kafka tells its time only by what it appends. So its clock is ahead where it has appended in the future, and it is behind a
gateway's where a record was appended before it was received.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import NamedTuple, cast

from confluent_kafka import Consumer, TopicPartition

from foldline.adapters.codec import UPSERTS_TOPIC, UpsertCodec
from foldline.adapters.consumer import Record, arrived, partition_watermarks, reader_config
from foldline.adapters.registry import registry_of
from foldline.adapters.topics import TIMEOUT_SECONDS
from foldline.cli.doctor.deployment import Deployment
from foldline.cli.doctor.findings import Finding, Findings, fault, unless
from foldline.domain.errors import FoldlineError, Unreachable
from foldline.domain.records import KINDS, Upsert
from foldline.domain.times import format_rfc3339
from foldline.settings import Settings

LOOKS = 3
SYNCHRONISE = "let chrony or another NTP client keep it; where a clock was set back, restart gateways and processors"


class Written(NamedTuple):
    """The newest record of a partition: when Kafka appended it, and when a gateway had received it, as epoch seconds."""

    place: str
    appended_at: float
    received_at: float | None


def of_database(deployment: Deployment) -> Findings:
    """This machine and PostgreSQL, by the quickest of a few looks."""
    looks = [_look(deployment) for _ in range(LOOKS)]
    skew, doubt = min(looks, key=lambda look: look[1])
    found = judged_database(skew, doubt, deployment.settings.doctor_clock_skew_seconds)
    return unless(found, f"PostgreSQL's clock and this machine's agree within {abs(skew) + doubt:.3f} s")


def _look(deployment: Deployment) -> tuple[float, float]:
    """How far PostgreSQL's clock is ahead of ours, and the doubt of it, in seconds."""
    before, began = time.time(), time.perf_counter()
    ((theirs,),) = deployment.rows("clock")
    doubt = (time.perf_counter() - began) / 2
    return float(theirs) - (before + doubt), doubt


def judged_database(skew: float, doubt: float, most: float) -> Iterator[Finding]:
    """A fault where PostgreSQL is surely further ahead of us, or behind us where negative, than it may be."""
    if abs(skew) - doubt > most:
        which = "ahead of" if skew > 0 else "behind"
        yield fault(f"PostgreSQL's clock is {abs(skew):.1f} s {which} this machine's: one of the two is wrong", SYNCHRONISE)


def of_kafka(deployment: Deployment) -> Findings:
    """This machine, Kafka and the gateways, by the newest record of each partition."""
    written = _newest(deployment.settings)
    settings = deployment.settings
    found = judged_records(written, time.time(), settings.doctor_clock_skew_seconds, settings.doctor_recent_seconds)
    return unless(found, f"no clock is wrong by what was written last in {len(written)} partitions")


def judged_records(written: Sequence[Written], now: float, most: float, recent: float) -> Iterator[Finding]:
    """The record that tells most of Kafka's clock against ours, and that of a gateway's against Kafka's."""
    ahead = max(written, key=lambda one: one.appended_at, default=None)
    if ahead is not None and ahead.appended_at - now > most:
        yield fault(
            f"Kafka's clock is at least {ahead.appended_at - now:.1f} s ahead of this machine's: it appended {ahead.place} "
            f"at {_time(ahead.appended_at)}",
            SYNCHRONISE,
        )
    early = [
        (one.received_at - one.appended_at, f"{one.place} was appended at {_time(one.appended_at)}, before it was received")
        for one in written
        if one.received_at is not None and now - one.appended_at < recent
    ]
    skew, what = max(early, default=(0.0, ""))
    if skew > most:
        yield fault(f"a gateway's clock is at least {skew:.1f} s ahead of Kafka's: {what}", SYNCHRONISE)


def _newest(settings: Settings) -> list[Written]:
    """The newest record of every partition of the log that has one. Raises `Unreachable`."""
    found: list[Written] = []
    with closing(Consumer(reader_config(settings))) as consumer:
        for kind in KINDS:
            topic = settings.topic_prefix + UPSERTS_TOPIC[kind]
            codec = _codec(settings, kind)
            places = []
            for partition in consumer.list_topics(topic, timeout=TIMEOUT_SECONDS).topics[topic].partitions:
                low, high = partition_watermarks(settings, consumer, topic, partition)
                if high > low:
                    places.append(TopicPartition(topic, partition, high - 1))
            for record in _last(settings, consumer, places):
                event = codec.decode(record.value()) if codec is not None else None
                received_at = event.received_at / 1e6 if isinstance(event, Upsert) else None
                place = f"{topic}:{record.partition()}:{record.offset()}"
                found.append(Written(place, record.timestamp()[1] / 1000, received_at))
    return found


def _codec(settings: Settings, kind: str) -> UpsertCodec | None:
    """None where a registry has to be asked and does not answer: another check says so."""
    try:
        return UpsertCodec(kind, registry_of(settings))  # type: ignore[arg-type]
    except FoldlineError:
        return None


def _last(settings: Settings, consumer: Consumer, places: list[TopicPartition]) -> Iterator[Record]:
    """What lies at these places, where anything does."""
    consumer.assign(places)
    waiting = {place.partition for place in places}
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while waiting and (left := deadline - time.monotonic()) > 0:
        for message in arrived(consumer, len(waiting), left):
            if message.topic() == places[0].topic and message.partition() in waiting:
                waiting.discard(message.partition())
                if message.error() is None:
                    yield cast(Record, message)
    if waiting:
        raise Unreachable(f"Kafka at {settings.kafka_bootstrap} did not give its newest records in time")


def _time(seconds: float) -> str:
    return format_rfc3339(round(seconds * 1e6))
