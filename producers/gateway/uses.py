"""When keys were last used, told to the database in the background.

1. A use is noted where the database is asked about a key anyway: a request that the cache answers costs nothing.
2. A gateway writes of a key at most once a minute; the first use is written at once, the last one at the end.
3. What cannot be written is kept until it can.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable

from foldline.adapters.pool import Database
from foldline.domain.errors import FoldlineError
from projections.sql import queries

FLUSH_SECONDS = 1.0
KEY_SECONDS = 60.0
MAX_REMEMBERED = 10_000

_KEYS_USED = queries("tenants")["keys_used"]


class Uses:
    """Notes uses of keys. `open` and `close` frame its task."""

    def __init__(self, database: Database, clock: Callable[[], float] = time.monotonic) -> None:
        self._database = database
        self._clock = clock
        self._used: dict[str, float] = {}
        self._written: dict[str, float] = {}
        self._task: asyncio.Task[None] | None = None

    def note(self, key_id: str) -> None:
        """The key is used now."""
        self._used[key_id] = self._clock()

    def open(self) -> None:
        self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        """Writes what is left, if the database takes it in time."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        with contextlib.suppress(FoldlineError, TimeoutError):
            await asyncio.wait_for(self.flush(KEY_SECONDS), FLUSH_SECONDS)

    async def flush(self, ahead_seconds: float = 0.0) -> None:
        """Writes the uses that are due, and those that will be in that time. Raises `Unreachable`."""
        now = self._clock()
        due = {
            key_id: at
            for key_id, at in self._used.items()
            if now + ahead_seconds - self._written.get(key_id, -KEY_SECONDS + now) >= KEY_SECONDS
        }
        if not due:
            return
        seconds_ago = [now - at for at in due.values()]
        await self._database.fetch(_KEYS_USED, {"key_ids": list(due), "seconds_ago": seconds_ago})
        if len(self._written) >= MAX_REMEMBERED:
            self._written.clear()
        for key_id, at in due.items():
            self._written[key_id] = now
            if self._used[key_id] == at:
                del self._used[key_id]

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(FLUSH_SECONDS)
            with contextlib.suppress(FoldlineError):
                await self.flush()
