"""A record's past, for people: every event of it in the log, newest first, and the state after each.

Reading it reads a partition of the log from its beginning, so few are read at once, and none for longer than a while.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import Final, NamedTuple

import orjson

from foldline.adapters.postgres import Connection
from foldline.domain.records import Kind
from foldline.settings import Settings
from projections.history import Entry, history
from projections.reader import import_of

SHOWN: Final = 100
AT_ONCE: Final = 2
SECONDS: Final = 20.0
VALUE_CHARACTERS: Final = 200

_reading = asyncio.Semaphore(AT_ONCE)


class Change(NamedTuple):
    """A field that an event made another; values as JSON, cut, and None where there was nothing or it is not shown."""

    path: str
    before: str | None
    after: str | None


class Event(NamedTuple):
    """One event, as a page shows it. `state` is the whole state after it as JSON, where it is shown."""

    entry: Entry
    changes: list[Change]
    state: str | None


class Past(NamedTuple):
    """The newest events of a record, newest first, and how many there are. `over` says that reading took too long."""

    events: list[Event]
    total: int
    over: bool


class _TooLong(Exception):
    pass


async def past(settings: Settings, kind: Kind, org_id: str, entity_id: str) -> Past:
    """The past of a record. Raises `Unreachable`."""
    async with _reading:
        return await asyncio.to_thread(_past, settings, kind, org_id, entity_id)


def imports_of(connection: Connection, org_id: str, found: Past) -> dict[str, str]:
    """The imports among what sent the events, by request id."""
    requests = {event.entry.event.request_id for event in found.events if event.entry.event}
    imports = {request: import_of(connection, org_id, request) for request in requests}
    return {request: import_id for request, import_id in imports.items() if import_id is not None}


def _past(settings: Settings, kind: Kind, org_id: str, entity_id: str) -> Past:
    deadline = time.monotonic() + SECONDS

    def look_at_the_clock(*_: int) -> None:
        if time.monotonic() > deadline:
            raise _TooLong

    entries: deque[Entry] = deque(maxlen=SHOWN)
    total, over = 0, False
    try:
        for entry in history(settings, kind, org_id, entity_id, look_at_the_clock):
            entries.append(entry)
            total += 1
    except _TooLong:
        over = True
    return Past([_event(kind, entry) for entry in reversed(entries)], total, over)


def _event(kind: Kind, entry: Entry) -> Event:
    """Of a user only what changed is shown, not from what to what: what was erased since is in the log's past, too."""
    open_book = kind == "items"
    changes = [
        Change(path, *(_shown(value) if open_book else None for value in pair)) for path, pair in entry.changed.items()
    ]
    attributes = orjson.dumps(entry.state.attributes).decode() if open_book and entry.state and not entry.rejection else None
    return Event(entry, changes, attributes if attributes is None or len(attributes) < 20_000 else None)


def _shown(value: object) -> str | None:
    if value is None:
        return None
    text = value if isinstance(value, str) else orjson.dumps(value).decode()
    return text if len(text) <= VALUE_CHARACTERS else text[: VALUE_CHARACTERS - 1] + "…"
