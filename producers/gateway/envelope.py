"""The one envelope of every answer, and the refusals, which are raised from wherever they are noticed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from starlette.responses import Response

from producers.validation import FieldError

RETRY_SECONDS = 1


class Json(Response):
    """A JSON body by orjson."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return orjson.dumps(content)


class Refusal(Exception):
    """An answer other than the one asked for. `errors` are field errors; without any, the message is the error."""

    def __init__(
        self,
        status: int,
        message: str,
        errors: Sequence[FieldError] = (),
        count: int = 1,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.errors = errors
        self.count = count
        self.headers = dict(headers or {})


def done(message: str, data: Mapping[str, Any], status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A positive answer."""
    return Json({"success": True, "message": message, "data": data}, status, headers)


def refused(refusal: Refusal) -> Response:
    """A negative answer."""
    return Json(failure(refusal.message, refusal.errors, refusal.count), refusal.status, refusal.headers)


def failure(message: str, errors: Sequence[FieldError] = (), count: int = 1) -> dict[str, Any]:
    """The body of a negative answer."""
    detail: object = [error.as_json() for error in errors] if errors else message
    return {"success": False, "message": message, "data": None, "error": detail, "error_count": count}


def wrong_fields(errors: Sequence[FieldError], count: int, outcome: str = "") -> Refusal:
    """400 for field errors, the first `len(errors)` of `count`. `outcome` says what that means, if anything."""
    found = f"{count} error{'s' if count > 1 else ''}, the first: {errors[0].message}"
    return Refusal(400, f"{outcome}: {found}" if outcome else found, errors, count)


def unavailable(message: str) -> Refusal:
    """503: ask again."""
    return Refusal(503, message, headers={"Retry-After": str(RETRY_SECONDS)})
