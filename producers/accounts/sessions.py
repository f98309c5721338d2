"""Sessions: who is signed in where, and until when.

1. A session is 256 random bits in a cookie; kept is their SHA-256.
2. Every sign-in begins a new session, and ends the one that the browser came with.
3. A session looks at one organisation of its account at a time, and ends with the membership in that.
"""

from __future__ import annotations

import hashlib
import secrets
from datetime import datetime
from typing import Final, NamedTuple

from foldline.adapters.postgres import Connection, translated
from foldline.settings import Settings
from producers.accounts import directory
from producers.accounts.audit import record
from producers.accounts.clients import described
from producers.accounts.errors import NotAllowed
from producers.accounts.statements import execute

TOKEN_BYTES: Final = 32


class Browser(NamedTuple):
    """Where a person signs in from: the address, what the browser calls itself, and the digest of the session that it came
    with, if it did."""

    address: str
    user_agent: str = ""
    session: bytes | None = None


class Session(NamedTuple):
    """A session as its person sees it. `digest` is in hexadecimal."""

    digest: str
    client: str
    org_name: str
    created_at: datetime
    last_seen_at: datetime


def digest_of(token: str) -> bytes:
    """What is kept of a session or a link."""
    return hashlib.sha256(token.encode()).digest()


def insert_session(
    connection: Connection, settings: Settings, account_id: str, email: str, browser: Browser, org_id: str | None = None
) -> str:
    """Begins a session in the transaction that is open, in that organisation or the one last looked at, and notes it.
    Returns the cookie's value. Raises `NotAllowed` for an account that belongs to no organisation."""
    known = directory.memberships(connection, account_id)
    if not known:
        raise NotAllowed("This account belongs to no organisation any more: ask to be invited again.")
    chosen = next((one for one in known if one.org_id == org_id), known[0])
    if browser.session is not None:
        execute(connection, "end_session", session_hash=browser.session)
    token = secrets.token_urlsafe(TOKEN_BYTES)
    execute(
        connection,
        "insert_session",
        session_hash=digest_of(token),
        account_id=account_id,
        org_id=chosen.org_id,
        client=described(browser.user_agent),
        seconds=settings.session_seconds,
    )
    record(connection, chosen.org_id, email, "session.signed_in", email, client=described(browser.user_agent))
    return token


def sessions(connection: Connection, account_id: str) -> list[Session]:
    """The sessions of an account, the last used first."""
    with translated():
        return [Session(*row) for row in execute(connection, "sessions", account_id=account_id)]


def sign_out(connection: Connection, session: bytes) -> None:
    """Ends a session, if it is one."""
    with translated(), connection.transaction():
        for org_id, email in execute(connection, "end_session", session_hash=session):
            record(connection, org_id, email, "session.signed_out", email)


def end_one(connection: Connection, account_id: str, digest: str) -> None:
    """Ends the session of an account that has this digest, if there is one."""
    with translated(), connection.transaction():
        for org_id, email, client in execute(connection, "end_own_session", account_id=account_id, digest=digest):
            record(connection, org_id, email, "session.ended", email, client=client)


def end_others(connection: Connection, account_id: str, session: bytes) -> int:
    """Ends all sessions of an account but one; how many they were."""
    with translated(), connection.transaction():
        ended = execute(connection, "end_other_sessions", account_id=account_id, session_hash=session)
        for org_id, email, client in ended:
            record(connection, org_id, email, "session.ended", email, client=client)
        return len(ended)


def look_at(connection: Connection, account_id: str, session: bytes, org_id: str) -> None:
    """Lets a session look at another organisation. Raises `NotAllowed` where the account does not belong to it."""
    with translated():
        if not execute(connection, "look_at", account_id=account_id, session_hash=session, org_id=org_id):
            raise NotAllowed("You do not belong to this organisation.")


def sweep(connection: Connection, settings: Settings) -> None:
    """Removes what has expired: sessions, links and counted attempts. What another sweep is removing is left to it."""
    with translated():
        execute(connection, "sweep_sessions")
        execute(connection, "sweep_links")
        execute(connection, "sweep_attempts", window=settings.sign_in_window_seconds)
