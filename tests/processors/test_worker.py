"""How large a worker's batches are, what has arrived and more during the commit before; and when it publishes them."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping

import pytest

from foldline.adapters.codec import BundledRegistry
from foldline.adapters.memory import MemoryLog, MemoryLogReader, MemoryRecord
from foldline.domain.errors import Unreachable
from foldline.domain.records import Upsert
from foldline.embedded.processes import until
from foldline.settings import Settings
from processors.worker import Ports, Worker
from projections.memory import MemoryDatabase, MemoryStateStore, MemoryStateTopics, MemoryTopics
from projections.state import Commit, Partition
from projections.topics import Publication
from tests.keys import MASTERS

REGISTRY = BundledRegistry()
PATIENCE_SECONDS = 20.0


class SlowStore(MemoryStateStore):
    """A database that commits when it is let; `committed` are the ranges of each commit."""

    def __init__(self, database: MemoryDatabase, let: threading.Event, committed: list[tuple[int, int]]) -> None:
        super().__init__(database)
        self._let, self._committed = let, committed

    def commit(self, commit: Commit) -> None:
        assert self._let.wait(PATIENCE_SECONDS)
        super().commit(commit)
        self._committed += [(move.start, move.end) for move in commit.moves.values()]


class CountingTopics(MemoryStateTopics):
    """Topics that note of each transaction of how many records it is."""

    def __init__(self, topics: MemoryTopics, published: list[int]) -> None:
        super().__init__(topics)
        self._published = published

    def publish(self, publications: Mapping[Partition, Publication], generation: int) -> None:
        super().publish(publications, generation)
        self._published.append(sum(len(publication.rows) for publication in publications.values()))


class Slow:
    """A worker of one partition on such a database, and its log."""

    def __init__(self, **settings: float) -> None:
        self.let, self.committed, self.published = threading.Event(), list[tuple[int, int]](), list[int]()
        self.log = MemoryLog(REGISTRY, 1)
        self.log.append("items", [Upsert("org_1", f"P{n}", "product", None, None, 1, "req", n) for n in range(9)])
        database = MemoryDatabase({kind: self.log.topic_id(kind) for kind in self.log.topics}, 1)
        topics = MemoryTopics()
        ports = Ports(
            store=lambda _name, _steps: SlowStore(database, self.let, self.committed),
            topics=lambda _steps: CountingTopics(topics, self.published),
            log=MemoryLogReader(self.log),
            registry=REGISTRY,
            masters=MASTERS,
        )
        self.worker = Worker(Settings.model_validate({"partitions": 1, **settings}), ports)
        self.worker.begin([(self.log.topics["items"], 0)])

    def records(self, start: int, end: int) -> list[MemoryRecord]:
        return self.log.stretch("items", 0, start, end)

    def ends(self) -> list[tuple[int, int]]:
        """What was committed once everything is."""
        self.let.set()
        assert self.worker.drain(PATIENCE_SECONDS)
        return self.committed


@pytest.fixture
def slow(request: pytest.FixtureRequest) -> Iterator[Slow]:
    made = Slow(**getattr(request, "param", {}))
    yield made
    made.let.set()
    made.worker.close()


def test_a_batch_grows_while_the_one_before_it_is_committed(slow: Slow) -> None:
    slow.worker.handle(slow.records(0, 1), more=True)  # nothing is being committed: this is, at once
    slow.worker.handle(slow.records(1, 3), more=True)
    slow.worker.handle(slow.records(3, 6), more=True)
    assert slow.committed == []
    assert slow.ends() == [(0, 1), (1, 6)]


def test_what_nothing_follows_is_committed_by_itself(slow: Slow) -> None:
    slow.let.set()
    slow.worker.handle(slow.records(0, 4))
    slow.worker.handle(slow.records(4, 9))
    assert slow.ends() == [(0, 4), (4, 9)]


@pytest.mark.parametrize("slow", [{"batch_records": 3}, {"batch_bytes": 1000}], indirect=True)
def test_a_batch_that_is_full_waits_for_the_one_before_it(slow: Slow) -> None:
    slow.worker.handle(slow.records(0, 1), more=True)
    slow.worker.handle(slow.records(1, 2), more=True)
    waiting = threading.Thread(target=slow.worker.handle, args=(slow.records(2, 5), True))
    waiting.start()
    waiting.join(0.2)
    assert waiting.is_alive()
    slow.let.set()
    waiting.join(PATIENCE_SECONDS)
    slow.worker.handle(slow.records(5, 6))
    assert slow.ends() == [(0, 1), (1, 5), (5, 6)]


@pytest.mark.parametrize("slow", [{"publish_interval_seconds": 3600}], indirect=True)
def test_what_follows_a_publication_waits_for_more_until_it_is_waited_for(slow: Slow) -> None:
    slow.let.set()
    slow.worker.handle(slow.records(0, 1))
    assert until(lambda: slow.published == [1], PATIENCE_SECONDS)
    slow.worker.handle(slow.records(1, 3))
    slow.worker.handle(slow.records(3, 6))
    assert until(lambda: slow.committed == [(0, 1), (1, 3), (3, 6)], PATIENCE_SECONDS)
    assert slow.published == [1]
    assert slow.worker.drain(PATIENCE_SECONDS)
    assert slow.published == [1, 5]


@pytest.mark.parametrize("slow", [{"publish_interval_seconds": 3600, "pending_bytes": 8}], indirect=True)
def test_where_much_waits_it_is_published_at_once(slow: Slow) -> None:
    slow.let.set()
    slow.worker.handle(slow.records(0, 1))
    assert until(lambda: slow.published == [1], PATIENCE_SECONDS)
    slow.worker.handle(slow.records(1, 3))
    assert until(lambda: slow.published == [1, 2], PATIENCE_SECONDS)


@pytest.mark.parametrize("slow", [{"publish_interval_seconds": 0.05}], indirect=True)
def test_what_waits_for_more_waits_no_longer_than_the_interval(slow: Slow) -> None:
    slow.let.set()
    slow.worker.handle(slow.records(0, 1))
    assert until(lambda: slow.published == [1], PATIENCE_SECONDS)
    slow.worker.handle(slow.records(1, 3))
    assert until(lambda: slow.published == [1, 2], PATIENCE_SECONDS)


def test_a_worker_that_cannot_begin_closes_what_it_had_opened() -> None:
    log, closed = MemoryLog(REGISTRY, 1), list[str]()

    class Store(MemoryStateStore):
        def __init__(self, name: str) -> None:
            super().__init__(MemoryDatabase({kind: log.topic_id(kind) for kind in log.topics}, 1))
            self.name = name

        def close(self) -> None:
            closed.append(self.name.removeprefix("foldline process: "))

    def away(_: object) -> CountingTopics:
        raise Unreachable("the schema registry is away")

    ports = Ports(lambda name, _steps: Store(name), away, MemoryLogReader(log), REGISTRY, MASTERS)
    with pytest.raises(Unreachable):
        Worker(Settings(partitions=1), ports)
    assert sorted(closed) == ["commit", "load", "publish"]
