"""The rate limit: a window per organisation that begins with its first request, shared by its keys and by all gateways.

1. The count is one row in the database, moved by one statement: exactly `limit` requests of a window pass.
2. Requests that wait for the same row are counted together.
3. Large limits are leased in blocks of a thousandth, so that a hot organisation does not cost a round trip per request. A
   lease ends with its window; what a gateway has not used of it is lost.
4. A window that is used up is remembered until it ends.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from typing import NamedTuple

from foldline.adapters.pool import Database
from foldline.settings import Settings
from producers.gateway.access import Caller
from projections.sql import queries

LEASED_FROM = 100_000
LEASES_A_WINDOW = 1000
MAX_REMEMBERED = 10_000
UNLIMITED_REMAINING = 2**31 - 1

_SQL = queries("tenants")


class Window(NamedTuple):
    """An organisation's window as one request finds it."""

    allowed: bool
    limit: int
    remaining: int
    reset_seconds: float

    def headers(self) -> list[tuple[bytes, bytes]]:
        """The three headers. Without a limit: limit 0, and a remainder that never ends."""
        reset = max(0, math.ceil(self.reset_seconds))
        return [
            (b"ratelimit-limit", b"%d" % self.limit),
            (b"ratelimit-remaining", b"%d" % self.remaining),
            (b"ratelimit-reset", b"%d" % reset),
        ]


UNLIMITED = Window(True, 0, UNLIMITED_REMAINING, 0.0)
UNLIMITED_HEADERS = UNLIMITED.headers()


class _Lease:
    """What this gateway knows of a window: requests that it may still pass, and what was unused when it last asked."""

    __slots__ = ("asking", "ends_at", "left", "limit", "unused", "waiting")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.left = self.unused = 0
        self.ends_at = 0.0
        self.waiting: deque[asyncio.Future[Window]] = deque()
        self.asking = False


class Rates:
    """Counts requests."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._window_seconds = settings.rate_limit_window_seconds
        self._leases: dict[str, _Lease] = {}
        self._serving: set[asyncio.Task[None]] = set()

    async def spend(self, caller: Caller) -> Window:
        """Counts one request. Raises `Unreachable`."""
        if not caller.rate_limit:
            return UNLIMITED
        lease = self._leases.get(caller.org_id)
        if lease is None or lease.limit != caller.rate_limit:
            if len(self._leases) >= MAX_REMEMBERED:
                self._leases.clear()
            lease = self._leases[caller.org_id] = _Lease(caller.rate_limit)
        if not lease.waiting and (window := self._from_lease(lease)):
            return window
        future: asyncio.Future[Window] = asyncio.get_running_loop().create_future()
        lease.waiting.append(future)
        if not lease.asking:
            lease.asking = True
            serving = asyncio.create_task(self._serve(caller.org_id, lease))
            self._serving.add(serving)
            serving.add_done_callback(self._serving.discard)
        return await future

    async def peek(self, caller: Caller) -> Window:
        """The window, with nothing counted. Raises `Unreachable`."""
        limit = caller.rate_limit
        if not limit:
            return UNLIMITED
        rows = await self._database.fetch(_SQL["peek"], {"org_id": caller.org_id, "window": self._window_seconds})
        used, seconds = rows[0] if rows else (0, float(self._window_seconds))
        return Window(True, limit, max(0, limit - used), seconds)

    def _from_lease(self, lease: _Lease) -> Window | None:
        seconds = lease.ends_at - time.monotonic()
        if seconds <= 0:
            return None
        if lease.left:
            lease.left -= 1
            return Window(True, lease.limit, lease.unused + lease.left, seconds)
        return None if lease.unused else Window(False, lease.limit, 0, seconds)

    async def _serve(self, org_id: str, lease: _Lease) -> None:
        """Asks for all that wait, again and again until none does."""
        try:
            while lease.waiting:
                waiting = len(lease.waiting)
                asked_at = time.monotonic()
                block = lease.limit // LEASES_A_WINDOW if lease.limit >= LEASED_FROM else 0
                requests = max(waiting, block)
                parameters = {"org_id": org_id, "window": self._window_seconds, "limit": lease.limit, "requests": requests}
                ((used, seconds),) = await self._database.fetch(_SQL["spend"], parameters)
                lease.left = min(requests, max(0, lease.limit - (used - requests)))
                lease.unused = max(0, lease.limit - used)
                lease.ends_at = asked_at + seconds
                while lease.waiting and (window := self._from_lease(lease)):
                    future = lease.waiting.popleft()
                    if not future.done():
                        future.set_result(window)
        except Exception as error:
            for future in lease.waiting:
                if not future.done():
                    future.set_exception(error)
            lease.waiting.clear()
        finally:
            lease.asking = False
