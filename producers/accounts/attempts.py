"""Failed attempts to sign in, counted in the database for all gateways.

1. Counted are failures of an account and failures from an address, each in a window that begins with the first.
2. An attempt is counted before it is made, and taken back if it succeeds: however many are made at once, no more than the
   limit are wrong ones that were looked at.
3. A success clears what the account has failed, not what its address has.
"""

from __future__ import annotations

import hashlib
import math

from foldline.adapters.postgres import Connection
from foldline.settings import Settings
from producers.accounts.errors import TooMany
from producers.accounts.statements import execute


def of_account(email: str) -> bytes:
    """The subject of attempts on an account, be there one or not."""
    return hashlib.sha256(b"account:" + email.encode()).digest()


def of_address(address: str) -> bytes:
    """The subject of attempts from an address."""
    return hashlib.sha256(b"address:" + address.encode()).digest()


def of_sign_ups(address: str) -> bytes:
    """The subject of organisations made from an address."""
    return hashlib.sha256(b"sign-ups:" + address.encode()).digest()


def of_links(address: str) -> bytes:
    """The subject of links from an address that do not work."""
    return hashlib.sha256(b"links:" + address.encode()).digest()


def count(connection: Connection, settings: Settings, subject: bytes, limit: int | None = None) -> None:
    """Counts an attempt as failed. Raises `TooMany` where there were as many as may fail before it: `limit`, or else
    `sign_in_failures`."""
    window, limit = settings.sign_in_window_seconds, limit or settings.sign_in_failures
    ((failures, seconds),) = execute(connection, "count_attempt", subject=subject, window=window, limit=limit)
    if failures > limit:
        raise TooMany(max(1, math.ceil(seconds)))


def take_back(connection: Connection, subject: bytes) -> None:
    """The attempt that was counted did not fail."""
    execute(connection, "take_back_attempt", subject=subject)


def clear(connection: Connection, subject: bytes) -> None:
    """Nothing has failed."""
    execute(connection, "clear_attempts", subject=subject)
