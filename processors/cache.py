"""States that a worker keeps in memory: bounded, least recently folded out first. Valid while its partitions are owned."""

from __future__ import annotations

from collections.abc import Mapping

from foldline.domain.records import KINDS, Kind, State

# What a state weighs in memory beside its attributes, and how much more than its JSON text an object of Python takes.
# Measured with five attributes of 100 bytes: 1.3 kB a state.
STATE_BYTES = 800
BYTES_PER_JSON_BYTE = 5


def weight(state: State) -> int:
    """What a state takes in memory, about, in bytes."""
    return STATE_BYTES + BYTES_PER_JSON_BYTE * state.attributes_bound + len(state.ids)


class StateCache:
    """States of both kinds by message key. `limit_bytes` is an estimate of memory, not a promise to the byte."""

    def __init__(self, limit_bytes: int) -> None:
        self.states: dict[Kind, dict[bytes, State]] = {kind: {} for kind in KINDS}
        self._weights = dict.fromkeys(KINDS, 0)
        self._limit = limit_bytes
        self.complete = False
        """Nobody knows of a state that is not here: true where it was set on an empty table, until something is evicted."""

    def put(self, kind: Kind, key: bytes, state: State) -> None:
        """Keeps a state as the one most recently folded."""
        self.update(kind, {key: state})

    def update(self, kind: Kind, folded: Mapping[bytes, State]) -> None:
        """Keeps states as the ones most recently folded."""
        states, total = self.states[kind], self._weights[kind]
        for key, state in folded.items():
            old = states.pop(key, None)
            if old is None:
                total += weight(state)
            else:
                total += weight(state) - weight(old)
            states[key] = state
        self._weights[kind] = total

    def evict(self) -> None:
        """Lets go of the states least recently folded, of the kind that weighs more, until the rest is within the limit."""
        excess = sum(self._weights.values()) - self._limit
        if excess <= 0:
            return
        self.complete = False
        kind = max(KINDS, key=self._weights.__getitem__)
        states, left = self.states[kind], self._weights[kind] - excess
        oldest = []
        for key, state in states.items():  # `next(iter(states))` again and again would pass over all that is gone already
            if self._weights[kind] <= left:
                break
            oldest.append(key)
            self._weights[kind] -= weight(state)
        for key in oldest:
            del states[key]

    def clear(self) -> None:
        """Lets go of everything."""
        self.complete = False
        for kind in KINDS:
            self.states[kind].clear()
            self._weights[kind] = 0
