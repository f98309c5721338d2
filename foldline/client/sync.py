"""The client for programs that block."""

from __future__ import annotations

import random
import time
from collections.abc import Iterable, Iterator, Mapping
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


class Client:
    """Foldline's HTTP interface, as one organisation. Threads may share it.

    Every call sends its requests again until they are answered, for as long as `retry` says, and raises a `ClientError`
    where nothing helps. An upsert that is sent again is written once.
    """

    def __init__(
        self,
        url: str,
        key: str,
        *,
        retry: Retry = Retry(),  # noqa: B008 (immutable)
        limits: Limits = Limits(),  # noqa: B008
        compress: bool = False,
        http: httpx.Client | None = None,
    ) -> None:
        """`url` is a gateway's, `key` a secret key. `limits` are for gateways whose own are lower, `compress` sends gzip.
        `http` is yours where connections need more than usual, such as a certificate; it is not closed here."""
        self._url, self._key = checked_url(url), checked_key(key)
        self._plans = Plans(retry, limits, compress, time.monotonic, random.random)
        self._http = httpx.Client() if http is None else http
        self._owned = http is None

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connections."""
        if self._owned:
            self._http.close()

    def upsert_items(
        self, items: ItemUpsert | Iterable[ItemUpsert], *, wait: float = 0.0, idempotency_key: str | None = None
    ) -> Upserted:
        """Upserts one item, or any number, which are taken from the iterable as they are sent.

        Returns when all are durably in the log: in this order, each once. With `wait` every request waits up to so many
        seconds (at most 30) until it is applied, which `is_applied` tells. `idempotency_key` has to be new for other
        records; without one each call has its own. Raises `ClientError`, whose `upserted` has what was accepted before.
        """
        return self._upsert("items", items, wait, idempotency_key)

    def upsert_users(
        self, users: UserUpsert | Iterable[UserUpsert], *, wait: float = 0.0, idempotency_key: str | None = None
    ) -> Upserted:
        """The same for users."""
        return self._upsert("users", users, wait, idempotency_key)

    def operation(self, operation_id: str) -> Operation:
        """How an upsert stands."""
        return self._run(self._plans.operation(operation_id))

    def wait_applied(self, upserted: Upserted | Operation | str, *, seconds: float = 60.0) -> Upserted:
        """Returns when all is applied or rejected, with `rejected` and `errors`. Raises `NotApplied` after so long."""
        return self._run(self._plans.applied(upserted, seconds))

    def item(
        self, item_id: str, *, include_deleted: bool = False, min_operation: Operation | Upserted | str | None = None
    ) -> Item:
        """One item. With `min_operation` not before that is applied: read your own writes. Raises `NotFound`."""
        return self._run(self._plans.state(ITEMS, item_id, query_of(include_deleted, min_operation)))

    def user(
        self, user_id: str, *, include_deleted: bool = False, min_operation: Operation | Upserted | str | None = None
    ) -> User:
        """One user, in the same way."""
        return self._run(self._plans.state(USERS, user_id, query_of(include_deleted, min_operation)))

    def items(
        self,
        *,
        status: Status | None = None,
        item_type: str | None = None,
        ids: Iterable[str] | None = None,
        include_deleted: bool = False,
        min_operation: Operation | Upserted | str | None = None,
        page: int = 1000,
    ) -> Iterator[Item]:
        """Every item that these filters let through, in the order of ids, fetched `page` at a time as they are asked for.

        Of `ids` there may be any number: then a hundred are asked for at a time, in the order given.
        """
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
    ) -> Iterator[User]:
        """The same for users."""
        return self._listing(USERS, query_of(include_deleted, min_operation, status=status, limit=page), ids)

    def _upsert(self, kind: str, given: Any, wait: float, key: str | None) -> Upserted:
        records = [given] if isinstance(given, Mapping) else given
        return self._run(self._plans.upsert(kind, records, wait, uuid4().hex if key is None else checked_key(key)))

    def _listing(self, shape: Shape[State], query: Mapping[str, Any], ids: Iterable[str] | None) -> Iterator[State]:
        request: Request | None
        for request in listings(shape.kind, query, ids):
            while request is not None:
                found = self._run(self._plans.page(shape, request))
                yield from found.states
                request = found.next

    def _run(self, plan: Plan[Result]) -> Result:
        outcome: Answer | Lost | None = None
        while True:
            try:
                step = plan.send(outcome)
            except StopIteration as end:
                result: Result = end.value
                return result
            outcome = self._perform(step)

    def _perform(self, step: Request | Pause) -> Answer | Lost | None:
        if isinstance(step, Pause):
            time.sleep(step.seconds)
            return None
        try:
            answer = self._http.request(
                step.method,
                self._url + step.target,
                headers={**step.headers, "X-API-KEY": self._key},
                content=step.body,
                timeout=step.timeout_seconds,
            )
        except httpx.TransportError as error:
            return Lost(error)
        return Answer(answer.status_code, answer.headers, answer.content)
