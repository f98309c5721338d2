"""The hot routes: upserts of items and users. In order: who asks, how often, what was sent, does all of it hold, append."""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from foldline.adapters.producer import NotAppended
from foldline.domain.errors import Unreachable
from foldline.domain.records import KINDS, Kind
from producers.gateway.bodies import read_body
from producers.gateway.envelope import Refusal, done, unavailable, wrong_fields
from producers.gateway.operations import operation_data
from producers.gateway.parts import parts_of
from producers.gateway.tokens import Operation, operation_id
from producers.gateway.trace import traceparent
from producers.validation import FieldError, Refused, Stamp, TooMany, validate

_JSON_TYPE = re.compile(r"\s*(application/json|application/[\w.+-]+\+json|text/json)\s*(;.*)?", re.IGNORECASE | re.ASCII)
_OTHER_CHARSET = re.compile(r";\s*charset\s*=\s*\"?(?!utf-?8\b|us-ascii\b)", re.IGNORECASE)


async def upsert(kind: Kind, request: Request) -> Response:
    """Accepts one record or an array of them: 202 when every one is durable in the log, or nothing at all."""
    parts = parts_of(request)
    settings = parts.settings
    caller = await parts.admit(request)
    secret = await parts.secret()
    _check_type(request.headers.get("content-type"))
    body = await read_body(request, settings)
    stamp = Stamp(caller.org_id, uuid.uuid4().hex, time.time_ns() // 1000)
    outcome = validate(kind, body, stamp, settings.max_records)
    if not isinstance(outcome, list):
        raise _refusal(outcome, settings.max_records, parts.metrics.field_errors)
    try:
        appended = await parts.log.append(kind, outcome, traceparent(request.headers.get("traceparent")))
    except NotAppended as error:
        raise unavailable(_what_may_appear(error)) from error
    parts.metrics.accepted(kind, len(outcome))
    operation = Operation(caller.org_id, kind, stamp.request_id, appended)
    token = operation_id(secret, operation)
    seconds = wait_seconds(request.headers.getlist("prefer"), settings.max_wait_seconds)
    applied = {} if seconds is None else {"Preference-Applied": f"wait={seconds:g}"}
    if seconds is not None and await parts.watcher.wait(operation, seconds):
        with suppress(Unreachable):  # the write is durable: an answer must not look as if it were not
            return done("Applied", await operation_data(parts, token, operation), headers=applied)
    return done("Queued", {"accepted": len(outcome), "operation_id": token}, 202, applied)


def wait_seconds(prefer: Sequence[str], most: float) -> float | None:
    """The seconds of `Prefer: wait=N` (RFC 7240), at most `most`; None where it is not asked for, or malformed."""
    for preference in ",".join(prefer).split(","):
        name, _, value = preference.partition(";")[0].partition("=")
        if name.strip().lower() == "wait":
            value = value.strip().strip('"')
            return min(float(value), most) if value.isascii() and value.isdecimal() and len(value) < 10 else None
    return None


def _check_type(content_type: str | None) -> None:
    if content_type and (not _JSON_TYPE.fullmatch(content_type) or _OTHER_CHARSET.search(content_type)):
        raise Refusal(415, "Content-Type must be application/json, in UTF-8", headers={"Accept-Post": "application/json"})


def _refusal(outcome: Refused | TooMany, max_records: int, count: Callable[[Iterable[FieldError]], None]) -> Refusal:
    if isinstance(outcome, TooMany):
        return Refusal(
            413, f"{outcome.records} records are more than {max_records}: send them in parts, or use the bulk import"
        )
    count(outcome.errors)
    return wrong_fields(outcome.errors, outcome.total)


def _what_may_appear(error: NotAppended) -> str:
    if error.may_appear:
        return f"{error}. The write may still appear: send an Idempotency-Key and retry until answered"
    return f"{error}. Nothing of it will appear: retry"


ROUTES = [
    Route(f"/v1/ingest/{kind}/upsert", partial(upsert, kind), methods=["POST"], name=f"upsert_{kind}") for kind in KINDS
]
