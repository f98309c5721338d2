"""Dead letters into the log again: once each, through crashes, and as the dry run said."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import httpx
import pytest
from confluent_kafka import Consumer, TopicPartition

from foldline.adapters.codec import BundledRegistry, UpsertCodec
from foldline.adapters.consumer import arrived, reader_config
from foldline.adapters.postgres import Connection, connect
from foldline.adapters.producer import Appended, Header, KafkaLog, NotAppended
from foldline.domain.errors import FoldlineError, Unreachable
from foldline.domain.keys import message_key
from foldline.domain.records import Kind, Upsert
from foldline.domain.times import format_rfc3339
from foldline.embedded.processes import until
from foldline.settings import Settings
from producers.accounts.audit import entries
from producers.redrive import Outcome, Redriver
from projections import letters
from projections.forecast import Forecaster
from projections.letters import Letter, Place, Wanted
from tests.pipeline import append, append_raw, table, wait_applied
from tests.producers.conftest import Gateway, NewOrg

AT = 1_736_672_400_000_000


@pytest.fixture
def control(stage: Settings) -> Iterator[Connection]:
    with connect(stage.database_url, "test") as connection:
        yield connection


@pytest.fixture
def org(new_org: NewOrg) -> str:
    return new_org().org_id


def upsert(org: str, entity_id: str, index: int = 0, **changed: Any) -> Upsert:
    return Upsert(org, entity_id, None, None, '{"price": 1}', AT + index, "b" * 32, index)._replace(**changed)


def rejected(stage: Settings, control: Connection, events: Sequence[Upsert]) -> list[Letter]:
    """What the fold rejected of these items, oldest first."""
    append(stage, "items", events)
    return waiting(stage, control, events[0].org_id)


def waiting(stage: Settings, control: Connection, org: str | None) -> list[Letter]:
    wait_applied(stage)
    return list(letters.every(control, stage, Wanted(org, status="waiting"), raw=True))[::-1]


def redriven(
    stage: Settings, wanted: Wanted, again: bool = False, log_type: type[KafkaLog] = KafkaLog, **others: Any
) -> list[Outcome]:
    """What a session of its own redrives."""

    async def main() -> list[Outcome]:
        log = log_type(stage, BundledRegistry(), lambda *_: None)
        await log.open()
        try:
            with connect(stage.database_url, "test") as connection:
                redriver = Redriver(stage, connection, log, "ann@example.com")
                return [outcome async for outcome in redriver.run(wanted, again=again, **others)]
        finally:
            await log.close(5)

    return asyncio.run(main())


def state(stage: Settings, kind: Kind, org: str, entity_id: str) -> dict[str, Any] | None:
    wait_applied(stage)
    return table(stage).get((kind, org, entity_id))


def record_at(stage: Settings, place: Place) -> Any:
    consumer = Consumer(reader_config(stage))
    consumer.assign([TopicPartition(place.topic, place.partition, place.offset)])
    (message,) = arrived(consumer, 1, 10)
    consumer.close()
    return message


def test_what_was_rejected_is_applied_once_when_its_cause_is_gone(stage: Settings, control: Connection, org: str) -> None:
    (letter,) = rejected(stage, control, [upsert(org, "P")])
    assert (letter.code, state(stage, "items", org, "P")) == ("item_type_required", None)
    append(stage, "items", [upsert(org, "P", 7, detail="product", attributes='{"price": 2, "name": "p"}')])
    (outcome,) = redriven(stage, Wanted(org))
    assert (outcome.outcome, outcome.letter.place) == ("redriven", letter.place)
    assert outcome.landed is not None
    after = state(stage, "items", org, "P")
    assert after is not None
    assert (after["version"], after["attributes"]) == (2, {"name": "p", "price": 1})  # the newest of its record
    assert after["updated_at"] == AT  # and with its own time

    (second,) = redriven(stage, Wanted(org, places=[letter.place]))
    assert (second.outcome, second.landed) == ("already_redriven", outcome.landed)
    assert second.redrive is not None
    assert second.redrive.asked_by == "ann@example.com"
    assert state(stage, "items", org, "P") == after
    (third,) = redriven(stage, Wanted(org, places=[letter.place]), again=True)
    assert third.outcome == "redriven"
    assert state(stage, "items", org, "P")["version"] == 3  # type: ignore[index]


def test_the_same_event_lies_in_the_log_again(stage: Settings, control: Connection, org: str) -> None:
    (letter,) = rejected(stage, control, [upsert(org, "Ü 1", 3)])
    (outcome,) = redriven(stage, Wanted(org))
    assert outcome.landed is not None
    record = record_at(stage, outcome.landed)
    assert (record.key(), record.value()) == (letter.key, letter.value)
    headers = dict(record.headers())
    assert headers["foldline_redrive_of"] == str(letter.place).encode()
    assert (headers["ce_id"], headers["ce_subject"]) == (f"{'b' * 32}-3".encode(), "Ü 1".encode())
    assert headers["ce_time"] == b"2025-01-12T09:00:00.000003Z"
    (rejected_again,) = waiting(stage, control, org)
    assert (rejected_again.place, rejected_again.redrive_of) == (outcome.landed, str(letter.place))
    (first,) = letters.every(control, stage, Wanted(org, status="redriven"))
    assert (first.place, first.landed) == (letter.place, outcome.landed)


def test_a_wrong_key_and_a_wrong_partition_are_put_right(stage: Settings, control: Connection, org: str) -> None:
    encode = UpsertCodec("items", BundledRegistry()).encode
    append_raw(stage, "items", [(None, encode(upsert(org, "P", detail="product")))])
    for partition in range(stage.partitions):
        append_raw(stage, "items", [(message_key(org, "Q"), encode(upsert(org, "Q", detail="product")))], partition)
    found = waiting(stage, control, org)
    assert sorted(letter.code for letter in found) == ["wrong_key", "wrong_partition", "wrong_partition"]
    assert [outcome.outcome for outcome in redriven(stage, Wanted(org))] == ["redriven"] * 3
    versions = {entity: state(stage, "items", org, entity)["version"] for entity in ("P", "Q")}  # type: ignore[index]
    assert versions == {"P": 1, "Q": 3}


def test_letters_of_a_record_go_oldest_first(stage: Settings, control: Connection, org: str) -> None:
    events = [upsert(org, f"P-{n % 7}", n, attributes=f'{{"n": {n}}}') for n in range(700)]
    assert len(rejected(stage, control, events)) == 700
    append(stage, "items", [upsert(org, f"P-{n}", detail="t", attributes=None) for n in range(7)])
    wait_applied(stage)
    assert {outcome.outcome for outcome in redriven(stage, Wanted(org, "item_type_required"))} == {"redriven"}
    wait_applied(stage)
    found = {entity[2]: row for entity, row in table(stage).items() if entity[1] == org}
    assert {item: (row["version"], row["attributes"]["n"]) for item, row in found.items()} == {
        f"P-{n}": (101, 693 + n) for n in range(7)
    }


def test_what_would_happen_is_what_happens(stage: Settings, control: Connection, org: str) -> None:
    """One that is created by a letter before it, one rejected again, one that nobody can redrive."""
    foreign = f"no_{org}"
    encode = UpsertCodec("items", BundledRegistry()).encode
    append_raw(stage, "items", [(b"other", encode(upsert(org, "new", 0, detail="product")))])
    append(stage, "items", [upsert(org, "new", 1, status="gone")])
    append(stage, "items", [upsert(org, "untyped", 2)])
    append(stage, "items", [upsert(foreign, "P", 3)])
    found = [*waiting(stage, control, org), *waiting(stage, control, foreign)]
    nonsense = letters.page(control, stage, Wanted(code="undecodable"), 1, raw=True)
    forecasts = {letter.place: one for letter, one in zip(found, Forecaster(control, stage).of(found), strict=True)}
    by_index = {letter.record_index: (forecasts[letter.place].outcome, forecasts[letter.place].code) for letter in found}
    assert by_index == {
        0: ("applied", ""),
        1: ("rejected", "invalid_status"),
        2: ("rejected", "item_type_required"),
        3: ("impossible", "unknown_organisation"),
    }
    assert nonsense == []
    before = table(stage)
    assert table(stage) == before  # nothing is written by looking
    outcomes = redriven(stage, Wanted(places=[letter.place for letter in found]))
    assert {one.letter.record_index: one.outcome for one in outcomes} == {
        0: "redriven", 1: "redriven", 2: "redriven", 3: "impossible",
    }  # fmt: skip
    again = {letter.redrive_of for letter in waiting(stage, control, org)}
    assert again == {str(letter.place) for letter in found if letter.record_index in (1, 2)}


class LosesAnswers(KafkaLog):
    """Appends, and hears nothing of it, as if this process had been killed then."""

    async def append_encoded(self, kind: Kind, key: bytes, value: bytes, headers: Sequence[Header]) -> Appended:
        await super().append_encoded(kind, key, value, headers)
        raise NotAppended("the answer is lost", may_appear=True)


class LosesRecords(KafkaLog):
    """Does not even append."""

    async def append_encoded(self, kind: Kind, key: bytes, value: bytes, headers: Sequence[Header]) -> Appended:
        raise NotAppended("the record is lost", may_appear=True)


@pytest.mark.parametrize("log_type", [LosesAnswers, LosesRecords])
def test_what_may_be_in_the_log_is_looked_up_first(
    stage: Settings, control: Connection, org: str, log_type: type[KafkaLog]
) -> None:
    append(stage, "items", [upsert(org, "P", n, detail="t", status="gone") for n in range(3)])
    lost = waiting(stage, control, org)
    quick = stage.model_copy(update={"delivery_timeout_seconds": 1.0})
    with pytest.raises(Unreachable, match="is lost"):
        redriven(quick, Wanted(org), log_type=log_type)
    assert {letter.landed for letter in letters.every(control, stage, Wanted(org))} == {None}
    outcomes = redriven(quick, Wanted(places=[letter.place for letter in lost]))
    assert [outcome.outcome for outcome in outcomes] == ["redriven"] * 3
    wait_applied(stage)
    assert len(list(letters.every(control, stage, Wanted(org)))) == 6  # each once more
    of = {letter.redrive_of for letter in waiting(stage, control, org)}
    assert of == {str(letter.place) for letter in lost}
    ((audited,),) = control.execute(
        "SELECT sum((detail->>'letters')::int) FROM foldline_control.audit_log WHERE org_id = %s AND action = %s",
        (org, "letters.redriven"),
    ).fetchall()
    assert audited == 3


def test_a_command_that_is_killed_again_and_again_redrives_each_once(stage: Settings, control: Connection, org: str) -> None:
    lost = rejected(stage, control, [upsert(org, f"P-{n % 50}", n) for n in range(3000)])
    until_then = format_rfc3339(max(letter.logged_at for letter in lost))
    quick = stage.model_copy(update={"delivery_timeout_seconds": 1.5})

    def landed() -> int:
        ((count,),) = control.execute(
            "SELECT count(*) FROM foldline_control.redrives r JOIN foldline_control.dead_letters d"
            ' USING (topic, partition, "offset") WHERE d.org_id = %s AND r.landed_offset IS NOT NULL',
            (org,),
        ).fetchall()
        return int(count)

    for _ in range(3):
        before = landed()
        process = subprocess.Popen(
            [sys.executable, "-m", "foldline", "dead-letters", "redrive", "--org", org, "--until", until_then],
            env=environment(quick), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        )  # fmt: skip
        until(lambda: landed() > before or process.poll() is not None, 60)  # noqa: B023
        assert landed() > before
        process.kill()
        process.communicate()
    last = command(quick, "redrive", "--org", org, "--until", until_then, "--json")
    outcomes = {json.loads(line)["outcome"] for line in last.stdout.splitlines()}
    assert outcomes <= {"redriven", "already_redriven"}, last
    assert landed() == 3000
    again = [letter.redrive_of for letter in waiting(stage, control, org)]
    assert sorted(map(str, again)) == sorted(str(letter.place) for letter in lost)


def test_two_sessions_do_not_redrive_at_once(stage: Settings, control: Connection, org: str) -> None:
    lost = rejected(stage, control, [upsert(org, f"P-{n}", n) for n in range(40)])
    results: list[list[Outcome]] = []
    wanted = Wanted(org, places=[letter.place for letter in lost])
    threads = [threading.Thread(target=lambda: results.append(redriven(stage, wanted))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(outcome.outcome for result in results for outcome in result if outcome.outcome == "redriven") == [
        "redriven"
    ] * len(lost)
    assert len(waiting(stage, control, org)) == len(lost)  # rejected again, once each
    with connect(stage.database_url, "test") as other:
        other.execute(letters._SQL["lock_redrives"].encode())
        with pytest.raises(FoldlineError, match="somebody else redrives"):
            redriven(stage.model_copy(update={"database_timeout_seconds": 0.3}), Wanted(org))


def test_the_audit_log_has_it(stage: Settings, control: Connection, org: str) -> None:
    (letter,) = rejected(stage, control, [upsert(org, "P")])
    redriven(stage, Wanted(org))
    entry, *_ = entries(control, org)[0]
    assert (entry.actor, entry.action, entry.subject) == ("ann@example.com", "letters.redriven", str(letter.place))
    assert entry.detail == {"letters": 1, "codes": {"item_type_required": 1}, "places": [str(letter.place)]}


def test_an_operation_counts_what_was_redriven_once(gateway: Gateway, stage: Settings, api: httpx.Client) -> None:
    records = [{"item_id": "typed", "item_type": "t"}, {"item_id": "untyped, of this test"}]
    sent = api.post("/v1/ingest/items/upsert", json=records, headers={"Prefer": "wait=20"}).json()["data"]
    assert (sent["applied"], sent["rejected"]) == (1, 1)
    with connect(stage.database_url, "test") as connection:
        ((org_id,),) = connection.execute(
            "SELECT org_id FROM foldline_control.dead_letters WHERE entity_id = 'untyped, of this test'"
        ).fetchall()
        assert [outcome.outcome for outcome in redriven(stage, Wanted(org_id))] == ["redriven"]
        assert len(waiting(stage, connection, org_id)) == 1  # rejected again
    after = api.get(f"/v1/ingest/operations/{sent['operation_id']}").json()["data"]
    assert after == sent


def environment(stage: Settings) -> dict[str, str]:
    values = {name: value for name, value in stage.model_dump().items() if value is not None}
    own = {f"FOLDLINE_{name.upper()}": str(value) for name, value in values.items()}
    return os.environ | own | {"FOLDLINE_DATA_DIR": "/nonexistent"}


def command(stage: Settings, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "foldline", "dead-letters", *arguments],
        env=environment(stage), capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip


def test_the_commands(stage: Settings, control: Connection, org: str) -> None:
    append_raw(stage, "items", [(b"key", b"nonsense")])
    lost = rejected(stage, control, [upsert(org, f"P-{n}", n) for n in range(3)])
    listed = command(stage, "list", "--org", org, "--json")
    assert listed.returncode == 0
    rows = [json.loads(line) for line in listed.stdout.splitlines()]
    assert [row["letter"] for row in rows] == [str(letter.place) for letter in reversed(lost)]
    assert rows[0]["code"] == "item_type_required"
    assert rows[0]["redriven_at"] is None
    (nonsense,) = letters.page(control, stage, Wanted(code="undecodable"), 1)

    shown = command(stage, "show", str(nonsense.place), "--json")
    document = json.loads(shown.stdout)
    assert (document["value"], document["key"], document["event"]) == ("bm9uc2Vuc2U=", "a2V5", None)
    assert document["redrive"]["outcome"] == "impossible"
    assert "6e 6f 6e 73 65 6e 73 65" in command(stage, "show", str(nonsense.place)).stdout
    unknown = command(stage, "show", f"{nonsense.place.topic}:0:999999")
    assert (unknown.returncode, unknown.stdout) == (1, "")
    assert command(stage, "show", "nonsense").returncode == 2
    assert command(stage, "redrive").returncode == 2
    assert command(stage, "list", "--since", "yesterday").returncode == 2

    first = next(letter for letter in lost if letter.entity_id == "P-0")
    append(stage, "items", [upsert(org, "P-0", detail="product")])
    wait_applied(stage)
    dry = command(stage, "redrive", "--org", org, "--reason", "item_type_required", "--dry-run", "--json")
    assert {row["id"]: row["outcome"] for row in map(json.loads, dry.stdout.splitlines())} == {
        "P-0": "applied", "P-1": "rejected", "P-2": "rejected",
    }  # fmt: skip
    assert "1 would be applied, 2 would be rejected again" in dry.stderr
    assert len(list(letters.every(control, stage, Wanted(org, status="waiting")))) == 3

    done = command(stage, "redrive", str(first.place), "--json")
    assert (done.returncode, json.loads(done.stdout)["outcome"]) == (0, "redriven"), done
    twice = command(stage, "redrive", str(first.place))
    assert twice.returncode == 1
    assert "was redriven at" in twice.stdout
    assert "--again" in twice.stderr
    assert state(stage, "items", org, "P-0")["version"] == 2  # type: ignore[index]
    rest = command(stage, "redrive", "--org", org, "--json")
    assert rest.returncode == 0
    assert sorted(json.loads(line)["outcome"] for line in rest.stdout.splitlines()) == [
        "already_redriven", "redriven", "redriven",
    ]  # fmt: skip
    hopeless = command(stage, "redrive", str(nonsense.place), "--json")
    assert (hopeless.returncode, json.loads(hopeless.stdout)["outcome"]) == (1, "impossible")
