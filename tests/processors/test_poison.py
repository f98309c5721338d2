"""Poison on a real Kafka and a real PostgreSQL: each is one dead letter with a reason, and the next record flows."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from structlog.testing import capture_logs

from foldline.adapters.codec import BundledRegistry, UpsertCodec
from foldline.adapters.topics import DEAD_LETTERS_TOPIC
from foldline.cli.process import ports
from foldline.domain.errors import Unreachable
from foldline.domain.keys import message_key, partition_of
from foldline.domain.records import KINDS, Kind, Upsert
from foldline.embedded.processes import until
from foldline.settings import Settings
from tests.pipeline import append, append_raw, prepared, running, table, wait_applied
from tests.processors.dead_letters import dead_letters, dead_letters_on_topic

AT = 1_736_672_400_000_000
PARTITIONS = 3
OTHER: dict[Kind, Kind] = {"items": "users", "users": "items"}
Poison = tuple[str, bytes | None, bytes | None, str, str]  # what it is, key, value, code, what the reason has in it


def upsert(kind: Kind, entity_id: str = "P", **changed: Any) -> Upsert:
    detail = "product" if kind == "items" else AT
    return Upsert("org_1", entity_id, detail, None, '{"n": 1}', AT, "a" * 32, 0)._replace(**changed)


def encoded(kind: Kind, **changed: Any) -> bytes:
    return UpsertCodec(kind, BundledRegistry()).encode(upsert(kind, **changed))


def undecodable(kind: Kind) -> Iterator[Poison]:
    key, value = message_key("org_1", "P"), encoded(kind)
    noise = random.Random(1).randbytes(70_000)
    yield "no value", key, None, "undecodable", "no value"
    yield "empty value", key, b"", "undecodable", "no value"
    yield "text", key, b'{"item_id": "P"}', "undecodable", "does not begin as Confluent's wire format does"
    yield "wrong magic byte", key, b"\x01" + value[1:], "undecodable", "does not begin as Confluent's wire format does"
    yield "four bytes", key, value[:4], "undecodable", "does not begin as Confluent's wire format does"
    yield "unknown schema id", key, b"\x00\x00\x00\x03\xe7" + value[5:], "unknown_schema", "no schema has the id 999"
    yield "schema id alone", key, value[:5], "undecodable", "it ends in the middle of a field"
    for length in range(6, len(value)):
        yield f"truncated to {length} bytes", key, value[:length], "undecodable", "it ends in the middle of a field"
    yield "bytes left over", key, value + b"\x00", "undecodable", "bytes are left after the Avro body"
    yield "the other topic's event", key, encoded(OTHER[kind]), "undecodable", "written for another topic, or another record"
    yield "70,000 random bytes", key, b"\x07" + noise[1:], "undecodable", "does not begin as Confluent's wire format does"
    yield "70,000 random bytes under a schema", key, value[:5] + noise, "undecodable", "the value is not Avro of its schema"
    yield "random bytes as key, too", noise[:100], noise, "undecodable", "wire format"


def unlawful(kind: Kind) -> Iterator[Poison]:
    id_field = {"items": "item_id", "users": "user_id"}[kind]
    key = message_key("org_1", "P")

    def broken(what: str, code: str, reason: str, key: bytes | None = key, **changed: Any) -> Poison:
        return what, key, encoded(kind, **changed), code, reason

    yield broken("no key", "wrong_key", f"key is not its value's org_id:{id_field}", key=None)
    yield broken("empty key", "wrong_key", f"key is not its value's org_id:{id_field}", key=b"")
    yield broken("another's key", "wrong_key", f"key is not its value's org_id:{id_field}", key=b"org_2:P")
    yield broken("an organisation that cannot be", "invalid_id", "organisation's id", key=b"o r:P", org_id="o r")
    yield broken("no id", "invalid_id", "at least one character", key=b"org_1:", entity_id="")
    yield broken("a control character", "invalid_id", "U+0000", key=b"org_1:a\x00", entity_id="a\x00")
    yield broken("a long id", "too_long", "at most 256", key=b"org_1:" + b"x" * 257, entity_id="x" * 257)
    yield broken("an unknown status", "invalid_status", "must be active, inactive or deleted", status="gone")
    yield broken("a time before time", "invalid_timestamp", "outside the years 1 to 9999", received_at=-(2**62))
    if kind == "users":
        yield broken("a user created too late", "invalid_timestamp", "outside the years 1 to 9999", detail=2**62)
        return
    yield broken("a new item without a type", "item_type_required", "needs an item_type", detail=None)
    yield broken("an empty type", "invalid_string", "must not be empty", detail="")
    yield broken("a long type", "too_long", "at most 128", detail="x" * 129)
    yield broken("attributes that are no JSON", "invalid_json", "", attributes="{")
    yield broken("attributes that are no object", "invalid_type", "", attributes="[]")
    yield broken("a number that cannot be kept", "invalid_number", "", attributes='{"n": 1e999}')
    yield broken("attributes too deep", "too_deep", "", attributes='{"a":' * 33 + "1" + "}" * 33)
    yield broken("attributes too large", "record_too_large", "limit", attributes=f'{{"a": "{"x" * 1_048_576}"}}')


def poisons(kind: Kind) -> list[Poison]:
    return [*undecodable(kind), *unlawful(kind)]


@pytest.mark.parametrize("kind", KINDS)
def test_each_poison_is_one_dead_letter_and_the_next_record_flows(
    kind: Kind, kafka: str, database: str, topic_prefix: str
) -> None:
    settings = prepared(kafka, database, topic_prefix, partitions=PARTITIONS)
    sent = poisons(kind)
    for number, (_, key, value, _, _) in enumerate(sent):
        append_raw(settings, kind, [(key, value)])
        append(settings, kind, [upsert(kind, f"good-{number}")])
    with running(settings):
        wait_applied(settings)
        assert set(table(settings)) == {(kind, "org_1", f"good-{number}") for number in range(len(sent))}
        found = dead_letters(settings)
        wanted = {(key, value): (what, code, reason) for what, key, value, code, reason in sent}
        assert len(found) == len(wanted) == len(sent)
        for letter in found:
            what, code, reason = wanted[letter.key, letter.value]
            assert (letter.code, letter.kind) == (code, kind), (what, letter)
            assert reason in letter.message, (what, letter.message)
            assert letter.message[0] != "<"
            assert "Traceback" not in letter.message
        on_topic = dead_letters_on_topic(settings, settings.topic_prefix + DEAD_LETTERS_TOPIC)
        assert on_topic == {
            (letter.partition, letter.offset): (letter.key, letter.value, f"{letter.code}: {letter.message}")
            for letter in found
        }


@pytest.mark.parametrize("kind", KINDS)
def test_a_record_on_a_partition_where_it_does_not_belong(kind: Kind, kafka: str, database: str, topic_prefix: str) -> None:
    """Somebody with another partitioner: every partition but the right one rejects it."""
    settings = prepared(kafka, database, topic_prefix, partitions=PARTITIONS)
    key = message_key("org_1", "P")
    for partition in range(PARTITIONS):
        append_raw(settings, kind, [(key, encoded(kind))], partition)
    right = partition_of(key, PARTITIONS)
    with running(settings):
        wait_applied(settings)
    found = {letter.partition: (letter.code, letter.message) for letter in dead_letters(settings)}
    reason = ("wrong_partition", f"the key belongs on partition {right}")
    assert found == {partition: reason for partition in range(PARTITIONS) if partition != right}
    assert [state["version"] for state in table(settings).values()] == [1]


class AwayRegistry(BundledRegistry):
    """A registry of the bundled schemas under ids of its own, that does not answer until `away` is False."""

    def __init__(self) -> None:
        self.away, self.asked = True, 0

    def schema_of(self, schema_id: int) -> dict[str, Any]:
        self.asked += 1
        if self.away:
            raise Unreachable("the registry is away")
        return super().schema_of(schema_id - 1000)


@pytest.mark.parametrize("kind", KINDS)
def test_a_registry_that_is_away_makes_no_dead_letter(kind: Kind, kafka: str, database: str, topic_prefix: str) -> None:
    settings = prepared(kafka, database, topic_prefix, partitions=PARTITIONS)
    value = encoded(kind)
    registry = AwayRegistry()
    foreign = b"\x00" + (int.from_bytes(value[1:5], "big") + 1000).to_bytes(4, "big") + value[5:]
    append_raw(settings, kind, [(message_key("org_1", "P"), foreign)])
    with running(settings, ports(settings)._replace(registry=registry)):
        assert until(lambda: registry.asked >= 3, 60)
        assert (table(settings), dead_letters(settings)) == ({}, [])
        registry.away = False
        wait_applied(settings)
    assert list(table(settings)) == [(kind, "org_1", "P")]
    assert dead_letters(settings) == []


def test_a_database_that_is_away_makes_no_dead_letter(kafka: str, postgres: str, database: str, topic_prefix: str) -> None:
    settings = prepared(kafka, database, topic_prefix, partitions=PARTITIONS, database_timeout_seconds=2)
    with running(settings), psycopg.connect(postgres, autocommit=True) as admin, capture_logs() as logs:
        append(settings, "items", [upsert("items", "before")])
        wait_applied(settings)
        _allow_connections(admin, settings, False)
        for kind in KINDS:
            append(settings, kind, [upsert(kind, f"P-{number}") for number in range(50)])
        assert until(lambda: sum(entry["event"] == "begin again" for entry in logs) >= 3, 60), logs
        _allow_connections(admin, settings, True)
        wait_applied(settings)
        assert len(table(settings)) == 101
        assert dead_letters(settings) == []


def _allow_connections(admin: psycopg.Connection[Any], settings: Settings, allowed: bool) -> None:
    name = settings.database_url.rpartition("/")[2].partition("?")[0]
    admin.execute(f"ALTER DATABASE {name} WITH ALLOW_CONNECTIONS {allowed}".encode())
    admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,))


def test_what_the_database_quotes_of_a_user_gets_into_no_letter_and_no_log(
    kafka: str, database: str, topic_prefix: str
) -> None:
    settings = prepared(kafka, database, topic_prefix)
    secret = "ada@example.com"
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("ALTER TABLE gen_1.users ADD CHECK (NOT attributes ? 'email')")
        with pytest.raises(psycopg.errors.CheckViolation, match=secret):  # the server does quote the row
            connection.execute(
                "INSERT INTO gen_1.users SELECT 'o', 'u', now(), 'active', jsonb_build_object('email', %s::text), 1, now(),"
                " now(), 0, 0, '{}'",
                (secret,),
            )
    with capture_logs() as logs:
        append(settings, "users", [upsert("users", attributes=f'{{"email": "{secret}"}}'), upsert("users", "Q")])
        with running(settings):
            wait_applied(settings)
    (letter,) = dead_letters(settings)
    assert letter.code == "refused"
    assert "violates check constraint" in letter.message
    assert secret not in letter.message
    assert secret not in str(logs)
    assert table(settings)["users", "org_1", "Q"]["version"] == 1
