"""The embedded stack's master key: a file of the data directory, made with the data and readable by its owner alone.

A line is a key. While the stack goes over to another one it has two, the new one first; services read it again when they
meet a key that they do not know.
"""

from __future__ import annotations

import base64
import secrets
from pathlib import Path

from foldline.embedded.errors import EmbeddedError
from foldline.embedded.files import write_atomically

BYTES = 32


def master_key_file(root: Path) -> Path:
    """Makes the key of a new data directory. Raises `EmbeddedError` where there are data and the key is gone."""
    path = root / "master.key"
    if not path.exists():
        if (root / "postgres").exists():
            raise EmbeddedError(f"{path} is gone, and users' attributes cannot be opened without it: restore it")
        write_atomically(path, f"{_new_key()}\n")
    return path


def begin_rotation(path: Path) -> None:
    """Puts a new key before the one that is there, unless that was done before."""
    keys = path.read_text().split()
    if len(keys) == 1:
        write_atomically(path, f"{_new_key()}\n{keys[0]}\n")


def end_rotation(path: Path) -> None:
    """Leaves the first key alone there."""
    write_atomically(path, f"{path.read_text().split()[0]}\n")


def _new_key() -> str:
    return base64.b64encode(secrets.token_bytes(BYTES)).decode()
