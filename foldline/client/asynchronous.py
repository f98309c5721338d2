"""The client for asyncio."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any
from uuid import uuid4

import httpx

from foldline.client.batches import Limits
from foldline.client.exchange import Answer, Lost, Request, Retry
from foldline.client.plans import Pause, Plan, Plans, Result, checked_key, checked_url, listings, query_of
from foldline.client.records import (
    ITEMS,
    USERS,
    Item,
    ItemUpsert,
    Operation,
    Shape,
    State,
    Status,
    Upserted,
    User,
    UserUpsert,
)


class AsyncClient:
    """`Client` for asyncio: the same calls, awaited. Tasks may share it."""

    def __init__(
        self,
        url: str,
        key: str,
        *,
        retry: Retry = Retry(),  # noqa: B008 (immutable)
        limits: Limits = Limits(),  # noqa: B008
        compress: bool = False,
        http: httpx.AsyncClient | None = None,
    ) -> None:
        """As `Client`'s."""
        self._url, self._key = checked_url(url), checked_key(key)
        self._plans = Plans(retry, limits, compress, time.monotonic, random.random)
        self._http = httpx.AsyncClient() if http is None else http
        self._owned = http is None

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes the connections."""
        if self._owned:
            await self._http.aclose()

    async def upsert_items(
        self, items: ItemUpsert | Iterable[ItemUpsert], *, wait: float = 0.0, idempotency_key: str | None = None
    ) -> Upserted:
        """As `Client.upsert_items`. Cancelled, it may have written the request that is under way, and those before it."""
        return await self._upsert("items", items, wait, idempotency_key)

    async def upsert_users(
        self, users: UserUpsert | Iterable[UserUpsert], *, wait: float = 0.0, idempotency_key: str | None = None
    ) -> Upserted:
        """The same for users."""
        return await self._upsert("users", users, wait, idempotency_key)

    async def operation(self, operation_id: str) -> Operation:
        """As `Client.operation`."""
        return await self._run(self._plans.operation(operation_id))

    async def wait_applied(self, upserted: Upserted | Operation | str, *, seconds: float = 60.0) -> Upserted:
        """As `Client.wait_applied`."""
        return await self._run(self._plans.applied(upserted, seconds))

    async def item(
        self, item_id: str, *, include_deleted: bool = False, min_operation: Operation | Upserted | str | None = None
    ) -> Item:
        """As `Client.item`."""
        return await self._run(self._plans.state(ITEMS, item_id, query_of(include_deleted, min_operation)))

    async def user(
        self, user_id: str, *, include_deleted: bool = False, min_operation: Operation | Upserted | str | None = None
    ) -> User:
        """As `Client.user`."""
        return await self._run(self._plans.state(USERS, user_id, query_of(include_deleted, min_operation)))

    def items(
        self,
        *,
        status: Status | None = None,
        item_type: str | None = None,
        ids: Iterable[str] | None = None,
        include_deleted: bool = False,
        min_operation: Operation | Upserted | str | None = None,
        page: int = 1000,
    ) -> AsyncIterator[Item]:
        """As `Client.items`, for `async for`."""
        query = query_of(include_deleted, min_operation, status=status, item_type=item_type, limit=page)
        return self._listing(ITEMS, query, ids)

    def users(
        self,
        *,
        status: Status | None = None,
        ids: Iterable[str] | None = None,
        include_deleted: bool = False,
        min_operation: Operation | Upserted | str | None = None,
        page: int = 1000,
    ) -> AsyncIterator[User]:
        """As `Client.users`, for `async for`."""
        return self._listing(USERS, query_of(include_deleted, min_operation, status=status, limit=page), ids)

    async def _upsert(self, kind: str, given: Any, wait: float, key: str | None) -> Upserted:
        records = [given] if isinstance(given, Mapping) else given
        return await self._run(self._plans.upsert(kind, records, wait, uuid4().hex if key is None else checked_key(key)))

    async def _listing(
        self, shape: Shape[State], query: Mapping[str, Any], ids: Iterable[str] | None
    ) -> AsyncIterator[State]:
        request: Request | None
        for request in listings(shape.kind, query, ids):
            while request is not None:
                found = await self._run(self._plans.page(shape, request))
                for state in found.states:
                    yield state
                request = found.next

    async def _run(self, plan: Plan[Result]) -> Result:
        outcome: Answer | Lost | None = None
        while True:
            try:
                step = plan.send(outcome)
            except StopIteration as end:
                result: Result = end.value
                return result
            outcome = await self._perform(step)

    async def _perform(self, step: Request | Pause) -> Answer | Lost | None:
        if isinstance(step, Pause):
            await asyncio.sleep(step.seconds)
            return None
        try:
            answer = await self._http.request(
                step.method,
                self._url + step.target,
                headers={**step.headers, "X-API-KEY": self._key},
                content=step.body,
                timeout=step.timeout_seconds,
            )
        except httpx.TransportError as error:
            return Lost(error)
        return Answer(answer.status_code, answer.headers, answer.content)
