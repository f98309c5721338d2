"""What organisations send, counted as it is accepted and noted down by steps of ten seconds.

1. A request costs one addition in memory. Nobody waits for the database.
2. Of an organisation and kind, the first request of a step is followed until it is readable; at most `MAX_FOLLOWED` at once.
3. What could not be noted down is kept for the next time, up to `MAX_KEPT` steps of organisations; the oldest go first.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import Final, TypeAlias

import structlog

from foldline.adapters.pool import Database
from foldline.domain.errors import FoldlineError
from foldline.domain.records import Kind
from producers.gateway.progress import Watcher
from producers.gateway.tokens import Operation
from projections.figures import STEP_SECONDS, Activity, add_activities

MAX_FOLLOWED: Final = 200
MAX_KEPT: Final = 50_000
# A write that is not readable by then counts as one that took so long.
FOLLOWED_SECONDS: Final = 60.0
# What takes longer than a moment is looked at less often: where the fold is behind, everything that is followed takes long.
MOMENT_SECONDS: Final = 1.0
GLANCE_SECONDS: Final = 0.1
CLOSE_SECONDS: Final = 1.0

_Row: TypeAlias = tuple[int, str, Kind]
_log = structlog.get_logger("foldline.gateway")


class Activities:
    """Counts what is accepted. `open` and `close` frame its task, which notes it down."""

    def __init__(self, database: Database, watcher: Watcher) -> None:
        self._database = database
        self._watcher = watcher
        self._step = _step()
        self._counts: dict[tuple[str, Kind], int] = {}
        self._events: dict[_Row, int] = {}
        self._freshness: dict[_Row, float] = {}
        self._following: set[asyncio.Task[None]] = set()
        self._closing = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def open(self) -> None:
        self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        """Notes down what is left, if the database takes it in time. Nothing is followed any longer."""
        for following in self._following:
            following.cancel()
        self._closing.set()
        if self._task is not None:
            await asyncio.wait((self._task,), timeout=CLOSE_SECONDS)
            self._task.cancel()

    def accepted(self, operation: Operation, records: int) -> None:
        """Counts the records of an operation, which the log has just acknowledged."""
        counts = self._counts
        place = operation.org_id, operation.kind
        if place in counts:
            counts[place] += records
        else:
            counts[place] = records
            if len(self._following) < MAX_FOLLOWED:
                following = asyncio.create_task(self._follow(operation, self._step, time.monotonic()))
                self._following.add(following)
                following.add_done_callback(self._following.discard)

    async def note(self) -> None:
        """Ends the step and notes down what there is. What the database does not take is kept."""
        for (org_id, kind), records in self._counts.items():
            row = self._step, org_id, kind
            self._events[row] = self._events.get(row, 0) + records
        self._counts = {}
        self._step = _step()
        events, freshness = self._events, self._freshness
        rows = sorted(events.keys() | freshness.keys())[-MAX_KEPT:]
        if not rows:
            return
        self._events, self._freshness = {}, {}
        try:
            await add_activities(self._database, [Activity(*row, events.get(row, 0), freshness.get(row)) for row in rows])
        except FoldlineError as error:
            _log.warning("activity is not noted down", reason=str(error), rows=len(rows))
            self._events = {row: events[row] for row in rows if row in events}
            self._freshness |= {row: freshness[row] for row in rows if row in freshness}

    async def _run(self) -> None:
        closing = False
        while not closing:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._closing.wait(), min(self._step + STEP_SECONDS - time.time(), STEP_SECONDS))
            closing = self._closing.is_set()
            await self.note()

    async def _follow(self, operation: Operation, step: int, began: float) -> None:
        readable = await self._watcher.wait(operation, MOMENT_SECONDS)
        while not readable and time.monotonic() < began + FOLLOWED_SECONDS:
            await asyncio.sleep(MOMENT_SECONDS)
            readable = await self._watcher.wait(operation, GLANCE_SECONDS)
        self._freshness[step, operation.org_id, operation.kind] = (time.monotonic() - began) * 1000


def _step() -> int:
    return int(time.time()) // STEP_SECONDS * STEP_SECONDS
