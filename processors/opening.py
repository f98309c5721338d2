"""Users' events, opened on their way to the fold: each seal with its key, as long as the key has not ended.

1. A key that is destroyed opens nothing, and one that an event of this batch has ended nothing after it (law 7).
2. A key's id that was not given here, in a seal that some other program wrote, is no key: the event carries no attributes.
3. Of an event that came sealed with a key of its user's that had ended before it, the fold is told so (law 9).
4. A key that was given here and of which the database knows nothing is lost: `KeysLost`, and nothing is folded.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from foldline.adapters.consumer import Record
from foldline.adapters.seals import MasterKeys, given_here, opened, seal_key
from foldline.domain.errors import KeysLost
from foldline.domain.fold import ended_keys
from foldline.domain.records import Rejection, State, Upsert
from projections.keys import KEYRING_NAME
from projections.state import Erasure, StateStore

CACHED_KEYS = 100_000
# More than two batches end: by then a third one is folded, and the first is committed.
ENDED_KEYS = 200_000
ENDED = b""


class Opener:
    """Opens seals with the keys of one store. What it remembers of keys is valid while every batch is committed in order."""

    def __init__(self, store: StateStore, masters: MasterKeys) -> None:
        self._store, self._masters = store, masters
        self._secrets: dict[bytes, bytes | None] = {}  # empty: ended by an event before; None: destroyed by one to come
        self._ends: dict[str, list[bytes]] = {}
        self._ids_secret: bytes | None = None
        self._since = 0

    def forget(self) -> None:
        """Drops every key: what comes next is loaded again."""
        self._secrets.clear()

    def prepare(self, events: Sequence[Upsert | Rejection], records: Sequence[Record]) -> None:
        """Loads the keys that these events need. Raises `KeysLost`, `MasterKeyMissing` and `Unreachable`."""
        self._evict()
        wanted: dict[bytes, tuple[Upsert, Record]] = {}
        deletes = []
        for event, record in zip(events, records, strict=True):
            if not isinstance(event, Upsert):
                continue
            if event.status == "deleted":
                deletes.append(event.event_id)
            if event.sealed is not None:
                key_id = seal_key(event)
                if key_id is not None and key_id not in self._secrets:
                    wanted[key_id] = event, record
        self._ends = self._store.key_ends(deletes) if deletes else {}
        self._load(wanted)
        for key_id, (event, record) in wanted.items():
            if key_id not in self._secrets:
                self._check_not_lost(key_id, event, record)

    def secrets(self, key_ids: Iterable[bytes]) -> dict[bytes, bytes]:
        """Those of these keys that open something. Raises `MasterKeyMissing` and `Unreachable`."""
        key_ids = list(key_ids)
        self._load(key_id for key_id in key_ids if key_id not in self._secrets)
        return {key_id: secret for key_id in key_ids if (secret := self._secrets.get(key_id))}

    def open(self, event: Upsert) -> Upsert:
        """A sealed event with its attributes, where they can still be opened."""
        key_id = seal_key(event)
        if key_id is None or key_id not in self._secrets:
            return event._replace(attributes=None, sealed=None)
        secret = self._secrets[key_id]
        if secret == ENDED and event.idempotency_id is not None and self._given_here(key_id, event):
            return event._replace(attributes=None, sealed=ENDED)
        return opened(event, secret or None)

    def erasure(self, before: State | None, event: Upsert, after: State) -> Erasure:
        """What a delete event erases that was folded. Its keys open nothing from here on."""
        keys = ended_keys(before, event).union(self._ends.get(event.event_id, ()))
        for key_id in keys:
            self._secrets.pop(key_id, None)
            self._secrets[key_id] = ENDED
        return Erasure(event.org_id, event.entity_id, after.partition, after.offset, event.request_id, keys)

    def _load(self, key_ids: Iterable[bytes]) -> None:
        unknown = list(key_ids)
        for key_id, wrapped in (self._store.keys(unknown) if unknown else {}).items():
            self._secrets[key_id] = self._masters.unwrap(key_id, wrapped) if wrapped else wrapped

    def _evict(self) -> None:
        """Drops the oldest, but never what a batch has ended that may not be committed yet."""
        if len(self._secrets) > CACHED_KEYS:
            ended = [key_id for key_id, secret in self._secrets.items() if secret == ENDED]
            self._secrets = dict.fromkeys(ended[-ENDED_KEYS:], ENDED)

    def _check_not_lost(self, key_id: bytes, event: Upsert, record: Record) -> None:
        given = self._given_here(key_id, event)
        place = f"{record.topic()}[{record.partition()}] at offset {record.offset()}"
        what = f"the key {key_id.hex()} of the event at {place} is not in the database"
        if given:
            raise KeysLost(f"{what}, though it was given here: restore foldline_control.user_keys from a backup")
        if record.timestamp()[1] * 1000 < self._since:
            raise KeysLost(f"{what}, whose keyring is younger than the event: restore foldline_control from a backup")

    def _given_here(self, key_id: bytes, event: Upsert) -> bool:
        """Whether that is a key of this event's user."""
        if self._ids_secret is None:
            kept = self._store.keyring()
            self._ids_secret, self._since = self._masters.unwrap(KEYRING_NAME, kept.ids_secret), kept.made_at
        return given_here(self._ids_secret, key_id, event.org_id, event.entity_id)
