"""Operation ids and cursors: what comes back is what was given out, to whom it was given."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foldline.adapters.producer import Appended, PartitionEnd
from producers.gateway.tokens import (
    Operation,
    cursor,
    operation_id,
    read_cursor,
    read_operation_id,
)

SECRET = b"s" * 32
REQUEST = "0123456789abcdef0123456789abcdef"
ENDS = (PartitionEnd(0, 1, 0), PartitionEnd(3, 999, 2**40), PartitionEnd(11, 128, 127))
OPERATION = Operation("org_a", "users", REQUEST, Appended("CYDaWE2xR0ywhc288IRh0Q", ENDS))


def test_an_operation_id_says_where_the_request_lies() -> None:
    text = operation_id(SECRET, OPERATION)
    assert re.fullmatch(r"op_[A-Za-z0-9_-]+", text)
    assert read_operation_id(SECRET, "org_a", text) == OPERATION
    assert OPERATION.accepted == 1128


@given(
    ends=st.lists(
        st.builds(PartitionEnd, st.integers(0, 10_000), st.integers(1, 10_000), st.integers(0, 2**62)), max_size=50
    ).map(tuple),
    topic_id=st.text(max_size=40),
)
def test_every_operation_comes_back(ends: tuple[PartitionEnd, ...], topic_id: str) -> None:
    operation = Operation("org_a", "items", REQUEST, Appended(topic_id, ends))
    assert read_operation_id(SECRET, "org_a", operation_id(SECRET, operation)) == operation


def test_it_is_nobody_elses() -> None:
    text = operation_id(SECRET, OPERATION)
    assert read_operation_id(SECRET, "org_b", text) is None
    assert read_operation_id(b"t" * 32, "org_a", text) is None


@pytest.mark.parametrize("place", range(3, 100, 7))
def test_a_changed_character_makes_it_no_operation_id(place: int) -> None:
    text = operation_id(SECRET, OPERATION)
    other = "A" if text[place] != "A" else "B"
    assert read_operation_id(SECRET, "org_a", text[:place] + other + text[place + 1 :]) is None


@pytest.mark.parametrize(
    "change",
    [
        lambda text: "",
        lambda text: "op_",
        lambda text: "op_AAAA",
        lambda text: text[:-1],
        lambda text: text + "A",
        lambda text: text + "=",
        lambda text: text + "\n",
        lambda text: text.removeprefix("op_"),
        lambda text: text.upper(),
        lambda text: "op_" + "é" * 40,
        lambda text: "op_" + "A" * 100_000,
        lambda text: text[:-1] + chr(ord(text[-1]) + 1),
    ],
)
def test_what_is_not_one_reads_as_none(change: object) -> None:
    assert callable(change)
    assert read_operation_id(SECRET, "org_a", change(operation_id(SECRET, OPERATION))) is None


@given(st.text(max_size=300))
def test_no_text_is_one_by_chance(text: str) -> None:
    assert read_operation_id(SECRET, "org_a", text) is None
    assert read_cursor(SECRET, "org_a", "items", text) is None


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=256))
def test_a_cursor_is_an_id_of_one_listing(last_id: str) -> None:
    text = cursor(SECRET, "org_a", "items", last_id)
    assert re.fullmatch(r"[A-Za-z0-9_-]+", text)
    assert read_cursor(SECRET, "org_a", "items", text) == last_id
    assert read_cursor(SECRET, "org_a", "users", text) is None
    assert read_cursor(SECRET, "org_b", "items", text) is None
    assert read_operation_id(SECRET, "org_a", "op_" + text) is None
