"""Dead letters as they are looked at, on tables that are written by hand."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from foldline.adapters.codec import BundledRegistry, UpsertCodec
from foldline.adapters.postgres import Connection, connect
from foldline.domain.keys import message_key
from foldline.domain.records import Kind, Upsert
from foldline.settings import Settings
from projections import letters
from projections.forecast import Forecast, Forecaster
from projections.generations import migrate
from projections.letters import Group, Place, Redrive, Wanted, hexdump, place_of
from projections.state import ERASED

AT = 1_736_672_400_000_000
ITEMS, USERS = "p.items.upserts.v1", "p.users.upserts.v1"


@pytest.fixture
def settings(database: str) -> Settings:
    return Settings(database_url=database, topic_prefix="p.", partitions=3)


@pytest.fixture
def tables(settings: Settings) -> Iterator[Connection]:
    with connect(settings.database_url, "test") as connection:
        migrate(connection)
        yield connection


def put(tables: Connection, place: Place, **changed: Any) -> None:
    row: dict[str, Any] = {
        "org_id": "o", "entity_id": "P", "request_id": "r", "record_index": 0, "code": "invalid_status", "field": "status",
        "message": "m", "key": b"k", "value": b"v", "at": place.offset,
    } | changed  # fmt: skip
    tables.execute(
        "INSERT INTO foldline_control.dead_letters VALUES (1, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
        (*place, *(row[name] for name in ("org_id", "entity_id", "request_id", "record_index", "code", "field", "message",
         "key", "value")), f"2025-01-12T09:00:{row['at'] % 60:02}Z"),
    )  # fmt: skip


def redriven(tables: Connection, place: Place, attempt: int, landed: int | None) -> None:
    tables.execute(
        "INSERT INTO foldline_control.redrives VALUES (%s, %s, %s, %s, 'ann', '2025-01-12T10:00:00Z', 2, 7, %s)",
        (*place, attempt, landed),
    )


def places(tables: Connection, settings: Settings, wanted: Wanted) -> list[tuple[str, int, int]]:
    return [(one.kind, one.place.partition, one.place.offset) for one in letters.every(tables, settings, wanted)]


def test_places_by_name() -> None:
    assert place_of("p.items.upserts.v1:2:17") == Place("p.items.upserts.v1", 2, 17)
    assert str(Place("a:b", 0, 1)) == "a:b:0:1"
    assert place_of("a:b:0:1") == Place("a:b", 0, 1)
    for text in ("", "x", "x:1", "x:1:-1", "x:a:1", "x:1:²", "x:9999999999:1", "é:1:1", f"x:1:{10**19}"):
        assert place_of(text) is None


def test_filters(tables: Connection, settings: Settings) -> None:
    put(tables, Place(ITEMS, 0, 1))
    put(tables, Place(ITEMS, 1, 2), org_id="other")
    put(tables, Place(ITEMS, 2, 3), code="item_type_required", entity_id="Q")
    put(tables, Place(USERS, 0, 4))
    put(tables, Place(USERS, 0, 5), org_id=None, entity_id=None, request_id=None, record_index=None, code="undecodable")
    put(tables, Place("other.items.upserts.v1", 0, 6))
    redriven(tables, Place(ITEMS, 0, 1), 1, 8)
    redriven(tables, Place(ITEMS, 0, 1), 2, None)
    redriven(tables, Place(USERS, 0, 4), 1, None)  # nobody knows whether it landed
    found = {
        Wanted(): [("users", 0, 5), ("users", 0, 4), ("items", 2, 3), ("items", 1, 2), ("items", 0, 1)],
        Wanted("o"): [("users", 0, 4), ("items", 2, 3), ("items", 0, 1)],
        Wanted(kind="items"): [("items", 2, 3), ("items", 1, 2), ("items", 0, 1)],
        Wanted("o", "item_type_required"): [("items", 2, 3)],
        Wanted(entity_id="Q"): [("items", 2, 3)],
        Wanted(since=AT + 3_000_000, until=AT + 4_000_000): [("users", 0, 4), ("items", 2, 3)],
        Wanted(since=AT + 3_000_001, until=AT + 3_999_999): [],
        Wanted("o", status="waiting"): [("users", 0, 4), ("items", 2, 3)],
        Wanted("o", status="redriven"): [("items", 0, 1)],
        Wanted("o", places=(Place(ITEMS, 0, 1), Place(ITEMS, 1, 2))): [("items", 0, 1)],
        Wanted(places=()): [],
    }
    assert {wanted: places(tables, settings, wanted) for wanted in found} == found
    assert letters.groups(tables, settings, Wanted("o")) == [
        Group("invalid_status", 2, 1, AT + 1_000_000, AT + 4_000_000),
        Group("item_type_required", 1, 1, AT + 3_000_000, AT + 3_000_000),
    ]
    assert list(letters.chunks(tables, settings, Wanted("o"))) == [
        [Place(ITEMS, 0, 1), Place(ITEMS, 2, 3), Place(USERS, 0, 4)]
    ]
    assert letters.letter(tables, settings, Place(ITEMS, 1, 2), "o") is None


def test_one_letter_whole(tables: Connection, settings: Settings) -> None:
    put(tables, Place(ITEMS, 0, 1), key=None, value=b"\x00\xff")
    put(tables, Place(ITEMS, 2, 9), value=None)
    redriven(tables, Place(ITEMS, 0, 1), 1, 9)
    first, second = (letters.letter(tables, settings, Place(ITEMS, *place)) for place in ((0, 1), (2, 9)))
    assert first is not None
    assert second is not None
    assert (first.key, first.value, first.size) == (None, b"\x00\xff", 2)
    assert first.redrive == Redrive(1, "ann", AT + 3_600_000_000, 2, 7, 9)
    assert (first.landed, first.redrive_of) == (second.place, None)
    assert (second.value, second.size, second.landed, second.redrive_of) == (None, 0, None, str(first.place))
    assert letters.as_whole_json(first, BundledRegistry()) == {
        "letter": f"{ITEMS}:0:1", "topic": ITEMS, "partition": 0, "offset": 1, "logged_at": "2025-01-12T09:00:01Z",
        "org_id": "o", "kind": "items", "id": "P", "request_id": "r", "record_index": 0, "code": "invalid_status",
        "field": "status", "message": "m", "size": 2, "redriven_at": "2025-01-12T10:00:00Z", "redriven_by": "ann",
        "redriven_to": f"{ITEMS}:2:9", "redrive_of": None, "key": None, "value": "AP8=", "event": None,
    }  # fmt: skip


def test_a_letter_that_was_erased_cannot_be_redriven_and_says_why(tables: Connection, settings: Settings) -> None:
    put(tables, Place(USERS, 0, 1), value=None, field="", message=ERASED)
    put(tables, Place(USERS, 0, 2), value=None)
    erased, empty = (letters.letter(tables, settings, Place(USERS, 0, offset)) for offset in (1, 2))
    assert erased is not None
    assert empty is not None
    assert (erased.erased, empty.erased) == (True, False)
    first, second = Forecaster(tables, settings).of([erased, empty])
    assert first == Forecast("impossible", "erased", "it was erased with its user")
    assert (second.outcome, second.code) == ("impossible", "undecodable")
    whole = letters.as_whole_json(erased, BundledRegistry())
    assert (whole["value"], whole["event"], whole["size"], whole["message"]) == (None, None, 0, ERASED)


def test_pages_by_key_skip_and_repeat_nothing(tables: Connection, settings: Settings) -> None:
    """Many came in the same second."""
    everything = [
        Place(topic, partition, offset) for topic in (ITEMS, USERS) for partition in range(3) for offset in range(90)
    ]
    for place in everything:
        put(tables, place, at=place.offset % 2)
    found, before = list[Place](), None
    while page := letters.page(tables, settings, Wanted("o"), 37, before):
        found += [one.place for one in page]
        before = page[-1].logged_at, page[-1].place
    assert found == sorted(everything, key=lambda place: (place.offset % 2, place), reverse=True)
    assert [place for chunk in letters.chunks(tables, settings, Wanted("o")) for place in chunk] == found[::-1]
    assert [len(chunk) for chunk in letters.chunks(tables, settings, Wanted("o"), 501)] == [500, 1]


def event(kind: Kind, entity_id: str, **changed: Any) -> Upsert:
    return Upsert("o", entity_id, None, None, None, AT, "r", 0)._replace(**changed)


def put_event(tables: Connection, kind: Kind, offset: int, upsert: Upsert, **changed: Any) -> None:
    value = UpsertCodec(kind, BundledRegistry()).encode(upsert)
    put(tables, Place({"items": ITEMS, "users": USERS}[kind], 0, offset), value=value, **changed)


def test_what_would_become_of_them(tables: Connection, settings: Settings) -> None:
    tables.execute("INSERT INTO foldline_control.organisations VALUES ('o', 'O')")
    tables.execute(
        "INSERT INTO gen_1.items VALUES ('o', 'known', 't', 'active', '{}', 1, now(), now(), 0, 0), "
        "('o', 'full', 't', 'active', %s, 1, now(), now(), 0, 0)",
        (f'{{"a": "{"é" * 520_000}"}}',),
    )
    put_event(tables, "items", 1, event("items", "known"))
    put_event(tables, "items", 2, event("items", "new"))
    put_event(tables, "items", 3, event("items", "new", detail="t"))
    put_event(tables, "items", 4, event("items", "new"))  # the one before has made it
    put_event(tables, "items", 5, event("items", "full", attributes=f'{{"b": "{"x" * 20_000}"}}'))
    put_event(tables, "items", 6, event("items", "known", org_id="nobody"))
    put_event(tables, "items", 7, event("items", "a\x00b", detail="t"))
    put_event(tables, "users", 8, event("users", "u", status="gone"))
    put_event(tables, "users", 9, event("users", "u"))
    put(tables, Place(USERS, 0, 10), value=None)
    put_event(tables, "users", 11, event("users", "u"), code="unknown_schema")  # nobody knew it then
    every = list(letters.every(tables, settings, Wanted(), raw=True))[::-1]
    forecasts = Forecaster(tables, settings).of(every)
    assert [(one.outcome, one.code) for one in forecasts] == [
        ("applied", ""),
        ("rejected", "item_type_required"),
        ("applied", ""),
        ("applied", ""),
        ("rejected", "record_too_large"),
        ("impossible", "unknown_organisation"),
        ("rejected", "invalid_id"),
        ("rejected", "invalid_status"),
        ("applied", ""),
        ("impossible", "undecodable"),
        ("impossible", "readable_now"),
    ]
    assert forecasts[1] == Forecast("rejected", "item_type_required", "a new item needs an item_type: send it once")
    one_by_one = Forecaster(tables, settings)
    assert [one_by_one.of([letter])[0] for letter in every] == forecasts
    assert tables.execute("SELECT count(*) FROM foldline.known_items").fetchall() == [(2,)]


def test_bytes_for_people() -> None:
    assert list(hexdump(b"nonsense \x00\xff", 100)) == [
        "00000000  6e 6f 6e 73 65 6e 73 65  20 00 ff                 nonsense .."
    ]
    assert list(hexdump(bytes(100), 32))[-1] == "… and 68 more bytes"
    assert list(hexdump(b"", 32)) == []
    assert message_key("o", "P") == b"o:P"
