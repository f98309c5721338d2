"""An organisation that has one of everything, and every route that somebody else could try on it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import pytest
from fastapi import FastAPI

from foldline.adapters.postgres import Connection, connect
from foldline.settings import Settings
from producers.dashboard.app import ROUTES
from producers.gateway.app import application
from producers.tenants import create_key, set_rate_limit
from projections import letters
from projections.letters import Wanted
from tests.pipeline import wait_applied
from tests.producers.conftest import Gateway
from tests.producers.dashboard.test_audit import org_of
from tests.producers.dashboard.visitors import Visitor
from tests.producers.imports.conftest import Desk, importing


def bare_application() -> FastAPI:
    """The gateway's application, to be looked at, not to be asked."""
    return application(SimpleNamespace(requests=None))  # type: ignore[arg-type]


@dataclass
class Owned:
    """An organisation and whose it is. `names` are the ids by which its things are asked for, by parameter; `secret`
    stands in all that it has, and in none of these names."""

    visitor: Visitor
    org_id: str
    secret_key: str
    secret: str
    names: dict[str, str] = field(default_factory=dict)


@pytest.fixture(scope="module")
def control(stage: Settings) -> Iterator[Connection]:
    with connect(stage.database_url, "test") as connection:
        connection.execute("DELETE FROM foldline_control.attempts")
        yield connection


def owned(gateway: Gateway, stage: Settings, control: Connection, secret: str, entity_id: str) -> Owned:
    """A new organisation with records, an operation, a dead letter, an import with wrong rows, a key and a session."""
    visitor = Visitor(gateway).sign_up(f"Shop {secret}")
    org_id = org_of(control, visitor)
    key = create_key(control, org_id, "secret", stage.key_prefix).key
    set_rate_limit(control, org_id, 0)
    made = Owned(visitor, org_id, key, secret)
    item = {"item_id": entity_id, "item_type": secret[:100], "attributes": {"name": secret, secret: 1}}
    user = {"user_id": entity_id, "attributes": {"name": secret, secret: 1}}
    with gateway.client(key) as client:
        wait = {"Prefer": "wait=30", "Idempotency-Key": "the-same"}
        answer = client.post("/v1/ingest/items/upsert", json=[item, item | {"item_id": entity_id + "2"}], headers=wait)
        assert answer.status_code == 200, answer.text
        operation_id = answer.json()["data"]["operation_id"]
        assert client.post("/v1/ingest/users/upsert", json=user, headers={"Prefer": "wait=30"}).status_code == 200
        refused = client.post("/v1/ingest/items/upsert", json={"item_id": f"letter {secret}"}, headers={"Prefer": "wait=30"})
        assert refused.json()["data"]["rejected"] == 1
        cursor = client.get("/v1/items", params={"limit": 1}).json()["data"]["next_cursor"]
    desk = Desk(stage, control, org_id)
    quoted = secret.replace('"', '""')
    with importing(stage):
        file = f'item_id,item_type,status,name\n1,p,wrong,"{quoted}"\n2,p,active,"{quoted}"\n'
        import_id = desk.upload(file.encode())
        desk.wait(import_id, "ready", "rejected")
    wait_applied(stage)
    (letter,) = letters.every(control, stage, Wanted(org_id), raw=True)
    ((account_id,),) = control.execute("SELECT account_id FROM foldline_control.memberships WHERE org_id = %s", (org_id,))
    ((key_id,),) = control.execute("SELECT key_id FROM foldline_control.api_keys WHERE org_id = %s", (org_id,))
    assert visitor.session
    made.names = {
        "item_id": entity_id,
        "user_id": entity_id,
        "operation_id": operation_id,
        "min_operation": operation_id,
        "cursor": cursor,
        "ids": entity_id,
        "place": str(letter.place),
        "import_id": import_id,
        "account_id": account_id,
        "key_id": key_id,
        "org_id": org_id,
        "session": hashlib.sha256(visitor.session.encode()).hexdigest(),
    }
    return made


def filled(path: str, values: dict[str, str]) -> str:
    """A route's path with its parameters. A parameter without a value fails the test: give it one."""

    def value(match: re.Match[str]) -> str:
        name = match.group(1).partition(":")[0]
        assert name in values, f"{path}: the tests have no value for {name}: add one"
        return quote(values[name], safe="")

    return re.sub(r"\{([^}]+)\}", value, path)


def routes_of_pages(method: str) -> list[str]:
    """The dashboard's routes with that method."""
    found: list[Any] = list(ROUTES)
    return sorted({route.path for route in found if method in (getattr(route, "methods", None) or ())})
