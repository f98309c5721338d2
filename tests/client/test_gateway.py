"""Both clients against a gateway: every record once, whatever happens between."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime
from itertools import count
from typing import Any

import pytest

from foldline.client import (
    BadRecord,
    Client,
    Forbidden,
    Limits,
    NotFound,
    RateLimited,
    Refused,
    Retry,
    Unanswered,
    Unauthorised,
)
from foldline.embedded.ports import Ports
from tests.client.conftest import WINDOW_SECONDS, Connect
from tests.e2e.load import applies_work
from tests.e2e.outside import Organisation, Stack, eventually

pytestmark = pytest.mark.server

RECORDS = 21_000
KILLS = 3


def item(item_id: str, **attributes: Any) -> Any:
    return {"item_id": item_id, "item_type": "p", "attributes": attributes}


@pytest.mark.parametrize("compress", [False, True])
def test_any_number_of_records_is_written_once_each(connect: Connect, org: Organisation, compress: bool) -> None:
    client = connect(org.secret_key, compress=compress)
    accepted = client.upsert_items(item(f"P-{number:05}", n=number, text="ü" * 40) for number in range(RECORDS))
    assert len(accepted.operations) > RECORDS // 10_000 + 1  # the size ends a request here, not the number
    done = client.wait_applied(accepted)
    assert (done.accepted, done.applied, done.rejected, done.errors) == (RECORDS, RECORDS, 0, ())
    found = list(client.items())
    assert [(state.item_id, state.attributes["n"], state.version) for state in found] == [
        (f"P-{number:05}", number, 1) for number in range(RECORDS)
    ]


def test_one_record_is_written_once(client: Client) -> None:
    done = client.upsert_users({"user_id": "u", "created_at": datetime(2025, 1, 12, 9, tzinfo=UTC)}, wait=30)
    assert (done.is_applied, done.applied) == (True, 1)
    user = client.user("u")
    assert (user.user_id, user.created_at, user.status, user.version) == (
        "u",
        datetime(2025, 1, 12, 9, tzinfo=UTC),
        "active",
        1,
    )
    assert client.operation(done.operations[0].operation_id) == done.operations[0]


def test_a_gateway_that_is_killed_again_and_again_gets_everything_once(
    stack: Stack, connect: Connect, org: Organisation
) -> None:
    """Each upsert of an item adds an attribute: what was lost would be missing, what came twice would be counted."""
    client = connect(org.secret_key, limits=Limits(records=20))
    prober = stack.organisation("Prober")
    sent, over = 0, threading.Event()

    def kill() -> None:
        try:
            for _ in range(KILLS):
                before = sent
                assert eventually(lambda: sent >= before + 60, 60)  # noqa: B023
                (gateway,) = stack.processes("gateway")
                gateway.kill()
                assert eventually(lambda: not gateway.is_running(), 10)  # noqa: B023
                assert eventually(lambda: applies_work(stack, prober), 60)
        finally:
            over.set()

    killer = threading.Thread(target=kill)
    killer.start()
    operations = []
    try:
        for upsert in count():
            if over.is_set():
                break
            done = client.upsert_items(item(f"P-{number}", **{f"u{upsert}": True}, last=upsert) for number in range(30))
            operations.append(done)
            sent = 30 * (upsert + 1)
    finally:
        killer.join()
    upserts = len(operations)
    assert upserts > 2 * KILLS
    assert all(len(done.operations) == 2 for done in operations)
    for done in operations:
        client.wait_applied(done)
    expected = {f"u{upsert}": True for upsert in range(upserts)} | {"last": upserts - 1}
    states = list(client.items())
    assert len(states) == 30
    assert [state for state in states if (state.version, state.attributes) != (upserts, expected)] == []


def test_who_is_told_to_wait_waits_and_writes_once(stack: Stack, connect: Connect) -> None:
    org = stack.organisation("Limited", rate_limit=4)
    client = connect(org.secret_key, limits=Limits(records=1))
    began = time.monotonic()
    accepted = client.upsert_items(item(f"P-{number}") for number in range(10))
    assert accepted.accepted == len(accepted.operations) == 10
    assert time.monotonic() - began > WINDOW_SECONDS
    assert [state.version for state in client.items(min_operation=accepted.operations[-1])] == [1] * 10


def test_who_would_wait_longer_than_the_deadline_hears_at_once(stack: Stack, connect: Connect) -> None:
    org = stack.organisation("Limited", rate_limit=2)
    client = connect(org.secret_key, limits=Limits(records=1), retry=Retry(deadline_seconds=0.5))
    with pytest.raises(RateLimited) as caught:  # on a slow machine some windows pass before one is used up
        client.upsert_items(item(f"P-{number}") for number in count())
    error = caught.value
    assert 0 < (error.retry_after or 0) <= WINDOW_SECONDS
    accepted = error.upserted.accepted
    assert accepted >= 2
    # The same records with the same key go on where it ended.
    with_one_more = [item(f"P-{number}") for number in range(accepted + 1)]
    patient = connect(org.secret_key, limits=Limits(records=1))
    done = patient.upsert_items(with_one_more, idempotency_key=error.idempotency_key)
    assert done.operations[:accepted] == error.upserted.operations
    patient.wait_applied(done)
    assert [state.version for state in patient.items()] == [1] * (accepted + 1)


def test_the_same_call_again_gets_the_same_answer_and_changes_nothing(client: Client) -> None:
    records = [item("A", n=1), item("B", n=1)]
    first = client.upsert_items(records, wait=30, idempotency_key="import-7")
    assert client.upsert_items(records, wait=30, idempotency_key="import-7") == first
    assert client.upsert_items(records, wait=30).operations != first.operations  # without a key it is another one
    assert [state.version for state in client.items()] == [2, 2]
    with pytest.raises(Refused, match="used with another body") as caught:
        client.upsert_items([item("A", n=2)], idempotency_key="import-7")
    assert caught.value.status == 422


def test_what_is_refused_is_named_by_its_place_among_all(client: Client, connect: Connect, org: Organisation) -> None:
    client = connect(org.secret_key, limits=Limits(records=3))
    with pytest.raises(Refused) as caught:
        client.upsert_items([*(item(f"P-{number}") for number in range(4)), {"item_id": "bad", "status": "gone"}])  # type: ignore[typeddict-item]
    (error,) = caught.value.errors
    assert (error.index, error.id, error.field, error.code) == (4, "bad", "status", "invalid_status")
    assert caught.value.upserted.accepted == 3
    client.wait_applied(caught.value.upserted)
    assert [state.item_id for state in client.items()] == ["P-0", "P-1", "P-2"]
    with pytest.raises(BadRecord) as unsendable:
        client.upsert_items([item("P-3"), item("P-4", price=float("nan"))])
    assert (unsendable.value.index, unsendable.value.upserted.accepted) == (1, 1)


def test_what_the_fold_rejects_is_named_by_its_place_among_all(connect: Connect, org: Organisation) -> None:
    client = connect(org.secret_key, limits=Limits(records=2))
    done = client.wait_applied(client.upsert_items([item("A"), item("B"), item("C"), {"item_id": "new"}, item("D")]))
    assert (done.accepted, done.applied, done.rejected) == (5, 4, 1)
    assert [(error.index, error.id, error.code) for error in done.errors] == [(3, "new", "item_type_required")]


def test_reads_wait_for_ones_own_writes(client: Client) -> None:
    for number in range(20):
        accepted = client.upsert_items(item("A", n=number))
        assert client.item("A", min_operation=accepted).attributes == {"n": number}


AWKWARD = ["a/b", "..", ".", "%2F", "ü €", "?x=1#y", "a b", "\U0001f600"]


def test_records_are_found_one_by_one_and_in_listings(client: Client) -> None:
    client.upsert_items(
        [item(one) for one in AWKWARD] + [{"item_id": "gone", "item_type": "q", "status": "deleted"}], wait=30
    )
    assert [client.item(one).item_id for one in AWKWARD] == AWKWARD
    assert [state.item_id for state in client.items(page=3)] == sorted(AWKWARD)
    assert [state.item_id for state in client.items(ids=[*AWKWARD[::-1], "unknown", "gone"], page=2)] == sorted(AWKWARD)
    assert [state.item_id for state in client.items(item_type="q", include_deleted=True)] == ["gone"]
    assert [state.item_id for state in client.items(status="deleted")] == ["gone"]
    assert list(client.items(ids=[])) == []
    assert client.item("gone", include_deleted=True).status == "deleted"
    for unknown in ("gone", "unknown", ""):
        with pytest.raises(NotFound):
            client.item(unknown)
    with pytest.raises(NotFound):
        client.operation("op_none")
    with pytest.raises(Refused):
        list(client.items(page=0))


def test_more_ids_than_a_listing_takes(client: Client) -> None:
    client.wait_applied(client.upsert_users({"user_id": f"u{number:03}"} for number in range(250)))
    assert [user.user_id for user in client.users(ids=(f"u{number:03}" for number in range(250)))] == [
        f"u{number:03}" for number in range(250)
    ]


def test_keys_that_may_not(connect: Connect, org: Organisation) -> None:
    with pytest.raises(Forbidden, match="publishable"):
        connect(org.publishable_key).upsert_items(item("A"))
    with pytest.raises(Unauthorised):
        connect("lehnz_sk_no").item("A")


def test_where_nothing_listens(connect: Connect, org: Organisation, tmp_path: Any) -> None:
    port = Ports(tmp_path / "ports.json").get("nobody")
    client = connect(org.secret_key, url=f"http://127.0.0.1:{port}", retry=Retry(deadline_seconds=1.0))
    began = time.monotonic()
    with pytest.raises(Unanswered, match=r"no answer to GET /v1/items/A in .* attempts: ") as caught:
        client.item("A")
    assert caught.value.__cause__ is not None
    assert time.monotonic() - began < 5
