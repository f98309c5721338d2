"""Organisations and their keys: how they are made, found, changed and ended.

1. A key is `{prefix}_sk_` (secret) or `{prefix}_pk_` (publishable), 32 random characters and 6 of a checksum. What was
   mistyped or cut is known without a look into the database.
2. Only a key's SHA-256 is kept: a key is shown once, when it is made.
3. A key that was replaced with a grace works until `expires_at`; then it is as good as revoked.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import zlib
from datetime import datetime
from typing import Any, Final, Literal, NamedTuple, TypeAlias

from foldline.adapters.postgres import Connection, translated
from foldline.domain.errors import FoldlineError
from foldline.domain.values import printable
from producers.accounts.audit import COMMAND_LINE, record
from projections.sql import queries

Role: TypeAlias = Literal["publishable", "secret"]
ROLES: Final[dict[Role, str]] = {"publishable": "pk", "secret": "sk"}
RANDOM_CHARACTERS: Final = 32
CHECKSUM_CHARACTERS: Final = 6
NAME_MAX_CHARACTERS: Final = 200
MAX_RATE_LIMIT: Final = 2**31 - 1
MAX_GRACE_SECONDS: Final = 30 * 86_400

_BASE62: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_KEY: Final = re.compile(r"[a-z][a-z0-9]{1,15}_[ps]k_[0-9A-Za-z]{38}", re.ASCII)
_ORG_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)
_SQL: Final = queries("tenants")


class Key(NamedTuple):
    """A key as it is kept. `hint` is what a person may see of it; `usable`, whether it is neither revoked nor expired, by
    the database's clock. `last_used_at` is a minute behind at most."""

    key_id: str
    org_id: str
    role: Role
    hint: str
    created_at: datetime
    revoked_at: datetime | None
    expires_at: datetime | None
    last_used_at: datetime | None
    created_by: str | None
    usable: bool


class NewKey(NamedTuple):
    """A key that has just been made; `key` itself is nowhere else."""

    key_id: str
    org_id: str
    role: Role
    key: str


class Organisation(NamedTuple):
    """`rate_limit` is in requests a window; 0 is unlimited, None the setting's default."""

    org_id: str
    name: str
    rate_limit: int | None
    suspended_at: datetime | None
    created_at: datetime


class NewOrganisation(NamedTuple):
    """An organisation that has just been made, with its first keys."""

    org_id: str
    name: str
    publishable_key: str
    secret_key: str


def make_key(prefix: str, role: Role) -> str:
    """A new random key."""
    text = f"{prefix}_{ROLES[role]}_{_random(RANDOM_CHARACTERS)}"
    return text + _checksum(text)


def is_key(text: str) -> bool:
    """Whether the text can be a key: its form and its checksum hold."""
    return _KEY.fullmatch(text) is not None and _checksum(text[:-CHECKSUM_CHARACTERS]) == text[-CHECKSUM_CHARACTERS:]


def key_hash(key: str) -> bytes:
    """What is kept of a key."""
    return hashlib.sha256(key.encode()).digest()


def hint_of(key: str) -> str:
    """What a person may see of a key: its kind and last four characters."""
    return f"{key.rpartition('_')[0]}_…{key[-4:]}"


def normal_name(name: str) -> str:
    """An organisation's name as it is kept. Raises `FoldlineError` for one that cannot be one."""
    name = name.strip()
    if not name or len(name) > NAME_MAX_CHARACTERS or not name.isprintable():
        raise FoldlineError(f"an organisation's name has 1 to {NAME_MAX_CHARACTERS} printable characters")
    return name


def insert_organisation(connection: Connection, name: str) -> str:
    """Makes an organisation without keys, in the transaction that is open; its id. Raises as `normal_name` does."""
    org_id = f"org_{_random(16)}"
    _execute(connection, "insert_organisation", org_id=org_id, name=normal_name(name))
    return org_id


def create_organisation(connection: Connection, name: str, key_prefix: str) -> NewOrganisation:
    """Makes an organisation with one key of each role. Raises `FoldlineError` for a name that cannot be one."""
    with translated(), connection.transaction():
        org_id = insert_organisation(connection, name)
        record(connection, org_id, COMMAND_LINE, "organisation.created", normal_name(name))
        publishable, secret = (_insert_key(connection, org_id, role, key_prefix, COMMAND_LINE) for role in ROLES)
    return NewOrganisation(org_id, normal_name(name), publishable.key, secret.key)


def organisations(connection: Connection) -> list[Organisation]:
    """All organisations, oldest first."""
    with translated():
        return [Organisation(*row) for row in _execute(connection, "organisations")]


def organisation(connection: Connection, org_id: str) -> Organisation:
    """One organisation. Raises `FoldlineError` for one that does not exist."""
    with translated():
        rows = _execute(connection, "organisation", org_id=org_id)
    return Organisation(*_known(rows, org_id))


def set_rate_limit(connection: Connection, org_id: str, rate_limit: int | None) -> None:
    """Requests a window from now on; 0 is unlimited, None the setting's default."""
    with translated(), connection.transaction():
        _known(_execute(connection, "set_rate_limit", org_id=org_id, rate_limit=rate_limit), org_id)
        record(connection, org_id, COMMAND_LINE, "organisation.rate_limit_changed", org_id, rate_limit=rate_limit)


def suspend(connection: Connection, org_id: str) -> None:
    """Closes the API to an organisation: its keys are known, and may do nothing."""
    with translated(), connection.transaction():
        _known(_execute(connection, "suspend", org_id=org_id), org_id)
        record(connection, org_id, COMMAND_LINE, "organisation.suspended", org_id)


def resume(connection: Connection, org_id: str) -> None:
    """Opens the API to a suspended organisation again."""
    with translated(), connection.transaction():
        _known(_execute(connection, "resume", org_id=org_id), org_id)
        record(connection, org_id, COMMAND_LINE, "organisation.resumed", org_id)


def create_key(connection: Connection, org_id: str, role: Role, key_prefix: str, created_by: str = COMMAND_LINE) -> NewKey:
    """Makes another key for an organisation."""
    organisation(connection, org_id)
    with translated(), connection.transaction():
        return _insert_key(connection, org_id, role, key_prefix, created_by)


def keys(connection: Connection, org_id: str | None) -> list[Key]:
    """The keys of an organisation, or of all, oldest first; revoked ones too."""
    if org_id is not None:
        organisation(connection, org_id)
    with translated():
        return [Key(*row) for row in _execute(connection, "keys", org_id=org_id)]


def revoke_key(connection: Connection, named: str, org_id: str | None = None, actor: str = COMMAND_LINE) -> Key:
    """Ends the key with that id or hint, or the key itself; only one of `org_id` where that is given. Raises `FoldlineError`
    unless it names exactly one in use."""
    with translated(), connection.transaction():
        key = _in_use(connection, named, org_id)
        _execute(connection, "revoke_key", key_id=key.key_id)
        record(connection, key.org_id, actor, "key.revoked", key.hint, key_id=key.key_id, role=key.role)
        return key


def rotate_key(
    connection: Connection,
    named: str,
    key_prefix: str,
    grace_seconds: int = 0,
    org_id: str | None = None,
    actor: str = COMMAND_LINE,
) -> tuple[Key, NewKey]:
    """Makes another key of the same role, in one commit with the old one's end, which is now, or after the grace. Returns
    the old one as it has become, and the new one. Raises as `revoke_key` does, and for a key that was replaced already."""
    if not 0 <= grace_seconds <= MAX_GRACE_SECONDS:
        raise FoldlineError(f"a grace has 0 to {MAX_GRACE_SECONDS} seconds")
    with translated(), connection.transaction():
        key = _in_use(connection, named, org_id)
        if key.expires_at is not None:
            until = key.expires_at.isoformat(timespec="seconds").replace("+00:00", "Z")
            raise FoldlineError(f"the key {key.hint} was replaced already and works until {until}; revoke it to end it now")
        ((revoked_at, expires_at),) = _execute(connection, "replace_key", key_id=key.key_id, grace_seconds=grace_seconds)
        new = _insert_key(connection, key.org_id, key.role, key_prefix, actor, old=key, grace_seconds=grace_seconds)
        return key._replace(revoked_at=revoked_at, expires_at=expires_at, usable=revoked_at is None), new


def _in_use(connection: Connection, named: str, org_id: str | None) -> Key:
    rows = _execute(connection, "find_keys", named=named, key_hash=key_hash(named), org_id=org_id)
    found = [Key(*row) for row in rows]
    usable = [key for key in found if key.usable]
    if len(usable) == 1:
        return usable[0]
    shown = hint_of(named) if is_key(named) else printable(named)
    if usable:
        raise FoldlineError(f"{shown} is the hint of {len(usable)} keys: name one by its key_id")
    if not found:
        raise FoldlineError(f"there is no key {shown}")
    raise FoldlineError(f"the key {shown} is revoked already" if found[-1].revoked_at else f"the key {shown} has expired")


def _insert_key(
    connection: Connection,
    org_id: str,
    role: Role,
    key_prefix: str,
    created_by: str,
    old: Key | None = None,
    grace_seconds: int = 0,
) -> NewKey:
    key, key_id = make_key(key_prefix, role), f"key_{_random(12)}"
    made = {"key_id": key_id, "org_id": org_id, "role": role, "hint": hint_of(key), "created_by": created_by}
    _execute(connection, "insert_key", key_hash=key_hash(key), **made)
    if old is None:
        record(connection, org_id, created_by, "key.created", hint_of(key), key_id=key_id, role=role)
    else:
        replaced = {"key_id": old.key_id, "role": role, "new": hint_of(key), "new_key_id": key_id}
        record(connection, org_id, created_by, "key.rotated", old.hint, **replaced, grace_seconds=grace_seconds)
    return NewKey(key_id, org_id, role, key)


def _known(rows: list[tuple[Any, ...]], org_id: str) -> tuple[Any, ...]:
    if not rows:
        raise FoldlineError(f"there is no organisation {printable(org_id)}: `foldline orgs list` shows them")
    return rows[0]


def _execute(connection: Connection, query: str, **parameters: Any) -> list[tuple[Any, ...]]:
    org_id = parameters.get("org_id")
    if org_id is not None:
        _known([()] if _ORG_ID.fullmatch(org_id) else [], org_id)
    cursor = connection.execute(_SQL[query].encode(), parameters)
    return cursor.fetchall() if cursor.description else []


def _random(characters: int) -> str:
    return "".join(secrets.choice(_BASE62) for _ in range(characters))


def _checksum(text: str) -> str:
    number, digits = zlib.crc32(text.encode()), ""
    for _ in range(CHECKSUM_CHARACTERS):
        number, digit = divmod(number, 62)
        digits = _BASE62[digit] + digits
    return digits
