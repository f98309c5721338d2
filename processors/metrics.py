"""A processor's metrics, in Prometheus' format, in a registry of their own.

1. What is counted of a batch is counted when it is committed or published, never before.
2. A batch costs some microseconds, and each of its rows a quarter of one: `tests/processors/test_metrics.py` holds it.
"""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version

from prometheus_client import CollectorRegistry, Counter, Histogram, Info, PlatformCollector, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from foldline.domain.errors import FoldlineError
from foldline.domain.records import KINDS, Kind
from foldline.steps import Steps
from processors.freshness import AgeHistogram
from processors.watch import Watch
from projections.lag import PartitionLag
from projections.state import Commit, Partition
from projections.topics import Publication

# Why a record may be a dead letter; each is there from the beginning, so that the first one is seen as a step.
REASONS = (
    "invalid_id", "invalid_json", "invalid_number", "invalid_status", "invalid_string", "invalid_timestamp", "invalid_type",
    "item_type_required", "record_too_large", "refused", "too_deep", "too_long", "undecodable", "unknown_schema",
    "wrong_key", "wrong_partition",
)  # fmt: skip
FAILURES = ("Conflict", "Unreachable", "FoldlineError")
STAGES = ("committed", "published")
SECONDS = (0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
BATCH_RECORDS = (1, 10, 100, 500, 1000, 2500, 5000, 10_000, 20_000, 30_000, 50_000)
BATCH_BYTES = tuple(1024 * 4**power for power in range(8))


class Metrics:
    """An `Observer` that counts."""

    def __init__(self, watch: Watch) -> None:
        registry = self.registry = CollectorRegistry()
        self.lags: Sequence[PartitionLag] = ()
        """How far behind the partitions are; none while that is not known."""
        self._records = self._by_kind("foldline_records_folded", "Offsets of the log that were folded and committed.")
        self._states = self._by_kind("foldline_states_written", "States that commits wrote: one a record changed.")
        self._published = self._by_kind("foldline_states_published", "States written to the state topics.")
        self._letters = Counter(
            "foldline_dead_letters", "Records that were not folded, by reason.", ("kind", "reason"), registry=registry
        )
        self._failed = Counter(
            "foldline_commit_failures", "Commits that failed or whose outcome is in doubt.", ("error",), registry=registry
        )
        self._batch_records = Histogram(
            "foldline_batch_records", "Offsets a batch.", buckets=BATCH_RECORDS, registry=registry
        )
        self._batch_bytes = Histogram(
            "foldline_batch_bytes", "Size of the attributes that a batch wrote.", buckets=BATCH_BYTES, registry=registry
        )
        self._commit_seconds = Histogram(
            "foldline_commit_seconds", "Duration of a commit to the database.", buckets=SECONDS, registry=registry
        )
        self._publication_seconds = Histogram(
            "foldline_publication_seconds", "Duration of a publication, acknowledged.", buckets=SECONDS, registry=registry
        )
        self._freshness = AgeHistogram(
            "foldline_freshness_seconds",
            "Age of a record's last event, since the gateway received it, when its state was committed, and published.",
            ("stage", "kind"),
            [(stage, kind) for stage in STAGES for kind in KINDS],
        )
        self._figures = _Figures(watch, self)
        for collector in (self._freshness, self._figures):
            registry.register(collector)
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        Info("foldline_build", "The version that runs.", registry=registry).info({"version": version("foldline")})
        for kind in KINDS:
            for reason in REASONS:
                self._letters.labels(kind, reason)
        for failure in FAILURES:
            self._failed.labels(failure)

    def _by_kind(self, name: str, documentation: str) -> dict[Kind, Counter]:
        counter = Counter(name, documentation, ("kind",), registry=self.registry)
        return {kind: counter.labels(kind) for kind in KINDS}

    def begins(self, steps: Steps) -> None:
        self._figures.begins(steps)

    def committed(self, commit: Commit, began: float, ended: float) -> None:
        self._commit_seconds.observe(ended - began)
        records = 0
        for (kind, _), move in commit.moves.items():
            self._records[kind].inc(move.end - move.start)
            records += move.end - move.start
        self._batch_records.observe(records)
        size = 0
        for (kind, _), rows in commit.rows.items():
            self._states[kind].inc(len(rows))
            size += rows.attributes_bytes()
            self._freshness.observe(("committed", kind), rows.received(), round(ended * 1_000_000))
        self._batch_bytes.observe(size)
        for (kind, reason), count in Tally((letter.kind, letter.code) for letter in commit.letters).items():
            self._letters.labels(kind, reason).inc(count)

    def failed(self, commit: Commit, began: float, failure: FoldlineError) -> None:
        self._failed.labels(type(failure).__name__).inc()

    def published(self, publications: Mapping[Partition, Publication], began: float, ended: float) -> None:
        self._publication_seconds.observe(ended - began)
        for (kind, _), publication in publications.items():
            self._published[kind].inc(len(publication.rows))
            self._freshness.observe(("published", kind), publication.rows.received(), round(ended * 1_000_000))


class _Figures(Collector):
    """What is read when it is asked for."""

    def __init__(self, watch: Watch, metrics: Metrics) -> None:
        self._watch, self._metrics = watch, metrics
        self._steps: tuple[Mapping[str, float], Steps] = {}, Steps()

    def begins(self, steps: Steps) -> None:
        """The worker before has ended: its seconds are added up."""
        if steps is not self._steps[1]:
            self._steps = self._seconds(), steps

    def _seconds(self) -> dict[str, float]:
        before, steps = self._steps
        now = dict(steps.seconds)
        return {step: before.get(step, 0.0) + now.get(step, 0.0) for step in sorted({*before, *now})}

    def collect(self) -> Iterable[Metric]:
        applied, published = self._watch.applied, self._watch.published
        yield GaugeMetricFamily("foldline_assigned_partitions", "Partitions that are folded here.", value=len(applied or ()))
        again = CounterMetricFamily("foldline_begin_agains", "Times that it began again.", labels=("error",))
        for error in sorted({*FAILURES, *self._watch.failures}):
            again.add_metric([error], self._watch.failures[error])
        yield again
        steps = CounterMetricFamily("foldline_step_seconds", "Where the time went.", labels=("step",))
        for step, seconds in self._seconds().items():
            steps.add_metric([step], seconds)
        yield steps
        place = ("topic", "partition")
        unpublished = GaugeMetricFamily("foldline_unpublished_records", "Offsets folded, not yet published.", labels=place)
        for (topic, partition), at in sorted((applied or {}).items()):
            if (topic, partition) in published:
                unpublished.add_metric([topic, str(partition)], max(0, at - published[topic, partition]))
        yield unpublished
        records = GaugeMetricFamily("foldline_lag_records", "Offsets that are not folded yet.", labels=place)
        seconds_behind = GaugeMetricFamily("foldline_lag_seconds", "Age of the oldest record not folded.", labels=place)
        for lag in self._metrics.lags:
            records.add_metric([lag.topic, str(lag.partition)], lag.records)
            seconds_behind.add_metric([lag.topic, str(lag.partition)], lag.seconds)
        yield records
        yield seconds_behind
