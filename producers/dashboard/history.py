"""A record's past, for people: every event of it in the log, newest first, and the state after each.

Reading it reads a partition of the log from its beginning, so few are read at once, and none for longer than a while.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Iterable
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

_ERASED: Final = "The attributes of then are erased."

_reading = asyncio.Semaphore(AT_ONCE)


class Change(NamedTuple):
    """A field that an event made another; values as JSON, cut, and None where there was nothing."""

    path: str
    before: str | None
    after: str | None


class Event(NamedTuple):
    """One event, as a page shows it. `state` is the whole state after it as JSON, where it is shown; `erased` is a sentence
    where something of it is erased."""

    entry: Entry
    changes: list[Change]
    state: str | None
    erased: str


class Past(NamedTuple):
    """The newest events of a record, newest first, and how many there are. `over` says that reading took too long."""

    events: list[Event]
    total: int
    over: bool


class _TooLong(Exception):
    pass


async def past(settings: Settings, kind: Kind, org_id: str, entity_id: str, erased_to: int = -1) -> Past:
    """The past of a record; `erased_to` is the offset of a user's last erasure, if it had one. Raises `Unreachable` and
    `MasterKeyMissing`."""
    async with _reading:
        return await asyncio.to_thread(_past, settings, kind, org_id, entity_id, erased_to)


def imports_of(connection: Connection, org_id: str, found: Past) -> dict[str, str]:
    """The imports among what sent the events, by request id."""
    requests = {event.entry.event.request_id for event in found.events if event.entry.event}
    imports = {request: import_of(connection, org_id, request) for request in requests}
    return {request: import_id for request, import_id in imports.items() if import_id is not None}


def _past(settings: Settings, kind: Kind, org_id: str, entity_id: str, erased_to: int) -> Past:
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
    return Past(_events(kind, reversed(entries), erased_to), total, over)


def _events(kind: Kind, entries: Iterable[Entry], erased_to: int) -> list[Event]:
    """Of entries that are given newest first. Of a user nothing is shown that lies before its newest deletion, not even what
    another program wrote into the log without a seal: it was erased."""
    found, erased = [], False
    for entry in entries:
        deletes = kind == "users" and _is_deletion(entry)
        erased = erased or deletes or entry.offset <= erased_to
        found.append(_event(entry, deletes, erased))
    return found


def _event(entry: Entry, deletes: bool, erased: bool) -> Event:
    changes = [
        Change(path, _shown(before), _shown(after))
        for path, (before, after) in entry.changed.items()
        if not (erased and path.startswith("attributes."))
    ]
    shown = entry.state is not None and entry.rejection is None and not erased and not entry.erased
    attributes = orjson.dumps(entry.state.attributes).decode() if shown and entry.state else None
    said = "It erased the attributes." if deletes else _ERASED if entry.erased or (erased and _carried(entry)) else ""
    return Event(entry, changes, attributes if attributes is None or len(attributes) < 20_000 else None, said)


def _is_deletion(entry: Entry) -> bool:
    return entry.event is not None and entry.event.status == "deleted" and entry.rejection is None


def _carried(entry: Entry) -> bool:
    """Whether the event came with attributes, readable or not."""
    return entry.event is not None and (entry.event.attributes is not None or entry.event.sealed is not None)


def _shown(value: object) -> str | None:
    if value is None:
        return None
    text = value if isinstance(value, str) else orjson.dumps(value).decode()
    return text if len(text) <= VALUE_CHARACTERS else text[: VALUE_CHARACTERS - 1] + "…"
