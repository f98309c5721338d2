"""The one exception tree. The message is for a person; what a program needs is in attributes."""

from __future__ import annotations

import json
from typing import Any, TypeAlias

from foldline.client.exchange import Answer, seconds_asked_for
from foldline.client.records import FieldError, Upserted, field_error_of

SHOWN_CHARACTERS = 200


class ClientError(Exception):
    """What was asked of Foldline has not come about.

    Of an upsert, `upserted` has the requests that were accepted before, and `idempotency_key` is what to hand over with the
    same records to go on: what is accepted already is not written twice.
    """

    upserted: Upserted = Upserted()
    idempotency_key: str | None = None


class BadRecord(ClientError):
    """A record cannot be sent at all: it is no JSON, or larger than a request may be. `index` is its place."""

    def __init__(self, index: int, message: str) -> None:
        super().__init__(f"record {index} cannot be sent: {message}")
        self.index = index


class Unanswered(ClientError):
    """No answer came in time. Whether an upsert was written is not known."""


class NotApplied(ClientError):
    """What was accepted is not applied within the time. It will be: `upserted` can be waited for again."""


class NegativeAnswer(ClientError):
    """Foldline, or something before it, has answered, and not with what was asked for.

    `errors` are the field errors, up to 100 of `error_count`. `retry_after` are the seconds after which it may be otherwise.
    """

    def __init__(
        self, message: str, status: int, errors: tuple[FieldError, ...], error_count: int, retry_after: float | None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.errors = errors
        self.error_count = error_count
        self.retry_after = retry_after


class Refused(NegativeAnswer):
    """The request does not hold (400, 413, 415), or its key was used with another body (422). Nothing of it was queued."""


class Unauthorised(NegativeAnswer):
    """The key is missing, unknown or revoked (401)."""


class Forbidden(NegativeAnswer):
    """The key is known, and may not do this (403)."""


class NotFound(NegativeAnswer):
    """There is no such record or operation (404). A deleted record is found with `include_deleted` only."""


class RateLimited(NegativeAnswer):
    """The organisation's requests are used up for longer than the deadline (429)."""


class Unavailable(NegativeAnswer):
    """Foldline could not do it in time (408, 409, 502, 503, 504). The message says whether a write may still appear."""


class UnexpectedAnswer(NegativeAnswer):
    """An answer that the contract does not have, such as a proxy's page, or 500: a failure inside."""


_Class: TypeAlias = type[NegativeAnswer]
_CLASSES: dict[int, _Class] = {
    400: Refused, 413: Refused, 415: Refused, 422: Refused,
    401: Unauthorised, 403: Forbidden, 404: NotFound, 429: RateLimited,
    408: Unavailable, 409: Unavailable, 502: Unavailable, 503: Unavailable, 504: Unavailable,
}  # fmt: skip


def data_of(answer: Answer) -> Any:
    """The `data` of a positive answer. Raises the `NegativeAnswer` that any other is."""
    try:
        body = json.loads(answer.body)
        if 200 <= answer.status < 300:
            return body["data"]
        error = body["error"]
        errors = tuple(field_error_of(one) for one in error) if isinstance(error, list) else ()
        message, count = body["message"], body["error_count"]
    except (ValueError, KeyError, TypeError):  # not from Foldline, or not of this contract
        shown = answer.body[:SHOWN_CHARACTERS].decode(errors="replace")
        known = _CLASSES.get(answer.status, UnexpectedAnswer)
        raise _made(known, answer, f"an answer that is not Foldline's: {shown}", (), 1) from None
    raise _made(_CLASSES.get(answer.status, UnexpectedAnswer), answer, message, errors, count)


def _made(known: _Class, answer: Answer, message: str, errors: tuple[FieldError, ...], count: int) -> NegativeAnswer:
    return known(f"{message} (HTTP {answer.status})", answer.status, errors, count, seconds_asked_for(answer))
