"""The corpus, what is made of it by small changes, and anything at all: no input is met by anything but a defined answer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.fuzz.inputs import INPUTS

CORPUS = Path(__file__).with_name("corpus")
FILES = sorted(file for file in CORPUS.rglob("*") if file.is_file())


def test_there_is_a_corpus_of_each() -> None:
    assert {file.parent.name for file in FILES} == INPUTS.keys()
    assert sum(file.stat().st_size for file in FILES) < 200_000


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}/{file.name}")
def test_what_was_once_interesting(file: Path) -> None:
    INPUTS[file.parent.name](file.read_bytes())


@pytest.mark.parametrize(("name", "meets"), INPUTS.items(), ids=INPUTS)
@settings(max_examples=150)
@given(data=st.data())
def test_what_is_made_of_it(name: str, meets: Callable[[bytes], None], data: st.DataObject) -> None:
    known = [file.read_bytes() for file in FILES if file.parent.name == name]
    made = bytearray(data.draw(st.sampled_from(known)))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(made)))
        until = data.draw(st.integers(at, min(len(made), at + 8)))
        piece = data.draw(
            st.binary(max_size=6) | st.sampled_from(PIECES) | st.sampled_from(known).map(lambda other: other[:40])
        )
        made[at:until] = piece
    meets(bytes(made))


PIECES = [
    b'"', b"'", b"\\", b"\\u0000", b"\\ud800", b"\x00", b"\xff", b"\xef\xbb\xbf", b"\r\n", b"\r", b",", b";", b"\t", b"{",
    b"[" * 40, b"]", b"}", b"null", b"NaN", b"1e999", b"-0.0", b"9" * 400, b"1e400000", b"\xe2\x80\xa8",
    b"\xf0\x9f\x98\x80", b"item_id", b'"item_id":', b"=cmd|' /C calc'!A0", b"\x80" * 10, b"\xff" * 10 + b"\x01",
]  # fmt: skip


@pytest.mark.parametrize(("name", "meets"), INPUTS.items(), ids=INPUTS)
@example(b"")
@given(data=st.binary(max_size=200))
def test_anything_at_all(name: str, meets: Callable[[bytes], None], data: bytes) -> None:
    meets(data)
    meets(b"\x00\x00\x00\x00\x01" + data)
