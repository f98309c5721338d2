"""What a call does, step by step, without doing it: generators that yield a `Request` or a `Pause`, are sent what came of
it, and return what the call returns. `Client` and `AsyncClient` only perform the steps. Clock and chance are handed over.
"""

from __future__ import annotations

import gzip
import math
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from itertools import count
from typing import Any, Generic, NamedTuple, TypeAlias, TypeVar
from urllib.parse import quote, urlencode

from foldline.client.batches import Limits, batches
from foldline.client.errors import ClientError, NegativeAnswer, NotApplied, Unanswered, data_of
from foldline.client.exchange import Answer, Lost, Request, Retry, pause_after, timeout_of
from foldline.client.records import Operation, Shape, State, Upserted, operation_of

MAX_IDS = 100  # of one listing
MAX_WAIT_SECONDS = 30.0  # of the gateway
MAX_KEY_CHARACTERS = 240  # of 255: the number of the request comes behind it
POLL_FIRST_SECONDS, POLL_MOST_SECONDS = 0.05, 2.0

Result = TypeVar("Result")


class Pause(NamedTuple):
    """Nothing is to be done for so long."""

    seconds: float


class Page(NamedTuple, Generic[State]):
    """A page of a listing. `next` asks for the one after it."""

    states: list[State]
    next: Request | None


Plan: TypeAlias = Generator[Request | Pause, Answer | Lost | None, Result]


class Plans:
    """The calls of a client with these options."""

    def __init__(
        self, retry: Retry, limits: Limits, compress: bool, clock: Callable[[], float], chance: Callable[[], float]
    ) -> None:
        """`clock` gives seconds that only grow, `chance` a number from [0, 1)."""
        self._retry = retry
        self._limits = limits
        self._compress = compress
        self._clock = clock
        self._chance = chance

    def upsert(self, kind: str, records: Iterable[Mapping[str, Any]], wait: float, key: str) -> Plan[Upserted]:
        """Request by request: one is sent when the one before it is accepted. Their keys are `key`, `key.2`, `key.3`, …"""
        headers = {"Content-Type": "application/json"}
        if wait > 0:
            headers["Prefer"] = f"wait={math.ceil(wait)}"
        if self._compress:
            headers["Content-Encoding"] = "gzip"
        accepted: list[Operation] = []
        first = 0
        try:
            for number, batch in enumerate(batches(records, self._limits), 1):
                first = batch.first
                own = {"Idempotency-Key": key if number == 1 else f"{key}.{number}"}
                body = gzip.compress(batch.body, mtime=0) if self._compress else batch.body
                request = Request("POST", f"/v1/ingest/{kind}/upsert", headers | own, body, min(wait, MAX_WAIT_SECONDS))
                accepted.append(operation_of((yield from self.data(request))))
        except ClientError as error:
            error.upserted, error.idempotency_key = Upserted(tuple(accepted)), key
            if isinstance(error, NegativeAnswer):
                error.errors = tuple(one.moved(first) for one in error.errors)
            raise
        return Upserted(tuple(accepted))

    def operation(self, operation_id: str) -> Plan[Operation]:
        return operation_of((yield from self.data(Request("GET", f"/v1/ingest/operations/{_segment(operation_id)}"))))

    def applied(self, upserted: Upserted | Operation | str, seconds: float) -> Plan[Upserted]:
        """Asks for each operation that is queued, again and again with growing pauses, until it is not."""
        began = self._clock()
        operations = list(operations_of(upserted))
        for place, operation in enumerate(operations):
            for attempt in count():
                if operation.status != "queued":
                    break
                if attempt:
                    span = min(POLL_MOST_SECONDS, POLL_FIRST_SECONDS * 2.0 ** min(attempt - 1, 30))
                    yield Pause(span * (1 + self._chance()) / 2)
                operation = operations[place] = yield from self.operation(operation.operation_id)
                if operation.status == "queued" and self._clock() - began >= seconds:
                    late = NotApplied(f"not applied within {seconds:g} s: {operation.operation_id}")
                    late.upserted = Upserted(tuple(operations))
                    raise late
        return Upserted(tuple(operations))

    def state(self, shape: Shape[State], entity_id: str, query: Mapping[str, Any]) -> Plan[State]:
        request = _read(f"/v1/{shape.kind}/{_segment(entity_id)}", query)
        return shape.state((yield from self.data(request)))

    def page(self, shape: Shape[State], request: Request) -> Plan[Page[State]]:
        data = yield from self.data(request)
        cursor = data["next_cursor"]
        return Page(
            [shape.state(state) for state in data[shape.kind]],
            None if cursor is None else request._replace(target=_with_cursor(request.target, cursor)),
        )

    def data(self, request: Request) -> Plan[Any]:
        """The `data` of the answer. Raises `ClientError`."""
        began = self._clock()
        for attempt in count():
            elapsed = self._clock() - began
            outcome = yield request._replace(timeout_seconds=timeout_of(self._retry, request, elapsed))
            assert isinstance(outcome, Answer | Lost)
            elapsed = self._clock() - began
            pause = pause_after(self._retry, attempt, outcome, elapsed, self._chance())
            if pause is not None:
                yield Pause(pause)
            elif isinstance(outcome, Answer):
                return data_of(outcome)
            else:
                path = request.target.partition("?")[0]
                raise Unanswered(
                    f"no answer to {request.method} {path} in {elapsed:.1f} s and {attempt + 1} attempts: "
                    f"{outcome.error or type(outcome.error).__name__}"
                ) from outcome.error
        raise AssertionError("unreachable")


def listings(kind: str, query: Mapping[str, Any], ids: Iterable[str] | None) -> Iterator[Request]:
    """The requests for the first pages of a listing: one, or one for every hundred ids."""
    if ids is None:
        yield _read(f"/v1/{kind}", query)
        return
    asked = list(dict.fromkeys(ids))
    for first in range(0, len(asked), MAX_IDS):
        yield _read(f"/v1/{kind}", {**query, "ids": asked[first : first + MAX_IDS]})


def query_of(
    include_deleted: bool = False, min_operation: Operation | Upserted | str | None = None, **filters: str | int | None
) -> dict[str, Any]:
    """The parameters of a read. Raises `ValueError` where `min_operation` is several operations."""
    query: dict[str, Any] = {name: value for name, value in filters.items() if value is not None}
    if include_deleted:
        query["include_deleted"] = "true"
    if min_operation is not None:
        operations = operations_of(min_operation)
        if len(operations) > 1:
            raise ValueError("a read waits for one operation: use wait_applied for an upsert of several requests")
        if operations:
            query["min_operation"] = operations[0].operation_id
    return query


def operations_of(given: Upserted | Operation | str) -> tuple[Operation, ...]:
    if isinstance(given, str):
        return (Operation(given, "queued", 0),)
    return (given,) if isinstance(given, Operation) else given.operations


def checked_key(key: str) -> str:
    """An idempotency key that leaves room for a number. Raises `ValueError`."""
    if not 0 < len(key) <= MAX_KEY_CHARACTERS or not all(" " < character <= "~" for character in key):
        raise ValueError(f"an idempotency key has 1 to {MAX_KEY_CHARACTERS} characters of printable ASCII, and no space")
    return key


def checked_url(url: str) -> str:
    """The address of a gateway. Raises `ValueError`."""
    if not url.startswith(("http://", "https://")):
        raise ValueError(f"the URL of a gateway begins with http:// or https://, unlike {url!r}")
    return url.rstrip("/")


def _read(path: str, query: Mapping[str, Any]) -> Request:
    target = f"{path}?{urlencode(query, doseq=True)}" if query else path
    return Request("GET", target, waits_seconds=MAX_WAIT_SECONDS if "min_operation" in query else 0.0)


def _with_cursor(target: str, cursor: str) -> str:
    path, _, query = target.partition("?")
    kept = [pair for pair in query.split("&") if pair and not pair.startswith("cursor=")]
    return f"{path}?{'&'.join([*kept, urlencode({'cursor': cursor})])}"


def _segment(text: str) -> str:
    """A part of a path, with everything escaped that a client or a proxy may give a meaning to: dots, too."""
    return quote(text, safe="").replace(".", "%2E")
