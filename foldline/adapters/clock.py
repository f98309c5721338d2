"""The time of day, watched by the clock that only goes on.

Kafka's client waits by the time of day (https://github.com/confluentinc/librdkafka/issues/2145): a wait that has begun when
the time is set back by an hour takes an hour longer, in its own threads, too. Nothing ends it but the end of the process.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

LOOK_SECONDS = 1.0
# What a wait may take longer without harm. Who slews a clock, as NTP does, moves it by a twelfth of a second in a second.
SET_BACK_SECONDS = 5.0
# Two clocks are read as one if no more than this lies between; who is paused there reads them again.
TOGETHER_SECONDS = 0.1


class DayClock:
    """The time of day, and by how much it was set back between two looks."""

    def __init__(self, day: Callable[[], float] = time.time, running: Callable[[], float] = time.monotonic) -> None:
        """Both in seconds."""
        self._day, self._running = day, running
        self._ahead = self._read()

    def set_back(self) -> float:
        """By how many seconds the time of day was set back since the last look; less than nothing where it was set ahead."""
        before, self._ahead = self._ahead, self._read()
        return before - self._ahead

    def _read(self) -> float:
        while True:
            began = self._running()
            day = self._day()
            if self._running() - began <= TOGETHER_SECONDS:
                return day - began


def watch_clock(when_set_back: Callable[[float], None], clock: DayClock | None = None) -> None:
    """Looks once a second, in a thread of its own, and calls this once, with the seconds, when the time of day was set back
    by more than `SET_BACK_SECONDS`."""
    watched, never = clock or DayClock(), threading.Event()

    def look() -> None:
        while (seconds := watched.set_back()) <= SET_BACK_SECONDS:
            never.wait(LOOK_SECONDS)  # `time.sleep` fails under libfaketime
        when_set_back(seconds)

    threading.Thread(target=look, name="clock", daemon=True).start()
