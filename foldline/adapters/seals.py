"""Seals: a user's attributes as they lie in the log, and the keys that open them.

1. Attributes are sealed with AES-256-GCM under a data key of this user's own, with a random 96-bit nonce; the organisation,
   the user and the event's id are associated data, so that a seal opens nowhere but in its event.
2. A data key is kept wrapped by a master key, the same way; its own id is associated data. What is wrapped names its master.
3. A key's id ends in an HMAC of the rest and the user: whether an id was given here can be told without its row.

Source: https://csrc.nist.gov/pubs/sp/800/38/d/final
"""

from __future__ import annotations

import base64
import binascii
import hmac
import secrets
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from foldline.domain.errors import FoldlineError, MasterKeyMissing
from foldline.domain.keys import message_key
from foldline.domain.records import KEY_ID_BYTES, Upsert, key_id_of
from foldline.settings import Settings

SECRET_BYTES: Final = 32
NONCE_BYTES: Final = 12
TAG_BYTES: Final = 16
SEAL_MIN_BYTES: Final = KEY_ID_BYTES + NONCE_BYTES + TAG_BYTES
FINGERPRINT_BYTES: Final = 8
_RANDOM_BYTES: Final = 8


class MasterKey:
    """What wraps data keys. `fingerprint` names it and may be shown; nothing else of it may."""

    def __init__(self, text: str) -> None:
        """The key of its text: 32 bytes in base64. Raises `MasterKeyMissing`, which does not show it."""
        try:
            secret = base64.b64decode(text.strip(), validate=True)
        except (ValueError, binascii.Error):
            secret = b""
        if len(secret) != SECRET_BYTES:
            raise MasterKeyMissing("this is no master key, which is 32 bytes in base64: `foldline master-key new` makes one")
        self._cipher = AESGCM(hmac.digest(secret, b"foldline wrap", "sha256"))
        self.fingerprint = hmac.digest(secret, b"foldline fingerprint", "sha256")[:FINGERPRINT_BYTES]

    def wrap(self, name: bytes, secret: bytes) -> bytes:
        """A secret as it is kept, under its name."""
        nonce = secrets.token_bytes(NONCE_BYTES)
        return self.fingerprint + nonce + self._cipher.encrypt(nonce, secret, name)

    def unwrap(self, name: bytes, wrapped: bytes) -> bytes:
        """A secret as it was. Raises `FoldlineError` for one that is damaged or another's."""
        nonce = wrapped[FINGERPRINT_BYTES : FINGERPRINT_BYTES + NONCE_BYTES]
        try:
            return self._cipher.decrypt(nonce, wrapped[FINGERPRINT_BYTES + NONCE_BYTES :], name)
        except (InvalidTag, ValueError) as error:
            raise FoldlineError(f"the secret {name.hex()} is damaged: restore its table from a backup") from error


def new_master_key() -> str:
    """The text of a new master key."""
    return base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()


class MasterKeys:
    """The master keys that the settings give: all unwrap, the first one wraps what there is after a rotation to it.

    A file is read again for one that is not known. What was known stays so: what somebody read before the end of a rotation
    is opened after it.
    """

    def __init__(self, settings: Settings) -> None:
        """Raises `MasterKeyMissing`."""
        self._settings = settings
        self._source = "FOLDLINE_MASTER_KEY" if settings.master_key is not None else settings.master_key_file
        self._keys: list[MasterKey] = []
        self._read()

    @property
    def current(self) -> MasterKey:
        return self._keys[0]

    def wrapped_by(self, wrapped: bytes) -> MasterKey:
        """The master key that wrapped this. Raises `MasterKeyMissing`."""
        for attempt in range(2):
            for key in self._keys:
                if wrapped.startswith(key.fingerprint):
                    return key
            if attempt == 0:
                self._read()
        known = ", ".join(key.fingerprint.hex() for key in self._keys)
        raise MasterKeyMissing(
            f"the database's keys are wrapped by the master key {wrapped[:FINGERPRINT_BYTES].hex()}; "
            f"{self._source} gives {known}: give the one that belongs to this database"
        )

    def unwrap(self, name: bytes, wrapped: bytes) -> bytes:
        """A secret as it was before it was wrapped. Raises `MasterKeyMissing`, and `FoldlineError` where it is damaged."""
        return self.wrapped_by(wrapped).unwrap(name, wrapped)

    def _read(self) -> None:
        given, path = self._settings.master_key, self._settings.master_key_file
        if given is not None:
            text = given.get_secret_value()
        elif path is not None:
            try:
                text = Path(path).read_text(encoding="ascii")
            except (OSError, UnicodeDecodeError) as error:
                raise MasterKeyMissing(f"the master key cannot be read from {path}: {type(error).__name__}") from error
        else:
            raise MasterKeyMissing(
                "there is no master key: users' attributes are sealed under one. Set FOLDLINE_MASTER_KEY, or "
                "FOLDLINE_MASTER_KEY_FILE, to this database's; for a new database `foldline master-key new` makes one"
            )
        read = [MasterKey(one) for one in text.replace(",", "\n").splitlines() if one.strip()]
        if not read:
            raise MasterKeyMissing(f"{self._source} is empty: `foldline master-key new` makes a master key")
        fingerprints = {key.fingerprint for key in read}
        self._keys = read + [key for key in self._keys if key.fingerprint not in fingerprints]


class DataKey(NamedTuple):
    """A user's key."""

    key_id: bytes
    secret: bytes


def new_data_key(ids_secret: bytes, org_id: str, user_id: str) -> DataKey:
    """A new key for a user."""
    random = secrets.token_bytes(_RANDOM_BYTES)
    return DataKey(random + _mac(ids_secret, random, org_id, user_id), secrets.token_bytes(SECRET_BYTES))


def given_here(ids_secret: bytes, key_id: bytes, org_id: str, user_id: str) -> bool:
    """Whether this is the id of a key that was made for the user under `ids_secret`."""
    random = key_id[:_RANDOM_BYTES]
    return hmac.compare_digest(key_id[_RANDOM_BYTES:], _mac(ids_secret, random, org_id, user_id))


def sealed(event: Upsert, key: DataKey) -> Upsert:
    """The event with its attributes sealed."""
    if event.attributes is None:
        return event
    nonce = secrets.token_bytes(NONCE_BYTES)
    text = AESGCM(key.secret).encrypt(nonce, event.attributes.encode(), _context(event))
    return event._replace(attributes=None, sealed=b"".join((key.key_id, nonce, text)))


def opened(event: Upsert, secret: bytes | None) -> Upsert:
    """The event with its attributes as they were; without any where there is no key, or it does not open the seal."""
    seal = event.sealed
    if seal is None:
        return event
    if secret is None or len(seal) < SEAL_MIN_BYTES:
        return event._replace(attributes=None)
    start = KEY_ID_BYTES + NONCE_BYTES
    text: str | None = None
    with suppress(InvalidTag, UnicodeDecodeError):
        text = AESGCM(secret).decrypt(seal[KEY_ID_BYTES:start], seal[start:], _context(event)).decode()
    return event._replace(attributes=text)


def seal_key(event: Upsert) -> bytes | None:
    """The id of the key that would open an event's seal; None where it has none that could be one."""
    return None if event.sealed is None or len(event.sealed) < SEAL_MIN_BYTES else key_id_of(event.sealed)


def _context(event: Upsert) -> bytes:
    return message_key(event.org_id, event.entity_id) + b"\x00" + event.event_id.encode()


def _mac(ids_secret: bytes, random: bytes, org_id: str, user_id: str) -> bytes:
    return hmac.digest(ids_secret, random + message_key(org_id, user_id), "sha256")[: KEY_ID_BYTES - _RANDOM_BYTES]
