"""What the metrics show of the database: how far all processors are behind, also where none runs, and imports under way.

1. It is asked once in `FRESH_SECONDS` at most, however often metrics are, and no scrape waits longer than `WAIT_SECONDS`.
2. What is older than `STALE_SECONDS` is not shown: an unknown figure is absent.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from typing import Final, NamedTuple

import orjson
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from foldline.adapters.pool import Database
from foldline.domain.errors import FoldlineError
from projections.sql import queries

FRESH_SECONDS: Final = 5.0
WAIT_SECONDS: Final = 1.0
STALE_SECONDS: Final = 60.0
STATUSES: Final = ("uploading", "uploaded", "validating", "rejected", "ready", "queueing", "done")

_SQL: Final = queries("figures")


class Found(NamedTuple):
    """As the query `watched` has it. The lag is None where nobody has sampled it lately."""

    lag_records: int | None
    lag_seconds: float | None
    partitions: int
    imports: str
    import_seconds: float


class Figures(Collector):
    """Reads, and remembers for a while. Used from one event loop."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._found: Found | None = None
        self._asked_at = self._found_at = float("-inf")
        self._asking: asyncio.Task[None] | None = None

    async def refresh(self) -> None:
        """Has what is shown be fresh, as far as the database answers in time."""
        now = time.monotonic()
        if (self._asking is None or self._asking.done()) and now >= self._asked_at + FRESH_SECONDS:
            self._asked_at = now
            self._asking = asyncio.create_task(self._ask())
        if self._asking is not None:
            await asyncio.wait((self._asking,), timeout=WAIT_SECONDS)

    async def _ask(self) -> None:
        try:
            ((*row,),) = await self._database.fetch(_SQL["watched"])
        except FoldlineError:  # then it is not known
            return
        self._found, self._found_at = Found(*row), time.monotonic()

    def collect(self) -> Iterable[Metric]:
        """The families; without a sample where nothing is known."""
        records = GaugeMetricFamily("foldline_log_lag_records", "Records that no processor has folded yet.")
        seconds = GaugeMetricFamily("foldline_log_lag_seconds", "Age of the oldest of them.")
        partitions = GaugeMetricFamily("foldline_log_partitions", "Partitions of the log.")
        imports = GaugeMetricFamily("foldline_imports", "Imports that are not over, by status.", labels=("status",))
        age = GaugeMetricFamily("foldline_import_seconds", "How long the importer has had its oldest work.")
        found = self._found if time.monotonic() < self._found_at + STALE_SECONDS else None
        if found is not None:
            if found.lag_records is not None and found.lag_seconds is not None:
                records.add_metric([], found.lag_records)
                seconds.add_metric([], found.lag_seconds)
            partitions.add_metric([], found.partitions)
            counts = orjson.loads(found.imports)
            for status in STATUSES:
                imports.add_metric([status], counts.get(status, 0))
            age.add_metric([], found.import_seconds)
        yield from (records, seconds, partitions, imports, age)
