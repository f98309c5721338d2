"""How far the log is folded, as imports ask for it."""

from __future__ import annotations

from typing import NamedTuple

from foldline.adapters.codec import UPSERTS_TOPIC
from foldline.adapters.consumer import watermarks
from foldline.adapters.postgres import Connection, translated
from foldline.domain.records import Kind
from foldline.settings import Settings
from producers.imports.jobs import Job
from projections.sql import queries

_SQL = queries("reads")


class Folded(NamedTuple):
    """What has become of an import's rows."""

    done: bool
    refused: int


def log_ends(settings: Settings, kind: Kind) -> list[int]:
    """Where the log of a kind ends, by partition. Raises `Unreachable`."""
    return [high for _, high in watermarks(settings, settings.topic_prefix + UPSERTS_TOPIC[kind], settings.partitions)]


def applied(connection: Connection, settings: Settings, kind: Kind) -> dict[int, int]:
    """How far each partition of a kind is folded: the offset of the next record."""
    topic = settings.topic_prefix + UPSERTS_TOPIC[kind]
    with translated():
        rows = connection.execute(_SQL["positions"].encode()).fetchall()
    return {partition: offset for of_topic, partition, _, offset in rows if of_topic == topic}


def folded(connection: Connection, settings: Settings, job: Job) -> Folded:
    """Whether all rows of an import are folded, and how many were refused so far."""
    partitions, records, last_offsets = zip(*job.appended, strict=True) if job.appended else ((), (), ())
    parameters = {
        "org_id": job.org_id,
        "topic": settings.topic_prefix + UPSERTS_TOPIC[job.kind],
        "topic_id": job.topic_id,
        "request_id": job.request_id,
        "partitions": list(partitions),
        "records": list(records),
        "last_offsets": list(last_offsets),
        "max_listed": 0,
    }
    with translated():
        ((done, _, _, refused, _),) = connection.execute(_SQL["operation"].encode(), parameters).fetchall()
    return Folded(done == len(partitions), refused)
