"""Waiting until an operation is applied. One task polls positions for all who wait, and only while somebody does."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from foldline.domain.errors import FoldlineError
from foldline.domain.records import Kind
from producers.gateway.tokens import Operation
from projections.reader import FoldedTo

POLL_SECONDS = 0.015
RETRY_SECONDS = 0.25

Positions = Mapping[tuple[Kind, int], FoldedTo]


def is_applied(operation: Operation, positions: Positions) -> bool:
    """Whether every record of the operation has been folded (or rejected), in the very topic that took it."""
    topic_id = operation.appended.topic_id
    for end in operation.appended.ends:
        folded = positions.get((operation.kind, end.partition))
        if folded is None or folded.topic_id != topic_id or folded.applied <= end.last_offset:
            return False
    return True


class Watcher:
    """Tells when operations are applied."""

    def __init__(self, positions: Callable[[], Awaitable[Positions]]) -> None:
        self._positions = positions
        self._waiting: dict[asyncio.Future[bool], Operation] = {}
        self._polling: asyncio.Task[None] | None = None
        self._stopped = False

    async def wait(self, operation: Operation, seconds: float) -> bool:
        """Whether the operation is applied within that time. An unreachable database is waited for, as long as that."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[bool] = loop.create_future()
        timer = loop.call_later(seconds, _finish, future, False)
        self._waiting[future] = operation
        if self._stopped:
            _finish(future, False)
        elif self._polling is None or self._polling.done():
            self._polling = asyncio.create_task(self._poll())
        try:
            return await future
        finally:
            timer.cancel()
            del self._waiting[future]

    @property
    def stopped(self) -> bool:
        """Whether the gateway drains: whatever waits, or follows something, is to end."""
        return self._stopped

    def stop(self) -> None:
        """Nobody waits any longer: whoever does is told that it is not applied yet."""
        self._stopped = True
        for future in self._waiting:
            _finish(future, False)

    async def _poll(self) -> None:
        while self._waiting:
            try:
                positions = await self._positions()
            except FoldlineError:
                await asyncio.sleep(RETRY_SECONDS)
                continue
            for future, operation in self._waiting.items():
                if is_applied(operation, positions):
                    _finish(future, True)
            await asyncio.sleep(POLL_SECONDS)


def _finish(future: asyncio.Future[bool], outcome: bool) -> None:
    if not future.done():
        future.set_result(outcome)
