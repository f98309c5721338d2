"""What the supervisor runs: a part is one process and what has to be known to start, await and stop it."""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


def nothing() -> None:
    """A part that needs no preparation."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """`prepare` runs before each start, `ready` again and again after it, for at most some seconds a call; both in a thread.

    A part has `start_seconds` to become ready at first, and `grace_seconds` to end after `stop_signal`.
    """

    name: str
    argv: Sequence[str]
    ready: Callable[[], bool]
    prepare: Callable[[], None] = nothing
    environment: Mapping[str, str] | None = None
    directory: Path | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    death_signal: signal.Signals = signal.SIGKILL
    start_seconds: float = 60
    grace_seconds: float = 20
