"""The compiled fold is the fold: the same rows, to the byte, and the same dead letters, whatever lies in the log."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foldline.adapters.codec import BundledRegistry, StateCodec, UpsertCodec
from foldline.adapters.memory import MemoryLog
from foldline.adapters.seals import new_data_key, sealed
from foldline.domain.idempotency import MAX_IDS
from foldline.domain.keys import message_key
from foldline.domain.records import ATTRIBUTES_MAX_BYTES, KINDS, Kind, Upsert
from foldline.domain.times import EARLIEST, LATEST
from processors.batch import Batch, BatchFolder, Stretch
from processors.memory import CompiledStates
from projections.memory import MemoryDatabase, MemoryStateStore
from projections.rows import CompiledRows
from projections.state import DeadLetter, Partition
from tests.keys import MASTERS
from tests.laws.strategies import AWKWARD_IDS, NUMBERS, Sent, logs, objects

pytest.importorskip("foldline_compiled", reason="foldline-compiled is not installed: there is no cargo on this machine")

REGISTRY = BundledRegistry()
ITEMS: Partition = ("items", 0)
VALUES: dict[Kind, UpsertCodec] = {kind: UpsertCodec(kind, REGISTRY) for kind in KINDS}


class Folded(NamedTuple):
    """What a batch comes to: rows for the table, messages for the topic, dead letters."""

    rows: dict[Partition, bytes]
    messages: dict[Partition, list[tuple[bytes, bytes]]]
    letters: list[DeadLetter]


def upsert(**fields: Any) -> Upsert:
    return Upsert("org_1", "PROD-1", "product", None, None, 1_000, "req_1", 0)._replace(**fields)


def folded(batch: Batch) -> Folded:
    codecs: dict[Kind, StateCodec] = {"items": StateCodec("items", REGISTRY), "users": StateCodec("users", REGISTRY)}
    rows = batch.commit.rows
    for changed in rows.values():
        keys = [row.key for row in changed]
        assert keys == sorted(keys)
    return Folded(
        {partition: changed.copy_text() for partition, changed in rows.items()},
        {partition: list(changed.messages(codecs[partition[0]], 7)) for partition, changed in rows.items()},
        sorted(batch.commit.letters, key=lambda letter: (letter.kind, letter.partition, letter.offset)),
    )


def both(log: MemoryLog, size: int, cache_bytes: int = 10**9, overlapped: bool = True) -> list[Folded]:
    """The log folded by either, `size` records of a partition at a time; asserts that they agree on every batch."""
    sides = []
    for compiled in (False, True):
        database = MemoryDatabase({kind: log.topic_id(kind) for kind in log.topics}, log.partitions)
        store = MemoryStateStore(database)
        folder = BatchFolder(store, REGISTRY, MASTERS, log.partitions, cache_bytes, compiled=compiled)
        found, waiting = [], None
        for stretches in _batches(log, size):
            batch = folder.fold(stretches, waiting.commit.rows if waiting else {})
            found.append(folded(batch))
            if waiting is not None:
                store.commit(waiting.commit)
            waiting = batch
            if not overlapped:
                store.commit(waiting.commit)
                waiting = None
        sides.append(found)
    assert sides[0] == sides[1]
    return sides[1]


def _batches(log: MemoryLog, size: int) -> list[dict[Partition, Stretch]]:
    ends = {(kind, number): log.watermarks(kind, number)[1] for kind in log.topics for number in range(log.partitions)}
    return [
        {place: Stretch(start, log.stretch(*place, start, start + size)) for place, end in ends.items() if start < end}
        for start in range(0, max(ends.values()), size)
    ]


def no_secrets(_: Iterable[bytes]) -> dict[bytes, bytes]:
    return {}


def of_events(*events: Upsert) -> MemoryLog:
    log = MemoryLog(REGISTRY, 1)
    log.append("items", events)
    return log


def taken(*events: Upsert, kind: Kind = "items", secrets: Mapping[bytes, bytes] = MappingProxyType({})) -> list[bool]:
    """Whether the compiled fold takes each event, one after the other, with these keys."""
    states, log = CompiledStates(kind, 1), MemoryLog(REGISTRY, 1)
    log.append(kind, events)
    records = log.stretch(kind, 0, 0, len(events))
    left = [states.fold(0, [record.key()], [record], VALUES[kind].layouts, lambda _: dict(secrets)) for record in records]
    return [not places for places in left]


@given(logs(), st.integers(1, 3), st.integers(1, 7), st.sampled_from([1, 3000, 10**9]), st.booleans())
def test_whatever_is_sent(
    sent: list[tuple[Kind, Sent]], partitions: int, size: int, cache_bytes: int, overlapped: bool
) -> None:
    log = MemoryLog(REGISTRY, partitions)
    for kind, one in sent:
        log.append(kind, [one.event])
    if sent:
        both(log, size, cache_bytes, overlapped)


@given(st.data())
def test_whatever_lies_in_the_log(data: st.DataObject) -> None:
    log = MemoryLog(REGISTRY, 2)
    for kind, one in data.draw(logs()):
        value = bytearray(VALUES[kind].encode(one.event))
        for place in data.draw(st.lists(st.integers(0, len(value) - 1), max_size=2)):
            value[place : place + 1] = data.draw(st.binary(max_size=3))
        keys = st.sampled_from([message_key(one.event.org_id, one.event.entity_id), None, b"", b"org_1:PROD-1", b"\xff"])
        numbers = st.sampled_from([None, None, 0, 1])
        log.append_raw(kind, data.draw(keys), data.draw(st.sampled_from([bytes(value), None])), data.draw(numbers))
    if max(log.watermarks(kind, number)[1] for kind in KINDS for number in range(2)):
        both(log, 5)


@given(st.lists(objects, min_size=1, max_size=3))
def test_attributes_are_kept_in_the_same_words(sent: list[Any]) -> None:
    both(of_events(*(upsert(attributes=one.text) for one in sent)), 1)


@given(st.floats(allow_nan=False, allow_infinity=False) | st.floats(-1e-5, 1e-5) | st.integers(-(2**70), 2**70))
def test_numbers_are_kept_in_the_same_words(number: float) -> None:
    both(of_events(upsert(attributes=f'{{"a":{number!r}}}'), upsert(attributes='{"b":1}')), 1)


@pytest.mark.parametrize("number", NUMBERS)
def test_numbers_as_they_may_be_written(number: str) -> None:
    both(of_events(upsert(attributes=f'{{"a":{number},"n":[{number}]}}'), upsert(attributes='{"b":1}')), 1)


@given(st.text(max_size=20), st.booleans())
def test_strings_are_kept_in_the_same_words(text: str, is_ascii: bool) -> None:
    try:
        attributes = json.dumps({text: [text]}, ensure_ascii=is_ascii)
        attributes.encode()
    except UnicodeEncodeError:
        attributes = json.dumps({text: [text]})
    both(of_events(upsert(attributes=attributes)), 1)


@pytest.mark.parametrize(
    "text",
    [
        '{"a":1,"a":2}',
        '{"o":{"b":1,"b":2},"c":[{"x":1,"x":{}}]}',
        '{"a":"\\/\\b\\f\\n\\r\\t\\"\\\\\\u0001\\u001f\\u007f\\u2028\\ud83d\\ude00"}',
        ' { "a" : [ ] , "b" : { } , "c" : [ 1 , [ 2 ] ] } ',
        json.dumps({str(number): number for number in range(100)}),
        json.dumps([{str(number % 50): number for number in range(100)}])[1:-1],
    ],
)
def test_texts(text: str) -> None:
    both(of_events(upsert(attributes=text), upsert(attributes='{"a":5,"7":[],"z":null}'), upsert(attributes=text)), 1)


@pytest.mark.parametrize("excess", [-1, 0, 1])
def test_the_limit_of_merged_attributes(excess: int) -> None:
    half = ATTRIBUTES_MAX_BYTES // 2
    rest = ATTRIBUTES_MAX_BYTES - half + excess
    texts = [orjson.dumps({"a": "x" * (half - 8)}).decode(), orjson.dumps({"b": "é" * ((rest - 7) // 2)}).decode()]
    log = of_events(*(upsert(attributes=text) for text in texts))
    both(log, 1)


@pytest.mark.parametrize("excess", [-1, 0, 1])
def test_the_limit_of_merged_attributes_to_the_byte(excess: int) -> None:
    first = orjson.dumps({"a": "x" * 500_000}).decode()
    second = orjson.dumps({"b": "x" * (ATTRIBUTES_MAX_BYTES - len(first) - len(',"b":""') + excess)}).decode()
    (_, after) = both(of_events(upsert(attributes=first), upsert(attributes=second)), 1)
    assert [letter.code for letter in after.letters] == ["record_too_large"] * (excess > 0)


@pytest.mark.parametrize("at", [EARLIEST - 1, EARLIEST, LATEST, LATEST + 1])
def test_the_limits_of_time(at: int) -> None:
    both(of_events(upsert(received_at=at)), 1)


def test_idempotency_ids_are_counted_alike() -> None:
    hour = 3_600_000_000
    ids = [number.to_bytes(16, "big") for number in range(MAX_IDS + 3)]
    events = [upsert(idempotency_id=one, received_at=number) for number, one in enumerate(ids)]
    events += [upsert(idempotency_id=ids[place], status="inactive") for place in (0, 2, 3, 4, MAX_IDS)]
    events += [upsert(received_at=24 * hour), upsert(received_at=25 * hour + MAX_IDS // 2), upsert(received_at=100 * hour)]
    both(of_events(*events), MAX_IDS)


def test_what_is_plain_is_taken() -> None:
    """Else it would be right and slow."""
    plain = [
        upsert(attributes='{"name": "Caf\\u00e9 \\"Noir\\"", "price": 149.990, "tags": ["a", null, true]}'),
        upsert(attributes='{"n": 1e3, "o": {"k": -7}}'),
        upsert(attributes="{}", status="inactive", idempotency_id=bytes(16)),
        *(upsert(entity_id=entity_id) for entity_id in AWKWARD_IDS),
    ]
    assert taken(*plain) == [True] * len(plain)


def test_what_is_doubtful_is_left_and_folded_all_the_same() -> None:
    doubtful = [
        upsert(attributes='{"a":1,"a":2}'),
        upsert(attributes='{"a":0.0}'),
        upsert(attributes='{"a":1e19}'),
        upsert(attributes="[]"),
        upsert(status="gone"),
        upsert(detail=None),
        upsert(entity_id="a\x07"),
    ]
    assert taken(*doubtful) == [False] * len(doubtful)


def test_of_users_what_is_plain_is_taken() -> None:
    own, others = new_data_key(b"ids", "org_1", "USER-1"), new_data_key(b"ids", "org_1", "USER-2")
    first = upsert(entity_id="USER-1", detail=None, attributes='{"mail":"a@b.c"}', idempotency_id=bytes(16))
    again = first._replace(detail=5, record_index=1, status="inactive", idempotency_id=None)
    secrets = {own.key_id: own.secret}
    assert taken(sealed(first, own), sealed(again, own), kind="users", secrets=secrets) == [True, True]
    assert taken(upsert(entity_id="USER-1", detail=None), kind="users") == [True]
    left = [
        sealed(first, own)._replace(record_index=7),
        sealed(first, own)._replace(sealed=b"short"),
        sealed(first, others),
        sealed(first._replace(attributes="[]"), own),
        upsert(entity_id="USER-1", detail=LATEST + 1),
        upsert(entity_id="USER-1", detail=None, status="deleted"),
    ]
    assert taken(*left, kind="users", secrets=secrets) == [False] * len(left)


def test_what_comes_after_an_event_that_is_left_waits_for_it() -> None:
    events = [upsert(attributes='{"a":1}'), upsert(attributes='{"a":1e19}'), upsert(attributes='{"b":2}')]
    (batch,) = both(of_events(*events, upsert(entity_id="PROD-2")), 4)
    assert b'PROD-1\tproduct\tactive\t{"a":10000000000000000000,"b":2}\t3' in batch.rows[ITEMS]


def test_rows_are_as_they_were_whatever_is_folded_on_them() -> None:
    log = of_events(upsert(attributes='{"a":1}'), upsert(attributes='{"a":2}'), upsert(entity_id="PROD-2"))
    states = CompiledStates("items", 1)
    batches = []
    for offset in range(3):
        (record,) = log.stretch("items", 0, offset, offset + 1)
        states.fold(0, [record.key()], [record], VALUES["items"].layouts, no_secrets)
        batches.append(states.changed()[0])
    assert [[row.attributes for row in rows] for rows in batches] == [['{"a":1}'], ['{"a":2}'], ["{}"]]
    assert [(rows.attributes_bytes(), len(rows)) for rows in batches] == [(7, 1), (7, 1), (2, 1)]
    first, second, third = batches
    assert isinstance(first, CompiledRows)
    assert isinstance(third, CompiledRows)
    newest = first.then(second).then(third)
    assert [(row.key, row.state.version) for row in newest] == [(b"org_1:PROD-1", 2), (b"org_1:PROD-2", 1)]
    assert newest.get(b"org_1:PROD-1") == next(iter(second)).state
    assert newest.get(b"org_1:PROD-3") is None


def test_states_are_let_go_in_the_order_in_which_they_were_folded() -> None:
    log = of_events(*(upsert(entity_id=f"PROD-{number}") for number in (1, 2, 3, 1)))
    states = CompiledStates("items", 1)
    records = log.stretch("items", 0, 0, 4)
    keys = [record.key() for record in records]
    states.fold(0, keys, records, VALUES["items"].layouts, no_secrets)
    weight = states.weight
    assert states.changed_weight == weight
    states.evict(weight - 1)
    assert states.missing(keys) == {b"org_1:PROD-2"}
    assert 0 < states.weight < weight
    states.clear()
    assert (states.missing(keys), states.weight, states.changed_weight) == (set(keys), 0, 0)
