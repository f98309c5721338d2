"""The keys of users in PostgreSQL: the keyring, and what of a record's past can still be opened."""

from __future__ import annotations

import secrets
from collections.abc import Iterable

from foldline.adapters.postgres import Connection, translated
from foldline.adapters.seals import SECRET_BYTES, MasterKeys
from foldline.domain.errors import FoldlineError
from projections.sql import queries

KEYRING_NAME = b"ids"

_SQL = queries("keys")


def ensure_keyring(connection: Connection, masters: MasterKeys) -> None:
    """Makes the keyring of a new database; of another one, makes sure that the master key is the one that belongs to it.

    Raises `MasterKeyMissing`.
    """
    with translated():
        made = masters.current.wrap(KEYRING_NAME, secrets.token_bytes(SECRET_BYTES))
        connection.execute(_SQL["make_keyring"].encode(), (made,))
    check_keyring(connection, masters)


def check_keyring(connection: Connection, masters: MasterKeys) -> None:
    """Raises `MasterKeyMissing` where the database's keys were wrapped by another master key, `FoldlineError` before
    `foldline init` has made the keyring."""
    with translated():
        row = connection.execute(_SQL["keyring"].encode()).fetchone()
    if row is None:
        raise FoldlineError("the database has no keyring: run `foldline init`")
    masters.unwrap(KEYRING_NAME, row[0])


def key_secrets(connection: Connection, masters: MasterKeys, key_ids: Iterable[bytes]) -> dict[bytes, bytes | None]:
    """The keys of these ids; None for those that were destroyed."""
    with translated():
        rows = connection.execute(_SQL["keys"].encode(), (list(key_ids),)).fetchall()
    return {key_id: None if wrapped is None else masters.unwrap(key_id, wrapped) for key_id, wrapped in rows}
