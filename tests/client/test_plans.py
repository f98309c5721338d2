"""What calls do, as conversations: each request or pause that is expected, and what comes of it."""

from __future__ import annotations

import gzip
import json
from typing import Any, NamedTuple

import pytest

from foldline.client import (
    BadRecord,
    FieldError,
    Forbidden,
    Item,
    Limits,
    NegativeAnswer,
    NotApplied,
    NotFound,
    Operation,
    RateLimited,
    Refused,
    Retry,
    Unanswered,
    Unauthorised,
    Unavailable,
    UnexpectedAnswer,
    Upserted,
)
from foldline.client.exchange import Answer, Lost, Request
from foldline.client.plans import Pause, Plan, Plans, checked_key, checked_url, listings, query_of
from foldline.client.records import ITEMS

ITEM = {"item_id": "A", "item_type": "p", "status": "active", "attributes": {"n": 1}, "version": 2}
STATE = ITEM | {"first_seen_at": "2026-11-23T12:10:30.73491Z", "updated_at": "2026-11-23T12:10:31Z", "new_field": 1}
LOST = Lost(ConnectionError("connection refused"))


class Clock:
    """A clock that moves by what the conversation says."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Turn(NamedTuple):
    """A request that is expected, how long it takes, and what comes of it."""

    target: str
    outcome: Answer | Lost
    seconds: float = 0.0


def said(status: int, data: Any, **headers: str) -> Answer:
    body = {"success": True, "message": "…", "data": data}
    return Answer(status, {name.replace("_", "-"): value for name, value in headers.items()}, json.dumps(body).encode())


def refused(status: int, message: str, errors: Any = None, **headers: str) -> Answer:
    body = {
        "success": False,
        "message": message,
        "data": None,
        "error": errors or message,
        "error_count": len(errors or "1"),
    }
    return Answer(status, {name.replace("_", "-"): value for name, value in headers.items()}, json.dumps(body).encode())


def queued(number: int, operation_id: str = "op_1") -> Answer:
    return said(202, {"accepted": number, "operation_id": operation_id})


def plans(clock: Clock | None = None, limits: Limits = Limits(), compress: bool = False, **retry: float) -> Plans:  # noqa: B008
    return Plans(Retry(**retry), limits, compress, clock or Clock(), lambda: 0.5)


def held(plan: Plan[Any], clock: Clock, *turns: Turn | float) -> tuple[Any, list[Request]]:
    """Holds the conversation, in which pauses are numbers, and returns what the plan returns and the requests it sent."""
    sent: list[Request] = []
    outcome: Answer | Lost | None = None
    for turn in turns:
        step = plan.send(outcome)
        if isinstance(turn, Turn):
            assert isinstance(step, Request), step
            assert step.target == turn.target
            sent.append(step)
            outcome = turn.outcome
            clock.now += turn.seconds
        else:
            assert isinstance(step, Pause), step
            assert step.seconds == pytest.approx(turn)
            outcome = None
            clock.now += turn
    with pytest.raises(StopIteration) as end:
        plan.send(outcome)
    return end.value.value, sent


UPSERT = "/v1/ingest/items/upsert"
A, B, C = {"item_id": "A"}, {"item_id": "B"}, {"item_id": "C"}


def test_an_upsert_has_its_key_and_the_same_body_at_every_attempt() -> None:
    clock = Clock()
    upserted, sent = held(
        plans(clock).upsert("items", [A, B], 0, "k"), clock,
        Turn(UPSERT, LOST), 0.05, Turn(UPSERT, refused(503, "later", retry_after="1")), 1.1,
        Turn(UPSERT, refused(409, "under way", retry_after="1")), 1.2, Turn(UPSERT, queued(2)),
    )  # fmt: skip
    assert upserted == Upserted((Operation("op_1", "queued", 2),))
    assert (upserted.accepted, upserted.is_applied) == (2, False)
    assert {request.body for request in sent} == {b'[{"item_id":"A"},{"item_id":"B"}]'}
    assert [dict(request.headers) for request in sent] == [{"Content-Type": "application/json", "Idempotency-Key": "k"}] * 4


def test_many_records_go_in_order_under_keys_of_their_own() -> None:
    clock = Clock()
    answers = [Turn(UPSERT, queued(2, "op_1")), Turn(UPSERT, queued(2, "op_2")), Turn(UPSERT, queued(1, "op_3"))]
    upserted, sent = held(plans(clock, Limits(2, 1000)).upsert("items", [A, B, C, A, B], 0, "k"), clock, *answers)
    assert [operation.operation_id for operation in upserted.operations] == ["op_1", "op_2", "op_3"]
    assert upserted.accepted == 5
    assert [request.headers["Idempotency-Key"] for request in sent] == ["k", "k.2", "k.3"]
    assert [json.loads(request.body or b"") for request in sent] == [[A, B], [C, A], [B]]


def test_no_records_are_no_requests() -> None:
    assert held(plans().upsert("items", [], 0, "k"), Clock()) == (Upserted(()), [])


def test_compressed_the_body_is_the_same_at_every_attempt() -> None:
    clock = Clock()
    plan = plans(clock, compress=True).upsert("items", [A], 0, "k")
    _, (first, second) = held(plan, clock, Turn(UPSERT, LOST), 0.05, Turn(UPSERT, queued(1)))
    assert first == second._replace(timeout_seconds=first.timeout_seconds)
    assert first.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(first.body or b"") == b'[{"item_id":"A"}]'


def test_waiting_is_asked_for_in_whole_seconds_and_has_the_time_it_takes() -> None:
    done = {"operation_id": "op_1", "status": "applied", "accepted": 1, "applied": 1, "rejected": 0, "errors": []}
    upserted, (request,) = held(plans().upsert("items", [A], 2.5, "k"), Clock(), Turn(UPSERT, said(200, done)))
    assert (request.headers["Prefer"], request.timeout_seconds) == ("wait=3", 22.5)
    assert (upserted.is_applied, upserted.applied) == (True, 1)


def failed(plan: Plan[Any], clock: Clock, *turns: Turn | float) -> Any:
    with pytest.raises(Exception) as caught:  # noqa: PT011 (the caller looks)
        held(plan, clock, *turns)
    return caught.value


def test_a_refusal_names_the_record_among_all_and_what_was_accepted_before() -> None:
    errors = [{"index": 1, "id": "B", "field": "status", "code": "invalid_status", "message": "no such status"}]
    error = failed(
        plans(limits=Limits(3, 1000)).upsert("items", [A, B, C, A, B], 0, "k"), Clock(),
        Turn(UPSERT, queued(3)), Turn(UPSERT, refused(400, "Nothing was accepted", errors)),
    )  # fmt: skip
    assert type(error) is Refused
    assert str(error) == "Nothing was accepted (HTTP 400)"
    assert error.errors == (FieldError(4, "B", "status", "invalid_status", "no such status"),)
    assert (error.status, error.error_count, error.upserted.accepted, error.idempotency_key) == (400, 1, 3, "k")


def test_a_record_that_cannot_be_sent_stops_after_what_was_accepted() -> None:
    error = failed(
        plans(limits=Limits(1, 1000)).upsert("items", [A, B, {"item_id": float("inf")}, C], 0, "k"), Clock(),
        Turn(UPSERT, queued(1)), Turn(UPSERT, queued(1)),
    )  # fmt: skip
    assert type(error) is BadRecord
    assert (error.index, error.upserted.accepted, error.idempotency_key) == (2, 2, "k")


def test_without_an_answer_until_the_deadline() -> None:
    clock = Clock()
    error = failed(
        plans(clock, deadline_seconds=10, timeout_seconds=4).upsert("items", [A], 0, "k"), clock,
        Turn(UPSERT, LOST, 4.0), 0.05, Turn(UPSERT, LOST, 4.0), 0.1, Turn(UPSERT, LOST, 1.75),
    )  # fmt: skip
    assert type(error) is Unanswered
    assert str(error) == "no answer to POST /v1/ingest/items/upsert in 9.9 s and 3 attempts: connection refused"
    assert error.__cause__ is LOST.error
    assert error.idempotency_key == "k"


def test_an_attempt_has_what_is_left_of_the_deadline() -> None:
    clock = Clock()
    plan = plans(clock, deadline_seconds=10, timeout_seconds=4).upsert("items", [A], 0, "k")
    _, sent = held(plan, clock, Turn(UPSERT, LOST, 4), 0.05, Turn(UPSERT, LOST, 4), 0.1, Turn(UPSERT, queued(1)))
    assert [request.timeout_seconds for request in sent] == pytest.approx([4, 4, 1.85])


def test_who_has_no_requests_left_hears_at_once_for_how_long() -> None:
    error = failed(
        plans().operation("op_1"), Clock(), Turn("/v1/ingest/operations/op_1", refused(429, "slow", retry_after="900"))
    )
    assert (type(error), error.retry_after) == (RateLimited, 900.0)


@pytest.mark.parametrize(
    ("status", "known"),
    [
        (401, Unauthorised), (403, Forbidden), (404, NotFound), (413, Refused), (415, Refused), (422, Refused),
        (500, UnexpectedAnswer),
    ],
)  # fmt: skip
def test_every_status_has_its_class(status: int, known: type[NegativeAnswer]) -> None:
    error = failed(plans().state(ITEMS, "A", {}), Clock(), Turn("/v1/items/A", refused(status, "no")))
    assert (type(error), str(error), error.errors) == (known, f"no (HTTP {status})", ())


@pytest.mark.parametrize(
    ("answer", "known"),
    [
        (Answer(200, {}, b"<html>sign in"), UnexpectedAnswer),
        (Answer(200, {}, b'{"ok": true}'), UnexpectedAnswer),
        (Answer(302, {}, b""), UnexpectedAnswer),
        (Answer(404, {}, b"<html>nothing here"), NotFound),
        (Answer(400, {}, b"[]"), Refused),
    ],
)
def test_an_answer_from_somebody_else_says_so(answer: Answer, known: type[NegativeAnswer]) -> None:
    error = failed(plans().operation("op_1"), Clock(), Turn("/v1/ingest/operations/op_1", answer))
    assert type(error) is known
    assert "not Foldline's" in str(error)


def test_a_proxy_that_does_not_reach_the_gateway_is_asked_again() -> None:
    clock = Clock()
    bad = Turn("/v1/items/A", Answer(502, {}, b"<html>bad gateway"))
    item, _ = held(plans(clock).state(ITEMS, "A", {}), clock, bad, 0.05, Turn("/v1/items/A", said(200, STATE)))
    assert item.version == 2
    error = failed(plans(deadline_seconds=0.01).state(ITEMS, "A", {}), Clock(), bad)
    assert type(error) is Unavailable


def test_a_state_is_typed() -> None:
    item, _ = held(plans().state(ITEMS, "A", {}), Clock(), Turn("/v1/items/A", said(200, STATE)))
    assert isinstance(item, Item)
    assert item[:5] == ("A", "p", "active", {"n": 1}, 2)
    assert item.first_seen_at.isoformat() == "2026-11-23T12:10:30.734910+00:00"


@pytest.mark.parametrize(("item_id", "path"), [("a/b", "a%2Fb"), ("..", "%2E%2E"), ("ü ?#%", "%C3%BC%20%3F%23%25")])
def test_an_id_stays_one_part_of_the_path(item_id: str, path: str) -> None:
    held(plans().state(ITEMS, item_id, {}), Clock(), Turn(f"/v1/items/{path}", said(200, STATE)))


def test_reading_ones_own_write_has_the_time_it_takes() -> None:
    query = query_of(True, Upserted((Operation("op_1", "queued", 1),)))
    target = "/v1/items/A?include_deleted=true&min_operation=op_1"
    _, (request,) = held(plans().state(ITEMS, "A", query), Clock(), Turn(target, said(200, STATE)))
    assert request.timeout_seconds == 50.0


def test_a_read_waits_for_one_operation() -> None:
    with pytest.raises(ValueError, match="use wait_applied"):
        query_of(min_operation=Upserted((Operation("op_1", "queued", 1), Operation("op_2", "queued", 1))))
    assert query_of(min_operation=Upserted()) == {}


def test_a_listing_goes_on_at_the_cursor() -> None:
    (request,) = listings("items", query_of(status="active", limit=2), None)
    page, _ = held(
        plans().page(ITEMS, request), Clock(),
        Turn("/v1/items?status=active&limit=2", said(200, {"items": [STATE, STATE], "next_cursor": "c/1="})),
    )  # fmt: skip
    assert [item.item_id for item in page.states] == ["A", "A"]
    second = Turn("/v1/items?status=active&limit=2&cursor=c%2F1%3D", said(200, {"items": [], "next_cursor": "c2"}))
    page, _ = held(plans().page(ITEMS, page.next), Clock(), second)
    third = Turn("/v1/items?status=active&limit=2&cursor=c2", said(200, {"items": [STATE], "next_cursor": None}))
    page, _ = held(plans().page(ITEMS, page.next), Clock(), third)
    assert page.next is None


def test_ids_are_asked_for_a_hundred_at_a_time() -> None:
    asked = list(listings("users", {}, (str(number % 150) for number in range(300))))
    assert [request.target.count("ids=") for request in asked] == [100, 50]
    assert list(listings("users", {}, [])) == []  # and not all users


def operation(status: str, errors: Any = (), operation_id: str = "op_1") -> Answer:
    rejected = len(errors)
    data = {"operation_id": operation_id, "status": status, "accepted": 2, "applied": 2 - rejected, "rejected": rejected}
    return said(200, data | {"errors": list(errors)})


def test_what_is_applied_is_known_after_growing_pauses() -> None:
    clock = Clock()
    errors = [{"index": 1, "id": "N", "field": "item_type", "code": "item_type_required", "message": "send it once"}]
    at = "/v1/ingest/operations/op_1"
    accepted = Upserted((Operation("op_0", "applied", 3, 3), Operation("op_1", "queued", 2), Operation("op_2", "queued", 2)))
    done, _ = held(
        plans(clock).applied(accepted, 60), clock,
        Turn(at, operation("queued")), 0.0375, Turn(at, operation("queued")), 0.075,
        Turn(at, operation("applied_with_errors", errors)),
        Turn("/v1/ingest/operations/op_2", operation("applied", operation_id="op_2")),
    )  # fmt: skip
    assert (done.accepted, done.applied, done.rejected, done.is_applied) == (7, 6, 1, True)
    assert done.errors == (FieldError(4, "N", "item_type", "item_type_required", "send it once"),)


def test_what_is_not_applied_in_time_can_be_waited_for_again() -> None:
    clock = Clock()
    at = "/v1/ingest/operations/op_1"
    error = failed(
        plans(clock).applied("op_1", 5), clock, Turn(at, operation("queued"), 1), 0.0375, Turn(at, operation("queued"), 4)
    )
    assert type(error) is NotApplied
    assert "op_1" in str(error)
    assert error.upserted.operations == (Operation("op_1", "queued", 2, 2),)


@pytest.mark.parametrize("key", ["", "ä", "a b", "x" * 241, "a\n"])
def test_what_is_no_key_is_refused_here(key: str) -> None:
    with pytest.raises(ValueError, match="1 to 240 characters"):
        checked_key(key)


def test_what_is_no_url_is_refused_here() -> None:
    assert checked_url("http://127.0.0.1:8080/") == "http://127.0.0.1:8080"
    with pytest.raises(ValueError, match="begins with http"):
        checked_url("127.0.0.1:8080")
