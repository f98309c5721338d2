"""Pools of connections to PostgreSQL, for a service that answers many at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Concatenate, NamedTuple, ParamSpec, TypeAlias, TypeVar

import psycopg
from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool, ConnectionPool, PoolTimeout

from foldline.adapters.postgres import HOW_TO_INITIALISE, NOT_INITIALISED, Connection, translation
from foldline.domain.errors import Unreachable
from foldline.settings import Settings

Parameters: TypeAlias = Sequence[Any] | Mapping[str, Any]
Rows: TypeAlias = list[tuple[Any, ...]]

RECONNECT_SECONDS = 1.0

P = ParamSpec("P")
T = TypeVar("T")


class Use(NamedTuple):
    """How a pool is used: connections that run something, and statements that wait for one."""

    connections: int
    waiting: int


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

    def use(self) -> Use:
        """How it is used at this moment."""
        now = self._pool.get_stats()
        return Use(now["pool_size"] - now["pool_available"], now["requests_waiting"])

    async def fetch(self, query: str, parameters: Parameters = ()) -> Rows:
        """The rows of a statement. Raises `Unreachable`, and `BadData` where the data themselves are refused.

        Where the connection ends before there is an answer it is asked once more, though it may have been committed: it has
        to be a statement that may be repeated. One that the server does not answer is left to itself, with its connection:
        both return when it does.
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


class Connections:
    """Runs functions that take a `Connection`, each in a thread and on a connection of its own meanwhile.

    Commits are durable. Where the server is away a call raises `Unreachable`, in time.
    """

    def __init__(self, settings: Settings, application_name: str) -> None:
        self._timeout_seconds = settings.database_timeout_seconds
        self._pool: ConnectionPool[Connection] = ConnectionPool(
            settings.database_url,
            kwargs={
                "autocommit": True,
                "application_name": application_name,
                "connect_timeout": max(1, round(self._timeout_seconds)),
                "options": "-c timezone=UTC -c client_min_messages=warning"
                f" -c statement_timeout={round(self._timeout_seconds * 1000)}",
            },
            min_size=0,
            max_size=settings.database_pool_size,
            timeout=self._timeout_seconds,
            reconnect_timeout=RECONNECT_SECONDS,
            check=ConnectionPool.check_connection,
            open=False,
        )

    async def run(self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What the function returns for a connection and the arguments. Raises what it raises, and `Unreachable`."""
        return await asyncio.to_thread(self._run, lambda connection: work(connection, *args, **kwargs))

    def close(self) -> None:
        self._pool.close(timeout=1.0)

    def _run(self, work: Callable[[Connection], T]) -> T:
        self._pool.open()
        try:
            with self._pool.connection() as connection:
                return work(connection)
        except PoolTimeout as error:
            raise Unreachable("PostgreSQL cannot be reached") from error
        except psycopg.Error as error:
            raise translation(error) from error


def _forget(task: asyncio.Task[Rows]) -> None:
    if not task.cancelled():
        task.exception()
