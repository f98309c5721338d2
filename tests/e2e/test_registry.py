"""A gateway and a processor on a real schema registry, which goes away and comes back."""

from __future__ import annotations

from io import BytesIO

import fastavro
import psycopg
from structlog.testing import capture_logs

import schemas
from foldline.adapters.consumer import KafkaLogReader
from foldline.adapters.postgres import connect
from foldline.adapters.registry import registry_of
from foldline.domain.keys import message_key
from foldline.embedded.processes import until
from foldline.settings import Settings
from producers.tenants import create_organisation, set_rate_limit
from projections.history import history
from tests.adapters.test_registry import TOPICS, proxied
from tests.e2e.outside import data
from tests.pipeline import append_raw, prepared, running, table, topic_states, wait_applied
from tests.processors.dead_letters import dead_letters
from tests.producers.conftest import gateway_of
from tests.registry import register

WAIT = {"Prefer": "wait=20"}


def new_key(settings: Settings) -> tuple[str, str]:
    """A new organisation's id and secret key."""
    with connect(settings.database_url, "test") as connection:
        made = create_organisation(connection, "Test", settings.key_prefix)
        set_rate_limit(connection, made.org_id, 0)
    return made.org_id, made.secret_key


def later_event(org_id: str, item_id: str) -> tuple[dict[str, object], bytes]:
    """A schema that a later version may have, and the body of an event under it."""
    definition = schemas.latest(TOPICS[0]).definition
    definition["fields"].append({"name": "source", "type": ["null", "string"], "default": None})
    names = ("org_id", "item_id", "item_type", "status", "attributes", "received_at", "request_id", "record_index", "source")
    values = (org_id, item_id, None, None, '{"later": true}', 1_700_000_000_000_000, "a" * 32, 0, "shop")
    body = BytesIO()
    fastavro.schemaless_writer(body, fastavro.parse_schema(definition), dict(zip(names, values, strict=True)))
    return definition, body.getvalue()


def begun_again(logs: list[dict[str, object]]) -> int:
    return sum("schema registry" in str(line.get("reason")) for line in logs)


def test_what_is_known_goes_on_and_what_is_not_waits(
    kafka: str, database: str, topic_prefix: str, schema_registry: str
) -> None:
    with proxied(schema_registry) as (url, proxy):
        settings = prepared(kafka, database, topic_prefix, schema_registry_url=url)
        org_id, key = new_key(settings)
        with capture_logs() as logs, running(settings), gateway_of(settings) as gateway, gateway.client(key) as client:
            item = {"item_id": "A", "item_type": "t", "attributes": {"n": 1}}
            assert client.post("/v1/ingest/items/upsert", json=item, headers=WAIT).status_code == 200
            (past,) = history(settings, "items", org_id, "A")
            (record,) = KafkaLogReader(settings).read("items", past.partition, past.offset, past.offset + 1)
            value = record.value() or b""
            assert int.from_bytes(value[1:5], "big") == registry_of(settings).id_of(TOPICS[0]) > len(schemas.bundle())
            answer = client.get("/registry/schemas/ids/1")
            assert (answer.status_code, answer.json()["error_code"]) == (404, 40400)
            assert "FOLDLINE_SCHEMA_REGISTRY_URL" in answer.json()["message"]

            definition, body = later_event(org_id, "A")
            later = register(schema_registry, f"{topic_prefix}{TOPICS[0]}-value", definition)
            proxy.cut()
            for n in (2, 3):
                item["attributes"] = {"n": n}
                assert client.post("/v1/ingest/items/upsert", json=item, headers=WAIT).status_code == 200
            assert begun_again(logs) == 0

            append_raw(settings, "items", [(message_key(org_id, "A"), b"\0" + later.to_bytes(4, "big") + body)])
            assert client.post("/v1/ingest/items/upsert", json=item | {"status": "inactive"}).status_code == 202
            assert until(lambda: begun_again(logs) >= 2, 30)
            assert dead_letters(settings) == []
            assert data(client.get("/v1/items/A"))["version"] == 3
            proxy.mend()
            wait_applied(settings)
            state = data(client.get("/v1/items/A"))
            assert (state["version"], state["status"], state["attributes"]) == (5, "inactive", {"n": 3, "later": True})
            assert dead_letters(settings) == []

            unknown = (10**6).to_bytes(4, "big")
            append_raw(settings, "items", [(message_key(org_id, "A"), b"\0" + unknown + body)])
            assert client.post("/v1/ingest/items/upsert", json=item, headers=WAIT).status_code == 200
            (letter,) = dead_letters(settings)
            assert (letter.code, letter.message) == (
                "unknown_schema",
                "the schema registry has no schema with the id 1000000",
            )
        assert topic_states(settings) == table(settings)
        assert [entry.rejection and entry.rejection.code for entry in history(settings, "items", org_id, "A")] == [
            None, None, None, None, None, "unknown_schema", None,
        ]  # fmt: skip


def connections(database: str) -> int:
    """How many a processor has."""
    with psycopg.connect(database) as connection:
        ((count,),) = connection.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
            " AND application_name LIKE 'foldline process%'"
        ).fetchall()
    return int(count)


def test_who_starts_while_the_registry_is_away_begins_when_it_is_back(
    kafka: str, database: str, topic_prefix: str, schema_registry: str
) -> None:
    there = prepared(kafka, database, topic_prefix, schema_registry_url=schema_registry)
    org_id, key = new_key(there)
    with proxied(schema_registry) as (url, proxy):
        proxy.cut()
        settings = there.model_copy(update={"schema_registry_url": url})
        with capture_logs() as logs, running(settings), gateway_of(settings) as gateway, gateway.client(key) as client:
            item = {"item_id": "A", "item_type": "t"}
            refused = client.post("/v1/ingest/items/upsert", json=item)
            assert (refused.status_code, refused.headers["Retry-After"].isdecimal()) == (503, True)
            ready = client.get("/readyz")
            assert (ready.status_code, "the schema registry at" in ready.json()["message"]) == (503, True)
            assert client.get("/v1/items").status_code == 200
            assert until(lambda: begun_again(logs) >= 5, 30)
            assert until(lambda: connections(database) == 0, 10), "who begins again closes what it had opened"
            proxy.mend()
            assert until(lambda: client.get("/readyz").status_code == 200, 10)
            assert client.post("/v1/ingest/items/upsert", json=item, headers=WAIT).status_code == 200
        assert table(settings).keys() == {("items", org_id, "A")}
