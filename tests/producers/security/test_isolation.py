"""Two organisations: whatever one asks for by the other's names, on whatever route, it gets and changes nothing of it.

The routes of the API come from its OpenAPI document, those of the dashboard from the application: a new one is tried by
itself, and one for whose parameters there is no value here fails.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from foldline.adapters.postgres import Connection
from foldline.settings import Settings
from producers.gateway.openapi import document
from tests.pipeline import wait_applied
from tests.producers.conftest import Gateway, NewOrg
from tests.producers.dashboard.visitors import Visitor
from tests.producers.security.conftest import Owned, bare_application, filled, owned, routes_of_pages

DOCUMENT = document(bare_application())
OPERATIONS = [
    (method, path, operation)
    for path, methods in DOCUMENT["paths"].items()
    for method, operation in methods.items()
    if operation.get("security")
]
NAMES = [f"{method} {path}" for method, path, _ in OPERATIONS]
# Parameters that name nothing of anybody.
PLAIN = {
    "status": "active", "limit": "10", "include_deleted": "true", "Prefer": "wait=10", "Idempotency-Key": "the-same",
    "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "item_type": "p",
}  # fmt: skip
PAGES = {"chart": "items", "name": "items.csv", "token": "a" * 43}
# What changes without anybody's doing, or when its owner looks at something.
PASSING_TABLES = {"activity", "record_counts", "rate_windows"}
PASSING_COLUMNS = ("last_used_at", "last_seen_at")

Snapshot = dict[str, list[str]]


@pytest.fixture(scope="module")
def victim(gateway: Gateway, stage: Settings, control: Connection) -> Iterator[Owned]:
    made = owned(gateway, stage, control, f"SECRET{secrets.token_hex(8)}", f"the-item-{secrets.token_hex(4)}")
    yield made
    made.visitor.close()


@pytest.fixture(scope="module")
def other(gateway: Gateway, stage: Settings, control: Connection) -> Iterator[Owned]:
    made = owned(gateway, stage, control, f"OWN{secrets.token_hex(8)}", "another")
    yield made
    made.visitor.close()


def asked(client: httpx.Client, method: str, path: str, operation: dict[str, Any], names: dict[str, str]) -> httpx.Response:
    """A request that uses every parameter of an operation that `names` has, one answer for all of them."""
    values = PLAIN | names
    where = {name: {} for name in ("query", "header", "path")}  # type: dict[str, dict[str, str]]
    for parameter in operation.get("parameters", ()):
        name = parameter["name"]
        assert name in values, f"{method} {path}: the tests have no value for {name}: add one"
        where[parameter["in"]][name] = values[name]
    body = None
    if "requestBody" in operation:
        one, _ = operation["requestBody"]["content"]["application/json"]["schema"]["oneOf"]
        example = DOCUMENT["components"]["schemas"][one["$ref"].rpartition("/")[2]]["example"]
        body = example | {name: names[name] for name in example.keys() & names.keys()}
        body["attributes"] = {"name": "overwritten"}
    url = filled(path, where["path"])
    return client.request(method, url, params=where["query"], headers=where["header"], json=body)


def each_query(operation: dict[str, Any], names: dict[str, str]) -> list[dict[str, Any]]:
    """The operation with each of its query parameters alone, and with none."""
    parameters = operation.get("parameters", [])
    always = [parameter for parameter in parameters if parameter["in"] != "query"]
    alone = [[*always, parameter] for parameter in parameters if parameter["in"] == "query"]
    return [operation | {"parameters": chosen} for chosen in [always, *alone]]


def snapshot(control: Connection, org_id: str) -> Snapshot:
    """All rows of an organisation, of every table that has organisations, and its people."""
    tables = control.execute(
        "SELECT table_name FROM information_schema.columns"
        " WHERE table_schema = 'foldline_control' AND column_name = 'org_id'"
    ).fetchall()
    found = {}
    for (name,) in tables:
        if name not in PASSING_TABLES:
            query = f"SELECT to_jsonb(t) FROM foldline_control.{name} t WHERE org_id = %s"  # noqa: S608
            rows = [row for (row,) in control.execute(query.encode(), (org_id,)).fetchall()]
            found[name] = sorted(
                str({key: value for key, value in row.items() if key not in PASSING_COLUMNS}) for row in rows
            )
    people = "SELECT a::text FROM foldline_control.accounts a JOIN foldline_control.memberships USING (account_id)"
    found["accounts"] = [row for (row,) in control.execute(f"{people} WHERE org_id = %s".encode(), (org_id,)).fetchall()]
    for kind in ("items", "users"):
        query = f"SELECT t::text FROM foldline.known_{kind} t WHERE org_id = %s ORDER BY 1"  # noqa: S608
        found[kind] = [row for (row,) in control.execute(query.encode(), (org_id,)).fetchall()]
    return found


@pytest.mark.parametrize(("method", "path", "operation"), OPERATIONS, ids=NAMES)
def test_no_route_of_the_api_reaches_into_another_organisation(
    method: str, path: str, operation: dict[str, Any], gateway: Gateway, stage: Settings, control: Connection,
    victim: Owned, other: Owned, new_org: NewOrg,
) -> None:  # fmt: skip
    before = snapshot(control, victim.org_id)
    # Who writes has records of its own with these ids then.
    with gateway.client(other.secret_key if method == "get" else new_org().secret_key) as client:
        for one in each_query(operation, victim.names):
            answer = asked(client, method, path, one, victim.names)
            assert victim.secret not in answer.text
            assert victim.secret not in str(answer.headers)
            assert answer.status_code < 500
            if "{" in path and "_id}" in path and method == "get":
                assert answer.status_code == 404, answer.text
    wait_applied(stage)
    assert snapshot(control, victim.org_id) == before


@pytest.mark.parametrize(("method", "path", "operation"), [o for o in OPERATIONS if o[0] == "get"])
def test_who_owns_it_is_answered(method: str, path: str, operation: dict[str, Any], gateway: Gateway, victim: Owned) -> None:
    """Without this, the test before would also hold for a gateway that answers nobody."""
    with gateway.client(victim.secret_key) as client:
        answer = asked(client, method, path, each_query(operation, victim.names)[0], victim.names)
    assert answer.status_code == 200, answer.text
    assert victim.secret in answer.text or "operation_id" in path


@pytest.mark.parametrize(("method", "path", "operation"), OPERATIONS, ids=NAMES)
@pytest.mark.parametrize("key", [None, "lehnz_sk_nonsense"])
def test_nobody_is_answered_without_a_key(
    key: str | None, method: str, path: str, operation: dict[str, Any], gateway: Gateway, victim: Owned
) -> None:
    with gateway.client(key) as client:
        answer = asked(client, method, path, each_query(operation, victim.names)[0], victim.names)
    assert answer.status_code == 401
    assert victim.secret not in answer.text


@pytest.mark.parametrize("path", routes_of_pages("GET"))
def test_no_page_shows_another_organisation(path: str, victim: Owned, other: Owned) -> None:
    names = victim.names
    queries: list[dict[str, str]] = [{}, {"user_id": names["user_id"], "q": "the-item", "as": "json", "actor": "a"}]
    for query in queries:
        answer = other.visitor.get(filled(path, PAGES | names), params=query)
        assert victim.secret not in answer.text
        assert answer.status_code < 500
        if any(f"{{{name}" in path for name in names):
            assert answer.status_code in (403, 404), (path, answer.status_code)


@pytest.mark.parametrize("path", [path for path in routes_of_pages("GET") if "{" in path])
def test_whose_page_it_is_sees_it(path: str, victim: Owned) -> None:
    if "{token}" in path:
        pytest.skip("a link is its own proof")
    url = filled(path, PAGES | victim.names)
    with victim.visitor.stream("GET", url, params={"severity": "error", "code": "invalid_status"}) as answer:
        assert answer.status_code in (200, 204, 403, 409), (
            path,
            answer.status_code,
        )  # 403: one cannot change one's own role


@pytest.mark.parametrize("path", routes_of_pages("POST"))
def test_no_form_changes_another_organisation(path: str, gateway: Gateway, control: Connection, victim: Owned) -> None:
    control.execute("DELETE FROM foldline_control.attempts")
    before = snapshot(control, victim.org_id)
    names = victim.names
    fields = {
        **names, "id": names["user_id"], "typed": names["user_id"], "confirm": names["user_id"], "digest": names["session"],
        "email": victim.visitor.email, "role": "MEMBER", "name": "Mallory", "letters": names["place"],
        "letter": names["place"], "grace": "0", "kind": "items", "password": "a password of theirs",
        "organisation": names["org_id"],
    }  # fmt: skip
    with Visitor(gateway) as mallory:
        mallory.sign_up()
        answer = mallory.send_form(filled(path, PAGES | names), **fields)
        assert victim.secret not in answer.text
        assert answer.status_code < 500
        if any(f"{{{name}" in path for name in names):
            assert answer.status_code in (403, 404), (path, answer.status_code)
    assert snapshot(control, victim.org_id) == before


def test_nothing_of_what_was_tried_arrives_later(stage: Settings, control: Connection, victim: Owned) -> None:
    wait_applied(stage)
    found = snapshot(control, victim.org_id)
    assert all("overwritten" not in row for rows in found.values() for row in rows)
    assert [row.count(victim.secret) for row in found["items"]] == [3, 3]
    assert [row.count(victim.secret) for row in found["users"]] == [2]
