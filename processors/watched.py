"""The ports of a worker, with observers that are told what goes through them: a worker knows nothing of its being observed.

Observers are called once a batch, by the thread that did it. What they take is that batch's time.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol, cast

from foldline.domain.errors import FoldlineError
from foldline.domain.records import Kind
from foldline.steps import Steps
from processors.watch import Place, Watch
from processors.worker import Ports
from projections.state import Commit, Partition, Position, StateStore
from projections.topics import Publication, StateTopics


class Observer(Protocol):
    """Who is told. Times are in seconds since the epoch; nothing may be raised."""

    def begins(self, steps: Steps) -> None:
        """A worker begins; its steps are added up there."""

    def committed(self, commit: Commit, began: float, ended: float) -> None:
        """A batch is committed."""

    def failed(self, commit: Commit, began: float, failure: FoldlineError) -> None:
        """It is not, or that is in doubt."""

    def published(self, publications: Mapping[Partition, Publication], began: float, ended: float) -> None:
        """What commits have changed is on the state topics, and known to be."""


class _Sent(NamedTuple):
    publications: Mapping[Partition, Publication]
    began: float
    ended: float


def watched(ports: Ports, topics: Mapping[Kind, str], watch: Watch, observers: Sequence[Observer]) -> Ports:
    """The same ports, observed. `topics` are the names of the log's topics by kind."""
    told = _Told(topics, watch, observers)

    def store(name: str, steps: Steps) -> StateStore:
        for observer in observers:
            observer.begins(steps)
        return cast(StateStore, _Store(ports.store(name, steps), told))

    def state_topics(steps: Steps) -> StateTopics:
        return cast(StateTopics, _Topics(ports.topics(steps), told))

    return ports._replace(store=store, topics=state_topics)


class _Told:
    def __init__(self, topics: Mapping[Kind, str], watch: Watch, observers: Sequence[Observer]) -> None:
        self.topics, self.watch, self.observers = topics, watch, observers
        self.sent: _Sent | None = None  # published, and not yet known to be

    def place(self, partition: Partition) -> Place:
        kind, number = partition
        return self.topics[kind], number


class _Store:
    """`StateStore` that tells of its commits; all else is passed on."""

    def __init__(self, store: StateStore, told: _Told) -> None:
        self._store, self._told = store, told

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def positions(self) -> dict[Partition, Position]:
        positions = self._store.positions()
        told = self._told
        told.watch.published.update({told.place(partition): at.published for partition, at in positions.items()})
        return positions

    def commit(self, commit: Commit) -> None:
        began, told = time.time(), self._told
        try:
            self._store.commit(commit)
        except FoldlineError as failure:
            for observer in told.observers:
                observer.failed(commit, began, failure)
            raise
        ended = time.time()
        told.watch.moved({told.place(partition): move.end for partition, move in commit.moves.items()})
        for observer in told.observers:
            observer.committed(commit, began, ended)

    def move_published(self, moves: Mapping[Partition, tuple[int, int]]) -> None:
        self._store.move_published(moves)
        told = self._told
        told.watch.published.update({told.place(partition): end for partition, (_, end) in moves.items()})
        sent, told.sent = told.sent, None
        if sent is not None:
            for observer in told.observers:
                observer.published(*sent)


class _Topics:
    """`StateTopics` that remembers what it published last. Its publisher says next that this is done, or that it was a
    state published again, which is no news."""

    def __init__(self, topics: StateTopics, told: _Told) -> None:
        self._topics, self._told = topics, told

    def __getattr__(self, name: str) -> Any:
        return getattr(self._topics, name)

    def publish(self, publications: Mapping[Partition, Publication], generation: int) -> None:
        began = time.time()
        self._topics.publish(publications, generation)
        self._told.sent = _Sent(publications, began, time.time())
