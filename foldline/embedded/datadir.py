"""A data directory: who runs on it, and what a running stack says about itself there."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from foldline.embedded.errors import EmbeddedError
from foldline.embedded.files import write_atomically
from foldline.embedded.processes import Identity, identify

DEFAULT = ".foldline"
VARIABLE = "FOLDLINE_DATA_DIR"


@dataclass(frozen=True, kw_only=True)
class Stack:
    """A stack that accepts work, as `stack.json` has it. `environment` is what every service of it was started with;
    `metrics` are the URLs of what they measure."""

    up: Identity
    url: str
    kafka: str
    database_url: str
    environment: Mapping[str, str]
    parts: Mapping[str, Identity]
    metrics: Mapping[str, str] = field(default_factory=dict)


def data_directory(given: Path | None = None) -> Path:
    """The absolute path of the directory given, else of `FOLDLINE_DATA_DIR`, else of `.foldline`."""
    return (given or Path(os.environ.get(VARIABLE) or DEFAULT)).resolve()


@contextmanager
def held(root: Path) -> Iterator[None]:
    """Makes the directory and keeps every other stack off it; raises `EmbeddedError` where one is there already."""
    try:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = os.open(root / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise EmbeddedError(f"{root} cannot be the data directory: {error.strerror}") from error
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise EmbeddedError(f"a stack is running on {root} already: end it with `foldline stop`") from None
        me = identify(os.getpid())
        assert me is not None
        write_atomically(root / "up.json", json.dumps(asdict(me)))
        try:
            yield
        finally:
            (root / "up.json").unlink(missing_ok=True)
    finally:
        os.close(file)


def holder(root: Path) -> Identity | None:
    """The running `foldline up` of this directory, ready or not."""
    try:
        identity = Identity(**json.loads((root / "up.json").read_text()))
    except FileNotFoundError:
        return None
    return identity if identity.alive() else None


def write_stack(root: Path, stack: Stack) -> None:
    write_atomically(root / "stack.json", json.dumps(asdict(stack), indent=2))


def remove_stack(root: Path) -> None:
    (root / "stack.json").unlink(missing_ok=True)


def running_stack(root: Path) -> Stack | None:
    """The stack that accepts work on this directory; None where there is none, or only what a killed one left behind."""
    try:
        found = json.loads((root / "stack.json").read_text())
    except FileNotFoundError:
        return None
    parts = {name: Identity(**identity) for name, identity in found.pop("parts").items()}
    stack = Stack(**found | {"up": Identity(**found["up"]), "parts": parts})
    return stack if stack.up.alive() else None
