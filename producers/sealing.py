"""Users' attributes on their way into the log: sealed, so that a deletion can make them unreadable there for good.

1. What is appended is sealed with a key of the user's own, which is durable before it is used.
2. A delete event is preceded by the retirement of the user's keys. Until it is in the log, or cannot come any more, nobody
   seals anything for this user: requests wait for that, and are refused where it takes long.
3. After delivery a request asks whether a key that it used has been retired meanwhile; if so it is not acknowledged, for it
   may lie behind the deletion. So what was acknowledged lies before the deletion, or under a newer key.
4. Records of a request that come before a deletion in the same request are sealed with keys that this deletion ends. Where
   they carry idempotency ids their attributes are left out: the deletion may be a repetition, which ends nothing.
5. Attributes that a delete event carries are ignored by the fold (law 6), and left out.
6. A new key is wrapped by the master key that wraps the keyring. The database refuses one that is wrapped by another: so
   once a rotation has gone over to a new master key nothing comes under the old one, whatever a gateway remembers.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, TypeAlias

from confluent_kafka import KafkaError

from foldline.adapters.pool import Database
from foldline.adapters.producer import Appended, Header, KafkaLog, Log, NotAppended
from foldline.adapters.registry import registry_of
from foldline.adapters.seals import DataKey, MasterKey, MasterKeys, new_data_key, sealed
from foldline.domain.errors import MasterKeyChanged, Unreachable
from foldline.domain.records import Kind, Upsert
from foldline.settings import Settings
from projections.keys import KEYRING_NAME
from projections.sql import queries

CACHED_KEYS: Final = 50_000
WAIT_SECONDS: Final = 0.01
FLUSH_SECONDS: Final = 2.0

Fetch: TypeAlias = Callable[[str, Any], Awaitable[list[tuple[Any, ...]]]]

_SQL: Final = queries("keys")


@asynccontextmanager
async def sealed_log(
    settings: Settings, name: str, on_failure: Callable[[KafkaError, int], None]
) -> AsyncIterator[SealedLog]:
    """The log on Kafka, with keys from connections of its own under this name. Raises `MasterKeyMissing`."""
    database = Database(settings, name)
    log = SealedLog(KafkaLog(settings, registry_of(settings), on_failure), database.fetch, settings)
    await database.open()
    await log.open()
    try:
        yield log
    finally:
        await log.close(FLUSH_SECONDS)
        await database.close()


class SealedLog:
    """A `Log` that seals users' attributes, with keys that it fetches from the database. Used from one event loop."""

    def __init__(self, log: Log, fetch: Fetch, settings: Settings) -> None:
        """`fetch` runs one statement in a transaction of its own. Raises `MasterKeyMissing`."""
        self._log, self._fetch, self._settings = log, fetch, settings
        self._masters = MasterKeys(settings)
        self._keyring: tuple[bytes, MasterKey] | None = None
        self._known: OrderedDict[tuple[str, str], DataKey] = OrderedDict()

    async def open(self) -> None:
        await self._log.open()

    def append(self, kind: Kind, events: Sequence[Upsert], traceparent: str) -> Coroutine[Any, Any, Appended]:
        if kind == "users":
            return self._append_users(events, traceparent)
        return self._log.append(kind, events, traceparent)

    async def _append_users(self, events: Sequence[Upsert], traceparent: str) -> Appended:
        if any(event.status == "deleted" for event in events):
            return await self._append_deletions(events, traceparent)
        keys = await self._keys(events[0].org_id, {event.entity_id for event in events if event.attributes is not None})
        ready = [sealed(event, keys[event.entity_id]) if event.attributes is not None else event for event in events]
        appended = await self._log.append("users", ready, traceparent)
        await self._check(events[0].org_id, keys)
        return appended

    async def append_encoded(self, kind: Kind, key: bytes, value: bytes, headers: Sequence[Header]) -> Appended:
        return await self._log.append_encoded(kind, key, value, headers)

    async def check(self) -> None:
        await self._log.check()
        await self._ring()

    def queued(self) -> int:
        return self._log.queued()

    async def close(self, timeout_seconds: float) -> None:
        await self._log.close(timeout_seconds)

    async def _append_deletions(self, events: Sequence[Upsert], traceparent: str) -> Appended:
        org_id, request_id = events[0].org_id, events[0].request_id
        last = {event.entity_id: place for place, event in enumerate(events) if event.status == "deleted"}
        events = [
            _without_attributes(event) if place < last.get(event.entity_id, -1) else event
            for place, event in enumerate(events)
        ]
        before = await self._begin(events, last)
        appended: Appended | None = None
        try:
            after = {
                event.entity_id
                for place, event in enumerate(events)
                if event.attributes is not None and place > last.get(event.entity_id, -1)
            }
            keys = await self._keys(org_id, after, request_id)
            ready = [_ready(event, before.get(place) or keys.get(event.entity_id)) for place, event in enumerate(events)]
            appended = await self._log.append("users", ready, traceparent)
        except NotAppended as error:
            if not error.may_appear:
                await self._fetch(_SQL["end_deletions"], (org_id, list(last), request_id))
            raise
        ((ended,),) = await self._doubtful(self._fetch(_SQL["end_deletions"], (org_id, list(last), request_id)))
        if ended != len(last):
            raise _in_doubt("the deletion took too long to be acknowledged")
        await self._check(org_id, keys)
        return appended

    async def _begin(self, events: Sequence[Upsert], last: Mapping[str, int]) -> dict[int, DataKey]:
        """Begins the deletions of a request; returns the keys for what comes before them in it, by place."""
        org_id, request_id = events[0].org_id, events[0].request_id
        (ids_secret, _), ending = await self._ring(), dict[str, Upsert]()
        own: dict[tuple[str, str], DataKey] = {}
        before: dict[int, DataKey] = {}
        for place in range(len(events) - 1, -1, -1):
            event = events[place]
            if event.status == "deleted":
                ending[event.entity_id] = event
            elif event.attributes is not None and event.entity_id in ending:
                name = event.entity_id, ending[event.entity_id].event_id
                if name not in own:
                    own[name] = new_data_key(ids_secret, org_id, event.entity_id)
                before[place] = own[name]
        deletes = [event for event in events if event.status == "deleted"]
        parameters = {
            "org_id": org_id,
            "request_id": request_id,
            "seconds": 3 * self._settings.delivery_timeout_seconds,
            "users": [event.entity_id for event in deletes],
            "events": [event.event_id for event in deletes],
            "own_users": [user_id for user_id, _ in own],
            "own_keys": [key.key_id for key in own.values()],
            "own_events": [event_id for _, event_id in own],
        }

        def ask(master: MasterKey) -> Awaitable[list[tuple[Any, ...]]]:
            wrapped = [master.wrap(*key) for key in own.values()]
            return self._fetch(_SQL["begin_deletions"], parameters | {"own_wrapped": wrapped})

        await self._unless_deleted(ask, lambda rows: bool(rows))
        for user_id in last:
            self._known.pop((org_id, user_id), None)
        return before

    async def _keys(self, org_id: str, users: set[str], request_id: str = "") -> dict[str, DataKey]:
        """The users' current keys, by user."""
        keys = {user_id: key for user_id in users if (key := self._known.get((org_id, user_id))) is not None}
        missing = sorted(users - keys.keys())
        if not missing:
            return keys
        ids_secret, _ = await self._ring()
        made: dict[str, DataKey] = {}

        def ask(master: MasterKey) -> Awaitable[list[tuple[Any, ...]]]:
            made.update({user_id: new_data_key(ids_secret, org_id, user_id) for user_id in missing})
            ids, wrapped = [key.key_id for key in made.values()], [master.wrap(*key) for key in made.values()]
            return self._fetch(_SQL["keys_for"], (org_id, missing, ids, wrapped, request_id))

        rows = await self._unless_deleted(
            ask,
            lambda rows: len(rows) < len(missing) or any(deleting for *_, deleting in rows),
        )
        for user_id, key_id, wrapped, _ in rows:
            known = made[user_id].key_id == key_id
            keys[user_id] = made[user_id] if known else DataKey(key_id, self._masters.unwrap(key_id, wrapped))
            self._known[org_id, user_id] = keys[user_id]
        while len(self._known) > CACHED_KEYS:
            self._known.popitem(last=False)
        return keys

    async def _check(self, org_id: str, keys: Mapping[str, DataKey]) -> None:
        """Raises `NotAppended` where a key was retired since it was fetched."""
        if not keys:
            return
        users = {key.key_id: user_id for user_id, key in keys.items()}
        retired = await self._doubtful(self._fetch(_SQL["retired"], (list(users),)))
        for (key_id,) in retired:
            self._known.pop((org_id, users[key_id]), None)
        if retired:
            raise _in_doubt("a user of this request was being deleted at the same time")

    async def _unless_deleted(
        self, ask: Callable[[MasterKey], Awaitable[list[tuple[Any, ...]]]], deleting: Callable[[list[tuple[Any, ...]]], bool]
    ) -> list[tuple[Any, ...]]:
        """What the database answers once no other request is deleting a user of this one, to a question with new keys that
        are wrapped by this master key."""
        deadline = time.monotonic() + self._settings.database_timeout_seconds
        while True:
            try:
                _, master = await self._ring()
                rows = await ask(master)
            except MasterKeyChanged:
                self._keyring = None
                continue
            except Unreachable as error:
                raise NotAppended(str(error), may_appear=False) from error
            if not deleting(rows):
                return rows
            if time.monotonic() > deadline:
                raise NotAppended("another request is deleting a user of this one", may_appear=False)
            await asyncio.sleep(WAIT_SECONDS)

    async def _doubtful(self, asked: Awaitable[list[tuple[Any, ...]]]) -> list[tuple[Any, ...]]:
        try:
            return await asked
        except Unreachable as error:
            raise _in_doubt(str(error)) from error

    async def _ring(self) -> tuple[bytes, MasterKey]:
        """What the ids of keys are made with, and the master key that wraps what is new."""
        if self._keyring is None:
            rows = await self._fetch(_SQL["keyring"], ())
            if not rows:
                raise Unreachable("the database has no keyring: run `foldline init`")
            master = self._masters.wrapped_by(rows[0][0])
            self._keyring = master.unwrap(KEYRING_NAME, rows[0][0]), master
        return self._keyring


def _ready(event: Upsert, key: DataKey | None) -> Upsert:
    if event.status == "deleted":
        return event._replace(attributes=None)
    return event if key is None or event.attributes is None else sealed(event, key)


def _without_attributes(event: Upsert) -> Upsert:
    return event if event.idempotency_id is None else event._replace(attributes=None)


def _in_doubt(why: str) -> NotAppended:
    return NotAppended(why, may_appear=True)
