"""A version of this program from before, out of the history: a source distribution and a shallow clone have none."""

from __future__ import annotations

import io
import subprocess
import tarfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.checkout import git
from tests.schemas.test_evolution import PROGRAM

PACKAGES = ("foldline", "processors", "producers", "projections", "schemas")
# Before events had ids (`Idempotency-Key`): with other schemas of events, and a migration less.
OLDER = "e229ec37474c0735a6efd6dd87a9d97796714c1e"

Version = Mapping[str, str]
NEW: Version = {}


def released() -> str:
    """The release before the commit that is checked out, as its tag; while there is none, `OLDER`."""
    tag = git("describe", "--tags", "--abbrev=0", "--match=v*", "HEAD^")
    return OLDER if tag is None else tag.decode().strip()


def older(commit: str, directory: Path) -> Version:
    """The variables by which Python takes that version, which is unpacked there, for this one."""
    archive = git("archive", commit, *PACKAGES)
    if archive is None:
        pytest.skip(f"there is no git, or the history does not reach back to {commit[:7]}: `git fetch --unshallow`")
    with tarfile.open(fileobj=io.BytesIO(archive)) as packed:
        packed.extractall(directory, filter="data")
    version = {"PYTHONPATH": str(directory)}
    command = [*PROGRAM[:-2], "-c", "import foldline; print(foldline.__file__)"]
    said = subprocess.run(command, env=version, cwd=directory, capture_output=True, text=True, check=False).stdout
    assert said.startswith(str(directory)), said
    return version
