"""Operating system processes: start them so that they die with this one, know them again, end them."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

PR_SET_PDEATHSIG = 1
POLL_SECONDS = 0.05

_libc = ctypes.CDLL(None)
_boot_id = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True)
class Identity:
    """A process that no later one can be mistaken for: its id and when it started, as boot id and clock ticks."""

    pid: int
    started: str

    def alive(self) -> bool:
        """Whether that very process still runs; a zombie does not."""
        return identify(self.pid) == self

    def signal(self, number: signal.Signals) -> None:
        if self.alive():
            os.kill(self.pid, number)


def identify(pid: int) -> Identity | None:
    """The running process with this id; None where there is none or it is a zombie."""
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if state in "ZX" else Identity(pid, f"{_boot_id.read_text().strip()}/{fields[18]}")


def spawn(
    argv: Sequence[str],
    *,
    log: Path,
    environment: Mapping[str, str] | None = None,
    directory: Path | None = None,
    death_signal: signal.Signals = signal.SIGKILL,
) -> subprocess.Popen[bytes]:
    """Starts a process group that gets `death_signal` when the calling *thread* ends: call it from the main one.

    It takes SIGINT even where the caller does not, as a shell's background job: PostgreSQL and Kafka end by it.
    """
    with log.open("ab") as output:
        return subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
            cwd=directory,
            process_group=0,
            preexec_fn=_die_with(os.getpid(), death_signal),
        )


def _die_with(parent: int, death_signal: signal.Signals) -> Callable[[], None]:
    def prepare() -> None:
        _libc.prctl(PR_SET_PDEATHSIG, int(death_signal), 0, 0, 0)
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        if os.getppid() != parent:  # it died before the line above
            os._exit(1)

    return prepare


def end(processes: Iterable[Identity], number: signal.Signals, grace_seconds: float) -> None:
    """Sends the signal to all and returns when none runs; what still runs after the grace is killed."""
    running = list(processes)
    for process in running:
        process.signal(number)
    if not _gone(running, grace_seconds):
        for process in running:
            process.signal(signal.SIGKILL)
        _gone(running, grace_seconds)


def _gone(processes: list[Identity], seconds: float) -> bool:
    return until(lambda: not any(process.alive() for process in processes), seconds)


def until(condition: Callable[[], bool], seconds: float) -> bool:
    """Waits for the condition; False if it did not hold in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True
