"""A pool of asynchronous connections to PostgreSQL, for a service that answers many at once."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import psycopg
from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool

from foldline.adapters.postgres import HOW_TO_INITIALISE, NOT_INITIALISED, translation
from foldline.domain.errors import Unreachable
from foldline.settings import Settings

Parameters: TypeAlias = Sequence[Any] | Mapping[str, Any]
Rows: TypeAlias = list[tuple[Any, ...]]

RECONNECT_SECONDS = 1.0


class Database:
    """Runs one statement at a time in its own transaction, each within `database_timeout_seconds`.

    A commit does not wait for the disk: nothing is written through here that a crash must not lose. Where the server is
    away every call raises `Unreachable`, in time; when it has returned, calls succeed again. What is raised may be shown to
    a stranger: it names no address.
    """

    def __init__(self, settings: Settings, application_name: str) -> None:
        self._timeout_seconds = settings.database_timeout_seconds
        milliseconds = round(self._timeout_seconds * 1000)
        self._pool: AsyncConnectionPool[AsyncConnection[tuple[Any, ...]]] = AsyncConnectionPool(
            settings.database_url,
            kwargs={
                "autocommit": True,
                "application_name": application_name,
                "connect_timeout": max(1, round(self._timeout_seconds)),
                "keepalives_idle": 10,
                "keepalives_interval": 5,
                "keepalives_count": 3,
                "options": "-c timezone=UTC -c client_min_messages=warning -c synchronous_commit=off"
                f" -c statement_timeout={milliseconds}",
            },
            min_size=1,
            max_size=settings.database_pool_size,
            timeout=self._timeout_seconds,
            reconnect_timeout=RECONNECT_SECONDS,
            open=False,
        )

    async def open(self) -> None:
        """Begins to connect, and waits for nothing."""
        await self._pool.open(wait=False)

    async def close(self) -> None:
        await self._pool.close(timeout=1.0)

    async def fetch(self, query: str, parameters: Parameters = ()) -> Rows:
        """The rows of a statement. Raises `Unreachable`, and `BadData` where the data themselves are refused.

        A statement that the server does not answer is left to itself, with its connection: both return when it does.
        """
        task = asyncio.create_task(self._fetch(query, parameters))
        task.add_done_callback(_forget)
        done, _ = await asyncio.wait((task,), timeout=self._timeout_seconds)
        if not done:
            raise Unreachable(f"PostgreSQL does not answer within {self._timeout_seconds:g} s")
        return task.result()

    async def _fetch(self, query: str, parameters: Parameters) -> Rows:
        try:
            return await self._run(query, parameters)
        except psycopg.Error as error:
            if error.sqlstate in NOT_INITIALISED:
                raise Unreachable(HOW_TO_INITIALISE) from error
            if error.sqlstate is None and isinstance(error, psycopg.OperationalError):
                raise Unreachable("PostgreSQL cannot be reached") from error
            raise translation(error) from error

    async def _run(self, query: str, parameters: Parameters) -> Rows:
        async with self._pool.connection() as connection:
            try:
                return await (await connection.execute(query.encode(), parameters)).fetchall()
            except psycopg.OperationalError:
                if not connection.broken:
                    raise
        await self._pool.check()  # the server has been away: what it left behind in the pool is replaced
        async with self._pool.connection() as connection:
            return await (await connection.execute(query.encode(), parameters)).fetchall()


def _forget(task: asyncio.Task[Rows]) -> None:
    if not task.cancelled():
        task.exception()
