"""States that a worker keeps in memory: bounded, least recently folded out first. Valid while its partitions are owned."""

from __future__ import annotations

from foldline.domain.records import State

# What a state weighs in memory beside its attributes, and how much more than its JSON text an object of Python takes.
# Measured with five attributes of 100 bytes: 1.3 kB a state.
STATE_BYTES = 800
BYTES_PER_JSON_BYTE = 5


class StateCache:
    """States of one kind by message key. `limit_bytes` is an estimate of memory, not a promise to the byte."""

    def __init__(self, limit_bytes: int) -> None:
        self.states: dict[bytes, State] = {}
        self._limit = limit_bytes
        self._weight = 0

    def put(self, key: bytes, state: State) -> None:
        """Keeps a state as the one most recently folded."""
        old = self.states.pop(key, None)
        if old is None:
            self._weight += STATE_BYTES + BYTES_PER_JSON_BYTE * state.attributes_bound
        else:
            self._weight += BYTES_PER_JSON_BYTE * (state.attributes_bound - old.attributes_bound)
        self.states[key] = state

    def evict(self) -> None:
        """Lets go of the states least recently folded until the rest is within the limit."""
        while self._weight > self._limit and self.states:
            state = self.states.pop(next(iter(self.states)))
            self._weight -= STATE_BYTES + BYTES_PER_JSON_BYTE * state.attributes_bound

    def clear(self) -> None:
        """Lets go of everything."""
        self.states.clear()
        self._weight = 0
