"""Erasures of users: what was erased, and the proof that it holds.

1. The proof reads what there is, and believes nothing: every event of the user in the log, every state on the state topic,
   every generation's row. It tries to open each seal.
2. What is left of before the last erasure is whatever a row has and no event since carries, and whatever can be read of
   events up to it.
3. The database is read first, at one moment; the log to where it ends after that.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import orjson
from confluent_kafka import Consumer

from foldline.adapters.codec import STATE_TOPIC, UPSERTS_TOPIC, UpsertCodec, decoder
from foldline.adapters.consumer import Record, partition_watermarks, reader_config, stretch
from foldline.adapters.postgres import Connection, translated
from foldline.adapters.registry import registry_of
from foldline.adapters.seals import MasterKeys, opened, seal_key
from foldline.domain.errors import FoldlineError, Unreachable
from foldline.domain.fold import fold_user, key_fault
from foldline.domain.keys import message_key, partition_of
from foldline.domain.records import Rejection, State, Upsert
from foldline.domain.times import EPOCH, MICROSECOND, format_rfc3339
from foldline.domain.values import attributes_of
from foldline.settings import Settings
from projections.generations import schema_name
from projections.keys import key_secrets
from projections.sql import queries

PAGE_ERASURES = 100
REPORT_RECORDS = 5000
CLEANER_SECONDS = 600
"""What Kafka's log cleaner is given after a state has been published again."""

_SQL = queries("erasures")


class Erasure(NamedTuple):
    """A user's erasure by the delete event that lies there. `keys` is how many it destroyed.

    `publish_due` is when the state is to be published again, so that older ones can be compacted away; None once it was.
    """

    org_id: str
    user_id: str
    topic: str
    partition: int
    offset: int
    request_id: str
    keys: int
    erased_at: datetime
    publish_due: datetime | None

    @property
    def place(self) -> tuple[datetime, str, int, int]:
        """Where it stands in listings: the `after` of the next page."""
        return self.erased_at, self.topic, self.partition, self.offset


def erasures(
    connection: Connection,
    org_id: str | None = None,
    user_id: str | None = None,
    after: tuple[datetime, str, int, int] | None = None,
    limit: int = PAGE_ERASURES,
) -> list[Erasure]:
    """At most `limit` erasures, newest first, from below the one with this `place` on. Raises `Unreachable`."""
    chosen = {"org_id": org_id is not None, "user_id": user_id is not None, "after": after is not None}
    filters = " ".join(_SQL[f"filter_{name}"].partition("\n")[2] for name, is_chosen in chosen.items() if is_chosen)
    parameters: dict[str, Any] = {"org_id": org_id, "user_id": user_id, "limit": limit}
    parameters |= dict(zip(("erased_at", "topic", "partition", "offset"), after or (None,) * 4, strict=True))
    query = _SQL["erasures"].replace("{filters}", filters)
    with translated():
        return [Erasure(*row) for row in connection.execute(query.encode(), parameters, prepare=False).fetchall()]


class Proof(NamedTuple):
    """What is left of a user's attributes of before its last erasure, as it was found at a moment.

    `status` is the live row's; None where there is no row. `unclean` are the generations whose row has attributes that no
    event since the erasure carries. Keys: `keys_destroyed`; `keys_living`, of a user that has come back; `keys_left`, that
    should have been destroyed. Events of the user in the log: all; `sealed` and `plain`, those with attributes; `readable`,
    those up to the last erasure whose attributes can be read, of which `readable_plain` are not sealed; `undecodable`, those
    of its key of which nobody knows whose they are. `letters` are dead letters of before the erasure that still have their
    bytes. `states` are those of before the erasure, with attributes, that the
    state topic still has; it may keep them until `compacted_by`. `behind` is how many records of the partition are not
    folded yet; `waiting`, where among them the newest deletion of this user lies.
    """

    org_id: str
    user_id: str
    at: datetime
    topic: str
    partition: int
    offset: int
    erased_at: datetime
    erasures: int
    status: str | None
    unclean: tuple[int, ...]
    keys_destroyed: int
    keys_living: int
    keys_left: int
    events: int
    sealed: int
    plain: int
    readable: int
    readable_plain: int
    undecodable: int
    letters: int
    states: int
    compacted_by: datetime
    behind: int
    waiting: int | None

    @property
    def holds(self) -> bool:
        """Whether the erasure is complete, but for states that the state topic may still keep."""
        return not self.faults

    @property
    def faults(self) -> list[str]:
        """What does not hold, a sentence each."""
        found = [f"the row of generation {g} has attributes that no event since the erasure carries" for g in self.unclean]
        if self.keys_left:
            found.append(f"keys that the erasure should have destroyed are there: {self.keys_left}")
        if sealed := self.readable - self.readable_plain:
            found.append(f"sealed attributes of before the erasure can be opened in the log: {_events(sealed)}")
        if self.readable_plain:
            found.append(
                f"attributes of before the erasure lie unsealed in the log, as another program wrote them: "
                f"{_events(self.readable_plain)}"
            )
        if self.letters:
            found.append(f"dead letters of before the erasure still have their bytes: {self.letters}")
        if self.states and self.at > self.compacted_by:
            found.append(
                f"states of before the erasure are on the state topic, which should have been compacted by "
                f"{moment(self.compacted_by)}: {self.states} (is a processor running?)"
            )
        if self.waiting is not None:
            found.append(f"a newer deletion lies at offset {self.waiting} and is not applied yet")
        return found


def prove(
    settings: Settings,
    connection: Connection,
    org_id: str,
    user_id: str,
    on_progress: Callable[[int, int], None] = lambda *_: None,
) -> Proof:
    """Reads all that there is of a user, in the log, on the state topic and in the database, and tries to open each seal.

    `on_progress` is told how many records were read, of how many. Raises `FoldlineError` for a user that was never erased,
    `Unreachable` and `MasterKeyMissing`.
    """
    partition = partition_of(message_key(org_id, user_id), settings.partitions)
    # The database first: what it has folded is then in the log up to the end that is asked for after it.
    kept = _kept(settings, connection, org_id, user_id, partition)
    log = _Stretch.of(settings, settings.topic_prefix + UPSERTS_TOPIC["users"], partition)
    topic = _Stretch.of(settings, settings.topic_prefix + STATE_TOPIC["users"], partition)
    behind = max(0, log.end - kept.applied)
    if kept.erasure is None:
        raise FoldlineError(_never_erased(settings, kept, log))
    total = log.end - log.begin + topic.end - topic.begin
    events = _Events(settings, connection, kept, kept.erasure.offset)
    for record in log.read(settings, lambda read: on_progress(read, total)):
        events.add(record)
    states = _states(settings, kept, topic, kept.erasure.offset, lambda read: on_progress(log.end - log.begin + read, total))
    due = kept.erasure.erased_at + timedelta(seconds=settings.state_compaction_lag_seconds)
    return Proof(
        org_id=org_id,
        user_id=user_id,
        at=kept.at,
        topic=kept.erasure.topic,
        partition=partition,
        offset=kept.erasure.offset,
        erased_at=kept.erasure.erased_at,
        erasures=kept.erasures,
        status=next((row.status for row in kept.rows if row.live), None),
        unclean=tuple(row.generation for row in kept.rows if not _pairs(row.attributes) <= events.since),
        keys_destroyed=sum(wrapped is None for wrapped in kept.keys.values()),
        keys_living=sum(wrapped is not None for wrapped in kept.keys.values()) - len(events.left),
        keys_left=len(events.left),
        events=events.events,
        sealed=events.sealed,
        plain=events.plain,
        readable=events.readable,
        readable_plain=events.readable_plain,
        undecodable=events.undecodable,
        letters=kept.letters,
        states=states,
        compacted_by=max(due, kept.erasure.publish_due or due) + timedelta(seconds=CLEANER_SECONDS),
        behind=behind,
        waiting=events.waiting,
    )


def as_json(proof: Proof) -> dict[str, Any]:
    """A proof as programs are shown it."""
    shown = {name: moment(value) if isinstance(value, datetime) else value for name, value in proof._asdict().items()}
    return {"holds": proof.holds, "faults": proof.faults} | shown


def moment(at: datetime) -> str:
    """A time as programs and people are shown it."""
    return format_rfc3339((at - EPOCH) // MICROSECOND)


class _Row(NamedTuple):
    generation: int
    live: bool
    status: str
    attributes: dict[str, Any]


class _Kept(NamedTuple):
    """What the database has of a user at one moment."""

    key: bytes
    at: datetime
    erasures: int
    erasure: Erasure | None
    letters: int
    rows: list[_Row]
    keys: dict[bytes, bytes | None]
    noted: dict[str, set[bytes]]
    applied: int


def _kept(settings: Settings, connection: Connection, org_id: str, user_id: str, partition: int) -> _Kept:
    whose = org_id, user_id
    topic = settings.topic_prefix + UPSERTS_TOPIC["users"]
    with translated(), connection.transaction():
        connection.execute(_SQL["snapshot"].encode())
        ((at, count),) = connection.execute(_SQL["standing"].encode(), whose).fetchall()
        rows = []
        for generation, live in connection.execute(_SQL["generations"].encode()).fetchall():
            query = _SQL["row"].replace("{schema}", schema_name(generation))
            for status, text in connection.execute(query.encode(), whose).fetchall():
                rows.append(_Row(generation, live, status, orjson.loads(text)))
        noted: dict[str, set[bytes]] = {}
        for event_id, key_id in connection.execute(_SQL["noted"].encode(), whose).fetchall():
            noted.setdefault(event_id, set()).add(key_id)
        keys: dict[bytes, bytes | None] = dict(connection.execute(_SQL["keys"].encode(), whose).fetchall())
        applied = connection.execute(_SQL["applied"].encode(), (topic, partition)).fetchone()
        key, erasure = message_key(*whose), next(iter(erasures(connection, org_id, user_id, limit=1)), None)
        letters = 0
        if erasure is not None:
            parameters = erasure._asdict() | {"key": key, "name": key.decode()}
            ((letters,),) = connection.execute(_SQL["letters"].encode(), parameters).fetchall()
    return _Kept(key, at, count, erasure, letters, rows, keys, noted, applied[0] if applied else 0)


class _Stretch(NamedTuple):
    """A partition of a topic, from its beginning to where it ended."""

    topic: str
    partition: int
    begin: int
    end: int

    @classmethod
    def of(cls, settings: Settings, topic: str, partition: int) -> _Stretch:
        with closing(Consumer(reader_config(settings) | {"isolation.level": "read_uncommitted"})) as consumer:
            return cls(topic, partition, *partition_watermarks(settings, consumer, topic, partition))

    def read(self, settings: Settings, moved: Callable[[int], None]) -> Iterator[Record]:
        """Every record that lies there, also those of transactions that were given up."""
        for record in stretch(settings, self.topic, self.partition, self.begin, self.end, uncommitted=True):
            if record.offset() % REPORT_RECORDS == 0:
                moved(record.offset() - self.begin)
            yield record
        moved(self.end - self.begin)


class _Events:
    """The user's events, one after the other, and what can be read of them."""

    def __init__(self, settings: Settings, connection: Connection, kept: _Kept, erased: int) -> None:
        self._connection, self._masters = connection, MasterKeys(settings)
        self._decode, self._partitions = UpsertCodec("users", registry_of(settings)).decode, settings.partitions
        self._kept, self._erased = kept, erased
        self._secrets = {
            key_id: None if wrapped is None else self._masters.unwrap(key_id, wrapped)
            for key_id, wrapped in kept.keys.items()
        }
        self.events = self.sealed = self.plain = self.readable = self.readable_plain = self.undecodable = 0
        self.since: set[tuple[str, bytes]] = set()
        self.left: set[bytes] = set()
        self.waiting: int | None = None

    def add(self, record: Record) -> None:
        if record.key() != self._kept.key:
            return
        event = self._decode(record.value())
        if isinstance(event, Rejection):
            self.undecodable += 1
        elif message_key(event.org_id, event.entity_id) == self._kept.key:
            self._add(event, record)

    def _add(self, event: Upsert, record: Record) -> None:
        offset, is_before = record.offset(), record.offset() <= self._erased
        key_id = seal_key(event)
        is_sealed = event.sealed is not None
        is_plain = event.attributes is not None and event.attributes.strip() != "{}"
        self.events += 1
        self.sealed += is_sealed
        self.plain += is_plain
        text = opened(event, self._secret(key_id)).attributes if is_sealed else None
        if is_before:
            self.readable += is_plain or text is not None
            self.readable_plain += is_plain
            if text is not None and key_id in self._kept.keys:
                self.left.add(key_id)
        else:
            self.since |= _carried(event.attributes) | _carried(text)
        if event.status == "deleted" and self._is_accepted(event, record):
            if is_before:
                noted = self._kept.noted.get(event.event_id, set())
                self.left |= {key_id for key_id in noted if self._kept.keys[key_id] is not None}
            if offset >= self._kept.applied:
                self.waiting = offset

    def _secret(self, key_id: bytes | None) -> bytes | None:
        if key_id is None:
            return None
        if key_id not in self._secrets:  # not one of this user's
            self._secrets[key_id] = key_secrets(self._connection, self._masters, [key_id]).get(key_id)
        return self._secrets[key_id]

    def _is_accepted(self, event: Upsert, record: Record) -> bool:
        if key_fault("users", record.key(), event, record.partition(), self._partitions) is not None:
            return False
        return isinstance(fold_user(None, event, record.partition(), record.offset()), State)


def _states(settings: Settings, kept: _Kept, topic: _Stretch, erased: int, moved: Callable[[int], None]) -> int:
    """How many states of before the erasure, with attributes, the topic has; one that nobody can decode may be one."""
    decode, found = decoder(registry_of(settings)), 0
    for record in topic.read(settings, moved):
        value = record.value()
        if record.key() != kept.key or not value:
            continue
        try:
            state = decode(value)
            found += state["offset"] < erased and state["attributes"] != "{}"
        except Unreachable:
            raise
        except Exception:  # whatever bytes of a stranger do to the reader
            found += 1
    return found


def _never_erased(settings: Settings, kept: _Kept, log: _Stretch) -> str:
    """Why there is nothing to prove."""
    decode = UpsertCodec("users", registry_of(settings)).decode
    sentence = f"{kept.key.decode()} has not been erased"
    for record in stretch(settings, log.topic, log.partition, max(log.begin, kept.applied), log.end):
        event = decode(record.value()) if record.key() == kept.key else None
        if isinstance(event, Upsert) and event.status == "deleted":
            return f"{sentence}: its deletion at offset {record.offset()} is not applied yet"
    return sentence


def _carried(text: str | None) -> set[tuple[str, bytes]]:
    attributes = None if text is None else attributes_of(text)
    return set() if attributes is None or isinstance(attributes, Rejection) else _pairs(attributes[0])


def _pairs(attributes: dict[str, Any]) -> set[tuple[str, bytes]]:
    """Attributes as names and digests of their values."""
    return {
        (name, hashlib.blake2b(orjson.dumps(value, option=orjson.OPT_SORT_KEYS), digest_size=16).digest())
        for name, value in attributes.items()
    }


def _events(count: int) -> str:
    return f"{count} event{'s' if count > 1 else ''}"
