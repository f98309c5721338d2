"""What the overview of an organisation shows: its records by status, its pace, and both over time."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final, Literal, NamedTuple, TypeAlias

from foldline.adapters.codec import UPSERTS_TOPIC
from foldline.adapters.pool import Database
from foldline.domain.records import Kind
from projections.figures import STEP_SECONDS
from projections.sql import queries

# So many records are counted when somebody asks; of more, the last sample is shown.
FEW_RECORDS: Final = 20_000
MAX_REFUSED: Final = 10_000
# How long gateways take to note down a step that is over.
NOTED_SECONDS: Final = 2

Figure: TypeAlias = Literal["events", "freshness", "lag", "records"]

_SQL = queries("overview")


class Span(NamedTuple):
    """A stretch of time up to now, and the length of the buckets that it is shown in, both in seconds."""

    seconds: int
    bucket: int


SPANS: Final[dict[str, Span]] = {
    "1h": Span(3600, 20),
    "24h": Span(86_400, 300),
    "7d": Span(7 * 86_400, 2400),
    "30d": Span(30 * 86_400, 9000),
}


class Counts(NamedTuple):
    """Records by status, and when they were counted; None before that."""

    active: int
    inactive: int
    deleted: int
    at: datetime | None


class Pace(NamedTuple):
    """Events a second over the last minute; how far the processors were behind when last sampled; of the last hour the
    median and the 99th percentile of the milliseconds until a write was readable. None where it is not known."""

    events_per_second: float
    lag_at: datetime | None
    lag_records: int | None
    lag_seconds: float | None
    median_ms: float | None
    percentile_99_ms: float | None


class RecentImport(NamedTuple):
    """An import; `rows` is None before they were counted."""

    import_id: str
    file_name: str
    kind: Kind
    status: str
    rows: int | None
    created_by: str
    created_at: datetime


class Refused(NamedTuple):
    """A record that the fold refused. `entity_id` is None where it could not be read."""

    kind: Kind
    entity_id: str | None
    code: str
    message: str
    logged_at: datetime


class Overview:
    """The reads. Each raises `Unreachable`."""

    def __init__(self, database: Database, topic_prefix: str) -> None:
        self._database = database
        self._kinds = {topic_prefix + topic: kind for kind, topic in UPSERTS_TOPIC.items()}

    async def counts(self, kind: Kind, org_id: str) -> Counts:
        """How many records there are: now where they are few, else as last sampled."""
        rows = await self._database.fetch(_SQL[f"counts_{kind}"], {"org_id": org_id, "few": FEW_RECORDS})
        return Counts(*rows[0]) if rows else Counts(0, 0, 0, None)

    async def pace(self, org_id: str) -> Pace:
        """How much is sent and how soon it is readable."""
        rows = await self._database.fetch(_SQL["pace"], {"org_id": org_id, "until": _at(_until())})
        return Pace(*rows[0])

    async def recent_imports(self, org_id: str, limit: int) -> list[RecentImport]:
        """The newest imports."""
        rows = await self._database.fetch(_SQL["recent_imports"], {"org_id": org_id, "limit": limit})
        return [RecentImport(*row) for row in rows]

    async def refused_count(self, org_id: str) -> int:
        """How many records the fold refused, as many as `MAX_REFUSED`, and one more that stands for more."""
        rows = await self._database.fetch(_SQL["refused_count"], {"org_id": org_id, "most": MAX_REFUSED + 1})
        count: int = rows[0][0]
        return count

    async def refused(self, org_id: str, limit: int) -> list[Refused]:
        """The newest records that the fold refused."""
        rows = await self._database.fetch(_SQL["refused"], {"org_id": org_id, "limit": limit})
        return [Refused(self._kinds[topic], *rest) for topic, *rest in rows if topic in self._kinds]

    async def series(self, figure: Figure, org_id: str, span: Span, kind: Kind = "items") -> list[Sequence[Any]]:
        """A figure over time: a column of seconds since the epoch, and one for each value; None where there is none.

        `events`: items and users a second. `freshness`: median and 99th percentile in milliseconds. `lag`: records and
        seconds, at most. `records`: those of a kind that are active, inactive and deleted.
        """
        until = _until()
        end = (until - STEP_SECONDS) // span.bucket * span.bucket
        bounds = {"begin": _at(end - span.seconds + span.bucket), "end": _at(end), "until": _at(until)}
        parameters = {"org_id": org_id, "kind": kind, "bucket": span.bucket, **bounds}
        return list(zip(*await self._database.fetch(_SQL[f"series_{figure}"], parameters), strict=True))


def _until() -> int:
    """The end of the last step that all gateways have noted down."""
    return int(time.time() - NOTED_SECONDS) // STEP_SECONDS * STEP_SECONDS


def _at(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
