"""Keys, what they may do, and how often."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import psycopg
import pytest

from foldline.adapters.pool import Database, Parameters, Rows
from foldline.adapters.postgres import Connection, connect
from foldline.domain.errors import FoldlineError, Unreachable
from foldline.settings import Settings
from producers import tenants
from producers.gateway.access import Caller
from producers.gateway.rates import LEASED_FROM, Rates, Window
from producers.gateway.uses import Uses
from producers.tenants import hint_of, is_key, make_key
from tests.producers.conftest import Gateway, NewOrg, gateway_of

RATE_HEADERS = ("RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset")
HOLDS_SECONDS = 2.0


@pytest.fixture
def control(stage: Settings) -> Iterator[Connection]:
    with connect(stage.database_url, "test") as connection:
        yield connection


def rate(answer: httpx.Response) -> list[int]:
    return [int(answer.headers[name]) for name in RATE_HEADERS]


@pytest.mark.parametrize("role", ["secret", "publishable"])
def test_a_key_has_its_prefix_and_a_checksum(role: tenants.Role) -> None:
    key = make_key("lehnz", role)
    assert key.startswith(f"lehnz_{role[0]}k_")
    assert len(key) == 47
    assert is_key(key)
    assert key != make_key("lehnz", role)
    for wrong in (key[:-1], key + "0", key.upper(), key[:20] + ("a" if key[20] != "a" else "b") + key[21:], "", key + "\n"):
        assert not is_key(wrong)
    assert hint_of(key) == f"lehnz_{role[0]}k_…{key[-4:]}"


@pytest.mark.parametrize("key", [None, "", "nope", "lehnz_sk_" + "0" * 38, "é", "x" * 10_000])
def test_without_a_key_there_is_nothing(gateway: Gateway, key: str | None) -> None:
    headers = {} if key is None else {"X-API-KEY": key.encode()}
    for method, path in (("POST", "/v1/ingest/items/upsert"), ("GET", "/v1/items"), ("GET", "/v1/ingest/operations/op_x")):
        with gateway.client() as client:
            answer = client.request(method, path, headers=headers, content=b"not even JSON")  # type: ignore[arg-type]
        assert answer.status_code == 401
        assert answer.json()["success"] is False
        assert not set(RATE_HEADERS) & set(answer.headers)


def test_a_well_formed_key_that_nobody_has_is_unknown(gateway: Gateway) -> None:
    with gateway.client(make_key("lehnz", "secret")) as client:
        assert client.get("/v1/items").status_code == 401


def test_a_publishable_key_is_known_and_may_nothing(gateway: Gateway, new_org: NewOrg) -> None:
    org = new_org(rate_limit=10)
    with gateway.client(org.publishable_key) as client:
        answers = [client.get("/v1/items"), client.post("/v1/ingest/items/upsert", content=b"{")]
    assert [answer.status_code for answer in answers] == [403, 403]
    with gateway.client(org.secret_key) as client:
        assert rate(client.get("/v1/items"))[:2] == [10, 9], "what is public must not use up the organisation's requests"
    assert rate(answers[0])[0] == 10


def test_changes_hold_within_two_seconds(gateway: Gateway, new_org: NewOrg, control: Connection) -> None:
    org = new_org()

    def becomes(client: httpx.Client, status: int) -> None:
        deadline = time.monotonic() + HOLDS_SECONDS
        while (answer := client.get("/v1/items")).status_code != status:
            assert time.monotonic() < deadline, answer.text
            time.sleep(0.05)

    with gateway.client(org.secret_key) as client:
        becomes(client, 200)
        tenants.suspend(control, org.org_id)
        becomes(client, 403)
        tenants.resume(control, org.org_id)
        becomes(client, 200)
        _, new = tenants.rotate_key(control, org.secret_key, "lehnz")
        with gateway.client(new.key) as other:
            assert other.get("/v1/items").status_code == 200
        becomes(client, 401)
        tenants.revoke_key(control, new.key_id)
        with gateway.client(new.key) as other:
            becomes(other, 401)


def test_a_key_that_was_replaced_with_a_grace_works_until_that_is_over(
    stage: Settings, gateway: Gateway, new_org: NewOrg, control: Connection
) -> None:
    org = new_org()
    old, new = tenants.rotate_key(control, org.secret_key, "lehnz", grace_seconds=2)
    assert old.expires_at is not None
    with gateway_of(stage) as second:
        clients = [one.client(key) for one in (gateway, second) for key in (org.secret_key, new.key)]
        assert [client.get("/v1/items").status_code for client in clients] == [200] * 4
        deadline = time.monotonic() + 2 + HOLDS_SECONDS
        while [client.get("/v1/items").status_code for client in clients] != [401, 200, 401, 200]:
            assert time.monotonic() < deadline
            time.sleep(0.05)
    with pytest.raises(FoldlineError, match="has expired"):
        tenants.revoke_key(control, org.secret_key)


def test_a_key_of_another_organisation_is_none(new_org: NewOrg, control: Connection) -> None:
    own, other = new_org(), new_org()
    for key in (other.secret_key, hint_of(other.secret_key), tenants.keys(control, other.org_id)[0].key_id):
        with pytest.raises(FoldlineError, match="there is no key"):
            tenants.revoke_key(control, key, own.org_id, "a@example.com")
        with pytest.raises(FoldlineError, match="there is no key"):
            tenants.rotate_key(control, key, "lehnz", 0, own.org_id, "a@example.com")
    assert all(key.usable for key in tenants.keys(control, other.org_id))
    made = tenants.create_key(control, own.org_id, "secret", "lehnz", "a@example.com")
    tenants.rotate_key(control, made.key_id, "lehnz", 60, own.org_id, "b@example.com")
    tenants.revoke_key(control, made.key_id, own.org_id, "c@example.com")
    assert [key.created_by for key in tenants.keys(control, own.org_id)][2:] == ["a@example.com", "b@example.com"]
    log = control.execute(
        "SELECT actor, action, subject, detail->>'grace_seconds' FROM foldline_control.audit_log"
        " WHERE org_id = %s ORDER BY audit_id",
        (own.org_id,),
    ).fetchall()
    assert log[4:] == [
        ("a@example.com", "key.created", hint_of(made.key), None),
        ("b@example.com", "key.rotated", hint_of(made.key), "60"),
        ("c@example.com", "key.revoked", hint_of(made.key), None),
    ]


def test_the_last_use_of_a_key_is_noted(stage: Settings, new_org: NewOrg, control: Connection) -> None:
    org = new_org()

    def used() -> list[bool]:
        return [key.last_used_at is not None for key in tenants.keys(control, org.org_id) if key.role == "secret"]

    assert used() == [False]
    with gateway_of(stage) as own, own.client(org.secret_key) as client:
        client.get("/v1/items")
        deadline = time.monotonic() + 5
        while used() != [True]:
            assert time.monotonic() < deadline
            time.sleep(0.05)
    seconds = control.execute(
        "SELECT extract(epoch FROM now() - max(last_used_at))::float8 FROM foldline_control.api_keys WHERE org_id = %s",
        (org.org_id,),
    ).fetchall()
    assert 0 <= seconds[0][0] < 5


def test_a_gateway_writes_of_a_key_once_a_minute_and_keeps_what_it_could_not_write(stage: Settings, new_org: NewOrg) -> None:
    org_id = new_org().org_id
    now = 1000.0
    written: list[list[str]] = []
    away = False

    class Recording(Database):
        async def fetch(self, query: str, parameters: Parameters = ()) -> Rows:
            assert isinstance(parameters, dict)
            if away:
                raise Unreachable("away")
            written.append(sorted(parameters["key_ids"]))
            return await super().fetch(query, parameters)

    async def act() -> None:
        nonlocal now, away
        database = Recording(stage, "test")
        await database.open()
        uses = Uses(database, lambda: now)
        for moment, key_ids in ((1000, "a"), (1001, "ab"), (1030, "a"), (1059, ""), (1060, ""), (1200, "")):
            now = float(moment)
            for key_id in key_ids:
                uses.note(f"{org_id}{key_id}")
            await uses.flush()
        away, now = True, 1300.0
        uses.note(f"{org_id}c")
        with pytest.raises(Unreachable):
            await uses.flush()
        away = False
        await uses.close()
        await database.close()

    asyncio.run(act())
    assert written == [[f"{org_id}{key_id}"] for key_id in "abac"]


def test_a_window_has_so_many_requests_and_not_one_more(stage: Settings, gateway: Gateway, new_org: NewOrg) -> None:
    org = new_org(rate_limit=100)
    with gateway_of(stage) as second, ThreadPoolExecutor(16) as threads:
        clients = [gateway.client(org.secret_key), second.client(org.secret_key)]
        answers = list(threads.map(lambda n: clients[n % 2].get("/v1/items", params={"limit": 0}), range(130)))
    statuses = [answer.status_code for answer in answers]
    assert (statuses.count(400), statuses.count(429)) == (100, 30)
    assert sorted(rate(answer)[1] for answer in answers if answer.status_code == 400) == list(range(100))
    for answer in answers:
        limit, remaining, reset = rate(answer)
        assert limit == 100
        assert 880 < reset <= 900
        if answer.status_code == 429:
            assert remaining == 0
            assert 880 < int(answer.headers["Retry-After"]) <= 900
            assert answer.json()["success"] is False


def test_every_answer_to_a_known_key_carries_the_limit(gateway: Gateway, new_org: NewOrg) -> None:
    with gateway.client(new_org(rate_limit=50).secret_key) as client:
        answers = [
            client.get("/v1/items"),
            client.get("/v1/items/nope"),
            client.get("/v1/items", params={"limit": "x"}),
            client.get("/v1/ingest/operations/op_nope"),
            client.post("/v1/ingest/items/upsert", content=b"{"),
            client.post("/v1/ingest/items/upsert", content=b"x" * 1_100_000),
            client.post("/v1/ingest/items/upsert", content=b"{}", headers={"Content-Encoding": "br"}),
            client.post("/v1/ingest/items/upsert", content=b'{"item_id":"A"}'),
        ]
    assert [answer.status_code for answer in answers] == [200, 404, 400, 404, 400, 413, 415, 202]
    assert [rate(answer)[:2] for answer in answers] == [[50, 49 - n] for n in range(8)]


def test_zero_is_unlimited(gateway: Gateway, new_org: NewOrg) -> None:
    with gateway.client(new_org(rate_limit=0).secret_key) as client:
        assert [rate(client.get("/v1/items")) for _ in range(3)] == [[0, 2**31 - 1, 0]] * 3


def test_a_raised_limit_lets_more_pass(gateway: Gateway, new_org: NewOrg, control: Connection) -> None:
    org = new_org(rate_limit=2)
    with gateway.client(org.secret_key) as client:
        statuses = [client.get("/v1/items").status_code for _ in range(20)]
        assert statuses == [200, 200] + [429] * 18
        tenants.set_rate_limit(control, org.org_id, 10)
        time.sleep(HOLDS_SECONDS)
        statuses = [client.get("/v1/items").status_code for _ in range(20)]
    assert 7 <= statuses.count(200) <= 8


def test_a_window_that_is_over_begins_anew(stage: Settings, new_org: NewOrg) -> None:
    org = new_org(rate_limit=3)
    settings = stage.model_copy(update={"rate_limit_window_seconds": 1})
    with gateway_of(settings) as other, other.client(org.secret_key) as client:
        first = [client.get("/v1/items") for _ in range(4)]
        assert [answer.status_code for answer in first] == [200, 200, 200, 429]
        assert first[3].headers["Retry-After"] == "1"
        time.sleep(1.05)
        assert client.get("/v1/items").status_code == 200


def test_large_limits_are_leased_and_never_exceeded(new_org: NewOrg, stage: Settings) -> None:
    org = new_org()
    caller = Caller("key", org.org_id, LEASED_FROM, "")
    statements: list[str] = []

    class Counting(Database):
        async def fetch(self, query: str, parameters: Parameters = ()) -> Rows:
            statements.append(query)
            return await super().fetch(query, parameters)

    async def with_rates(count: int, act: Callable[[list[Rates]], Awaitable[list[Window]]]) -> list[Window]:
        database = Counting(stage, "test")
        await database.open()
        try:
            return await act([Rates(database, stage) for _ in range(count)])
        finally:
            await database.close()

    async def spend(rates: list[Rates]) -> list[Window]:
        return [await rates[n % len(rates)].spend(caller) for n in range(1000)]

    windows = asyncio.run(with_rates(2, spend))
    assert all(window.allowed for window in windows)
    assert len(statements) == 10
    with psycopg.connect(stage.database_url) as connection:
        row = connection.execute(
            "SELECT used FROM foldline_control.rate_windows WHERE org_id = %s", (org.org_id,)
        ).fetchone()
        assert row == (1000,)
        connection.execute(
            "UPDATE foldline_control.rate_windows SET used = %s WHERE org_id = %s", (LEASED_FROM - 30, org.org_id)
        )

    windows = asyncio.run(with_rates(1, spend))
    assert [window.allowed for window in windows] == [True] * 30 + [False] * 970
    assert len(statements) == 11


def test_organisations_and_keys_from_the_shell(control: Connection) -> None:
    made = tenants.create_organisation(control, "  Café  ", "lehnz")
    assert tenants.organisation(control, made.org_id).name == "Café"
    assert tenants.organisation(control, made.org_id).rate_limit is None
    assert made.org_id in {organisation.org_id for organisation in tenants.organisations(control)}
    assert {(key.role, key.hint) for key in tenants.keys(control, made.org_id)} == {
        ("publishable", hint_of(made.publishable_key)),
        ("secret", hint_of(made.secret_key)),
    }
    revoked = tenants.revoke_key(control, hint_of(made.secret_key))
    with pytest.raises(FoldlineError, match="revoked already"):
        tenants.revoke_key(control, revoked.key_id)
    with pytest.raises(FoldlineError, match="no key"):
        tenants.revoke_key(control, "key_nope")
    old, new = tenants.rotate_key(control, made.publishable_key, "lehnz")
    assert (old.role, new.role, new.org_id) == ("publishable", "publishable", made.org_id)
    stored = control.execute("SELECT * FROM foldline_control.api_keys WHERE org_id = %s", (made.org_id,)).fetchall()
    assert made.secret_key not in str(stored)


@pytest.mark.parametrize("name", ["", "  ", "a\nb", "x" * 201])
def test_names_that_are_none(control: Connection, name: str) -> None:
    with pytest.raises(FoldlineError, match="name"):
        tenants.create_organisation(control, name, "lehnz")


@pytest.mark.parametrize("org_id", ["nope", "", "org\x00", "é", "a" * 100])
def test_organisations_that_are_none(control: Connection, org_id: str) -> None:
    for act in (tenants.organisation, tenants.suspend, tenants.resume, tenants.keys):
        with pytest.raises(FoldlineError, match="no organisation"):
            act(control, org_id)
