"""Confluent's wire format, and what strangers write in its place."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import schemas
from foldline.adapters.avro import encode_long
from foldline.adapters.codec import (
    STATE_TOPIC,
    UPSERTS_TOPIC,
    BundledRegistry,
    StateCodec,
    UpsertCodec,
    decoder,
    without_logical_types,
)
from foldline.domain.errors import SchemaUnknown, Unreachable
from foldline.domain.records import KINDS, Kind, Rejection, State, Upsert

REGISTRY = BundledRegistry()
ITEM = Upsert("org_1", "PROD-1", "product", None, '{"a":1}', 1_000, "req_1", 0)
VALUE = UpsertCodec("items", REGISTRY).encode(ITEM)


def test_an_upsert_there_and_back() -> None:
    assert UpsertCodec("items", REGISTRY).decode(VALUE) == ITEM
    user = Upsert("org_1", "USER-1", -1, "deleted", None, 2**62, "", 2**31 - 1)
    users = UpsertCodec("users", REGISTRY)
    assert users.decode(users.encode(user)) == user


def test_a_state_says_all_of_itself() -> None:
    state = State("org_1", "PROD-1", "product", "active", {"ignored": 1}, 7, 1, 2, 3, 4, 99)
    assert decoder(REGISTRY)(StateCodec("items", REGISTRY).encode(state, '{"a":1}', 5)) == {
        "org_id": "org_1", "item_id": "PROD-1", "item_type": "product", "status": "active", "attributes": '{"a":1}',
        "version": 7, "first_seen_at": 1, "updated_at": 2, "generation": 5, "partition": 3, "offset": 4,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("value", "code"),
    [
        (None, "undecodable"),
        (b"", "undecodable"),
        (b"\0", "undecodable"),
        (b"\0\0\0\0", "undecodable"),
        (b"\1" + VALUE[1:], "undecodable"),
        (b'{"item_id":"PROD-1"}', "undecodable"),
        (b"\0\0\0\0\0" + VALUE[5:], "unknown_schema"),
        (b"\0\0\0\0\x7f" + VALUE[5:], "unknown_schema"),
        (b"\0\xff\xff\xff\xff" + VALUE[5:], "unknown_schema"),
        (VALUE[:5], "undecodable"),
        (VALUE[:-1], "undecodable"),
        (VALUE + b"\0", "undecodable"),
        (VALUE.replace(b"PROD-1", b"PROD-\xff"), "undecodable"),
        (VALUE.replace(b"PROD-1", b"\xed\xa0\x80-1x"), "undecodable"),  # a surrogate
        (VALUE[:5] + b"\x01" + VALUE[6:], "undecodable"),  # a string of length -1
        (VALUE[:5] + encode_long(2**60) + VALUE[6:], "undecodable"),
        (VALUE[:-1] + encode_long(2**31), "undecodable"),
        (VALUE[:-1] + encode_long(-(2**31) - 1), "undecodable"),
        (VALUE[:-1] + b"\xff" * 12 + b"\x01", "undecodable"),
        (UpsertCodec("users", REGISTRY).encode(ITEM._replace(detail=1)), "undecodable"),
        (StateCodec("items", REGISTRY).encode(State("o", "i", "t", "s", {}, 1, 1, 1, 1, 1, 2), "{}", 1), "undecodable"),
    ],
)
def test_what_strangers_write_has_a_reason(value: bytes | None, code: str) -> None:
    found = UpsertCodec("items", REGISTRY).decode(value)
    assert isinstance(found, Rejection)
    assert found.code == code
    assert 0 < len(found.message) <= 500


@given(st.one_of(st.binary(max_size=60), st.binary(max_size=60).map(lambda body: VALUE[:5] + body)), st.sampled_from(KINDS))
def test_no_bytes_raise(value: bytes, kind: Kind) -> None:
    found = UpsertCodec(kind, REGISTRY).decode(value)
    if isinstance(found, Upsert):
        assert -(2**63) <= found.received_at < 2**63
        assert -(2**31) <= found.record_index < 2**31


def test_a_registry_that_does_not_answer_is_not_the_records_fault() -> None:
    class Away(BundledRegistry):
        def schema_of(self, schema_id: int) -> dict[str, Any]:
            raise Unreachable("the registry is away")

    with pytest.raises(Unreachable):
        UpsertCodec("items", Away()).decode(b"\0\0\0\0\7" + VALUE[5:])


def test_a_length_that_goes_on_for_megabytes_is_judged_at_once() -> None:
    began = time.process_time()
    found = UpsertCodec("items", REGISTRY).decode(VALUE[:5] + b"\xff" * 2**22)
    assert isinstance(found, Rejection)
    assert time.process_time() - began < 0.2


def test_ids_of_the_bundle() -> None:
    for kind in KINDS:
        for topic in (UPSERTS_TOPIC[kind], STATE_TOPIC[kind]):
            assert REGISTRY.schema_of(REGISTRY.id_of(topic)) == schemas.latest(topic).definition
    for schema_id in (0, -1, len(schemas.bundle()) + 1):
        with pytest.raises(SchemaUnknown):
            REGISTRY.schema_of(schema_id)


def test_an_upsert_of_an_older_schema_is_read_with_its_own_ids() -> None:
    class Renumbered(BundledRegistry):
        def id_of(self, topic: str) -> int:
            return 1000 + super().id_of(topic)

        def schema_of(self, schema_id: int) -> dict[str, Any]:
            definition = super().schema_of(schema_id - 1000)
            fields = [field for field in definition["fields"] if field["name"] != "status"]
            return definition | {"fields": [*fields, {"name": "later", "type": "string"}]}

    value = b"\0\0\0\x03\xee" + VALUE[5:].replace(b"\x02\x0eproduct\x00", b"\x02\x0eproduct") + b"\x04hi"
    assert UpsertCodec("items", Renumbered()).decode(value) == ITEM


@pytest.mark.parametrize("kind", ["nonsense", {"type": "fixed", "name": "Amount"}, {"logicalType": "date"}, None, 7])
def test_a_schema_of_a_stranger_that_is_not_avro_is_the_records_fault(kind: Any) -> None:
    class Careless(BundledRegistry):
        def schema_of(self, schema_id: int) -> dict[str, Any]:
            return {"type": "record", "name": "R", "fields": [{"name": "a", "type": kind}]}

    found = UpsertCodec("items", Careless()).decode(b"\0\0\0\0\7" + VALUE[5:])
    assert isinstance(found, Rejection)
    assert (found.code, found.message.startswith("its schema is not one of Avro: ")) == ("unknown_schema", True)


def test_logical_types_are_taken_off() -> None:
    schema = {"type": "record", "fields": [{"type": ["null", {"type": "long", "logicalType": "timestamp-micros"}]}]}
    assert without_logical_types(schema) == {"type": "record", "fields": [{"type": ["null", "long"]}]}
    amount = {"type": "fixed", "name": "Amount", "size": 8}
    assert without_logical_types(amount | {"logicalType": "decimal", "precision": 9}) == amount | {"precision": 9}
