"""What a processor tells of itself: its metrics are those of what was folded, and its health is what its loop does."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram
from structlog.testing import capture_logs

from benchmarks.hot_paths import fixed_work, ratio
from foldline.adapters.codec import BundledRegistry
from foldline.adapters.memory import MemoryLog, MemoryLogReader
from foldline.domain.errors import Conflict, Unreachable
from foldline.domain.records import KINDS, State, Upsert
from foldline.settings import Settings
from processors.batch_log import BatchLog
from processors.freshness import BOUNDS_SECONDS, AgeHistogram
from processors.metrics import Metrics
from processors.watch import Watch
from processors.watched import Observer, watched
from processors.worker import Ports, Worker
from projections.lag import PartitionLag
from projections.memory import MemoryDatabase, MemoryStateStore, MemoryStateTopics, MemoryTopics
from projections.rows import PlainRows, Row
from projections.state import Commit, Move
from tests.keys import MASTERS

SECOND = 1_000_000
TOPICS = {"items": "items.upserts.v1", "users": "users.upserts.v1"}
REGISTRY = BundledRegistry()


def item(item_id: str, received_at: int, item_type: str | None = "p") -> Upsert:
    return Upsert("org_1", item_id, item_type, None, '{"a": 1}', received_at, "req_1", 0)


class Pipeline:
    """A worker over a log and a database in memory, and what is told of it."""

    def __init__(self, observers: Sequence[Observer] = ()) -> None:
        self.log = MemoryLog(REGISTRY, partitions=1)
        self.database = MemoryDatabase({kind: self.log.topic_id(kind) for kind in KINDS}, partitions=1)
        self.watch = Watch()
        self.metrics = Metrics(self.watch)
        topics = MemoryTopics()
        ports = Ports(
            store=lambda _name, _steps: MemoryStateStore(self.database),
            topics=lambda _steps: MemoryStateTopics(topics),
            log=MemoryLogReader(self.log),
            registry=REGISTRY,
            masters=MASTERS,
        )
        self.ports = watched(ports, TOPICS, self.watch, [*observers, self.metrics])  # type: ignore[arg-type]

    def fold(self) -> None:
        """One worker's life, from where the one before left."""
        worker = Worker(Settings(partitions=1), self.ports)
        try:
            starts = worker.begin([(topic, 0) for topic in TOPICS.values()])
            self.watch.assigned(starts)
            for kind in KINDS:
                start = starts[TOPICS[kind], 0]
                worker.handle(list(self.log.stretch(kind, 0, start, 100)))
            assert worker.drain(10)
        finally:
            worker.close()

    def value(self, name: str, **labels: str) -> float | None:
        return self.metrics.registry.get_sample_value(name, labels)


def test_what_is_folded_is_counted_once_it_is_committed() -> None:
    pipeline = Pipeline()
    now = time.time_ns() // 1000
    events = [item("a", now - 7 * SECOND), item("a", now - 7 * SECOND), item("b", now - 40 * SECOND), item("c", now, None)]
    pipeline.log.append("items", events)
    pipeline.log.append_raw("items", b"org_1:d", b"no Avro")
    pipeline.fold()

    assert pipeline.value("foldline_records_folded_total", kind="items") == 5
    assert pipeline.value("foldline_records_folded_total", kind="users") == 0
    assert pipeline.value("foldline_states_written_total", kind="items") == 2
    assert pipeline.value("foldline_states_published_total", kind="items") == 2
    assert pipeline.value("foldline_dead_letters_total", kind="items", reason="item_type_required") == 1
    assert pipeline.value("foldline_dead_letters_total", kind="items", reason="undecodable") == 1
    assert pipeline.value("foldline_dead_letters_total", kind="users", reason="undecodable") == 0
    assert pipeline.value("foldline_batch_records_bucket", le="10.0") == 1
    assert pipeline.value("foldline_batch_records_sum") == 5
    assert pipeline.value("foldline_batch_bytes_sum") == 2 * len('{"a":1}')
    assert pipeline.value("foldline_commit_seconds_count") == 1
    assert pipeline.value("foldline_publication_seconds_count") == 1
    for stage in ("committed", "published"):
        ages = {"stage": stage, "kind": "items"}
        assert pipeline.value("foldline_freshness_seconds_bucket", le="5.0", **ages) == 0
        assert pipeline.value("foldline_freshness_seconds_bucket", le="10.0", **ages) == 1
        assert pipeline.value("foldline_freshness_seconds_bucket", le="60.0", **ages) == 2
        assert pipeline.value("foldline_freshness_seconds_count", **ages) == 2
        assert 47 <= (pipeline.value("foldline_freshness_seconds_sum", **ages) or 0) < 60
    assert pipeline.value("foldline_assigned_partitions") == 2
    assert pipeline.value("foldline_unpublished_records", topic="items.upserts.v1", partition="0") == 0
    assert pipeline.watch.applied == {("items.upserts.v1", 0): 5, ("users.upserts.v1", 0): 0}


def test_the_seconds_of_one_worker_are_added_to_those_of_the_one_before() -> None:
    pipeline = Pipeline()
    seen = []
    for number in range(3):
        pipeline.log.append("items", [item(f"{number}", time.time_ns() // 1000)])
        pipeline.fold()
        seen.append(pipeline.value("foldline_step_seconds_total", step="fold") or 0.0)
    assert 0 < seen[0] < seen[1] < seen[2]
    assert pipeline.value("foldline_records_folded_total", kind="items") == 3


def test_a_commit_that_fails_counts_as_that_and_as_nothing_else() -> None:
    pipeline = Pipeline()
    pipeline.log.append("items", [item("a", 1)])
    worker = Worker(Settings(partitions=1), pipeline.ports)
    worker.begin([("items.upserts.v1", 0)])
    moved = {("items", 0): Move(0, 1, 0, b"")}
    MemoryStateStore(pipeline.database).commit(Commit(moved, {}, []))  # type: ignore[arg-type]
    worker.handle(list(pipeline.log.stretch("items", 0, 0, 1)))
    with pytest.raises(Conflict):
        worker.drain(10)
    worker.close()
    assert pipeline.value("foldline_commit_failures_total", error="Conflict") == 1
    assert pipeline.value("foldline_records_folded_total", kind="items") == 0
    assert pipeline.value("foldline_commit_seconds_count") == 0


def test_a_state_that_is_published_again_is_no_news() -> None:
    pipeline = Pipeline()
    pipeline.log.append("items", [item("a", time.time_ns() // 1000)])
    pipeline.fold()
    pipeline.database.pending["items", 0] = {("org_1", "a")}
    pipeline.fold()
    assert pipeline.database.pending["items", 0] == set()
    assert pipeline.value("foldline_freshness_seconds_count", stage="published", kind="items") == 1


def test_lags_and_beginnings_are_shown() -> None:
    watch = Watch()
    metrics = Metrics(watch)
    value = metrics.registry.get_sample_value
    place = {"topic": "items.upserts.v1", "partition": "3"}
    assert value("foldline_lag_records", place) is None
    metrics.lags = [PartitionLag("items.upserts.v1", 3, 7, 1.5)]
    assert (value("foldline_lag_records", place), value("foldline_lag_seconds", place)) == (7, 1.5)
    assert value("foldline_begin_agains_total", {"error": "Unreachable"}) == 0
    watch.begins_again(Unreachable("Kafka is away"))
    assert value("foldline_begin_agains_total", {"error": "Unreachable"}) == 1


class Hands:
    """A clock that is set by hand."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_health_is_what_the_loop_does(tmp_path: Path) -> None:
    clock, ready_file = Hands(), tmp_path / "ready"
    watch = Watch(ready_file, stalled_seconds=60, clock=clock)
    assert (watch.stalled(), watch.not_ready()) == (None, "no partitions were assigned yet")
    assert not ready_file.exists()

    watch.assigned({("items.upserts.v1", 0): 5})
    assert (watch.stalled(), watch.not_ready(), ready_file.exists()) == (None, None, True)
    clock.now += 61
    assert watch.stalled() == watch.not_ready() == "the processor has done nothing for 61 s"
    watch.turns()
    assert (watch.stalled(), watch.not_ready()) == (None, None)
    clock.now += 61
    watch.moved({("items.upserts.v1", 0): 9, ("items.upserts.v1", 1): 4})  # a long batch is work, too
    assert (watch.stalled(), watch.applied) == (None, {("items.upserts.v1", 0): 9})

    watch.released()
    assert watch.not_ready() == "its partitions were given back or lost, and no others were assigned yet"
    watch.begins_again(Unreachable("PostgreSQL cannot be reached"))
    assert (watch.stalled(), watch.not_ready()) == (None, "it begins again: PostgreSQL cannot be reached")
    watch.assigned({})
    watch.released()  # what was said of the last time is not said of this one
    assert watch.not_ready() == "its partitions were given back or lost, and no others were assigned yet"
    watch.assigned({})  # more processors than partitions: it stands by
    assert watch.not_ready() is None


AGES = st.lists(st.integers(-5 * SECOND, 5000 * SECOND) | st.sampled_from([round(b * SECOND) for b in BOUNDS_SECONDS]))


@given(st.lists(AGES, max_size=3))
def test_a_batch_at_once_is_counted_as_its_values_one_by_one(batches: list[list[int]]) -> None:
    now = 1_800_000_000 * SECOND
    registry, plain = CollectorRegistry(), CollectorRegistry()
    whole = AgeHistogram("age_seconds", "Ages.", ("kind",), [("items",)])
    registry.register(whole)
    single = Histogram("age_seconds", "Ages.", ("kind",), buckets=BOUNDS_SECONDS, registry=plain).labels("items")
    for ages in batches:
        whole.observe(("items",), sorted(now - age for age in ages), now)
        for age in ages:
            single.observe(age / SECOND)
    expected = {
        (sample.name, sample.labels["le"]): sample.value for sample in samples(plain) if sample.name.endswith("_bucket")
    }
    found = {(sample.name, sample.labels["le"]): sample.value for sample in samples(registry) if "le" in sample.labels}
    assert found == expected
    total = registry.get_sample_value("age_seconds_sum", {"kind": "items"})
    assert total == pytest.approx(sum(max(0, sum(ages)) for ages in batches) / SECOND)


def samples(registry: CollectorRegistry) -> Iterator[Any]:
    for family in registry.collect():
        yield from (sample for sample in family.samples if not sample.name.endswith("_created"))


# A thousand rows, 0.3 µs each, take 0.28 of the fixed work; to fold a thousand events takes a dozen times of it.
MOST_OF_THE_FIXED_WORK = 0.6


def test_a_row_costs_a_fraction_of_a_microsecond() -> None:
    metrics = Metrics(Watch())
    state = State("org_1", "a", "p", "active", {}, 1, 0, 0, 0, 0, 0)
    now = time.time_ns() // 1000
    times = [now - (number * 7919) % SECOND for number in range(1000)]
    rows = PlainRows("items", [Row(b"%d" % n, state._replace(updated_at=at), '{"a":1}') for n, at in enumerate(times)])
    commit = Commit({("items", 0): Move(0, 1000, 999, b"")}, {("items", 0): rows}, [])
    assert ratio(lambda: metrics.committed(commit, 0.0, now / SECOND), fixed_work()) < MOST_OF_THE_FIXED_WORK


def test_the_log_names_batches_by_their_offsets_and_dead_letters_by_their_places() -> None:
    log = BatchLog(TOPICS)  # type: ignore[arg-type]
    pipeline = Pipeline([log])
    request_id = "ab" * 16
    pipeline.log.append("items", [item("a", 1), item("b", 1, None)._replace(request_id=request_id)])
    pipeline.log.append_raw("items", b"org_1:secret", b"no Avro")
    with capture_logs() as lines:
        pipeline.fold()
        log.failed(Commit({("users", 3): Move(5, 9, 8, b"")}, {}, []), 0.0, Unreachable("the server is away"))
        log.failed(Commit({("users", 3): Move(5, 9, 8, b"")}, {}, []), 0.0, Conflict("another was first"))
    committed, letters, published, *failed = lines
    offsets = {"items.upserts.v1[0]": (0, 2)}
    assert committed.pop("ms") >= 0
    assert committed == {"event": "committed", "log_level": "debug", "offsets": offsets, "states": 1, "dead_letters": 2}
    assert letters == {
        "event": "dead letters", "log_level": "warning", "count": 2, "offsets": offsets,
        "letters": [
            {"at": "items.upserts.v1:0:1", "reason": "item_type_required", "request_id": request_id},
            {"at": "items.upserts.v1:0:2", "reason": "undecodable"},
        ],
    }  # fmt: skip
    assert (published["event"], published["states"]) == ("published", {"items.upserts.v1[0]": 1})
    assert failed == [
        {"event": "not committed", "log_level": level, "offsets": {"users.upserts.v1[3]": (5, 8)}, "error": error}
        for level, error in (("warning", "Unreachable"), ("info", "Conflict"))
    ]
    assert "secret" not in str(lines)
