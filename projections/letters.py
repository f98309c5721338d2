"""Dead letters as people and programs look at them: listings by key, reasons, one letter whole.

Letters are the live generation's; whether one was redriven is known apart from generations.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any, Literal, NamedTuple, TypeAlias

import orjson

from foldline.adapters.codec import UPSERTS_TOPIC, Registry, UpsertCodec
from foldline.adapters.postgres import Connection, translated
from foldline.domain.records import DETAIL_FIELD, ID_FIELD, KINDS, Kind, Upsert
from foldline.domain.times import format_rfc3339
from foldline.settings import Settings
from projections.sql import queries
from projections.state import ERASED

PAGE_LETTERS = 200
RAW_PAGE_LETTERS = 8  # each has up to `message_max_bytes`
CHUNK_LETTERS = 500
CHUNK_BYTES = 16 * 1024 * 1024
MOST_LETTERS = 10_000_000

_SQL = queries("letters")

Status: TypeAlias = Literal["", "waiting", "redriven"]


class Place(NamedTuple):
    """Where a dead letter lies in the log: its name, as text `topic:partition:offset`."""

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.topic}:{self.partition}:{self.offset}"


class Redrive(NamedTuple):
    """The newest redrive of a letter. `landed_offset` is None where nobody knows yet whether the log has it."""

    attempt: int
    asked_by: str
    asked_at: int
    to_partition: int
    log_end: int
    landed_offset: int | None


class Letter(NamedTuple):
    """A dead letter. Times in microseconds; `key` and `value` are there only where they were asked for.

    `org_id` and the three after it are None where the record could not be decoded. `redrive_of` names the letter that this
    record was a redrive of.
    """

    place: Place
    kind: Kind
    org_id: str | None
    entity_id: str | None
    request_id: str | None
    record_index: int | None
    code: str
    field: str
    message: str
    logged_at: int
    size: int
    redrive: Redrive | None
    redrive_of: str | None
    key: bytes | None
    value: bytes | None

    @property
    def landed(self) -> Place | None:
        """Where it lies in the log again, if it was redriven and that is known."""
        if self.redrive is None or self.redrive.landed_offset is None:
            return None
        return Place(self.place.topic, self.redrive.to_partition, self.redrive.landed_offset)

    @property
    def erased(self) -> bool:
        """Whether its value is gone, because its user was erased."""
        return self.value is None and self.message == ERASED


class Wanted(NamedTuple):
    """Which letters. None and "": whichever; times in microseconds, inclusive, by the log; `places` are those alone."""

    org_id: str | None = None
    code: str | None = None
    kind: Kind | None = None
    entity_id: str | None = None
    since: int | None = None
    until: int | None = None
    status: Status = ""
    places: Sequence[Place] | None = None


class Group(NamedTuple):
    """The letters of one reason: how many, how many of them were not redriven, when the first and the last came."""

    code: str
    letters: int
    waiting: int
    first_at: int
    last_at: int


def place_of(text: str) -> Place | None:
    """The place that a text names, or None."""
    parts = text.rsplit(":", 2)
    if len(parts) != 3 or not all(part.isascii() and part.isdigit() and len(part) < 19 for part in parts[1:]):
        return None
    place = Place(parts[0], int(parts[1]), int(parts[2]))
    return place if place.partition < 2**31 and place.topic.isascii() and place.topic.isprintable() else None


def page(
    connection: Connection,
    settings: Settings,
    wanted: Wanted,
    limit: int,
    before: tuple[int, Place] | None = None,
    *,
    raw: bool = False,
    order: Literal["DESC", "ASC"] = "DESC",
) -> list[Letter]:
    """At most `limit` letters, newest first, from below the one with this time and place on; with `raw` with their bytes.

    In the order `ASC` the oldest, and no `before`. Raises `Unreachable`.
    """
    kinds = {settings.topic_prefix + topic: kind for kind, topic in UPSERTS_TOPIC.items()}
    query, parameters = _asked("letters", settings, wanted, before)
    parameters |= {"limit": limit, "raw": raw}
    with translated():
        rows = connection.execute(query.replace("{order}", order).encode(), parameters, prepare=False).fetchall()
    return [_letter(kinds, row) for row in rows]


def every(connection: Connection, settings: Settings, wanted: Wanted, *, raw: bool = False) -> Iterator[Letter]:
    """All letters, newest first, a page at a time."""
    before = None
    size = RAW_PAGE_LETTERS if raw else PAGE_LETTERS
    while found := page(connection, settings, wanted, size, before, raw=raw):
        yield from found
        before = found[-1].logged_at, found[-1].place


def letter(connection: Connection, settings: Settings, place: Place, org_id: str | None = None) -> Letter | None:
    """The letter that lies there, with its bytes, or None; with an organisation only one of its own."""
    found = page(connection, settings, Wanted(org_id, places=[place]), 1, raw=True)
    return found[0] if found else None


def groups(connection: Connection, settings: Settings, wanted: Wanted) -> list[Group]:
    """The letters by reason; the reason of which most wait comes first."""
    query, parameters = _asked("groups", settings, wanted)
    with translated():
        return [Group(*row) for row in connection.execute(query.encode(), parameters, prepare=False).fetchall()]


def chunks(connection: Connection, settings: Settings, wanted: Wanted, limit: int = MOST_LETTERS) -> Iterator[list[Place]]:
    """Where letters lie, the oldest first, at most `limit`: so many at a time as their bytes may be in memory together."""
    query, parameters = _asked("places", settings, wanted)
    with translated():
        rows = connection.execute(query.encode(), parameters | {"limit": limit}, prepare=False).fetchall()
    chunk, size = list[Place](), 0
    for *place, value_bytes in rows:
        if chunk and (len(chunk) >= CHUNK_LETTERS or size + value_bytes > CHUNK_BYTES):
            yield chunk
            chunk, size = [], 0
        chunk.append(Place(*place))
        size += value_bytes
    if chunk:
        yield chunk


def raw_letters(connection: Connection, settings: Settings, places: Sequence[Place]) -> list[Letter]:
    """The letters that lie there with their bytes, oldest first."""
    return page(connection, settings, Wanted(places=places), len(places), raw=True, order="ASC")


def as_json(letter: Letter) -> dict[str, Any]:
    """A letter as programs are shown it, without its bytes."""
    redrive = letter.redrive
    return {
        "letter": str(letter.place),
        "topic": letter.place.topic,
        "partition": letter.place.partition,
        "offset": letter.place.offset,
        "logged_at": format_rfc3339(letter.logged_at),
        "org_id": letter.org_id,
        "kind": letter.kind,
        "id": letter.entity_id,
        "request_id": letter.request_id,
        "record_index": letter.record_index,
        "code": letter.code,
        "field": letter.field,
        "message": letter.message,
        "size": letter.size,
        "redriven_at": format_rfc3339(redrive.asked_at) if redrive and letter.landed else None,
        "redriven_by": redrive.asked_by if redrive and letter.landed else None,
        "redriven_to": str(letter.landed) if letter.landed else None,
        "redrive_of": letter.redrive_of,
    }


def as_whole_json(letter: Letter, registry: Registry) -> dict[str, Any]:
    """A letter with its bytes, in base64, and what they are as an event; None where they are none. Raises `Unreachable`."""
    event = UpsertCodec(letter.kind, registry).decode(letter.value)
    return as_json(letter) | {
        "key": None if letter.key is None else b64encode(letter.key).decode(),
        "value": None if letter.value is None else b64encode(letter.value).decode(),
        "event": event_json(letter.kind, event) if isinstance(event, Upsert) else None,
    }


def event_json(kind: Kind, event: Upsert) -> dict[str, Any]:
    """An event under the names of its schema; attributes as they are, or as text where they are no JSON."""
    attributes: Any = event.attributes
    with suppress(orjson.JSONDecodeError):
        attributes = None if event.attributes is None else orjson.loads(event.attributes)
    return {
        "org_id": event.org_id,
        ID_FIELD[kind]: event.entity_id,
        DETAIL_FIELD[kind]: _time(event.detail) if isinstance(event.detail, int) else event.detail,
        "status": event.status,
        "attributes": attributes,
        "received_at": _time(event.received_at),
        "request_id": event.request_id,
        "record_index": event.record_index,
    }


def hexdump(data: bytes, limit: int) -> Iterator[str]:
    """Bytes for people, sixteen a line; of many the first `limit`."""
    for start in range(0, min(len(data), limit), 16):
        row = data[start : min(start + 16, limit)]
        shown = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in row)
        yield f"{start:08x}  {row[:8].hex(' '):23}  {row[8:].hex(' '):23}  {shown}"
    if len(data) > limit:
        yield f"… and {len(data) - limit:,} more bytes"


def _time(micros: int) -> str | int:
    try:
        return format_rfc3339(micros)
    except (ValueError, OverflowError):
        return micros


def _asked(
    name: str, settings: Settings, wanted: Wanted, before: tuple[int, Place] | None = None
) -> tuple[str, dict[str, Any]]:
    filters: dict[str, bool] = {
        f"filter_{field}": getattr(wanted, field) is not None
        for field in ("org_id", "code", "entity_id", "since", "until", "places")
    }
    filters |= {
        "filter_waiting": wanted.status == "waiting",
        "filter_redriven": wanted.status == "redriven",
        "filter_before": before is not None,
    }
    chosen = " ".join(_SQL[filter_].partition("\n")[2] for filter_, is_chosen in filters.items() if is_chosen)
    places = wanted.places or ()
    parameters: dict[str, Any] = wanted._asdict() | {
        "topics": [settings.topic_prefix + UPSERTS_TOPIC[kind] for kind in KINDS if wanted.kind in (None, kind)],
        "at_topics": [place.topic for place in places],
        "at_partitions": [place.partition for place in places],
        "at_offsets": [place.offset for place in places],
    }
    del parameters["places"]
    if before is not None:
        at, place = before
        parameters |= {
            "before_at": at,
            "before_topic": place.topic,
            "before_partition": place.partition,
            "before_offset": place.offset,
        }
    return _SQL[name].replace("{filters}", chosen), parameters


def _letter(kinds: dict[str, Kind], row: Sequence[Any]) -> Letter:
    redrive = None if row[12] is None else Redrive(*row[12:18])
    key, value = (None if part is None else bytes(part) for part in row[19:])
    return Letter._make((Place(*row[:3]), kinds[row[0]], *row[3:12], redrive, row[18], key, value))
