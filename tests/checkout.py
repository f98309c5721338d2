"""The checkout as git has it: a source distribution is none, and a machine may have no git."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def git(*arguments: str) -> bytes | None:
    """What git says, or None where it fails or is not there."""
    try:
        done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, check=False)
    except FileNotFoundError:
        return None
    return done.stdout if done.returncode == 0 else None


def tracked() -> list[str] | None:
    """The names of the checkout's files, or None where nobody knows them."""
    listed = git("ls-files", "-z")
    return None if listed is None else [name for name in listed.decode().split("\0") if name]


def tracked_or_skip() -> list[str]:
    """The same, for a test that is about them."""
    names = tracked()
    if names is None:
        pytest.skip("not a git checkout, or there is no git")
    return names
