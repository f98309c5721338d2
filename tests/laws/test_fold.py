"""The laws of `foldline.domain.fold`, by their numbers, against a model written from the contract alone."""

from __future__ import annotations

import copy
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foldline.adapters.codec import BundledRegistry
from foldline.adapters.memory import MemoryLog
from foldline.domain.fold import FOLD, fold_all, fold_item, fold_user, key_fault
from foldline.domain.keys import message_key, partition_of
from foldline.domain.records import ATTRIBUTES_MAX_BYTES, KINDS, Kind, Rejection, State, Upsert
from processors.batch import BatchFolder, Stretch
from projections.memory import MemoryDatabase, MemoryStateStore
from projections.state import Partition
from tests.keys import MASTERS
from tests.laws.model import plain, replay, same, step
from tests.laws.strategies import Sent, histories, logs, objects, sent

REGISTRY = BundledRegistry()


def upsert(**fields: Any) -> Upsert:
    """An upsert that carries just these fields."""
    default = Upsert("org_1", "PROD-1", None, None, None, 1_000, "req_1", 0)
    return default._replace(**fields)


def item(**fields: Any) -> Upsert:
    return upsert(**{"detail": "product"} | fields)


def fold(kind: Kind, *events: Upsert) -> State:
    """The state of events none of which is rejected."""
    state: State | None = None
    for offset, event in enumerate(events):
        after = FOLD[kind](state, event, 0, offset)
        assert isinstance(after, State), after
        state = after
    assert state is not None
    return state


def triples(history: list[Sent], first: int = 0) -> list[tuple[Upsert, int, int]]:
    return [(one.event, 0, offset) for offset, one in enumerate(history, start=first)]


def of_size(size: int, name: str = "a") -> str:
    """Attributes of one string, as JSON of so many bytes."""
    return orjson.dumps({name: "x" * (size - len(name) - 7)}).decode()


class TestLaw1:
    """State depends on the events of its key, in log order, and on nothing else."""

    @given(st.data(), st.sampled_from(KINDS))
    def test_the_fold_is_what_the_contract_says(self, data: st.DataObject, kind: Kind) -> None:
        history = data.draw(histories(kind))
        assert same(plain(fold_all(kind, triples(history))), replay(kind, history))

    @given(logs(), st.integers(1, 5), st.integers(1, 7), st.sampled_from([1, 3000, 10**9]), st.booleans())
    def test_batches_caches_and_partitions_change_nothing(
        self, log: list[tuple[Kind, Sent]], partitions: int, size: int, cache_bytes: int, overlapped: bool
    ) -> None:
        database = through_batches(log, partitions, size, cache_bytes, overlapped)
        keys = {(kind, one.event.org_id, one.event.entity_id) for kind, one in log}
        folded = {(kind, *pair): state for kind in KINDS for pair, state in database.states[kind].items()}
        rejected = 0
        for kind, org_id, entity_id in keys:
            history = [one for k, one in log if (k, one.event.org_id, one.event.entity_id) == (kind, org_id, entity_id)]
            expected = replay(kind, history)
            assert same(plain(folded.pop((kind, org_id, entity_id), None)), expected)
            rejected += sum(
                isinstance(step(kind, replay(kind, history[:place]), one), str) for place, one in enumerate(history)
            )
        assert not folded
        assert len(database.letters) == rejected

    def test_the_limit_does_not_depend_on_what_is_remembered(self) -> None:
        small = "[" + ",".join(["1e-5"] * 150_000) + "]"  # 0.75 MB as sent, 1.2 MB as kept
        texts = ('{"b":1}', f'{{"a":{small}}}', '{"c":1}')
        log: list[tuple[Kind, Sent]] = [("items", Sent(item(attributes=text), None)) for text in texts]
        for cache_bytes in (1, 10**9):
            database = through_batches(log, 1, 1, cache_bytes, overlapped=False)
            (state,) = database.states["items"].values()
            assert state.attributes == {"b": 1, "c": 1}
            assert [letter.code for letter in database.letters.values()] == ["record_too_large"]

    def test_a_stray_record_does_not_bring_back_an_older_state(self) -> None:
        memory = MemoryLog(REGISTRY, 2)
        home = partition_of(message_key("org_1", "PROD-1"), 2)
        other = 1 - home
        for version in range(3):
            memory.append("items", [item(received_at=version)])
        memory.append_raw("items", message_key("org_1", "PROD-1"), None, other)
        database = MemoryDatabase({"items": memory.topic_id("items")}, 2)
        store = MemoryStateStore(database)
        folder = BatchFolder(store, REGISTRY, MASTERS, 2, cache_bytes=1)
        first, second, third = memory.stretch("items", home, 0, 3)
        store.commit(folder.fold({("items", home): Stretch(0, [first])}, {}).commit)
        under_way = folder.fold({("items", home): Stretch(1, [second])}, {})
        stretches = {
            ("items", other): Stretch(0, memory.stretch("items", other, 0, 1)),
            ("items", home): Stretch(2, [third]),
        }
        batch = folder.fold(stretches, under_way.commit.rows)
        assert [row.state.version for rows in batch.commit.rows.values() for row in rows] == [3]


def through_batches(
    log: list[tuple[Kind, Sent]], partitions: int, size: int, cache_bytes: int, overlapped: bool
) -> MemoryDatabase:
    """The events through the log and `BatchFolder`, `size` at a time, each batch on top of one still to be committed."""
    memory = MemoryLog(REGISTRY, partitions)
    for kind, one in log:
        memory.append(kind, [one.event])
    database = MemoryDatabase({kind: memory.topic_id(kind) for kind in KINDS}, partitions)
    store = MemoryStateStore(database)
    folder = BatchFolder(store, REGISTRY, MASTERS, partitions, cache_bytes)
    waiting = None
    for stretches in batches(memory, size):
        batch = folder.fold(stretches, waiting.commit.rows if waiting else {})
        if waiting is not None:
            store.commit(waiting.commit)
        waiting = batch
        if not overlapped:
            store.commit(waiting.commit)
            waiting = None
    if waiting is not None:
        store.commit(waiting.commit)
    return database


def batches(memory: MemoryLog, size: int) -> list[dict[Partition, Stretch]]:
    """The log in batches that take `size` records of every partition."""
    ends = {(kind, number): memory.watermarks(kind, number)[1] for kind in KINDS for number in range(memory.partitions)}
    return [
        {
            (kind, number): Stretch(start, memory.stretch(kind, number, start, start + size))
            for (kind, number), end in ends.items()
            if start < end
        }
        for start in range(0, max(ends.values()), size)
    ]


class TestLaw2:
    """A field that an upsert carries replaces the old one; a field that it omits stays."""

    @given(st.data(), st.sampled_from(KINDS))
    def test_field_by_field(self, data: st.DataObject, kind: Kind) -> None:
        before = fold_all(kind, triples(data.draw(histories(kind))))
        statuses = st.sampled_from([None, "active", "inactive"])
        one = data.draw(sent(kind, bad=False, statuses=statuses, ids=st.none()))
        if before is None or before.status == "deleted":
            return
        after = FOLD[kind](before, one.event, 0, 99)
        assert isinstance(after, State)
        assert after.detail == (before.detail if one.event.detail is None else one.event.detail)
        assert after.status == (before.status if one.event.status is None else one.event.status)
        if one.attributes is None:
            assert same(after.attributes, before.attributes)
        assert (after.version, after.updated_at) == (before.version + 1, one.event.received_at)
        assert (after.first_seen_at, after.offset) == (before.first_seen_at, 99)


class TestLaw3:
    """Attributes merge one level deep."""

    def test_in_words(self) -> None:
        state = fold(
            "items",
            item(attributes='{"price":{"eu":1,"us":2},"tags":["a"],"old":true}'),
            upsert(attributes='{"price":{"eu":3},"tags":null}'),
        )
        assert state.attributes == {"price": {"eu": 3}, "tags": None, "old": True}

    @given(st.sampled_from(KINDS), objects, objects)
    def test_each_key_carried_replaces_its_whole_value(self, kind: Kind, old: Any, new: Any) -> None:
        detail = "product" if kind == "items" else None
        state = fold(kind, upsert(detail=detail, attributes=old.text), upsert(attributes=new.text))
        assert state.attributes.keys() == old.kept.keys() | new.kept.keys()
        for name, value in state.attributes.items():
            assert same(value, new.kept[name] if name in new.kept else old.kept[name])


class TestLaw4:
    """What breaks a rule is rejected with a reason, and the log goes on."""

    @pytest.mark.parametrize(
        ("kind", "event", "code", "field"),
        [
            ("items", upsert(), "item_type_required", "item_type"),
            ("items", upsert(status="deleted"), "item_type_required", "item_type"),
            ("items", item(status="gone"), "invalid_status", "status"),
            ("users", upsert(status="Active"), "invalid_status", "status"),
            ("items", item(detail=""), "invalid_string", "item_type"),
            ("items", item(detail="a\x00"), "invalid_string", "item_type"),
            ("items", item(detail="a\ud800"), "invalid_string", "item_type"),
            ("items", item(detail="é" * 129), "too_long", "item_type"),
            ("items", item(detail=7), "invalid_type", "item_type"),
            ("users", upsert(detail=253_402_300_800_000_000), "invalid_timestamp", "created_at"),
            ("users", upsert(detail=-62_135_596_800_000_001), "invalid_timestamp", "created_at"),
            ("users", upsert(detail="2025-01-01T00:00:00Z"), "invalid_timestamp", "created_at"),
            ("items", item(received_at=253_402_300_800_000_000), "invalid_timestamp", "received_at"),
            ("users", upsert(received_at=-62_135_596_800_000_001), "invalid_timestamp", "received_at"),
            ("items", item(attributes="[]"), "invalid_type", "attributes"),
            ("items", item(attributes="{"), "invalid_json", "attributes"),
            ("items", item(attributes='{"a":{"b":[0,1e61]}}'), "invalid_number", "attributes.a.b[1]"),
            ("items", item(attributes='{"a":{"b\\u0000":1}}'), "invalid_string", "attributes.a.b\\x00"),
            ("items", item(attributes='{"a":' * 33 + "1" + "}" * 33), "too_deep", "attributes" + ".a" * 32),
            ("items", item(attributes=of_size(ATTRIBUTES_MAX_BYTES + 1)), "record_too_large", "attributes"),
        ],
    )  # fmt: skip
    def test_reasons(self, kind: Kind, event: Upsert, code: str, field: str) -> None:
        rejection = FOLD[kind](None, event, 0, 0)
        assert isinstance(rejection, Rejection)
        assert (rejection.code, rejection.field) == (code, field)
        assert rejection.message

    @pytest.mark.parametrize("detail", ["t", "t" * 128, "😀" * 128, " ", "\t", "\\N", "\x7f"])
    def test_an_item_type_that_holds(self, detail: str) -> None:
        assert fold("items", item(detail=detail)).detail == detail

    @given(st.data(), st.sampled_from(KINDS))
    def test_a_rejection_changes_nothing(self, data: st.DataObject, kind: Kind) -> None:
        before = fold_all(kind, triples(data.draw(histories(kind, bad=False))))
        untouched = copy.deepcopy(before)
        one = data.draw(sent(kind))
        after = FOLD[kind](before, one.event, 0, 99)
        expected = step(kind, plain(before), one)
        assert (after.code if isinstance(after, Rejection) else plain(after)) == expected
        assert before == untouched

    def test_limit_to_the_byte(self) -> None:
        limit = ATTRIBUTES_MAX_BYTES
        assert len(orjson.dumps(fold("items", item(attributes=of_size(limit))).attributes)) == limit
        # A merge: {"a":"…"} and {"é":"…"} lose a pair of braces and gain a comma.
        first, second = of_size(limit - 1000), orjson.dumps({"é": "ü" * 495}).decode()
        merged = len(first.encode()) + len(second.encode()) - 1
        first = of_size(limit - 1000 + limit - merged)
        assert len(orjson.dumps(fold("items", item(attributes=first), upsert(attributes=second)).attributes)) == limit
        one_more = of_size(len(first) + 1)
        before = fold("items", item(attributes=one_more))
        rejection = fold_item(before, upsert(attributes=second), 0, 1)
        assert isinstance(rejection, Rejection)
        assert rejection.code == "record_too_large"
        assert str(limit + 1) in rejection.message

    def test_what_counts_is_the_merged_record_and_not_what_was_sent(self) -> None:
        half = of_size(ATTRIBUTES_MAX_BYTES // 2 + 10)
        state = fold("items", *[item(attributes=half)] * 9)
        assert (state.version, len(orjson.dumps(state.attributes))) == (9, len(half))
        spaced = " " * ATTRIBUTES_MAX_BYTES + '{"a": 1}'
        assert fold("items", item(attributes=spaced)).attributes == {"a": 1}

    def test_a_rejected_event_is_not_counted_and_those_after_it_are(self) -> None:
        events = [upsert(), item(), item(status="gone"), upsert(status="inactive")]
        state = fold_all("items", [(event, 0, offset) for offset, event in enumerate(events)])
        assert state is not None
        assert (state.version, state.status, state.offset) == (2, "inactive", 3)

    @pytest.mark.parametrize(
        ("key", "event", "code"),
        [
            (b"org_1:PROD-1", upsert(), None),
            (b"org_1:a:b", upsert(entity_id="a:b"), None),
            (b"org_1:PROD-2", upsert(), "wrong_key"),
            (b"org_2:PROD-1", upsert(), "wrong_key"),
            (b"PROD-1", upsert(), "wrong_key"),
            (b"", upsert(), "wrong_key"),
            (None, upsert(), "wrong_key"),
            (b"org_1:\xff", upsert(), "wrong_key"),
            (b"a:b:c", upsert(org_id="a:b", entity_id="c"), "invalid_id"),
            (b":c", upsert(org_id="", entity_id="c"), "invalid_id"),
            (b"org_1:", upsert(entity_id=""), "invalid_id"),
            (b"org_1:a\nb", upsert(entity_id="a\nb"), "invalid_id"),
            (b"org_1:a\xc2\x85", upsert(entity_id="a\u0085"), "invalid_id"),
            (b"org_1:" + b"i" * 257, upsert(entity_id="i" * 257), "too_long"),
            (b"org_1:?", upsert(entity_id="\ud800"), "invalid_string"),
        ],
    )
    def test_keys(self, key: bytes | None, event: Upsert, code: str | None) -> None:
        partition = 0 if key is None else partition_of(key, 12)
        fault = key_fault("items", key, event, partition, 12)
        assert (None if fault is None else fault.code) == code

    def test_a_key_on_another_partition_than_its_own(self) -> None:
        key = message_key("org_1", "PROD-1")
        wrong = (partition_of(key, 12) + 1) % 12
        fault = key_fault("items", key, upsert(), wrong, 12)
        assert fault is not None
        assert fault.code == "wrong_partition"

    def test_defaults_of_a_new_record(self) -> None:
        assert fold("items", item()).status == "active"
        user = fold("users", upsert(received_at=77))
        assert (user.status, user.detail, user.first_seen_at) == ("active", 77, 77)
        assert fold("users", upsert(detail=5, status="inactive")).detail == 5


class TestLaw5:
    """`deleted` is a status; an item can come back."""

    @pytest.mark.parametrize("back", ["active", "inactive"])
    def test_an_item_keeps_its_attributes(self, back: str) -> None:
        deleted = [item(attributes='{"a":1}'), upsert(status="deleted", attributes='{"b":2}')]
        state = fold("items", *deleted)
        assert (state.status, state.attributes, state.detail) == ("deleted", {"a": 1, "b": 2}, "product")
        silent = fold("items", *deleted, upsert(attributes='{"c":3}'))
        assert (silent.status, silent.attributes) == ("deleted", {"a": 1, "b": 2, "c": 3})
        state = fold("items", *deleted, upsert(status=back))
        assert (state.status, state.attributes, state.version) == (back, {"a": 1, "b": 2}, 3)

    def test_an_item_may_begin_deleted(self) -> None:
        assert fold("items", item(status="deleted", attributes='{"a":1}')).attributes == {"a": 1}


class TestLaw6:
    """Deleting a user erases."""

    def deleted(self, **fields: Any) -> State:
        return fold(
            "users",
            upsert(detail=5, attributes='{"a":1}', received_at=10),
            upsert(status="deleted", attributes='{"b":2}', received_at=20, **fields),
        )

    def after(self, event: Upsert, **fields: Any) -> State:
        state = fold_user(self.deleted(**fields), event, 0, 9)
        assert isinstance(state, State)
        return state

    def test_a_delete_ignores_what_it_carries_but_created_at(self) -> None:
        state = self.deleted()
        assert (state.status, state.attributes, state.detail, state.version) == ("deleted", {}, 5, 2)
        assert (state.first_seen_at, state.updated_at) == (10, 20)
        assert self.deleted(detail=6).detail == 6

    def test_a_user_may_begin_deleted(self) -> None:
        state = fold("users", upsert(status="deleted", attributes='{"a":1}', detail=3))
        assert (state.status, state.attributes, state.detail, state.version) == ("deleted", {}, 3, 1)

    def test_without_a_status_nothing_but_version_and_time_changes(self) -> None:
        state = self.after(upsert(detail=8, attributes='{"c":3}', received_at=30))
        assert state == self.deleted()._replace(version=3, updated_at=30, offset=9)

    @pytest.mark.parametrize("status", ["active", "inactive"])
    def test_with_a_status_the_user_starts_again(self, status: str) -> None:
        state = self.after(upsert(status=status, attributes='{"c":3}', received_at=30))
        assert (state.status, state.attributes, state.detail, state.version) == (status, {"c": 3}, 5, 3)
        assert (state.first_seen_at, state.updated_at) == (10, 30)
        assert self.after(upsert(status=status)).attributes == {}
        assert self.after(upsert(status=status, detail=8)).detail == 8

    def test_deleted_again(self) -> None:
        state = self.after(upsert(status="deleted", attributes='{"c":3}', detail=8))
        assert (state.status, state.attributes, state.detail, state.version) == ("deleted", {}, 8, 3)

    @given(histories("users", bad=False))
    def test_a_deleted_user_has_no_attributes(self, history: list[Sent]) -> None:
        state = fold_all("users", triples(history))
        if state is not None and state.status == "deleted":
            assert state.attributes == {}
            assert state.attributes_bound == 2


class TestLaw7:
    """What a user's attributes contain decides neither acceptance nor version."""

    @given(histories("users"), st.data())
    def test_attributes_of_any_content_count_the_same(self, history: list[Sent], data: st.DataObject) -> None:
        texts = st.one_of(st.none(), st.text(max_size=5), st.sampled_from(["", "{", "[]", '{"a":1e999}', "{}", '{"a":1}']))
        others = [Sent(one.event._replace(attributes=data.draw(texts)), None) for one in history]
        states = [fold_all("users", triples(h)) for h in (history, others)]
        bare = [None if s is None else s._replace(attributes={}, attributes_bound=0) for s in states]
        assert bare[0] == bare[1]

    @pytest.mark.parametrize("text", ["", "{", "[1]", '{"c":NaN}', '{"c":"\\u0000"}', "more than 1 MiB"])
    def test_bad_attributes_fold_as_none(self, text: str) -> None:
        text = of_size(ATTRIBUTES_MAX_BYTES + 1, "c") if text == "more than 1 MiB" else text
        first = upsert(attributes='{"a":1}')
        state = fold("users", first, upsert(attributes=text, status="inactive"))
        assert (state.attributes, state.status, state.version) == ({"a": 1}, "inactive", 2)
        assert fold("users", upsert(attributes=text)).attributes == {}
        assert fold("users", first, upsert(status="deleted"), upsert(status="active", attributes=text)).attributes == {}

    def test_limit_to_the_byte(self) -> None:
        limit = ATTRIBUTES_MAX_BYTES
        assert len(orjson.dumps(fold("users", upsert(attributes=of_size(limit))).attributes)) == limit
        rest = '{"b":"' + "x" * 100 + '"}'
        fits = of_size(limit - len(rest) + 1)
        state = fold("users", upsert(attributes=fits), upsert(attributes=rest))
        assert len(orjson.dumps(state.attributes)) == limit
        state = fold("users", upsert(attributes=of_size(len(fits) + 1)), upsert(attributes=rest))
        assert list(state.attributes) == ["a"]
        assert state.version == 2


class TestLaw8:
    """`fold(a + b) = fold(b, starting from fold(a))`; `version` is the number of events folded."""

    @given(st.data(), st.sampled_from(KINDS))
    def test_a_history_may_be_cut_anywhere(self, data: st.DataObject, kind: Kind) -> None:
        history = data.draw(histories(kind))
        cut = data.draw(st.integers(0, len(history)))
        whole = fold_all(kind, triples(history))
        halves = fold_all(kind, triples(history[cut:], cut), fold_all(kind, triples(history[:cut])))
        assert halves == whole
        assert same(plain(halves), plain(whole))

    @given(st.data(), st.sampled_from(KINDS))
    def test_version_counts(self, data: st.DataObject, kind: Kind) -> None:
        state, folded = None, 0
        for one in data.draw(histories(kind)):
            after = FOLD[kind](state, one.event, 0, 0)
            if isinstance(after, State) and after is not state:
                state, folded = after, folded + 1
                assert state.version == folded


HOUR = 3600 * 1_000_000
ID = bytes(range(16))


class TestLaw9:
    """A repetition changes nothing for 25 h of event time."""

    @given(st.data(), st.sampled_from(KINDS))
    def test_repetitions_at_any_place_change_nothing(self, data: st.DataObject, kind: Kind) -> None:
        history = data.draw(histories(kind, max_size=5, ids=st.none(), times=st.integers(0, 24 * HOUR), bad=False))
        keyed = [one.event._replace(idempotency_id=bytes((place,)) * 16) for place, one in enumerate(history)]
        once = fold_all(kind, [(event, 0, 0) for event in keyed])
        repeated = list[Upsert]()
        for event in keyed:
            repeated.append(event)
            again = data.draw(st.lists(st.tuples(st.sampled_from(repeated), st.integers(0, 24 * HOUR)), max_size=3))
            repeated += [event._replace(received_at=at, request_id="again", detail=event.detail) for event, at in again]
        folded = fold_all(kind, [(event, 0, 0) for event in repeated])
        # What was rejected, an item without item_type, may be folded when it comes again.
        if kind == "users" or not history or history[0].event.detail is not None:
            assert folded == once

    @pytest.mark.parametrize(("hours", "version"), [(0, 2), (-3, 2), (25, 2), (26, 3)])
    def test_for_so_long(self, hours: int, version: int) -> None:
        at = 100 * HOUR
        first = item(idempotency_id=ID, attributes='{"a":1}', received_at=at)
        other = upsert(attributes='{"a":2}', received_at=at)
        state = fold("items", first, other, first._replace(received_at=at + hours * HOUR, request_id="again"))
        assert (state.version, state.attributes) == (version, {"a": 2 if version == 2 else 1})

    def test_a_microsecond_more(self) -> None:
        events = [item(idempotency_id=ID, received_at=at) for at in (0, 25 * HOUR, 25 * HOUR + 1, 50 * HOUR + 1)]
        assert fold("items", *events).version == 2

    @pytest.mark.parametrize("kind", KINDS)
    def test_what_came_between_stays(self, kind: Kind) -> None:
        detail = "product" if kind == "items" else None
        deletion = upsert(status="deleted", idempotency_id=ID, detail=detail)
        state = fold(kind, deletion, upsert(status="active", attributes='{"b":1}'), deletion._replace(request_id="again"))
        assert (state.status, state.attributes, state.version) == ("active", {"b": 1}, 2)
        creation = upsert(status="active", attributes='{"a":1}', idempotency_id=ID, detail=detail)
        state = fold(kind, creation, upsert(status="deleted"), creation._replace(request_id="again"))
        assert (state.status, state.version) == ("deleted", 2)

    def test_a_repetition_is_not_rejected_for_what_came_between(self) -> None:
        half = of_size(ATTRIBUTES_MAX_BYTES // 2 + 10)
        first = item(attributes=half, idempotency_id=ID)
        events = [
            first,
            upsert(attributes='{"a":null}'),
            upsert(attributes=of_size(ATTRIBUTES_MAX_BYTES // 2 + 10, "b")),
            first,
        ]
        assert fold("items", *events).attributes.keys() == {"a", "b"}

    def test_what_was_rejected_is_no_repetition(self) -> None:
        events = [upsert(idempotency_id=ID), item(), upsert(idempotency_id=ID, attributes='{"a":1}')]
        state = fold_all("items", [(event, 0, 0) for event in events])
        assert state is not None
        assert (state.version, state.attributes) == (2, {"a": 1})

    def test_ids_are_each_records_own(self) -> None:
        assert fold("items", item(entity_id="A", idempotency_id=ID)).version == 1
        assert fold("items", item(entity_id="B", idempotency_id=ID)).version == 1

    @pytest.mark.parametrize("kind", KINDS)
    def test_they_are_forgotten_in_time_and_never_too_many(self, kind: Kind) -> None:
        events = [
            item(detail="product" if kind == "items" else None, idempotency_id=place.to_bytes(16, "big"))
            for place in range(10_001)
        ]
        state = fold(kind, *events)
        assert (state.version, len(state.ids)) == (10_001, 10_000 * 24)
        for place, version in ((0, 10_002), (2, 10_001), (10_000, 10_001)):
            after = FOLD[kind](state, events[place], 0, 0)
            assert isinstance(after, State)
            assert after.version == version
        later = FOLD[kind](state, upsert(received_at=25 * HOUR + 1_001), 0, 0)
        assert isinstance(later, State)
        assert later.ids == b""


@given(st.data(), st.sampled_from(KINDS))
def test_the_bound_is_never_below_the_size(data: st.DataObject, kind: Kind) -> None:
    state = fold_all(kind, triples(data.draw(histories(kind))))
    if state is not None:
        assert len(orjson.dumps(state.attributes)) <= state.attributes_bound
