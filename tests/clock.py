"""A clock of a process's own, which tests set: by libfaketime where it is installed, and by Python alone everywhere.

`python -m tests.clock FILE …` is the program `foldline …`, to which the time of day is as far ahead as FILE says. What its
libraries in C take for the time stays true.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.chaos.machine import Clock, faketime

HOUR_SECONDS = 3600
WAYS = ["python", "libfaketime"] if faketime() else ["python"]


class OwnClock:
    """The clock of the processes that are started by `command` and with `environment`."""

    def __init__(self, directory: Path, way: str) -> None:
        self._file = directory / "clock"
        self._clock = Clock(self._file, faketime() if way == "libfaketime" else None)
        self.environment: Mapping[str, str] = os.environ | self._clock.environment
        self._module = ["-m", "foldline"] if way == "libfaketime" else ["-m", "tests.clock", str(self._file)]

    def command(self, *arguments: str) -> Sequence[str]:
        """`foldline` with these arguments."""
        return [sys.executable, *self._module, *arguments]

    def set(self, ahead_seconds: int) -> None:
        """Sets it so far ahead of the true time, within a second."""
        self._clock.set(ahead_seconds)


def main() -> None:
    file, true_time = Path(sys.argv.pop(1)), time.time
    time.time = lambda: true_time() + int(file.read_text())

    from foldline.cli import main as foldline

    foldline()


if __name__ == "__main__":
    main()
