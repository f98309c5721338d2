"""The past of one record: every event of it in the log, and what each one changed. Reads one partition from its beginning.

A state at a position is what the fold makes of the events up to it, whatever the tables say.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from foldline.adapters.codec import UPSERTS_TOPIC, Registry, UpsertCodec
from foldline.adapters.consumer import KafkaLogReader, Record, watermarks
from foldline.adapters.postgres import Connection, connect
from foldline.adapters.registry import registry_of
from foldline.adapters.seals import MasterKeys, opened, seal_key
from foldline.domain.fold import FOLD, key_fault
from foldline.domain.keys import message_key, partition_of
from foldline.domain.records import DETAIL_FIELD, Kind, Rejection, State, Upsert
from foldline.domain.times import format_rfc3339
from foldline.settings import Settings
from projections.keys import key_secrets

REPORT_RECORDS = 5000


class Entry(NamedTuple):
    """One event of a record. `logged_at` is when the log took it, in microseconds; `event` is None if it cannot be decoded.

    `state` is the record's after it; where the event was rejected, that is the state before it, and `rejection` says why.
    `changed` has the fields that are others now: a pair of before and after by path. `erased` says that the state had
    attributes then that have been erased since: nobody knows them any more.
    """

    partition: int
    offset: int
    logged_at: int
    event: Upsert | None
    rejection: Rejection | None
    state: State | None
    changed: dict[str, tuple[Any, Any]]
    erased: bool


def history(
    settings: Settings, kind: Kind, org_id: str, entity_id: str, on_progress: Callable[[int, int], None] = lambda *_: None
) -> Iterator[Entry]:
    """Every event of a record, oldest first. `on_progress` is told how many records of the partition were read, of how many.

    A user's attributes that were erased since are not in it. Raises `Unreachable` and `MasterKeyMissing`.
    """
    key = message_key(org_id, entity_id)
    partition = partition_of(key, settings.partitions)
    topic = settings.topic_prefix + UPSERTS_TOPIC[kind]
    begin, end = watermarks(settings, topic, settings.partitions)[partition]

    def records() -> Iterator[Record]:
        for record in KafkaLogReader(settings).read(kind, partition, begin, end):
            if record.offset() % REPORT_RECORDS == 0:
                on_progress(record.offset() - begin, end - begin)
            if record.key() == key:
                yield record
        on_progress(end - begin, end - begin)

    opener = _Opener(settings)
    try:
        yield from _entries(kind, registry_of(settings), settings.partitions, records(), opener)
    finally:
        opener.close()


def _entries(kind: Kind, registry: Registry, partitions: int, records: Iterable[Record], opener: _Opener) -> Iterator[Entry]:
    """What the events of one key, from the first on, come to one after the other."""
    decode, fold = UpsertCodec(kind, registry).decode, FOLD[kind]
    state: State | None = None
    under = set[bytes]()  # the keys of its seals since the last erasure, whether or not they can be opened
    for record in records:
        place = record.partition(), record.offset()
        event = decode(record.value())
        if isinstance(event, Upsert):
            event = opener.open(event)
        after: State | Rejection
        if isinstance(event, Rejection):
            after = event
        else:
            fault = key_fault(kind, record.key(), event, place[0], partitions)
            after = fault if fault is not None else fold(state, event, *place)
        rejection = after if isinstance(after, Rejection) else None
        folded = rejection is None and after is not state
        changed = {} if isinstance(after, Rejection) else changes(kind, state, after)
        state = state if isinstance(after, Rejection) else after
        sent = event if isinstance(event, Upsert) else None
        if folded and sent is not None:
            under = set() if sent.status == "deleted" else under.union(_key(sent))
        erased = not opener.gone.isdisjoint(under)
        yield Entry(*place, record.timestamp()[1] * 1000, sent, rejection, state, changed, erased)


def _key(event: Upsert) -> tuple[bytes, ...]:
    key_id = seal_key(event)
    return () if key_id is None else (key_id,)


class _Opener:
    """Opens one record's seals, with keys that are looked up as they come. `gone` are those that were destroyed."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._connection: Connection | None = None
        self._masters: MasterKeys | None = None
        self._secrets: dict[bytes, bytes | None] = {}
        self.gone: set[bytes] = set()

    def open(self, event: Upsert) -> Upsert:
        """The event with its attributes, as far as they can be opened."""
        if event.sealed is None:
            return event
        key_id = seal_key(event)
        if key_id is not None and key_id not in self._secrets:
            self._look_up(key_id)
        if key_id is None or key_id not in self._secrets:
            return event._replace(attributes=None, sealed=None)
        return opened(event, self._secrets[key_id])

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()

    def _look_up(self, key_id: bytes) -> None:
        if self._connection is None or self._masters is None:
            self._connection = connect(self._settings.database_url, "foldline history")
            self._masters = MasterKeys(self._settings)
        found = key_secrets(self._connection, self._masters, [key_id])
        self._secrets |= found
        self.gone |= {key_id for key_id, secret in found.items() if secret is None}


def state_at(past: Iterable[Entry], reached: Callable[[Entry], bool]) -> tuple[State | None, bool]:
    """The state after the last event before `reached` says that it is too late, and whether of its attributes some are
    erased."""
    state, erased = None, False
    for entry in past:
        if reached(entry):
            break
        state, erased = entry.state, entry.erased
    return state, erased


def changes(kind: Kind, before: State | None, after: State) -> dict[str, tuple[Any, Any]]:
    """The fields in which two states of a record differ, by path, with before and after; None where there was nothing."""
    found: dict[str, tuple[Any, Any]] = {}
    fields = {"status": (before and before.status, after.status)}
    detail = DETAIL_FIELD[kind]
    fields[detail] = (before and _detail(before.detail), _detail(after.detail))
    found |= {name: pair for name, pair in fields.items() if pair[0] != pair[1]}
    old = before.attributes if before else {}
    for name in {**old, **after.attributes}:
        pair = (old.get(name), after.attributes.get(name))
        if pair[0] != pair[1] or (name in old) != (name in after.attributes):
            found[f"attributes.{name}"] = pair
    return found


def _detail(detail: str | int) -> str:
    return format_rfc3339(detail) if isinstance(detail, int) else detail
