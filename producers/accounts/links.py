"""Links to copy: an invitation, a way back in without a password, a first sign-in.

1. A link ends in 256 random bits; kept is their SHA-256.
2. It works once and until it expires. To look at it uses nothing up.
"""

from __future__ import annotations

import secrets
from datetime import datetime
from typing import Final, Literal, NamedTuple, TypeAlias

from foldline.adapters.postgres import Connection, translated
from foldline.settings import Settings
from producers.accounts.errors import LinkGone
from producers.accounts.roles import Role
from producers.accounts.sessions import TOKEN_BYTES, digest_of
from producers.accounts.statements import execute

Purpose: TypeAlias = Literal["sign_in", "reset", "invitation"]
MAX_TOKEN_CHARACTERS: Final = 128
GONE: Final = "This link was used already, was withdrawn or replaced, or has expired. Ask for another."


class Link(NamedTuple):
    """What a link is for: a sign-in or a reset for `account_id`, an invitation of `email` to an organisation as `role`."""

    purpose: Purpose
    account_id: str | None
    org_id: str | None
    email: str
    role: Role | None
    org_name: str | None
    created_by: str
    expires_at: datetime
    has_account: bool
    has_password: bool


def insert_link(
    connection: Connection,
    settings: Settings,
    purpose: Purpose,
    created_by: str,
    *,
    account_id: str | None = None,
    org_id: str | None = None,
    email: str | None = None,
    role: Role | None = None,
) -> str:
    """Makes a link in the transaction that is open, and returns its token. One of the same purpose for the same account, or
    the same address in the same organisation, is replaced."""
    token = secrets.token_urlsafe(TOKEN_BYTES)
    chosen = {"purpose": purpose, "account_id": account_id, "org_id": org_id, "email": email}
    execute(connection, "replace_links", **chosen)
    execute(
        connection,
        "insert_link",
        link_hash=digest_of(token),
        created_by=created_by,
        role=role,
        seconds=settings.link_seconds,
        **chosen,
    )
    return token


def look(connection: Connection, token: str) -> Link:
    """What a link is for. Raises `LinkGone`."""
    if len(token) > MAX_TOKEN_CHARACTERS:
        raise LinkGone(GONE)
    with translated():
        rows = execute(connection, "link", link_hash=digest_of(token))
    if not rows:
        raise LinkGone(GONE)
    return Link(*rows[0])


def use(connection: Connection, token: str, purpose: Purpose) -> Link:
    """Uses a link up in the transaction that is open. Raises `LinkGone`, also for one of another purpose."""
    link = look(connection, token)
    if link.purpose != purpose or not execute(connection, "use_link", link_hash=digest_of(token)):
        raise LinkGone(GONE)
    return link


def url_of(base: str, token: str) -> str:
    """The link as it is copied."""
    return f"{base.rstrip('/')}/link/{token}"
