"""Going over to another master key, while gateways and processors run. No event is written anew.

1. The keyring goes first, in one transaction that keeps out whoever makes keys. From then on the database refuses new keys
   that are wrapped by another master key, whatever a gateway remembers.
2. Then the keys of users, in batches of short transactions. A key that is being destroyed stays so: only what is locked is
   written.
3. Nothing is forgotten of a rotation that was stopped: the next one finds what is left by how it is wrapped.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from foldline.adapters.postgres import Connection, translated
from foldline.adapters.seals import MasterKeys
from foldline.domain.errors import FoldlineError
from projections.keys import KEYRING_NAME, check_keyring
from projections.sql import queries

BATCH_KEYS = 1000

_SQL = queries("rotation")


def hold(connection: Connection) -> None:
    """Keeps everybody else from rotating while this connection lasts. Raises `FoldlineError`."""
    with translated():
        row = connection.execute(_SQL["hold"].encode()).fetchone()
    if row is None or not row[0]:
        raise FoldlineError("another rotation of the master key is under way: wait for it, or end it")


def rotate(
    connection: Connection,
    masters: MasterKeys,
    on_progress: Callable[[int, int], None] = lambda *_: None,
    batch_keys: int = BATCH_KEYS,
) -> int:
    """Wraps the keyring and every user's key by the first of the master keys; returns how many of users' keys were not.

    Afterwards nothing is wrapped by another one, and nothing will be. `on_progress` is told how many are done, of how many.
    Raises `MasterKeyMissing`, before anything is changed, where some key is wrapped by a master key that is not given.
    """
    check_keyring(connection, masters)
    with translated():
        for (fingerprint,) in connection.execute(_SQL["masters"].encode()).fetchall():
            masters.wrapped_by(fingerprint)
    _rewrap_keyring(connection, masters)
    target, done, after = masters.current.fingerprint, 0, b""
    total = _left(connection, target)
    while batch := _batch(connection, masters, "batch", (after, target, batch_keys)):
        done, after = done + len(batch), batch[-1]
        on_progress(done, max(total, done))
    while batch := _batch(connection, masters, "straggler", (target,)):
        done += len(batch)
        on_progress(done, max(total, done))
    if left := _left(connection, target):
        raise FoldlineError(f"{left} keys are still wrapped by another master key: rotate again")
    return done


def _rewrap_keyring(connection: Connection, masters: MasterKeys) -> None:
    with translated(), connection.transaction():
        connection.execute(_SQL["durable"].encode())
        connection.execute(_SQL["keep_out"].encode())
        ((wrapped,),) = connection.execute(_SQL["keyring"].encode()).fetchall()
        made_by = masters.wrapped_by(wrapped)
        if made_by.fingerprint != masters.current.fingerprint:
            anew = masters.current.wrap(KEYRING_NAME, made_by.unwrap(KEYRING_NAME, wrapped))
            connection.execute(_SQL["set_keyring"].encode(), (anew,))


def _batch(connection: Connection, masters: MasterKeys, query: str, parameters: Sequence[object]) -> list[bytes]:
    """Rewraps what a query finds; returns the ids."""
    with translated(), connection.transaction():
        connection.execute(_SQL["durable"].encode())
        found = connection.execute(_SQL[query].encode(), parameters).fetchall()
        ids = [key_id for key_id, _ in found]
        anew = [masters.current.wrap(key_id, masters.unwrap(key_id, wrapped)) for key_id, wrapped in found]
        if found:
            connection.execute(_SQL["rewrap"].encode(), (ids, anew))
    return ids


def _left(connection: Connection, fingerprint: bytes) -> int:
    with translated():
        ((left,),) = connection.execute(_SQL["left"].encode(), (fingerprint,)).fetchall()
    return int(left)
