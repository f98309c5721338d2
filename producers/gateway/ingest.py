"""The hot routes: upserts of items and users. In order: who asks, how often, what was sent, does all of it hold, append."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any, TypeAlias

import orjson
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from foldline.adapters.producer import NotAppended
from foldline.domain.errors import Unreachable
from foldline.domain.records import KINDS, Kind, Upsert
from producers.gateway.bodies import Held, read_body
from producers.gateway.envelope import Refusal, unavailable, wrong_fields
from producers.gateway.idempotency import Answered, Attempt, key_of
from producers.gateway.operations import operation_data
from producers.gateway.parts import Parts
from producers.gateway.protocol import answered_at_once
from producers.gateway.telemetry import EXTRA_HEADERS, NO_GUESSING, Told
from producers.gateway.tokens import Operation, operation_id
from producers.validation import FieldError, Refused, Stamp, TooMany, validate

_Answer: TypeAlias = tuple[int, str, dict[str, Any], tuple[tuple[bytes, bytes], ...]]
_FAILURE = "foldline.failure"
_JSON = (b"content-type", b"application/json")
_JSON_TYPE = re.compile(r"\s*(application/json|application/[\w.+-]+\+json|text/json)\s*(;.*)?", re.IGNORECASE | re.ASCII)
_OTHER_CHARSET = re.compile(r";\s*charset\s*=\s*(?!\"?(?:utf-?8|us-ascii)\b)", re.IGNORECASE)


class Upserts:
    """The route of one kind: one record or an array of them, 202 when every one is durable in the log, or nothing at all.

    What can be accepted is answered before the application's middleware and router, which cost a third of a small request.
    """

    def __init__(self, kind: Kind) -> None:
        self._kind = kind
        self.path = f"/v1/ingest/{kind}/upsert"

    async def take(self, parts: Parts, scope: Scope, receive: Receive, send: Send) -> bool:
        """Answers the request, unless something fails: then False, and the application is to answer."""
        headers = dict(scope["headers"])
        told = parts.requests.begin(scope, headers)
        held = Held(parts.room)
        try:
            status, message, data, more = await self._answer(parts, scope, receive, headers, held, told)
        except (Exception, asyncio.CancelledError) as error:
            scope[_FAILURE] = error
            return False
        finally:
            held.release()
        body = orjson.dumps({"success": True, "message": message, "data": data})
        head = [_JSON, NO_GUESSING, told.header(), *more, *scope[EXTRA_HEADERS]]
        if not answered_at_once(send, status, b"\r\n".join(map(b": ".join, head)), body):
            head.append((b"content-length", b"%d" % len(body)))
            await send({"type": "http.response.start", "status": status, "headers": head})
            await send({"type": "http.response.body", "body": body})
        parts.requests.end(told, "POST", self.path, status)
        return True

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The route as the application has it, for what could not be answered: raises what failed."""
        raise scope.pop(_FAILURE)

    async def _answer(
        self, parts: Parts, scope: Scope, receive: Receive, headers: dict[bytes, bytes], held: Held, told: Told
    ) -> _Answer:
        settings, kind = parts.settings, self._kind
        caller = await parts.admit(scope, _text(headers, b"x-api-key"))
        secret = parts.known_secret or await parts.secret()
        key = key_of(scope) if b"idempotency-key" in headers else None
        check_type(_text(headers, b"content-type"))
        body = await read_body(scope, receive, headers, settings.max_body_bytes, held)
        stamp = Stamp(caller.org_id, told.request_id, time.time_ns() // 1000)
        outcome = validate(kind, body, stamp, settings.max_records)
        if not isinstance(outcome, list):
            raise _refusal(outcome, settings.max_records, parts.metrics.field_errors)
        attempt: Attempt | None = None
        if key is not None:
            lease = settings.delivery_timeout_seconds + (wait_seconds(scope, settings.max_wait_seconds) or 0)
            found = await parts.keys.claim(secret, caller.org_id, kind, key, body, stamp.request_id, lease)
            if isinstance(found, Answered):
                return *found, ((b"idempotency-replayed", b"true"),)
            attempt, outcome = found, found.marked(outcome)
        try:
            operation = await self._append(parts, told, stamp, outcome)
            del body, outcome  # who waits holds nothing
            held.release()
            answer = await self._answer_of(parts, scope, headers, secret, operation, told)
        except Exception:
            if attempt is not None:
                await parts.keys.release(attempt)
            raise
        if attempt is not None:
            await parts.keys.keep(attempt, Answered(*answer[:3]))
        return answer

    async def _append(self, parts: Parts, told: Told, stamp: Stamp, events: list[Upsert]) -> Operation:
        told.records = len(events)
        try:
            appended = await parts.log.append(self._kind, events, told.traceparent)
        except NotAppended as error:
            raise unavailable(_what_may_appear(error)) from error
        parts.metrics.accepted(self._kind, len(events))
        operation = Operation(stamp.org_id, self._kind, stamp.request_id, appended)
        parts.activity.accepted(operation, len(events))
        return operation

    async def _answer_of(
        self, parts: Parts, scope: Scope, headers: Mapping[bytes, bytes], secret: bytes, operation: Operation, told: Told
    ) -> _Answer:
        """What is said of an operation that is in the log: at once, or once it is applied."""
        token = told.operation_id = operation_id(secret, operation)
        queued = {"accepted": told.records, "operation_id": token}
        if b"prefer" not in headers or (seconds := wait_seconds(scope, parts.settings.max_wait_seconds)) is None:
            return 202, "Queued", queued, ()
        applied = ((b"preference-applied", b"wait=%g" % seconds),)
        if await parts.watcher.wait(operation, seconds):
            with suppress(Unreachable):  # the write is durable: an answer must not look as if it were not
                return 200, "Applied", await operation_data(parts, token, operation), applied
        return 202, "Queued", queued, applied


def wait_seconds(scope: Scope, most: float) -> float | None:
    """The seconds of `Prefer: wait=N` (RFC 7240), at most `most`; None where it is not asked for, or malformed."""
    prefer = b",".join(value for name, value in scope["headers"] if name == b"prefer")
    for preference in prefer.split(b","):
        name, _, value = preference.partition(b";")[0].partition(b"=")
        if name.strip().lower() == b"wait":
            value = value.strip().strip(b'"')
            return min(float(value), most) if value.isdigit() and len(value) < 10 else None
    return None


def _text(headers: Mapping[bytes, bytes], name: bytes) -> str | None:
    value = headers.get(name)
    return None if value is None else value.decode("latin-1")


def check_type(content_type: str | None) -> None:
    """Raises `Refusal` 415 for a `Content-Type` that is not JSON in UTF-8. None at all is taken for JSON."""
    if (
        content_type
        and content_type != "application/json"
        and (not _JSON_TYPE.fullmatch(content_type) or _OTHER_CHARSET.search(content_type))
    ):
        raise Refusal(415, "Content-Type must be application/json, in UTF-8", headers={"Accept-Post": "application/json"})


def _refusal(outcome: Refused | TooMany, max_records: int, count: Callable[[Iterable[FieldError]], None]) -> Refusal:
    if isinstance(outcome, TooMany):
        return Refusal(
            413, f"{outcome.records} records are more than {max_records}: send them in parts, or use the bulk import"
        )
    count(outcome.errors)
    return wrong_fields(outcome.errors, outcome.total, "Nothing was accepted")


def _what_may_appear(error: NotAppended) -> str:
    if error.may_appear:
        return f"{error}. The write may still appear, perhaps after a later one: retry until answered"
    return f"{error}. Nothing of it will appear: retry"


UPSERTS = {f"/v1/ingest/{kind}/upsert": Upserts(kind) for kind in KINDS}
ROUTES = [Route(path, upserts, methods=["POST"]) for path, upserts in UPSERTS.items()]
