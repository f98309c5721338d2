"""Records into bodies: by number, by exact size, in order, nothing lost."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foldline.client import BadRecord, Limits
from foldline.client.batches import Batch, batches

A, B, C = {"item_id": "a"}, {"item_id": "b"}, {"item_id": "ç"}  # 15, 15 and 16 bytes of JSON


def test_one_record_is_an_array_of_one() -> None:
    assert list(batches([A])) == [Batch(0, 1, b'[{"item_id":"a"}]')]


def test_none_is_no_request() -> None:
    assert list(batches([])) == []


@pytest.mark.parametrize(
    ("limits", "bodies"),
    [
        (Limits(2, 1000), [b'[{"item_id":"a"},{"item_id":"b"}]', '[{"item_id":"ç"}]'.encode()]),
        (Limits(3, 1000), ['[{"item_id":"a"},{"item_id":"b"},{"item_id":"ç"}]'.encode()]),
        (Limits(9, 50), ['[{"item_id":"a"},{"item_id":"b"},{"item_id":"ç"}]'.encode()]),
        (Limits(9, 49), [b'[{"item_id":"a"},{"item_id":"b"}]', '[{"item_id":"ç"}]'.encode()]),
        (Limits(9, 33), [b'[{"item_id":"a"},{"item_id":"b"}]', '[{"item_id":"ç"}]'.encode()]),
        (Limits(9, 32), [b'[{"item_id":"a"}]', b'[{"item_id":"b"}]', '[{"item_id":"ç"}]'.encode()]),
    ],
)
def test_a_request_is_as_full_as_it_may_be(limits: Limits, bodies: list[bytes]) -> None:
    assert [batch.body for batch in batches([A, B, C], limits)] == bodies


def test_records_are_taken_as_they_are_sent() -> None:
    taken: list[int] = []

    def endless() -> Any:
        for number in range(10**9):
            taken.append(number)
            yield {"item_id": f"{number:03}"}

    first = next(batches(endless(), Limits(10, 1000)))
    assert (first.first, first.records, len(taken)) == (0, 10, 11)


@given(
    st.lists(
        st.fixed_dictionaries({"item_id": st.text(st.characters(exclude_categories=["Cs"]), max_size=12)}), max_size=60
    ),
    st.integers(1, 9),
    st.integers(100, 200),
)
def test_whatever_is_given_is_sent_once_in_order_within_the_limits(records: list[Any], most: int, size: int) -> None:
    made = list(batches(records, Limits(most, size)))
    assert [record for batch in made for record in json.loads(batch.body)] == records
    for number, batch in enumerate(made):
        assert batch.first == sum(before.records for before in made[:number])
        assert len(json.loads(batch.body)) == batch.records <= most
        assert len(batch.body) <= size
    for batch, after in pairwise(made):  # as few as possible: the next record had no place
        next_record = json.dumps(json.loads(after.body)[0], ensure_ascii=False, separators=(",", ":")).encode()
        assert batch.records == most or len(batch.body) + 1 + len(next_record) > size


def test_the_limits_are_the_gateways() -> None:
    record = {"item_id": "a", "attributes": {"t": "x" * (1024 * 1024 - 39)}}
    (batch,) = batches([record])
    assert len(batch.body) == 1024 * 1024
    record["attributes"] = {"t": "x" * (1024 * 1024 - 38)}
    with pytest.raises(BadRecord, match="it takes 1048575 bytes, and a request may have 1048576"):
        list(batches([record]))
    assert [batch.records for batch in batches({"item_id": str(number)} for number in range(10_001))] == [10_000, 1]


def test_times_are_sent_with_their_offset() -> None:
    (batch,) = batches([{"user_id": "u", "created_at": datetime(2025, 1, 12, 9, tzinfo=UTC)}])
    assert batch.body == b'[{"user_id":"u","created_at":"2025-01-12T09:00:00+00:00"}]'


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (float("nan"), "Out of range float values"),
        ("\ud800", "surrogates not allowed"),
        ({1, 2}, "a set is not a JSON value"),
        (b"bytes", "a bytes is not a JSON value"),
        (datetime(2025, 1, 12), "has no offset from UTC"),
    ],
)
def test_what_is_no_json_is_named_after_what_comes_before_it(value: object, why: str) -> None:
    made = batches([A, B, {"item_id": "c", "attributes": {"v": value}}, A])
    assert next(made) == Batch(0, 2, b'[{"item_id":"a"},{"item_id":"b"}]')
    with pytest.raises(BadRecord, match=f"record 2 cannot be sent: .*{why}") as caught:
        next(made)
    assert caught.value.index == 2


def test_what_contains_itself_is_no_json() -> None:
    own: dict[str, Any] = {}
    own["own"] = own
    with pytest.raises(BadRecord, match="Circular"):
        list(batches([own]))
