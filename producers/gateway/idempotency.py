"""`Idempotency-Key`: a request that is sent again gets the first answer, and changes nothing.

1. A key is claimed before anything is appended, and held by one request at a time, for a while: a lease. Who finds it held
   gets 409. A gateway that was killed holds it until the lease ends.
2. What is appended carries an id made of the organisation, the key and the record's index, the same in every attempt: so the
   fold takes one of them (law 9), however many there are and whatever came between.
3. An answer is kept, durably, before it is given. Where it cannot be kept the answer is 503: the next attempt appends again,
   and the fold knows it.
4. Only what was accepted is kept. A request that was refused as a whole has not claimed the key, or lets go of it.
5. A key is known for a day after its first request; then it is new, and so are the ids of its events.

Of keys and bodies the database has an HMAC under the secret that all gateways share, and no more.
"""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from typing import Any, Final, NamedTuple, TypeAlias

import orjson
from starlette.types import Scope

from foldline.adapters.pool import Rows
from foldline.domain.errors import FoldlineError, Unreachable
from foldline.domain.idempotency import ID_BYTES
from foldline.domain.records import Kind, Upsert
from producers.gateway.envelope import RETRY_SECONDS, Refusal, unavailable
from projections.sql import queries

MAX_CHARACTERS: Final = 255
_INDEX_BYTES: Final = 4
_SQL: Final = queries("idempotency")

Fetch: TypeAlias = Callable[[str, Any], Awaitable[Rows]]


class Attempt(NamedTuple):
    """A request that holds a key. `ids` is what the ids of its events begin with."""

    key_hash: bytes
    request_id: str
    ids: bytes

    def marked(self, events: Iterable[Upsert]) -> list[Upsert]:
        """The events with their ids."""
        return [
            event._replace(idempotency_id=self.ids + event.record_index.to_bytes(_INDEX_BYTES, "big")) for event in events
        ]


class Answered(NamedTuple):
    """The first answer to a key."""

    status: int
    message: str
    data: dict[str, Any]


def key_of(scope: Scope) -> bytes | None:
    """The request's `Idempotency-Key`. Raises `Refusal` 400 for one that is none."""
    found = [value for name, value in scope["headers"] if name == b"idempotency-key"]
    if not found:
        return None
    key: bytes = found[0].strip()
    if len(found) > 1 or not 0 < len(key) <= MAX_CHARACTERS or not all(0x20 <= byte < 0x7F for byte in key):
        raise Refusal(400, f"Idempotency-Key is sent once, and has 1 to {MAX_CHARACTERS} characters of printable ASCII")
    return key


class IdempotencyKeys:
    """Keys and their answers, in the database."""

    def __init__(self, fetch: Fetch) -> None:
        """`fetch` runs one statement in a transaction of its own."""
        self._fetch = fetch

    async def claim(
        self, secret: bytes, org_id: str, kind: Kind, key: bytes, body: bytes, request_id: str, seconds: float
    ) -> Attempt | Answered:
        """Claims a key for a request, for so many seconds; or the answer that there is. Raises `Refusal` 409 where another
        request holds it, 422 where it was used with another body; and `Unreachable`, with nothing claimed for longer."""
        name = org_id.encode() + b":" + key
        key_hash = _mac(secret, b"idempotency-key", name)
        claim = key_hash, _mac(secret, b"idempotency-body:" + kind.encode(), body), request_id, seconds
        rows = await self._fetch(_SQL["claim"], claim)
        outcome, round_, status, answer = rows[0] if rows else ("in_flight", 0, None, None)
        if outcome == "claimed":
            ids = _mac(secret, b"idempotency-id:%d" % round_, name)[: ID_BYTES - _INDEX_BYTES]
            return Attempt(key_hash, request_id, ids)
        if outcome == "answered":
            return Answered(status, *orjson.loads(answer))
        if outcome == "in_flight":
            raise _in_flight()
        raise Refusal(422, "This Idempotency-Key was used with another body: a key is for one request and its repetitions")

    async def keep(self, attempt: Attempt, answer: Answered) -> None:
        """Keeps the answer to a key for whoever asks again. Raises `Refusal` 409 where another request holds the key by now,
        503 where the database does not say that it is kept."""
        text = orjson.dumps([answer.message, answer.data]).decode()
        try:
            rows = await self._fetch(_SQL["answer"], (attempt.key_hash, attempt.request_id, answer.status, text))
        except Unreachable as error:
            raise unavailable(
                f"The write is in the log, but its answer could not be kept: {error}. Retry with the same Idempotency-Key"
            ) from error
        if not rows[0][0]:
            raise _in_flight()

    async def release(self, attempt: Attempt) -> None:
        """Lets go of a key. Where the database cannot be reached the lease ends by itself."""
        with suppress(FoldlineError):
            await self._fetch(_SQL["release"], (attempt.key_hash, attempt.request_id))


def _in_flight() -> Refusal:
    return Refusal(
        409,
        "A request with this Idempotency-Key is under way: ask again for its answer",
        headers={"Retry-After": str(RETRY_SECONDS)},
    )


def _mac(secret: bytes, purpose: bytes, payload: bytes) -> bytes:
    return hmac.digest(secret, purpose + b"\0" + payload, "sha256")
