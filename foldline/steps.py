"""Where a worker's time goes: seconds by step, for the log, the benchmark and whoever makes it faster."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager


class Steps:
    """Seconds by step. A step belongs to one thread; steps of different threads overlap, so their sum is not a duration."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.records = 0
        """How many records the steps were about."""

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Adds the time until the block ends, an exception included."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] += time.perf_counter() - began

    def microseconds_per_record(self) -> dict[str, float]:
        """What each step took of a record, on average; nothing where there was none."""
        return {name: round(1e6 * seconds / self.records, 2) for name, seconds in self.seconds.items() if self.records}
