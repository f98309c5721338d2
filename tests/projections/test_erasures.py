"""The proof of an erasure, on a real Kafka and a real PostgreSQL: it holds, and each thing that is left is found."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import orjson
import psycopg
import pytest
from confluent_kafka import Producer

from foldline.adapters.codec import STATE_TOPIC, StateCodec, UpsertCodec
from foldline.adapters.pool import Database
from foldline.adapters.postgres import connect
from foldline.adapters.producer import KafkaLog
from foldline.adapters.registry import registry_of
from foldline.domain.errors import FoldlineError
from foldline.domain.keys import message_key, partition_of
from foldline.domain.records import State, Upsert
from foldline.settings import Settings
from producers.sealing import SealedLog
from projections import generations
from projections.erasures import Erasure, Proof, as_json, erasures, prove
from projections.tables import PUBLISHED_SECONDS
from tests.keys import MASTERS
from tests.pipeline import append, append_raw, prepared, produce, running, wait_applied

SECRET = "ada@example.com"
_requests = count()


def event(status: str | None, value: str | None, user_id: str = "ada") -> Upsert:
    text = None if value is None else orjson.dumps({"mail": value}).decode()
    return Upsert("org_1", user_id, None, status, text, 1_000, f"req_{next(_requests)}", 0)


def send(settings: Settings, *events: Upsert) -> None:
    """The events through a gateway, a request each, and folded."""

    async def sent() -> None:
        pool, log = Database(settings, "test"), KafkaLog(settings, registry_of(settings), lambda *_: None)
        await pool.open()
        await log.open()
        try:
            gateway = SealedLog(log, pool.fetch, settings)
            for one in events:
                await gateway.append("users", [one], "00")
        finally:
            await log.close(2)
            await pool.close()

    asyncio.run(sent())


def fold(settings: Settings) -> None:
    with running(settings):
        wait_applied(settings)


def proof_of(settings: Settings, user_id: str = "ada") -> Proof:
    with connect(settings.database_url, "test") as connection:
        return prove(settings, connection, "org_1", user_id)


@contextmanager
def sql(settings: Settings) -> Iterator[Callable[..., Any]]:
    with psycopg.connect(settings.database_url) as connection:
        yield connection.execute


@pytest.fixture
def settings(kafka: str, database: str, topic_prefix: str) -> Settings:
    return prepared(kafka, database, topic_prefix)


@pytest.fixture
def erased(settings: Settings) -> Settings:
    """A user with attributes in two events, erased; and another one who is not."""
    send(settings, event(None, SECRET), event(None, "ada@example.org"), event(None, "x", "bob"), event("deleted", None))
    fold(settings)
    return settings


def test_the_proof_of_an_erasure_holds(erased: Settings) -> None:
    moves: list[tuple[int, int]] = []
    with connect(erased.database_url, "test") as connection:
        proof = prove(erased, connection, "org_1", "ada", lambda *moved: moves.append(moved))
    assert proof.faults == []
    assert proof.holds
    assert (proof.status, proof.unclean, proof.erasures) == ("deleted", (), 1)
    assert (proof.keys_destroyed, proof.keys_living, proof.keys_left) == (1, 0, 0)
    assert (proof.events, proof.sealed, proof.plain, proof.readable, proof.undecodable) == (3, 2, 0, 0, 0)
    assert (proof.behind, proof.waiting) == (0, None)
    published = PUBLISHED_SECONDS + erased.publish_interval_seconds
    assert proof.compacted_by - proof.erased_at == timedelta(seconds=erased.state_compaction_lag_seconds + published + 600)
    assert moves[-1][0] == moves[-1][1] > 3
    shown = as_json(proof)
    assert list(shown)[:2] == ["holds", "faults"]
    assert orjson.loads(orjson.dumps(shown))["erased_at"].endswith("Z")


def test_it_is_published_again_after_the_lag_even_if_it_was_published_late(erased: Settings) -> None:
    lag = timedelta(seconds=erased.state_compaction_lag_seconds)
    with sql(erased) as control:
        ((later,),) = control(
            "SELECT p.due_at - e.erased_at FROM foldline_control.pending_publications p"
            " JOIN foldline_control.erasures e ON (e.org_id, e.user_id) = (p.org_id, p.entity_id)"
        ).fetchall()
    assert later > lag + timedelta(seconds=erased.publish_interval_seconds)


def test_states_of_before_the_erasure_are_counted_until_they_must_be_gone(settings: Settings) -> None:
    send(settings, event(None, SECRET))
    fold(settings)
    send(settings, event("deleted", None))
    fold(settings)
    proof = proof_of(settings)
    assert (proof.holds, proof.states) == (True, 1)
    with sql(settings) as execute:
        execute("UPDATE foldline_control.erasures SET erased_at = erased_at - interval '2 days'")
        execute("DELETE FROM foldline_control.pending_publications")
    (fault,) = proof_of(settings).faults
    assert fault.startswith("states of before the erasure are on the state topic")


def test_what_comes_after_an_erasure_is_not_held_against_it(erased: Settings) -> None:
    send(erased, event("active", "new@example.com"))
    fold(erased)
    proof = proof_of(erased)
    assert proof.faults == []
    assert (proof.status, proof.sealed, proof.readable) == ("active", 3, 0)
    assert (proof.keys_destroyed, proof.keys_living, proof.keys_left) == (1, 1, 0)
    assert (proof.states, proof.events) == (0, 4)


def test_a_row_with_what_it_should_not_know_is_found_in_every_generation(erased: Settings) -> None:
    send(erased, event("active", "new@example.com"))
    fold(erased)
    with connect(erased.database_url, "test") as connection:
        other, _ = generations.begin(connection, "test")
    with sql(erased) as execute:
        execute(f"INSERT INTO gen_{other}.users SELECT * FROM gen_1.users")  # noqa: S608
    assert proof_of(erased).unclean == ()
    for number in (other, 1):
        with sql(erased) as execute:
            execute(f"UPDATE gen_{number}.users SET attributes = attributes || %s", ('{"phone": "555"}',))  # noqa: S608
        proof = proof_of(erased)
        assert number in proof.unclean
        assert f"the row of generation {number} has attributes that no event since the erasure carries" in proof.faults
    assert proof_of(erased).unclean == (1, other)


def test_a_value_of_before_the_erasure_under_the_name_of_one_since_is_found(erased: Settings) -> None:
    send(erased, event("active", "new@example.com"))
    fold(erased)
    with sql(erased) as execute:
        execute("UPDATE gen_1.users SET attributes = %s", (orjson.dumps({"mail": SECRET}).decode(),))
    assert proof_of(erased).unclean == (1,)


def test_a_key_that_was_not_destroyed_is_found_with_what_it_opens(settings: Settings) -> None:
    send(settings, event(None, SECRET))
    with sql(settings) as execute:
        ((key_id, wrapped),) = execute("SELECT key_id, wrapped FROM foldline_control.user_keys").fetchall()
    send(settings, event("deleted", None))
    fold(settings)
    assert proof_of(settings).holds
    with sql(settings) as execute:
        execute(
            "UPDATE foldline_control.user_keys SET wrapped = %s, destroyed_at = NULL WHERE key_id = %s", (wrapped, key_id)
        )
    proof = proof_of(settings)
    assert (proof.holds, proof.readable, proof.readable_plain, proof.keys_left, proof.keys_living) == (False, 1, 0, 1, 0)
    assert proof.faults == [
        "keys that the erasure should have destroyed are there: 1",
        "sealed attributes of before the erasure can be opened in the log: 1 event",
    ]


def test_a_key_that_a_deletion_was_to_end_is_found_though_no_event_is_sealed_under_it(erased: Settings) -> None:
    with sql(erased) as execute:
        ((event_id,),) = execute("SELECT DISTINCT event_id FROM foldline_control.key_ends").fetchall()
        key_id = b"k" * 16
        execute(
            "INSERT INTO foldline_control.user_keys (key_id, org_id, user_id, wrapped, retired_at)"
            " VALUES (%s, 'org_1', 'ada', %s, now())",
            (key_id, MASTERS.current.wrap(key_id, b"s" * 32)),
        )
        assert proof_of(erased).holds  # not committed yet
        execute("INSERT INTO foldline_control.key_ends VALUES (%s, %s)", (event_id, key_id))
    proof = proof_of(erased)
    assert (proof.holds, proof.keys_left, proof.readable) == (False, 1, 0)


@pytest.mark.parametrize("carrier", [event(None, SECRET), event("deleted", SECRET)])
def test_attributes_that_another_program_wrote_unsealed_are_found(settings: Settings, carrier: Upsert) -> None:
    append(settings, "users", [carrier])
    send(settings, event("deleted", None))
    fold(settings)
    proof = proof_of(settings)
    assert (proof.holds, proof.plain, proof.readable, proof.readable_plain) == (False, 1, 1, 1)
    assert proof.faults == [
        "attributes of before the erasure lie unsealed in the log, as another program wrote them: 1 event"
    ]
    append(settings, "users", [event("active", "since")])
    fold(settings)
    assert (proof_of(settings).plain, proof_of(settings).readable) == (2, 1)


def test_a_key_whose_id_a_stranger_has_put_before_what_is_no_seal_of_it_is_not_left(settings: Settings) -> None:
    send(settings, event(None, "known", "ada"))
    with sql(settings) as execute:
        ((key_id,),) = execute("SELECT key_id FROM foldline_control.user_keys").fetchall()
    send(settings, event("deleted", None))
    fold(settings)
    send(settings, event("active", "again"))
    with sql(settings) as execute:
        ((living,),) = execute("SELECT key_id FROM foldline_control.user_keys WHERE wrapped IS NOT NULL").fetchall()
    assert living != key_id
    fold(settings)
    append(settings, "users", [event("deleted", None)])  # another program's: the living key is not noted for it
    fold(settings)
    assert proof_of(settings).keys_destroyed == 2
    with sql(settings) as execute:
        own = b"k" * 16
        execute(
            "INSERT INTO foldline_control.user_keys (key_id, org_id, user_id, wrapped) VALUES (%s, 'org_1', 'ada', %s)",
            (own, MASTERS.current.wrap(own, b"s" * 32)),
        )
    append(settings, "users", [event("active", None)._replace(sealed=own + b"x" * 60), event("deleted", None)])
    fold(settings)
    proof = proof_of(settings)
    assert (proof.faults, proof.keys_living, proof.keys_left, proof.sealed) == ([], 1, 0, 3)


def test_dead_letters_of_before_an_erasure_are_found(settings: Settings) -> None:
    key, elsewhere = message_key("org_1", "ada"), partition_of(message_key("org_1", "ada"), settings.partitions)
    codec = UpsertCodec("users", registry_of(settings))
    spoilt = [(key, b"{}"), (key, codec.encode(event("gone", SECRET)))]
    append_raw(settings, "users", spoilt)
    append_raw(settings, "users", [(b"other", codec.encode(event(None, SECRET)))], (elsewhere + 1) % settings.partitions)
    send(settings, event("deleted", None))
    append_raw(settings, "users", [(key, b"[]")])
    fold(settings)
    assert proof_of(settings).letters == 0
    with sql(settings) as execute:
        execute("UPDATE foldline_control.dead_letters SET value = 'x' WHERE value IS NULL")
    proof = proof_of(settings)
    assert proof.letters == 3
    assert "dead letters of before the erasure still have their bytes: 3" in proof.faults


def test_a_deletion_that_waits_is_said_so(erased: Settings) -> None:
    send(erased, event("active", SECRET), event("deleted", None))
    proof = proof_of(erased)
    assert (proof.holds, proof.behind) == (False, 2)
    assert proof.faults == [f"a newer deletion lies at offset {proof.waiting} and is not applied yet"]
    fold(erased)
    assert (proof_of(erased).holds, proof_of(erased).erasures, proof_of(erased).offset) == (True, 2, proof.waiting)


def test_who_was_never_erased_cannot_be_proved_so(settings: Settings) -> None:
    send(settings, event(None, SECRET))
    with pytest.raises(FoldlineError, match=r"^org_1:ada has not been erased$"):
        proof_of(settings)
    send(settings, event("deleted", None))
    with pytest.raises(FoldlineError, match="has not been erased: its deletion at offset 1 is not applied yet"):
        proof_of(settings)


def test_what_nobody_can_decode_is_counted(erased: Settings) -> None:
    partition = proof_of(erased).partition
    topic = erased.topic_prefix + STATE_TOPIC["users"]
    state = State("org_1", "ada", 1, "active", {}, 1, 1, 1, partition, 0, 2)
    text = StateCodec("users", registry_of(erased)).encode(state, '{"mail":"x"}', 1)
    produce(erased, topic, [(message_key("org_1", "ada"), value) for value in (b"\0", b"{}", text)], partition)
    produce(erased, erased.topic_prefix + "users.upserts.v1", [(message_key("org_1", "ada"), b"{}")], partition)
    proof = proof_of(erased)
    assert (proof.states, proof.undecodable, proof.holds) == (3, 1, True)


def test_a_state_of_a_transaction_that_was_given_up_lies_on_the_topic_too(erased: Settings) -> None:
    partition, key = proof_of(erased).partition, message_key("org_1", "ada")
    state = State("org_1", "ada", 1, "active", {}, 1, 1, 1, partition, 0, 2)
    config = {"bootstrap.servers": erased.kafka_bootstrap, "transactional.id": f"{erased.topic_prefix}test", "log_level": 0}
    producer = Producer(config)
    producer.init_transactions(30)
    producer.begin_transaction()
    text = StateCodec("users", registry_of(erased)).encode(state, '{"mail":"x"}', 1)
    producer.produce(erased.topic_prefix + STATE_TOPIC["users"], text, key, partition)
    assert producer.flush(30) == 0
    assert proof_of(erased).states == 1
    producer.abort_transaction(30)
    assert proof_of(erased).states == 1


def test_erasures_are_listed_newest_first_a_page_at_a_time(settings: Settings) -> None:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    listed = [
        Erasure(f"org_{n % 2}", f"u{n % 3}", settings.topic_prefix + "users.upserts.v1", n % 3, n, f"r{n}", n, moment, None)
        for n, moment in enumerate([at, at, at, at + timedelta(seconds=1), at])
    ]
    with connect(settings.database_url, "test") as connection:
        for erasure in listed:
            connection.execute("INSERT INTO foldline_control.erasures VALUES (%s, %s, %s, %s, %s, %s, %s, %s)", erasure[:8])
        connection.execute(
            "INSERT INTO foldline_control.pending_publications VALUES (1, %s, %s, %s, %s, %s)",
            (listed[3].topic, listed[3].partition, listed[3].org_id, listed[3].user_id, at),
        )
        listed[0] = listed[0]._replace(publish_due=None)
        expected = sorted(listed, key=lambda one: one.place, reverse=True)
        expected[0] = expected[0]._replace(publish_due=at)

        def paged(limit: int, **whose: str) -> Sequence[Erasure]:
            found: list[Erasure] = []
            while page := erasures(connection, after=found[-1].place if found else None, limit=limit, **whose):
                assert len(page) <= limit
                found += page
            return found

        for limit in (1, 2, 100):
            assert paged(limit) == expected
            assert paged(limit, org_id="org_1") == [one for one in expected if one.org_id == "org_1"]
            assert paged(limit, org_id="org_0", user_id="u0") == [listed[0]]
