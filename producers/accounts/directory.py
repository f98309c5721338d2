"""Accounts, and the organisations that they belong to.

1. An e-mail address names one account; letters in upper case are the same as in lower case.
2. Who is given a role, or another password, is not held by a link that was made for them before.
3. What concerns an account and not one organisation is in the audit log of each that it belongs to.
"""

from __future__ import annotations

import secrets
import unicodedata
from typing import Any, Final, NamedTuple

from foldline.adapters.postgres import Connection, translated
from producers.accounts import passwords
from producers.accounts.audit import record
from producers.accounts.errors import Unfit
from producers.accounts.roles import Role
from producers.accounts.statements import execute

EMAIL_MAX_CHARACTERS: Final = 254
NAME_MAX_CHARACTERS: Final = 200


class Account(NamedTuple):
    """A person's account; `password_hash` is None until they have set a password."""

    account_id: str
    email: str
    name: str
    password_hash: str | None


class Membership(NamedTuple):
    """An organisation that an account belongs to, and as what."""

    org_id: str
    org_name: str
    role: Role


def normal_email(text: str) -> str:
    """The address as it is kept. Raises `Unfit` for what is none."""
    email = unicodedata.normalize("NFC", text).strip().lower()
    local, at, domain = email.rpartition("@")
    fit = at and local and domain and email.isprintable() and not set(email) & set(' "<>(),;:\\[]') and "@" not in local
    if not fit or len(email) > EMAIL_MAX_CHARACTERS:
        raise Unfit({"email": "This is not an e-mail address."})
    return email


def normal_name(text: str) -> str:
    """A person's name as it is kept. Raises `Unfit` for what is none."""
    name = text.strip()
    if not name or len(name) > NAME_MAX_CHARACTERS or not name.isprintable():
        raise Unfit({"name": f"A name has 1 to {NAME_MAX_CHARACTERS} printable characters."})
    return name


def account_of(connection: Connection, email: str) -> Account | None:
    """The account of a normal address."""
    with translated():
        rows = execute(connection, "account_of", email=email)
    return Account(*rows[0]) if rows else None


def account(connection: Connection, account_id: str) -> Account:
    """An account that is there."""
    with translated():
        (row,) = execute(connection, "account", account_id=account_id)
    return Account(*row)


def memberships(connection: Connection, account_id: str) -> list[Membership]:
    """The organisations of an account: the one last looked at first, then by age."""
    with translated():
        return [Membership(*row) for row in execute(connection, "memberships", account_id=account_id)]


def rename(connection: Connection, account_id: str, name: str) -> None:
    """Gives an account another name. Raises `Unfit`."""
    kept = normal_name(name)
    with translated(), connection.transaction():
        execute(connection, "rename", account_id=account_id, name=kept)
        email = account(connection, account_id).email
        record_everywhere(connection, account_id, email, "account.renamed", email, name=kept)


def insert_account(connection: Connection, email: str, name: str, password_hash: str | None) -> str | None:
    """Makes an account in the transaction that is open; None where the address has one."""
    account_id = f"acc_{secrets.token_hex(10)}"
    rows = execute(connection, "insert_account", account_id=account_id, email=email, name=name, password_hash=password_hash)
    return account_id if rows else None


def insert_membership(connection: Connection, org_id: str, account_id: str, role: Role) -> bool:
    """Lets an account belong to an organisation, in the transaction that is open; whether it did not before."""
    execute(connection, "void_links_of_account", account_id=account_id, only_of_organisations=True)
    return bool(execute(connection, "insert_membership", org_id=org_id, account_id=account_id, role=role))


def insert_password(connection: Connection, account_id: str, password: str) -> None:
    """Sets a password in the transaction that is open. Sessions and links of the account end. The account's row is locked
    first: who signs in with the old password meanwhile is refused."""
    execute(connection, "set_password", account_id=account_id, password_hash=passwords.hashed(password))
    execute(connection, "void_links_of_account", account_id=account_id, only_of_organisations=False)


def record_everywhere(connection: Connection, account_id: str, actor: str, action: str, subject: str, **detail: Any) -> None:
    """Notes what concerns an account in the log of every organisation that it belongs to."""
    for membership in memberships(connection, account_id):
        record(connection, membership.org_id, actor, action, subject, **detail)
