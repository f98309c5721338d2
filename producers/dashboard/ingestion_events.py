"""An import's page as it changes: server-sent events, each a piece of the page and what it is a version of.

1. An event's id says what the browser has; who comes back with it is sent only what differs.
2. A stream ends with the import, with the gateway, and after `STREAM_SECONDS`: then the browser asks again, and has to say
   again who it is.

Source: https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final, NamedTuple

from foldline.domain.errors import Unreachable

STREAM_SECONDS: Final = 120.0
KEEP_ALIVE_SECONDS: Final = 10.0
BUSY_SECONDS: Final = 0.3
IDLE_SECONDS: Final = 1.5
RETRY_SECONDS: Final = 1.0
HEADERS: Final = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}

KEEP_ALIVE: Final = ": still here\n\n"
_LINE_END: Final = re.compile(r"\r\n|\r|\n")


class Piece(NamedTuple):
    """A part of a page: the event's name, what it is a version of, and how it is rendered when that is new."""

    name: str
    version: str
    render: Callable[[], Awaitable[str]]


class Look(NamedTuple):
    """A page at one moment. `busy`: it is about to change; `over`: it never will again."""

    pieces: tuple[Piece, ...]
    busy: bool
    over: bool


NOT_NOW: Final = Look((), busy=False, over=False)


def versions(look: Look) -> str:
    """The id of an event after which the browser has all of that."""
    return ".".join(piece.version for piece in look.pieces)


async def stream(look: Callable[[], Awaitable[Look | None]], seen: str, stopping: Callable[[], bool]) -> AsyncIterator[str]:
    """Events as text, from what a browser has `seen` on; `look` is asked again and again, and says None for what is gone."""
    yield f"retry: {round(RETRY_SECONDS * 1000)}\n\n"
    began = spoke = time.monotonic()
    due = 0.0
    while not stopping() and (now := time.monotonic()) < began + STREAM_SECONDS:
        if now >= due:
            try:
                found = await look()
            except Unreachable:
                found = NOT_NOW
            if found is None:
                yield event("end", seen, "")
                return
            async for text in _news(found, seen):
                yield text
                spoke = now
            seen = versions(found) or seen
            if found.over:
                yield event("end", seen, "")
                return
            due = now + (BUSY_SECONDS if found.busy else IDLE_SECONDS)
        if now > spoke + KEEP_ALIVE_SECONDS:
            yield KEEP_ALIVE
            spoke = now
        await asyncio.sleep(BUSY_SECONDS)


def event(name: str, identity: str, data: str) -> str:
    """One event; its data may have several lines."""
    lines = "".join(f"data: {line}\n" for line in _LINE_END.split(data))
    return f"event: {name}\nid: {identity}\n{lines}\n"


async def _news(found: Look, seen: str) -> AsyncIterator[str]:
    had = [*seen.split("."), *[""] * len(found.pieces)][: len(found.pieces)]
    for place, piece in enumerate(found.pieces):
        if piece.version != had[place]:
            had[place] = piece.version
            yield event(piece.name, ".".join(had), await piece.render())
