"""One request until it is answered: what is sent, what comes back, and whether and when to send again. Pure.

1. Sent again is what got no answer, or one that says: not now (408, 409, 429, 502, 503, 504). Every upsert has an
   `Idempotency-Key` and the same body each time, so sending it again is safe.
2. Nobody is asked earlier than its `Retry-After` says, or, where there is none, the `RateLimit-Reset` of a 429.
3. On top of that comes a share, by chance, of a span that doubles with each attempt: clients that failed together come back
   one by one.
4. A pause that would pass the deadline is not made: the caller hears at once that it failed.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from email.utils import parsedate_to_datetime
from typing import NamedTuple

RETRIED = frozenset((408, 409, 429, 502, 503, 504))
MOST_DOUBLINGS = 30


class Request(NamedTuple):
    """`target` is the path with its query. `waits_seconds` is how long the answer may take because it was asked to wait."""

    method: str
    target: str
    headers: Mapping[str, str] = {}
    body: bytes | None = None
    waits_seconds: float = 0.0
    timeout_seconds: float = 0.0


class Answer(NamedTuple):
    """An answer; the names of its headers are in lower case, or looked up without regard to it."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Lost(NamedTuple):
    """No answer: the connection failed, or took too long. Whether the request arrived is not known."""

    error: Exception


class Retry(NamedTuple):
    """How a request is repeated. The deadline is for all attempts at one request together; an attempt has `timeout_seconds`,
    and as long on top as it was asked to wait. The span of rule 3 begins with `first_seconds` and ends at `most_seconds`."""

    deadline_seconds: float = 60.0
    timeout_seconds: float = 20.0
    first_seconds: float = 0.1
    most_seconds: float = 10.0


def pause_after(retry: Retry, attempt: int, outcome: Answer | Lost, elapsed: float, chance: float) -> float | None:
    """The seconds until the request is sent again; None where it is not.

    `attempt` counts from 0, `elapsed` are the seconds since the first was begun, `chance` is from [0, 1).
    """
    if isinstance(outcome, Answer) and outcome.status not in RETRIED:
        return None
    asked_for = seconds_asked_for(outcome) if isinstance(outcome, Answer) else None
    span = min(retry.most_seconds, retry.first_seconds * 2.0 ** min(attempt, MOST_DOUBLINGS))
    pause = (asked_for or 0.0) + chance * span
    return pause if elapsed + pause < retry.deadline_seconds else None


def timeout_of(retry: Retry, request: Request, elapsed: float) -> float:
    """The seconds that an attempt has which begins so long after the first."""
    return min(retry.timeout_seconds + request.waits_seconds, retry.deadline_seconds - elapsed)


def seconds_asked_for(answer: Answer) -> float | None:
    """What `Retry-After` says, in seconds or as a date; else, of a 429, `RateLimit-Reset`. None where nothing does."""
    after = answer.headers.get("retry-after", "").strip()
    if not after and answer.status == 429:
        after = answer.headers.get("ratelimit-reset", "").strip()
    if after.isdecimal():
        return float(after)
    with suppress(ValueError, TypeError):  # no dates, or not both with an offset: the answer's own clock counts
        at, now = parsedate_to_datetime(after), parsedate_to_datetime(answer.headers.get("date", ""))
        return max(0.0, (at - now).total_seconds())
    return None
