"""Who is asking: an API key into its organisation, and no further without one.

1. What cannot be a key is refused without a look into the database.
2. What the database said of a key holds for `key_cache_seconds`; requests that miss at the same time ask once.
3. No key is kept: the cache knows them by a digest of its own, under a secret that lives as long as this process.
4. From one address no more than `unknown_keys_per_minute` keys are looked for in vain; keys that were known go on.
5. That a key is used is noted when the database is asked about it: no more than `key_cache_seconds` late.
"""

from __future__ import annotations

import asyncio
import math
import secrets
import time
from hashlib import blake2b
from typing import NamedTuple

from foldline.adapters.pool import Database
from foldline.settings import Settings
from producers.gateway.envelope import Refusal
from producers.gateway.uses import Uses
from producers.tenants import is_key, key_hash
from projections.sql import queries

MAX_CACHED = 10_000
MAX_KEY_CHARACTERS = 128
MISSES_SECONDS = 60.0

_CALLER = queries("tenants")["caller"]


class Caller(NamedTuple):
    """Who asks. `rate_limit` is in requests a window, 0 for unlimited; `forbidden` says why nothing may be done, if so."""

    key_id: str
    org_id: str
    rate_limit: int
    forbidden: str


class Access:
    """Knows callers by their keys."""

    def __init__(self, database: Database, settings: Settings, uses: Uses) -> None:
        self._database = database
        self._settings = settings
        self._uses = uses
        self._secret = secrets.token_bytes(32)
        self._known: dict[bytes, tuple[float, Caller | None]] = {}
        self._asking: dict[bytes, asyncio.Task[Caller | None]] = {}
        self._misses: dict[str, tuple[float, int]] = {}  # by address: when its minute ends, and how many

    def known(self, key: str | None) -> Caller | None:
        """The caller with that key, where it need not be asked for."""
        expires, caller = self._known.get(self._name(key), (0.0, None)) if key else (0.0, None)
        return caller if expires > time.monotonic() else None

    async def caller(self, key: str | None, address: str = "") -> Caller:
        """The caller with that key, who asks from that address. Raises `Refusal` 401 and 429, and `Unreachable`."""
        if not key:
            raise _unauthorised("Send your secret key in the header X-API-KEY")
        if len(key) > MAX_KEY_CHARACTERS:
            raise _unauthorised("The key in X-API-KEY is not one: is it complete?")
        expires, caller = self._known.get(self._name(key), (0.0, None))
        if expires <= time.monotonic():
            if not is_key(key):
                raise _unauthorised("The key in X-API-KEY is not one: is it complete?")
            if caller is None:
                self._check_misses(address)
            caller = await self._ask(key)
            if caller is None:
                self._missed(address)
        if caller is None:
            raise _unauthorised("The key in X-API-KEY is unknown, revoked or replaced")
        return caller

    def _name(self, key: str) -> bytes:
        """What the cache knows a key by: OpenSSL's SHA-256, by which the database does, takes five times as long."""
        return blake2b(key.encode(), key=self._secret).digest()

    def _check_misses(self, address: str) -> None:
        ends_at, misses = self._misses.get(address, (0.0, 0))
        seconds = math.ceil(ends_at - time.monotonic())
        if misses >= self._settings.unknown_keys_per_minute and seconds > 0:
            raise Refusal(429, "Too many unknown keys came from this address", headers={"Retry-After": str(seconds)})

    def _missed(self, address: str) -> None:
        now = time.monotonic()
        ends_at, misses = self._misses.get(address, (0.0, 0))
        if len(self._misses) >= MAX_CACHED and address not in self._misses:
            self._misses.clear()
        self._misses[address] = (ends_at, misses + 1) if ends_at > now else (now + MISSES_SECONDS, 1)

    async def _ask(self, key: str) -> Caller | None:
        name = self._name(key)
        asking = self._asking.get(name)
        if asking is None:
            asking = self._asking[name] = asyncio.create_task(self._look_up(name, key_hash(key)))
            asking.add_done_callback(lambda _: self._asking.pop(name, None))
        return await asyncio.shield(asking)

    async def _look_up(self, name: bytes, digest: bytes) -> Caller | None:
        asked_at = time.monotonic()
        rows = await self._database.fetch(_CALLER, {"key_hash": digest})
        caller = self._caller(*rows[0]) if rows else None
        if caller is not None:
            self._uses.note(caller.key_id)
        if len(self._known) >= MAX_CACHED:
            self._known.clear()
        self._known[name] = (asked_at + self._settings.key_cache_seconds, caller)
        return caller

    def _caller(
        self, key_id: str, org_id: str, role: str, ended: bool, suspended: bool, rate_limit: int | None
    ) -> Caller | None:
        if ended:
            return None
        forbidden = ""
        if suspended:
            forbidden = "The organisation is suspended"
        elif role != "secret":
            forbidden = "This is a publishable key: upserts and reads need a secret key, on a server of yours"
        limit = self._settings.rate_limit_requests if rate_limit is None else rate_limit
        return Caller(key_id, org_id, limit, forbidden)


def _unauthorised(message: str) -> Refusal:
    return Refusal(401, message, headers={"WWW-Authenticate": 'ApiKey realm="foldline"'})
