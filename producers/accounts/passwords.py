"""Passwords: which are good enough, and what is kept of them.

1. Kept is an argon2id hash with a salt of its own.
2. To find that there is no such account takes as long as to find that the password is wrong.
3. A hash made with other parameters than today's is replaced when its password is next seen.

Source of the parameters: https://cheatsheetseries.owasp.org/cheatsheets/Password_Storage_Cheat_Sheet.html#argon2id
"""

from __future__ import annotations

import unicodedata
from typing import Final

from pwdlib.hashers.argon2 import Argon2Hasher

MIN_CHARACTERS: Final = 12
MAX_CHARACTERS: Final = 1000
MEMORY_KIBIBYTES: Final = 19_456
PASSES: Final = 2

_HASHER: Final = Argon2Hasher(time_cost=PASSES, memory_cost=MEMORY_KIBIBYTES, parallelism=1)
# Of a password that nobody knows, with the parameters above.
NOBODYS: Final = "$argon2id$v=19$m=19456,t=2,p=1$iCJEw79kmMfqTcCHI/Z7Ng$zCCFXZej8C6ApGJ2rqzg+WaPLKLWjXoTUx0BQUHwkaQ"


def fault(password: str) -> str:
    """Why the password is not good enough, as a sentence; empty where it is."""
    if len(password) < MIN_CHARACTERS:
        return f"A password has at least {MIN_CHARACTERS} characters."
    if len(password) > MAX_CHARACTERS:
        return f"A password has at most {MAX_CHARACTERS} characters."
    return "" if len(set(password)) > 3 else "This password repeats the same few characters."


def hashed(password: str) -> str:
    """What is kept of a password. Takes tens of milliseconds."""
    return _HASHER.hash(_normal(password))


def verified(password: str, kept: str | None) -> bool:
    """Whether it is the password of which that is kept; never where nothing is. Takes as long in either case."""
    long_enough = password[: MAX_CHARACTERS + 1]
    return _HASHER.verify(_normal(long_enough), kept or NOBODYS) and kept is not None


def outdated(kept: str) -> bool:
    """Whether a hash was made with other parameters than today's."""
    return _HASHER.check_needs_rehash(kept)


def _normal(password: str) -> str:
    """The same characters, however a keyboard composed them."""
    return unicodedata.normalize("NFKC", password)
