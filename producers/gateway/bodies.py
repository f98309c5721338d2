"""Bodies: read with a running limit, inflated as they come, and drained where they are refused.

1. No more than the limit is ever kept, and no more than the limit is ever inflated.
2. What all requests hold at a time is bounded, too. A request for which there is no room is refused before its body is read.
3. Who is refused while still sending gets the answer: up to `max_drain_bytes` are read and dropped first. Beyond that, or
   after `DRAIN_SECONDS`, the connection is closed with the answer.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Mapping

from starlette.requests import ClientDisconnect, Request
from starlette.types import Message, Receive, Scope

from foldline.settings import Settings
from producers.gateway.envelope import Refusal, unavailable

DRAIN_SECONDS = 10.0
REQUEST_BYTES = 16 * 1024
GZIP = zlib.MAX_WBITS | 16
CONSUMED = "foldline.body_consumed"


class Room:
    """What requests with bodies may hold at a time, all together: each its body, and `REQUEST_BYTES` beside it."""

    __slots__ = ("free", "limit")

    def __init__(self, limit: int) -> None:
        """`limit` is in bytes."""
        self.free = self.limit = limit


class Held:
    """What one request holds of the room: as much as it has said that its body has, and more where more comes."""

    __slots__ = ("_room", "_size")

    def __init__(self, room: Room) -> None:
        self._room, self._size = room, 0

    def hold(self, body_bytes: int) -> None:
        """Holds so much for the body, if it does not yet. Raises `Refusal` 503 where there is no room."""
        more = body_bytes + REQUEST_BYTES - self._size
        if more > 0:
            if more > self._room.free:
                raise unavailable("The gateway has as much to do as it can hold. Nothing of this request was queued: retry")
            self._room.free -= more
            self._size += more

    def release(self) -> None:
        """Gives back what is held."""
        self._room.free += self._size
        self._size = 0


async def read_body(scope: Scope, receive: Receive, headers: Mapping[bytes, bytes], limit: int, held: Held) -> bytes:
    """The whole body, inflated. Raises `Refusal`, and `ClientDisconnect` where the client left."""
    inflater = _inflater(headers.get(b"content-encoding", b""))
    declared = headers.get(b"content-length", b"")
    if declared.isdigit():
        if int(declared) > limit:
            raise _too_large(limit)
        held.hold(int(declared))
    chunks = []
    received = size = 0
    while not scope.get(CONSUMED):
        chunk = _taken(scope, await receive())
        received += len(chunk)
        inflated = inflater.feed(chunk, limit - size) if inflater else chunk
        size += len(inflated)
        if size > limit or received > limit:
            raise _too_large(limit)
        held.hold(size)
        chunks.append(inflated)
    if inflater:
        inflater.end()
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


async def drain(request: Request, settings: Settings) -> bool:
    """Drops what is left of the body; False where too much or too slow: then the connection has to be closed."""
    headers = request.headers
    if "content-length" not in headers and "transfer-encoding" not in headers:
        return True
    if request.scope.get(CONSUMED):
        return True
    declared = headers.get("content-length", "")
    if "expect" in headers and declared.isdecimal() and int(declared) > settings.max_drain_bytes:
        return False
    received = 0
    try:
        async with asyncio.timeout(DRAIN_SECONDS):
            while not request.scope.get(CONSUMED):
                received += len(_taken(request.scope, await request.receive()))
                if received > settings.max_drain_bytes:
                    return False
    except (TimeoutError, ClientDisconnect):
        return False
    return True


def _taken(scope: Scope, message: Message) -> bytes:
    if not message.get("more_body", False):
        scope[CONSUMED] = True
    if message["type"] == "http.disconnect":
        raise ClientDisconnect
    body: bytes = message.get("body", b"")
    return body


class _Gzip:
    """Inflates members as they come."""

    def __init__(self) -> None:
        self._member = zlib.decompressobj(GZIP)
        self._begun = False

    def feed(self, chunk: bytes, room: int) -> bytes:
        """What the chunk adds to the body: at most `room` bytes and one more, which says that there is no room."""
        inflated = []
        while chunk and room >= 0:
            if self._member.eof:  # another member follows, or padding
                chunk = chunk.lstrip(b"\0")
                if not chunk:
                    break
                self._member = zlib.decompressobj(GZIP)
            self._begun = True
            try:
                piece = self._member.decompress(chunk, room + 1)
            except zlib.error as error:
                raise _bad_gzip(str(error)) from error
            inflated.append(piece)
            room -= len(piece)
            chunk = self._member.unused_data if self._member.eof else self._member.unconsumed_tail
        return b"".join(inflated)

    def end(self) -> None:
        """Raises `Refusal` where the body is not complete."""
        if not self._member.eof:
            raise _bad_gzip("it ends too early" if self._begun else "it is empty")


def _inflater(encoding: bytes) -> _Gzip | None:
    match encoding.strip().lower():
        case b"" | b"identity":
            return None
        case b"gzip" | b"x-gzip":
            return _Gzip()
    raise Refusal(415, "Content-Encoding may be gzip, or left out", headers={"Accept-Encoding": "gzip"})


def _too_large(limit: int) -> Refusal:
    return Refusal(413, f"The body is larger than {limit} bytes: send fewer records at a time, or use the bulk import")


def _bad_gzip(reason: str) -> Refusal:
    return Refusal(400, f"The body is not gzip as Content-Encoding says: {reason}")
