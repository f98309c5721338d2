"""Whether and when a request is sent again."""

from __future__ import annotations

import pytest

from foldline.client import Retry
from foldline.client.exchange import Answer, Lost, Request, pause_after, seconds_asked_for, timeout_of

RETRY = Retry(deadline_seconds=60, timeout_seconds=20, first_seconds=0.1, most_seconds=10)
LOST = Lost(ConnectionError("refused"))


def answer(status: int, **headers: str) -> Answer:
    return Answer(status, {name.replace("_", "-"): value for name, value in headers.items()}, b"")


@pytest.mark.parametrize("status", [200, 202, 301, 400, 401, 403, 404, 413, 415, 422, 500, 501])
def test_what_will_not_change_is_not_repeated(status: int) -> None:
    assert pause_after(RETRY, 0, answer(status), 0.0, 0.5) is None


@pytest.mark.parametrize("outcome", [LOST, *(answer(status) for status in (408, 409, 429, 502, 503, 504))])
def test_what_may_change_is_repeated(outcome: Answer | Lost) -> None:
    assert pause_after(RETRY, 0, outcome, 0.0, 0.5) == 0.05


@pytest.mark.parametrize(
    ("attempt", "chance", "pause"),
    [
        (0, 0.0, 0.0), (0, 0.999, 0.0999), (1, 0.5, 0.1), (2, 0.5, 0.2), (3, 1.0, 0.8), (6, 0.5, 3.2), (7, 0.5, 5.0),
        (8, 0.5, 5.0), (10_000, 0.5, 5.0),
    ],
)  # fmt: skip
def test_the_span_doubles_up_to_its_end(attempt: int, chance: float, pause: float) -> None:
    assert pause_after(RETRY, attempt, LOST, 0.0, chance) == pytest.approx(pause)


@pytest.mark.parametrize(
    ("refused", "pause"),
    [
        (answer(503, retry_after="1"), 1.05),
        (answer(409, retry_after="1"), 1.05),
        (answer(429, retry_after="7", ratelimit_reset="8"), 7.05),
        (answer(429, ratelimit_reset="8"), 8.05),
        (answer(503, ratelimit_reset="8"), 0.05),  # the window has nothing to do with it
        (answer(503, retry_after="soon"), 0.05),
        (answer(503, retry_after=""), 0.05),
    ],
)
def test_nobody_is_asked_earlier_than_it_said(refused: Answer, pause: float) -> None:
    assert pause_after(RETRY, 0, refused, 0.0, 0.5) == pytest.approx(pause)


def test_a_date_is_read_by_the_answers_own_clock() -> None:
    said = {"date": "Sun, 12 Jan 2025 09:00:00 GMT", "retry_after": "Sun, 12 Jan 2025 09:00:30 GMT"}
    assert seconds_asked_for(answer(503, **said)) == 30.0
    assert seconds_asked_for(answer(503, **said | {"date": "Sun, 12 Jan 2025 09:01:00 GMT"})) == 0.0
    assert seconds_asked_for(answer(503, retry_after=said["retry_after"])) is None


@pytest.mark.parametrize(
    ("outcome", "elapsed", "pause"),
    [
        (LOST, 59.0, 0.05),
        (LOST, 59.95, None),
        (answer(503, retry_after="1"), 58.9, 1.05),
        (answer(503, retry_after="1"), 58.96, None),
        (answer(429, retry_after="900"), 0.0, None),  # at once: waiting in vain helps nobody
        (answer(429, retry_after="59"), 0.0, 59.05),
    ],
)
def test_a_pause_that_would_pass_the_deadline_is_not_made(
    outcome: Answer | Lost, elapsed: float, pause: float | None
) -> None:
    assert pause_after(RETRY, 0, outcome, elapsed, 0.5) == (None if pause is None else pytest.approx(pause))


@pytest.mark.parametrize(("elapsed", "waits", "seconds"), [(0, 0, 20), (0, 30, 50), (45, 0, 15), (45, 30, 15)])
def test_an_attempt_has_no_longer_than_what_is_left(elapsed: float, waits: float, seconds: float) -> None:
    assert timeout_of(RETRY, Request("GET", "/", waits_seconds=waits), elapsed) == seconds
