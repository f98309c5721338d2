"""Upserts from outside: what HTTP, SQL and the topics say is what a model written from the contract says."""

from __future__ import annotations

import random
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from tests.e2e.outside import (
    DEAD_LETTERS,
    ID,
    KINDS,
    LOG,
    Json,
    Organisation,
    Stack,
    States,
    canonical,
    data,
    headers_of,
)

pytestmark = pytest.mark.server

AWKWARD_IDS = (
    "plain", "a/b", "/", "//", "/lead", "trailing/", "a:b", ":", "org_1:x", "it's", 'say "hi"', "back\\slash", " ", " a ",
    "two  spaces", ".", "..", "../..", "./a", "%", "%2F", "%252F", "%zz", "?", "a?b=c", "#", "a#b", "&x=1", "+", "a+b",
    "é", "e\u0301", "日本", "😀", "👩\u200d👧", "\u202ertl", "\u00a0", "\u2028", "\ufeff", "\ufffd", "null", "0", "-1",
    "🦄" * 256, "x" * 256, "*", "{}", "[1]", "<b>", "$(id)", "';--", "\U0010ffff",
)  # fmt: skip
VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2**63 - 1, -(2**63), 2**53 + 1, 1.5, -0.0, 0.1, 1e19, 1.8446744073709552e19, 1e22, 1e23,
    -1e60, 1e-60, 123456789.123456789, 5e-7, 1e16, 149.99, "", "text", "é", "e\u0301", "😀", "\u2028\u2029", "\u007f\u0080",
    'quote " and \\ and / and \t\r\n\b\f', "\ufeff", "\U0010ffff", "x" * 2000, [], {}, [[]], [None, [1, {"a": [2.5]}]],
    {"": "", "a.b": 1, "é": {"😀": [True]}}, {"deep": {"er": {"est": [{"x": None}]}}}, list(range(50)),
)  # fmt: skip
NAMES = ("name", "price", "", "a.b", "é", "😀", "with space", 'q"', "k\\", "__proto__")
CHANGES = 5000


def random_records(seed: int, count: int) -> list[tuple[str, Json]]:
    """Records of both kinds, many for the same id: new, changed, deleted, come back."""
    chosen = random.Random(seed)
    ids = [*AWKWARD_IDS, *(f"id-{number}" for number in range(60))]
    made = []
    for _ in range(count):
        kind = chosen.choice(KINDS)
        record: Json = {ID[kind]: chosen.choice(ids)}
        if chosen.random() < 0.5:
            record |= (
                {"item_type": chosen.choice(("product", "article", "é 😀"))}
                if kind == "items"
                else {"created_at": _moment(chosen).isoformat()}
            )
        if chosen.random() < 0.4:
            record["status"] = chosen.choice(("active", "active", "inactive", "deleted"))
        if chosen.random() < 0.8:
            record["attributes"] = {chosen.choice(NAMES): chosen.choice(VALUES) for _ in range(chosen.randrange(4))}
        made.append((kind, record))
    return made


def _moment(chosen: random.Random) -> datetime:
    zone = timezone(timedelta(minutes=chosen.choice((0, 120, -330, 845))))
    return datetime(2020, 1, 1, tzinfo=UTC).astimezone(zone) + timedelta(microseconds=chosen.randrange(10**14))


class Model:
    """The laws of the fold, as the contract's reader would write them down."""

    def __init__(self) -> None:
        self.states: States = {}

    def apply(self, kind: str, record: Json) -> bool:
        """Whether the record is folded; else it is rejected."""
        entity = (kind, record[ID[kind]])
        new = entity not in self.states
        if new and kind == "items" and "item_type" not in record:
            return False
        state = self.states.setdefault(entity, {"status": "active", "attributes": {}, "version": 0, "created_at": None})
        state["version"] += 1
        if kind == "users" and not new and state["status"] == "deleted" and "status" not in record:
            return True
        state |= {name: record[name] for name in ("item_type", "status", "created_at") if name in record}
        if kind == "users" and state["status"] == "deleted":
            state["attributes"] = {}
        else:
            state["attributes"] = state["attributes"] | record.get("attributes", {})
        return True


def assert_equal(kind: str, found: Json, expected: Json) -> None:
    """A State is what the model says; times that the model cannot know are at least in order."""
    detail = "item_type" if kind == "items" else "created_at"
    assert list(found) == [ID[kind], detail, "status", "attributes", "version", "first_seen_at", "updated_at"]
    assert (found["status"], found["version"]) == (expected["status"], expected["version"])
    assert canonical(found["attributes"]) == canonical(expected["attributes"])
    assert all(found[name].endswith("Z") for name in found if name.endswith("_at"))
    assert found["first_seen_at"] <= found["updated_at"]
    if kind == "items":
        assert found["item_type"] == expected["item_type"]
    elif expected["created_at"] is None:
        assert found["created_at"] == found["first_seen_at"]
    else:
        assert datetime.fromisoformat(found["created_at"]) == datetime.fromisoformat(expected["created_at"])


def send_all(org: Organisation, model: Model, records: list[tuple[str, Json]], chosen: random.Random) -> int:
    """Sends the records, each kind's in order, alone and in arrays; returns how many its operations say were rejected."""
    left = {kind: [record for record_kind, record in records if record_kind == kind] for kind in KINDS}
    operations = []
    while kinds := [kind for kind in KINDS if left[kind]]:
        kind, most = chosen.choice(kinds), chosen.choice((1, 1, 1, 2, 10, 50, 100))
        several, left[kind] = left[kind][:most], left[kind][most:]
        body = several[0] if most == 1 else several
        operations.append((kind, several, org.upsert(kind, body, wait=False)))
    rejected = 0
    org.upsert("users", {"user_id": "the last"})
    model.apply("users", {"user_id": "the last"})
    for kind, sent, accepted in operations:
        assert accepted["accepted"] == len(sent)
        refused = [(place, record) for place, record in enumerate(sent) if not model.apply(kind, record)]
        operation = data(org.client.get(f"/v1/ingest/operations/{accepted['operation_id']}"))
        while operation["status"] == "queued":
            operation = data(org.client.get(f"/v1/ingest/operations/{accepted['operation_id']}"))
        assert operation["status"] == ("applied_with_errors" if refused else "applied")
        assert (operation["applied"], operation["rejected"]) == (len(sent) - len(refused), len(refused))
        assert [(error["index"], error["id"], error["code"]) for error in operation["errors"]] == [
            (place, record[ID[kind]], "item_type_required") for place, record in refused
        ]
        rejected += len(refused)
    return rejected


def test_random_upserts_across_a_restart(stack: Stack, org: Organisation) -> None:
    records = random_records(seed=20, count=CHANGES)
    chosen, model = random.Random(21), Model()
    began = time.time()

    rejected = send_all(org, model, records[: CHANGES // 2], chosen)
    before = stack.url
    assert stack.stop() == 0
    stack.start()
    assert stack.url == before
    rejected += send_all(org, model, records[CHANGES // 2 :], chosen)

    # Every record by its id, and every record once in a listing.
    for (kind, entity_id), expected in model.states.items():
        found = data(org.state(kind, entity_id))
        assert found[ID[kind]] == entity_id
        assert_equal(kind, found, expected)
        assert began <= datetime.fromisoformat(found["updated_at"]).timestamp() <= time.time()
        deleted = expected["status"] == "deleted"
        assert org.state(kind, entity_id, include_deleted="false").status_code == (404 if deleted else 200)
    for kind in KINDS:
        for parameters, statuses in (
            ({"include_deleted": "true"}, {"active", "inactive", "deleted"}),
            ({}, {"active", "inactive"}),
            ({"status": "deleted"}, {"deleted"}),
        ):
            listed = [state[ID[kind]] for state in org.listing(kind, limit="7", **parameters)]
            wanted = [i for (k, i), state in model.states.items() if k == kind and state["status"] in statuses]
            assert sorted(listed) == sorted(wanted)
        for state in data(org.client.get(f"/v1/{kind}", params={"ids": AWKWARD_IDS, "include_deleted": "true"}))[kind]:
            assert_equal(kind, state, model.states[kind, state[ID[kind]]])

    # The topics say the same, to a program that knows nothing of us.
    rows = stack.assert_topics_equal_table(org.org_id)
    assert rows.keys() == model.states.keys()
    events = [event for topic in LOG.values() for event in stack.values(topic, org.org_id)]
    assert len(events) == CHANGES + 2
    assert {"ce_id", "ce_type", "ce_source", "ce_time", "ce_subject", "traceparent"} <= headers_of(events[0][0]).keys()
    assert len({headers_of(message)["ce_id"] for message, _ in events}) == len(events)
    letters = stack.sql("SELECT count(*) FROM foldline_control.dead_letters WHERE org_id = %s", org.org_id)
    assert letters == [(rejected,)]


def test_what_the_fold_rejects_is_named_and_kept(stack: Stack, org: Organisation) -> None:
    sent: list[Json] = [
        {"item_id": "whole", "item_type": "product"},
        {"item_id": "lacking/é", "attributes": {"price": 1}},
        {"item_id": "whole", "attributes": {"price": 2}},
    ]
    operation = org.upsert("items", sent)
    assert operation.pop("operation_id").startswith("op_")
    message = operation["errors"][0].pop("message")
    assert "item_type" in message
    assert operation == {
        "status": "applied_with_errors",
        "accepted": 3,
        "applied": 2,
        "rejected": 1,
        "errors": [{"index": 1, "id": "lacking/é", "field": "item_type", "code": "item_type_required"}],
    }
    assert org.state("items", "lacking/é").status_code == 404
    assert data(org.state("items", "whole"))["version"] == 2

    # The bytes that came are in the table, on the topic of dead letters, and in the log.
    query = 'SELECT topic, partition, "offset", key, value FROM foldline_control.dead_letters WHERE org_id = %s'
    ((topic, partition, offset, key, value),) = stack.sql(query, org.org_id)
    assert (topic, key) == ("items.upserts.v1", f"{org.org_id}:lacking/é".encode())
    stack.wait_published()
    (letter,) = [letter for letter in stack.records(DEAD_LETTERS) if letter.key() == key]
    assert letter.value() == value
    headers = headers_of(letter)
    assert "item_type_required" in headers["reason"]
    assert [headers[f"source_{name}"] for name in ("topic", "partition", "offset")] == [topic, str(partition), str(offset)]
    (event,) = [e for e in stack.records(topic) if (e.partition(), e.offset()) == (partition, offset)]
    assert (event.key(), event.value()) == (key, value)

    # Sent again with a type, it is accepted.
    assert org.upsert("items", sent[1] | {"item_type": "product"})["status"] == "applied"
    assert data(org.state("items", "lacking/é"))["version"] == 1


def test_a_record_that_many_write_at_once(org: Organisation) -> None:
    writers, requests = 8, 40

    def write(writer: int) -> None:
        for request in range(requests):
            new: Json = {"item_id": "hot", "item_type": "product", "attributes": {f"{writer} {request}": True}}
            org.upsert("items", [new, {"item_id": "hot", "attributes": {"last": [writer, request]}}], wait=False)

    with ThreadPoolExecutor(writers) as threads:
        list(threads.map(write, range(writers)))
    assert org.upsert("items", {"item_id": "hot", "status": "inactive"})["status"] == "applied"
    state = data(org.state("items", "hot"))
    assert (state["version"], len(state["attributes"])) == (2 * writers * requests + 1, writers * requests + 1)
    assert state["attributes"]["last"][1] == requests - 1


def test_a_record_does_not_grow_beyond_its_limit(org: Organisation) -> None:
    large = "x" * 600_000
    assert org.upsert("items", {"item_id": "big", "item_type": "p", "attributes": {"a": large}})["status"] == "applied"
    refused = org.upsert("items", {"item_id": "big", "attributes": {"b": large}})
    assert [(error["id"], error["field"], error["code"]) for error in refused["errors"]] == [
        ("big", "attributes", "record_too_large")
    ]
    assert org.upsert("items", {"item_id": "big", "attributes": {"a": "y" * 600_000}})["status"] == "applied"
    state = data(org.state("items", "big"))
    assert (state["version"], list(state["attributes"])) == (2, ["a"])

    # What is short in a request may be long in a record.
    numbers = b'{"item_id": "long", "item_type": "p", "attributes": {"a": [' + b",".join([b"1e18"] * 200_000) + b"]}}"
    answer = org.client.post("/v1/ingest/items/upsert", content=numbers, headers={"Prefer": "wait=30"})
    assert data(answer)["errors"][0]["code"] == "record_too_large"
    for number in range(12):
        org.upsert("items", {"item_id": f"page {number}", "item_type": "p", "attributes": {"a": "z" * 900_000}}, wait=False)
    org.upsert("items", {"item_id": "page", "item_type": "p"})
    assert len(org.listing("items", limit="1000")) == 14
