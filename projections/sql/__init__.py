"""The SQL of the project, by name: migrations in `migrations/`, named queries in `*.sql` beside this file.

A query begins with `-- name: what_it_is`, followed by a line of purpose.
"""

from __future__ import annotations

import hashlib
import re
from functools import cache
from importlib.resources import files
from typing import NamedTuple

_NAME = re.compile(r"^-- name: (\w+)\n", re.MULTILINE)


class Migration(NamedTuple):
    """One step of the database's schema. `digest` is the SHA-256 of its text, in hexadecimal."""

    name: str
    text: str
    digest: str


@cache
def migrations() -> tuple[Migration, ...]:
    """Every migration, oldest first."""
    found = sorted((f for f in (files(__name__) / "migrations").iterdir() if f.name.endswith(".sql")), key=lambda f: f.name)
    texts = [(file.name.removesuffix(".sql"), file.read_text(encoding="utf-8")) for file in found]
    return tuple(Migration(name, text, hashlib.sha256(text.encode()).hexdigest()) for name, text in texts)


@cache
def script(name: str) -> str:
    """The text of `NAME.sql`."""
    return (files(__name__) / f"{name}.sql").read_text(encoding="utf-8")


@cache
def queries(file: str) -> dict[str, str]:
    """The named queries of `FILE.sql`, by name."""
    parts = _NAME.split(script(file))
    return dict(zip(parts[1::2], (text.strip() for text in parts[2::2]), strict=True))
