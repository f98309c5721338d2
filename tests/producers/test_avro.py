"""The written-out encoding and decoding of upserts and states is Avro's."""

from __future__ import annotations

from io import BytesIO

import fastavro
import pytest
from hypothesis import given
from hypothesis import strategies as st

import schemas
from foldline.adapters.avro import encode_long
from foldline.adapters.codec import STATE_TOPIC, UPSERTS_TOPIC, BundledRegistry, StateCodec, UpsertCodec
from foldline.domain.records import DETAIL_FIELD, ID_FIELD, KINDS, Kind, Rejection, State, Upsert

LONG_TEXTS = st.integers(1020, 1030).map(lambda length: "é" * length)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=40) | LONG_TEXTS
LONGS = st.integers(-(2**63), 2**63 - 1)
DETAILS = {"items": st.none() | TEXTS, "users": st.none() | LONGS}


def upserts(kind: Kind) -> st.SearchStrategy[Upsert]:
    index, ids = st.integers(0, 20_000), st.none() | st.binary(min_size=16, max_size=16)
    sealed = st.none() if kind == "items" else st.none() | st.binary(max_size=40)
    texts = st.none() | TEXTS
    return st.builds(Upsert, TEXTS, TEXTS, DETAILS[kind], texts, texts, LONGS, TEXTS, index, ids, sealed)


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
def test_the_bytes_are_those_of_fastavro_and_decode_to_the_same(kind: Kind, data: st.DataObject) -> None:
    codec = UpsertCodec(kind, BundledRegistry())
    schema = schemas.latest(UPSERTS_TOPIC[kind])
    names = ["org_id", ID_FIELD[kind], DETAIL_FIELD[kind], *Upsert._fields[3:]]
    for event in data.draw(st.lists(upserts(kind), min_size=1, max_size=3)):
        buffer = BytesIO()
        record = dict(zip(names, event, strict=True)) | {"received_at": event.received_at}
        fastavro.schemaless_writer(buffer, fastavro.parse_schema(schema.definition), record)
        assert codec.encode(event) == b"\0" + schema.id.to_bytes(4, "big") + buffer.getvalue()


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
def test_values_of_the_version_before_decode_to_the_same(kind: Kind, data: st.DataObject) -> None:
    codec = UpsertCodec(kind, BundledRegistry())
    before = schemas.versions(UPSERTS_TOPIC[kind])[-2]
    for event in data.draw(st.lists(upserts(kind), min_size=2, max_size=3)):
        event = event._replace(idempotency_id=None)
        value = b"\0" + before.id.to_bytes(4, "big") + codec.encode(event)[5:-1]
        assert codec.decode(value) == event
    assert before.id.to_bytes(5, "big") in codec._fast


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
def test_decoding_is_that_of_fastavro_whatever_the_bytes_are(kind: Kind, data: st.DataObject) -> None:
    codec = UpsertCodec(kind, BundledRegistry())
    value = bytearray(codec.encode(data.draw(upserts(kind))))
    if data.draw(st.booleans()):
        del value[data.draw(st.integers(5, len(value))) :]
    for place in data.draw(st.lists(st.integers(5, max(5, len(value) - 1)), max_size=3)):
        value[place : place + 1] = data.draw(st.binary(max_size=3))
    general = UpsertCodec(kind, BundledRegistry())
    general._fast.clear()
    assert _kind_of(codec.decode(bytes(value))) == _kind_of(general.decode(bytes(value)))


def _kind_of(decoded: Upsert | Rejection) -> Upsert | str:
    return decoded if isinstance(decoded, Upsert) else decoded.code


def states(kind: Kind) -> st.SearchStrategy[State]:
    detail = TEXTS if kind == "items" else LONGS
    int32 = st.integers(-(2**31), 2**31 - 1)
    return st.builds(State, TEXTS, TEXTS, detail, TEXTS, st.just({}), LONGS, LONGS, LONGS, int32, LONGS, st.just(2))


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
def test_the_bytes_of_states_are_those_of_fastavro(kind: Kind, data: st.DataObject) -> None:
    schema = schemas.latest(STATE_TOPIC[kind])
    state, attributes, generation = data.draw(states(kind)), data.draw(TEXTS), data.draw(st.integers(0, 2**31 - 1))
    record = {**state._asdict(), ID_FIELD[kind]: state.entity_id, DETAIL_FIELD[kind]: state.detail}
    buffer = BytesIO()
    fastavro.schemaless_writer(
        buffer, fastavro.parse_schema(schema.definition), record | {"attributes": attributes, "generation": generation}
    )
    encoded = StateCodec(kind, BundledRegistry()).encode(state, attributes, generation)
    assert encoded == b"\0" + schema.id.to_bytes(4, "big") + buffer.getvalue()


@pytest.mark.parametrize(
    ("number", "encoded"),
    [
        (0, "00"),
        (-1, "01"),
        (1, "02"),
        (63, "7e"),
        (64, "8001"),
        (-64, "7f"),
        (-65, "8101"),
        (2**63 - 1, "fe" + "ff" * 8 + "01"),
    ],
)
def test_longs_are_zigzag_and_seven_bits_a_byte(number: int, encoded: str) -> None:
    assert encode_long(number).hex() == encoded
