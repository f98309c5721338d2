"""What is known of a processor while it runs: its runner and what it writes tell, health and metrics are read from it.

Everything here is assigned or counted in one step, so any thread may read it.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

from foldline.adapters.consumer import Record
from foldline.domain.errors import FoldlineError

Place: TypeAlias = tuple[str, int]

STALLED_SECONDS = 60.0


class Watch:
    """One processor's. `ready_file` is made once partitions (perhaps none) are assigned."""

    def __init__(
        self,
        ready_file: Path | None = None,
        stalled_seconds: float = STALLED_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """A loop that has not turned for `stalled_seconds` is called stalled."""
        self._ready_file, self._stalled_seconds, self._clock = ready_file, stalled_seconds, clock
        self._turned_at = clock()
        self._why = "no partitions were assigned yet"
        self.applied: dict[Place, int] | None = None
        """How far each partition that is assigned is folded, by topic and number; None while nothing is assigned."""
        self.published: dict[Place, int] = {}
        """How far each is published, where that is known."""
        self.delivered: Callable[[Sequence[Record]], None] | None = None
        """Who is told of all records before they are handled, if anybody is."""
        self.failures: Counter[str] = Counter()
        """How often the processor began again, by the class of what failed."""

    def turns(self) -> None:
        """The main loop is at work, or waits for something to do."""
        self._turned_at = self._clock()

    def delivers(self, records: Sequence[Record]) -> None:
        """They are about to be handled."""
        if self.delivered is not None:
            self.delivered(records)

    def assigned(self, starts: Mapping[Place, int]) -> None:
        """Partitions were taken on and are folded from there."""
        self.applied = dict(starts)
        self.turns()
        if self._ready_file is not None:
            self._ready_file.touch()

    def released(self) -> None:
        """They were given back or lost, or are about to be."""
        self.applied, self.published = None, {}
        self._why = "its partitions were given back or lost, and no others were assigned yet"

    def begins_again(self, failure: FoldlineError) -> None:
        """Everything in memory is dropped because of that."""
        self.failures[type(failure).__name__] += 1
        self._why = f"it begins again: {failure}"
        self.turns()

    def moved(self, ends: Mapping[Place, int]) -> None:
        """A batch was committed up to there."""
        applied = self.applied
        if applied is not None:
            applied.update((place, end) for place, end in ends.items() if place in applied)
        self.turns()

    def stalled(self) -> str | None:
        """What is wrong, where the loop has stopped to turn."""
        seconds = self._clock() - self._turned_at
        return f"the processor has done nothing for {seconds:.0f} s" if seconds > self._stalled_seconds else None

    def not_ready(self) -> str | None:
        """Why nothing is folded, if so."""
        return self.stalled() or (self._why if self.applied is None else None)
