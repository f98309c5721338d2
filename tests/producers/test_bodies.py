"""Bodies as they come in pieces: limits, gzip, draining."""

from __future__ import annotations

import asyncio
import gzip
import random
import zlib
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import ClientDisconnect, Request
from starlette.types import Message

from foldline.settings import Settings
from producers.gateway.bodies import REQUEST_BYTES, Held, Room, drain, read_body
from producers.gateway.envelope import Refusal

LIMIT = 1000


class Client:
    """A client that sends a body in pieces, and then nothing more."""

    def __init__(self, pieces: list[bytes], leaves: bool = False) -> None:
        last = len(pieces) - 1
        self.sent: Iterator[Message] = iter(
            {"type": "http.request", "body": piece, "more_body": leaves or place < last}
            for place, piece in enumerate(pieces)
        )
        self.leaves = leaves
        self.received = 0

    async def receive(self) -> Message:
        for message in self.sent:
            self.received += len(message["body"])
            return message
        assert self.leaves, "read beyond the end of the body"
        return {"type": "http.disconnect"}


def read(pieces: list[bytes], headers: dict[bytes, bytes] | None = None, limit: int = LIMIT) -> bytes:
    return asyncio.run(read_body({}, Client(pieces).receive, headers or {}, limit, Held(Room(10**9))))


def refusal(pieces: list[bytes], headers: dict[bytes, bytes]) -> int:
    with pytest.raises(Refusal) as refused:
        read(pieces, headers)
    return refused.value.status


GZIP = {b"content-encoding": b"gzip"}


@pytest.mark.parametrize("headers", [{}, {b"content-encoding": b"identity"}, {b"content-encoding": b" Identity "}])
def test_a_body_is_its_pieces(headers: dict[bytes, bytes]) -> None:
    assert read([b"{", b"", b"}"], headers) == b"{}"
    assert read([b""], headers) == b""
    assert read([b"x" * LIMIT], headers) == b"x" * LIMIT


def test_one_byte_more_than_the_limit_is_too_much() -> None:
    assert refusal([b"x" * LIMIT, b"x"], {}) == 413
    assert refusal([b""], {b"content-length": b"1001"}) == 413


@given(st.lists(st.binary(max_size=300), min_size=1, max_size=3), st.data())
def test_gzip_in_any_members_and_pieces(members: list[bytes], data: st.DataObject) -> None:
    compressed = b"".join(gzip.compress(member) for member in members)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(compressed)), max_size=5)))
    pieces = [compressed[a:b] for a, b in zip([0, *cuts], [*cuts, len(compressed)], strict=True)]
    assert read(pieces, {b"content-encoding": data.draw(st.sampled_from([b"gzip", b"GZIP", b"x-gzip"]))}) == b"".join(
        members
    )


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        gzip.compress(b"{}", mtime=0)[:-1],
        gzip.compress(b"{}", mtime=0)[:10],
        gzip.compress(b"{}", mtime=0) + b"rest",
        gzip.compress(b"{}", mtime=0)[:-8] + b"\0" * 8,
        zlib.compress(b"{}"),
    ],
)
def test_what_is_not_gzip(body: bytes) -> None:
    assert refusal([body], GZIP) == 400


def test_padding_after_gzip_is_not_part_of_it() -> None:
    assert read([gzip.compress(b"{}") + b"\0" * 64], GZIP) == b"{}"


def test_the_limit_counts_what_is_inflated_as_it_comes() -> None:
    assert read([gzip.compress(b"x" * LIMIT)], GZIP) == b"x" * LIMIT
    assert refusal([gzip.compress(b"x" * (LIMIT + 1))], GZIP) == 413
    assert refusal([gzip.compress(b"\0" * 100_000_000, 1)[:900]], GZIP) == 413
    half = gzip.compress(b"x" * 501)
    assert refusal([half, half], GZIP) == 413
    noise = random.Random(7).randbytes(2000)
    assert refusal([gzip.compress(noise)], GZIP) == 413


@pytest.mark.parametrize("encoding", [b"br", b"deflate", b"gzip, gzip", b"zstd", b"nope"])
def test_other_encodings_are_not_understood(encoding: bytes) -> None:
    assert refusal([b"{}"], {b"content-encoding": encoding}) == 415


def test_a_client_that_leaves_has_sent_no_body() -> None:
    with pytest.raises(ClientDisconnect):
        asyncio.run(read_body({}, Client([b"{"], leaves=True).receive, {}, LIMIT, Held(Room(10**9))))


def drained(client: Client, headers: dict[str, str], **scope: Any) -> bool:
    encoded = [(name.encode(), value.encode()) for name, value in headers.items()]
    request = Request({"type": "http", "headers": encoded, **scope}, client.receive)
    return asyncio.run(drain(request, Settings(max_drain_bytes=LIMIT)))


def test_a_refused_body_is_read_to_its_end() -> None:
    client = Client([b"x" * 400, b"x" * 600])
    assert drained(client, {"content-length": "1000"})
    assert client.received == 1000


def test_no_more_than_the_limit_is_read() -> None:
    client = Client([b"x" * 600] * 10)
    assert not drained(client, {"transfer-encoding": "chunked"})
    assert client.received == 1200


def test_nothing_is_read_where_nothing_is_sent_or_left() -> None:
    assert drained(Client([]), {})
    client = Client([b"{}"])
    scope: dict[str, Any] = {}
    assert asyncio.run(read_body(scope, client.receive, {}, LIMIT, Held(Room(10**9)))) == b"{}"
    assert drained(client, {"content-length": "2"}, **scope)


def test_a_large_body_that_is_only_announced_is_not_asked_for() -> None:
    assert not drained(Client([]), {"content-length": "1001", "expect": "100-continue"})


def test_a_client_that_leaves_needs_no_answer() -> None:
    assert not drained(Client([b"x"], leaves=True), {"content-length": "1000"})


def held_of(room: Room, pieces: list[bytes], headers: dict[bytes, bytes] | None = None) -> Held:
    held = Held(room)
    asyncio.run(read_body({}, Client(pieces).receive, headers or {}, LIMIT, held))
    return held


def test_what_all_requests_hold_is_bounded() -> None:
    room = Room(2 * (REQUEST_BYTES + 50) + REQUEST_BYTES)
    first, second = held_of(room, [b"x" * 50]), held_of(room, [b"x" * 20, b"x" * 30], {b"content-length": b"50"})
    assert room.free == REQUEST_BYTES
    for pieces, headers in (([b"x"], {}), ([gzip.compress(b"x")], {b"content-encoding": b"gzip"})):
        held = Held(room)
        with pytest.raises(Refusal) as refusal:
            asyncio.run(read_body({}, Client(pieces).receive, headers, LIMIT, held))
        assert (refusal.value.status, refusal.value.headers["Retry-After"]) == (503, "1")
        held.release()
    declared, unread = Held(room), Client([b"x"])
    with pytest.raises(Refusal):
        asyncio.run(read_body({}, unread.receive, {b"content-length": b"1"}, LIMIT, declared))
    assert unread.received == 0
    for held in (first, second, declared):
        for _ in range(2):
            held.release()
    assert room.free == 2 * (REQUEST_BYTES + 50) + REQUEST_BYTES
