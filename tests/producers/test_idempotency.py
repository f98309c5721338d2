"""`Idempotency-Key`: what is sent again changes nothing, whatever became of the first attempt."""

from __future__ import annotations

import asyncio
import gzip
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import httpx
import psycopg
import pytest

from foldline.adapters.postgres import connect
from foldline.embedded.processes import until
from foldline.settings import Settings
from producers.gateway.idempotency import IdempotencyKeys
from producers.gateway.server import bound
from tests.pipeline import wait_applied
from tests.producers.conftest import Gateway, NewOrg, gateway_of
from tests.producers.test_ingest import refused
from tests.producers.test_outages import behind_a_proxy

Json = dict[str, Any]
PATHS = {"items": "/v1/ingest/items/upsert", "users": "/v1/ingest/users/upsert"}
ITEM = {"item_id": "A", "item_type": "t", "attributes": {"n": 1}}
HOLD = 7022868215640286999  # an advisory lock: whoever has it keeps every answer from being kept


def upsert(api: httpx.Client, body: Any, key: str | None = "key-1", kind: str = "items", **headers: str) -> httpx.Response:
    more = {} if key is None else {"Idempotency-Key": key}
    return api.post(PATHS[kind], json=body, headers=more | headers)


def until_accepted(api: httpx.Client, body: Any, **others: Any) -> None:
    """Asks again until it is answered, as a client does."""
    assert until(lambda: upsert(api, body, **others).status_code == 202, 20)


def state(stage: Settings, api: httpx.Client, entity: str = "items/A") -> Json:
    """The record, once all of the log is folded."""
    wait_applied(stage, published=False)
    answer = api.get(f"/v1/{entity}", params={"include_deleted": "true"})
    assert answer.status_code == 200, answer.text
    found: Json = answer.json()["data"]
    return found


@pytest.fixture
def control(stage: Settings) -> Iterator[psycopg.Connection[tuple[Any, ...]]]:
    with psycopg.connect(stage.database_url, autocommit=True) as connection:
        yield connection


@pytest.fixture
def other(stage: Settings, api: httpx.Client) -> Iterator[httpx.Client]:
    """The same organisation at another gateway."""
    with gateway_of(stage) as gateway, gateway.client(api.headers["X-API-KEY"]) as client:
        yield client


def wind(control: psycopg.Connection[tuple[Any, ...]], key_hash: bytes, by: str) -> None:
    """Puts the times of a key back."""
    query = """UPDATE foldline_control.idempotency_keys
        SET began_at = began_at - %s::interval, held_until = held_until - %s::interval WHERE key_hash = %s"""
    assert control.execute(query, (by, by, key_hash)).rowcount == 1


def newest(control: psycopg.Connection[tuple[Any, ...]]) -> bytes:
    row = control.execute("SELECT key_hash FROM foldline_control.idempotency_keys ORDER BY began_at DESC LIMIT 1").fetchone()
    assert row is not None
    found: bytes = row[0]
    return found


@pytest.mark.parametrize("kind", ["items", "users"])
@pytest.mark.parametrize("array", [False, True])
def test_who_asks_again_gets_the_first_answer(
    stage: Settings, api: httpx.Client, other: httpx.Client, kind: str, array: bool
) -> None:
    record = ITEM if kind == "items" else {"user_id": "A", "attributes": {"n": 1}}
    body = [record, record | {"attributes": {"m": 2}}] if array else record
    first = upsert(api, body, kind=kind)
    assert first.status_code == 202
    assert "Idempotency-Replayed" not in first.headers
    for client in (api, other):
        again = upsert(client, body, kind=kind)
        assert (again.status_code, again.json()) == (202, first.json())
        assert again.headers["Idempotency-Replayed"] == "true"
        assert "RateLimit-Limit" in again.headers
    assert state(stage, api, f"{kind}/A")["version"] == (2 if array else 1)


def test_the_same_body_is_the_same_however_it_is_sent(api: httpx.Client) -> None:
    first = upsert(api, ITEM)
    body = gzip.compress(first.request.content)
    headers = {"Idempotency-Key": "key-1", "Content-Encoding": "gzip", "Content-Type": "application/json"}
    assert api.post(PATHS["items"], content=body, headers=headers).json() == first.json()


def test_an_answer_that_was_waited_for_comes_again(api: httpx.Client) -> None:
    body = [ITEM, {"item_id": "without a type"}]
    first = upsert(api, body, Prefer="wait=30")
    assert first.status_code == 200
    assert first.json()["data"]["status"] == "applied_with_errors"
    again = upsert(api, body)
    assert (again.status_code, again.json()) == (200, first.json())


def test_with_another_body_it_is_refused(stage: Settings, api: httpx.Client) -> None:
    assert upsert(api, ITEM).status_code == 202
    for body, kind in ((ITEM | {"status": "inactive"}, "items"), ([ITEM], "items"), ({"user_id": "A"}, "users")):
        assert "another body" in refused(upsert(api, body, kind=kind), 422)
    assert (state(stage, api)["status"], state(stage, api)["version"]) == ("active", 1)


def test_two_organisations_may_have_the_same_key(
    stage: Settings, api: httpx.Client, gateway: Gateway, new_org: NewOrg
) -> None:
    with gateway.client(new_org().secret_key) as stranger:
        first, second = upsert(api, ITEM), upsert(stranger, ITEM | {"status": "inactive"})
        assert first.status_code == second.status_code == 202
        assert (state(stage, api)["status"], state(stage, stranger)["status"]) == ("active", "inactive")


@pytest.mark.parametrize("key", ["", "k" * 256, "schl\u00fcssel", "a\tb"])
def test_what_is_no_key_is_refused(api: httpx.Client, key: str) -> None:
    answer = api.post(PATHS["items"], json=ITEM, headers=[(b"Idempotency-Key", key.encode("latin-1"))])
    assert "1 to 255 characters" in refused(answer, 400)


@pytest.mark.parametrize("key", ["k", "k" * 255, '"8e03978e-40d5-43e8-bc93-6894a57f9324"', "a b", "!~"])
def test_what_is_a_key_is_taken(api: httpx.Client, key: str) -> None:
    assert upsert(api, ITEM, key).status_code == 202
    assert upsert(api, ITEM, key).headers["Idempotency-Replayed"] == "true"


def test_two_keys_at_once_are_refused(api: httpx.Client) -> None:
    headers = [(b"Idempotency-Key", b"one"), (b"Idempotency-Key", b"two")]
    refused(api.post(PATHS["items"], json=ITEM, headers=headers), 400)


def test_a_request_that_was_refused_has_not_used_its_key(api: httpx.Client) -> None:
    assert upsert(api, [ITEM, {"item_id": "B", "status": "gone"}]).status_code == 400
    answer = upsert(api, [ITEM, {"item_id": "B", "status": "active"}])
    assert (answer.status_code, answer.headers.get("Idempotency-Replayed")) == (202, None)


def test_after_a_day_it_is_new(stage: Settings, api: httpx.Client, control: psycopg.Connection[tuple[Any, ...]]) -> None:
    first = upsert(api, ITEM).json()
    key_hash = newest(control)
    wind(control, key_hash, "23:59:00")
    assert upsert(api, ITEM).json() == first
    wind(control, key_hash, "00:01:00")
    second = upsert(api, ITEM | {"attributes": {"n": 2}})  # though the fold has had the first just now
    assert second.status_code == 202
    assert second.json() != first
    assert upsert(api, ITEM | {"attributes": {"n": 2}}).json() == second.json()
    assert (state(stage, api)["attributes"], state(stage, api)["version"]) == ({"n": 2}, 2)


def test_old_keys_go_as_new_ones_come(api: httpx.Client, control: psycopg.Connection[tuple[Any, ...]]) -> None:
    hashes = []
    for number in range(4):
        assert upsert(api, ITEM, f"old {number}").status_code == 202
        hashes.append(newest(control))
        wind(control, hashes[-1], "73:00:00")
    for number in range(3):
        assert upsert(api, ITEM, f"new {number}").status_code == 202
    query = "SELECT count(*) FROM foldline_control.idempotency_keys WHERE key_hash = ANY (%s)"
    assert control.execute(query, (hashes,)).fetchone() == (0,)


def test_the_database_has_neither_key_nor_body(api: httpx.Client, control: psycopg.Connection[tuple[Any, ...]]) -> None:
    upsert(api, {"user_id": "A", "attributes": {"mail": "ada@example.com"}}, "for Ada", "users")
    rows = control.execute("SELECT t::text FROM foldline_control.idempotency_keys t").fetchall()
    for text in ("ada@example.com", "for Ada"):
        assert not [row for (row,) in rows if text in row or text.encode().hex() in row]


def test_of_many_at_once_one_changes_the_record(stage: Settings, api: httpx.Client, other: httpx.Client) -> None:
    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda number: upsert((api, other)[number % 2], ITEM), range(24)))
    accepted = [answer for answer in answers if answer.status_code == 202]
    assert len([answer for answer in accepted if "Idempotency-Replayed" not in answer.headers]) == 1
    assert len({answer.content for answer in accepted}) == 1
    for answer in answers:
        if answer.status_code != 202:
            refused(answer, 409)
            assert answer.headers["Retry-After"] == "1"
    assert state(stage, api)["version"] == 1


def claimed(gateway: Gateway, org_id: str, content: bytes, request_id: str, seconds: float) -> None:
    """A gateway has claimed the key, and is heard of no more."""
    secret = gateway.parts.known_secret
    assert secret is not None
    with connect(gateway.parts.settings.database_url, "test") as connection:

        async def fetch(query: str, parameters: Any) -> list[tuple[Any, ...]]:
            return connection.execute(query.encode(), parameters).fetchall()

        keys = IdempotencyKeys(fetch)
        asyncio.run(keys.claim(secret, org_id, "items", b"key-1", content, request_id, seconds))


def test_a_gateway_that_died_holds_the_key_no_longer_than_its_lease(
    stage: Settings, gateway: Gateway, new_org: NewOrg, control: psycopg.Connection[tuple[Any, ...]]
) -> None:
    org = new_org()
    with gateway.client(org.secret_key) as api:
        assert upsert(api, ITEM, None).status_code == 202
        claimed(gateway, org.org_id, api.build_request("POST", "/", json=ITEM).content, "0" * 32, 60)
        answer = upsert(api, ITEM)
        assert "under way" in refused(answer, 409)
        assert answer.headers["Retry-After"] == "1"
        refused(upsert(api, ITEM | {"status": "deleted"}), 422)
        wind(control, newest(control), "60 s")
        assert upsert(api, ITEM).status_code == 202
        assert state(stage, api)["version"] == 2


@pytest.fixture
def held(control: psycopg.Connection[tuple[Any, ...]]) -> Iterator[Callable[[], None]]:
    """No answer is kept until what is returned is called: requests stop where they are in the log and not answered yet."""
    control.execute(
        f"""
        CREATE FUNCTION foldline_control.test_wait() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            PERFORM pg_advisory_xact_lock_shared({HOLD}); RETURN NEW; END $$;
        CREATE TRIGGER test_wait BEFORE UPDATE ON foldline_control.idempotency_keys
        FOR EACH ROW WHEN (NEW.status IS NOT NULL) EXECUTE FUNCTION foldline_control.test_wait();
        SELECT pg_advisory_lock({HOLD})""".encode()
    )

    def release() -> None:
        control.execute("SELECT pg_advisory_unlock(%s)", (HOLD,))
        control.execute("DROP TRIGGER IF EXISTS test_wait ON foldline_control.idempotency_keys")

    yield release
    release()
    control.execute("DROP FUNCTION foldline_control.test_wait")


@contextmanager
def process(settings: Settings) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """A gateway of its own, which can be killed."""
    listener = bound("127.0.0.1", 0)
    port = listener.getsockname()[1]
    listener.close()
    changed = {name: getattr(settings, name) for name in settings.model_fields_set} | {"gateway_port": port}
    environment = os.environ | {f"FOLDLINE_{name.upper()}": str(value) for name, value in changed.items()}
    started = subprocess.Popen([sys.executable, "-m", "foldline", "gateway"], env=environment)
    try:
        assert until(lambda: _is_up(f"http://127.0.0.1:{port}"), 30)
        yield started, f"http://127.0.0.1:{port}"
    finally:
        started.kill()
        started.wait()


def _is_up(url: str) -> bool:
    try:
        return httpx.get(f"{url}/healthz", trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


@pytest.mark.parametrize("end", ["killed", "cut"])
def test_who_gets_no_answer_and_asks_again_has_written_once(
    stage: Settings,
    api: httpx.Client,
    control: psycopg.Connection[tuple[Any, ...]],
    held: Callable[[], None],
    end: str,
) -> None:
    body = [ITEM, ITEM | {"attributes": {"m": 1}}]
    with process(stage) as (gateway, url), ThreadPoolExecutor(1) as pool:
        first = httpx.Client(base_url=url, headers=api.headers, trust_env=False, timeout=1 if end == "cut" else 30)
        answering = pool.submit(upsert, first, body)
        assert until(lambda: api.get("/v1/items/A").status_code == 200, 30)  # it is in the log, and folded
        if end == "killed":
            gateway.send_signal(signal.SIGKILL)
            control.execute(  # which else would go on with what it was sent
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%answer_idempotency_key%'"
                " AND wait_event = 'advisory'"
            )
        with pytest.raises(httpx.TransportError):
            answering.result()
        assert upsert(api, {"item_id": "A", "attributes": {"n": 2}}, None).status_code == 202
        held()
        if end == "killed":
            refused(upsert(api, body), 409)
        until_accepted(api, body)
    assert (state(stage, api)["attributes"], state(stage, api)["version"]) == ({"n": 2, "m": 1}, 3)


def test_without_the_database_nothing_is_queued(stage: Settings, new_org: NewOrg) -> None:
    with behind_a_proxy(stage) as (gateway, proxy), gateway.client(new_org().secret_key) as client:
        assert upsert(client, ITEM, None).status_code == 202
        proxy.cut()
        answer = upsert(client, ITEM | {"attributes": {"n": 2}})
        refused(answer, 503)
        assert answer.headers["Retry-After"] == "1"
        proxy.mend()
        until_accepted(client, ITEM | {"attributes": {"n": 2}})
        assert state(stage, client)["version"] == 2


def test_an_answer_that_cannot_be_kept_is_not_given(
    stage: Settings, new_org: NewOrg, api: httpx.Client, held: Callable[[], None]
) -> None:
    settings = stage.model_copy(update={"database_timeout_seconds": 0.5, "delivery_timeout_seconds": 2.0})
    with gateway_of(settings) as gateway, gateway.client(api.headers["X-API-KEY"]) as client:
        answer = upsert(client, ITEM)
        assert "could not be kept" in refused(answer, 503)
        assert answer.headers["Retry-After"] == "1"
        held()
        until_accepted(client, ITEM)
    assert state(stage, api)["version"] == 1


def test_without_kafka_the_key_is_let_go(stage: Settings, api: httpx.Client) -> None:
    away = stage.model_copy(update={"kafka_bootstrap": "127.0.0.1:1", "delivery_timeout_seconds": 1.0})
    with gateway_of(away) as gateway, gateway.client(api.headers["X-API-KEY"]) as client:
        refused(upsert(client, ITEM), 503)
    assert upsert(api, ITEM).status_code == 202
    assert state(stage, api)["version"] == 1


def forgotten(control: psycopg.Connection[tuple[Any, ...]]) -> None:
    """The database has lost its keys: what is sent again is appended again."""
    control.execute("DELETE FROM foldline_control.idempotency_keys")


def test_a_late_repetition_of_a_deletion_keeps_what_came_after_it(
    stage: Settings, api: httpx.Client, control: psycopg.Connection[tuple[Any, ...]]
) -> None:
    delete = [{"user_id": "A", "attributes": {"mail": "old"}}, {"user_id": "A", "status": "deleted"}]
    assert upsert(api, delete, kind="users").status_code == 202
    assert upsert(api, {"user_id": "A", "status": "active", "attributes": {"n": 1}}, None, "users").status_code == 202
    forgotten(control)
    assert upsert(api, delete, kind="users").status_code == 202
    assert upsert(api, {"user_id": "A", "attributes": {"m": 2}}, None, "users").status_code == 202
    found = state(stage, api, "users/A")
    assert (found["status"], found["attributes"], found["version"]) == ("active", {"n": 1, "m": 2}, 4)
    assert upsert(api, {"user_id": "A", "status": "deleted"}, None, "users").status_code == 202
    assert state(stage, api, "users/A")["version"] == 5
    wait_applied(stage)
    query = "SELECT count(*) FROM foldline_control.user_keys WHERE wrapped IS NOT NULL AND org_id = %s"
    org_id = control.execute(
        "SELECT org_id FROM foldline.known_users WHERE user_id = 'A' ORDER BY updated_at DESC"
    ).fetchone()
    assert org_id is not None
    assert control.execute(query, org_id).fetchone() == (0,)


def test_a_late_repetition_does_not_bring_an_erased_user_back(
    stage: Settings, api: httpx.Client, control: psycopg.Connection[tuple[Any, ...]]
) -> None:
    create = {"user_id": "A", "status": "active", "attributes": {"mail": "ada@example.com"}}
    assert upsert(api, create, kind="users").status_code == 202
    assert upsert(api, {"user_id": "A", "status": "deleted"}, None, "users").status_code == 202
    forgotten(control)
    assert upsert(api, create, kind="users").status_code == 202
    found = state(stage, api, "users/A")
    assert (found["status"], found["attributes"], found["version"]) == ("deleted", {}, 2)
