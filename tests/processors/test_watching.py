"""What a processor serves while it runs, with either runner: metrics that agree with the log, and whether it folds."""

from __future__ import annotations

import json
import re
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import psycopg
import pytest
from confluent_kafka import Producer

from foldline.adapters.codec import UPSERTS_TOPIC, UpsertCodec
from foldline.adapters.registry import registry_of
from foldline.cli.runners import Name
from foldline.domain.keys import message_key
from foldline.domain.records import Upsert
from foldline.embedded.processes import until
from tests.otlp import receiver
from tests.pipeline import prepared, wait_applied
from tests.processors.test_runners import WAIT_SECONDS, Process, append_all, process, random_events, runner

__all__ = ["runner"]

SAMPLE = re.compile(r"^(\w+)(?:\{([^}]*)\})? (\S+)$", re.MULTILINE)


class Seen:
    """A processor as its monitoring sees it."""

    def __init__(self, watched: Process) -> None:
        lines = [json.loads(line) for line in watched.log.read_text().splitlines() if line.startswith("{")]
        (url,) = (line["url"] for line in lines if line["event"] == "serves metrics")
        self.client = httpx.Client(base_url=url.removesuffix("/metrics"), trust_env=False, timeout=30)

    def status(self, path: str) -> int:
        return self.client.get(path).status_code

    def values(self, name: str) -> dict[str, float]:
        """The samples of a metric, by their labels as they are written."""
        text = self.client.get("/metrics").text
        return {labels: float(value) for found, labels, value in SAMPLE.findall(text) if found == name}

    def total(self, name: str) -> float:
        return sum(self.values(name).values())


def test_what_is_served_agrees_with_the_log(
    kafka: str, database: str, topic_prefix: str, runner: Name, tmp_path: Path
) -> None:
    settings = prepared(kafka, database, topic_prefix, metrics_port=0, lag_interval_seconds=0.2)
    events = random_events(seed=20, count=3000, keys=200)
    append_all(settings, events[:2000])
    with process(settings, runner, tmp_path) as watched:
        seen = Seen(watched)
        append_all(settings, events[2000:])
        wait_applied(settings)
        assert (seen.status("/healthz"), seen.status("/readyz")) == (200, 200)
        assert until(lambda: len(seen.values("foldline_lag_records")) == 2 * settings.partitions, WAIT_SECONDS)
        assert until(lambda: seen.total("foldline_lag_records") == 0, WAIT_SECONDS)
        assert until(lambda: seen.total("foldline_unpublished_records") == 0, WAIT_SECONDS)
        assert seen.total("foldline_assigned_partitions") == 2 * settings.partitions
        assert seen.total("foldline_records_folded_total") == len(events)
        written = seen.total("foldline_states_written_total")
        assert 0 < written <= len(events)
        counts = seen.values("foldline_freshness_seconds_count")
        assert sum(count for labels, count in counts.items() if 'stage="committed"' in labels) == written
        assert seen.total("foldline_batch_records_sum") == len(events)
        assert seen.total("foldline_commit_seconds_count") == seen.total("foldline_batch_records_count") > 0
        assert seen.values("foldline_step_seconds_total")['step="fold"'] > 0
        assert seen.total("process_resident_memory_bytes") > 10_000_000
        watched.drain()


def test_who_cannot_fold_is_not_ready(
    kafka: str, postgres: str, database: str, topic_prefix: str, runner: Name, tmp_path: Path
) -> None:
    settings = prepared(kafka, database, topic_prefix, metrics_port=0, database_timeout_seconds=2)
    name = urlsplit(database).path[1:]
    with process(settings, runner, tmp_path) as watched, psycopg.connect(postgres, autocommit=True) as control:
        seen = Seen(watched)
        assert seen.status("/readyz") == 200
        control.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false".encode())
        try:
            control.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,))
            assert until(lambda: seen.status("/readyz") == 503, WAIT_SECONDS), watched.log.read_text()
            assert until(lambda: seen.values("foldline_begin_agains_total")['error="Unreachable"'] > 0, WAIT_SECONDS)
            assert seen.total("foldline_assigned_partitions") == 0
            assert seen.status("/healthz") == 200  # to start it anew would not help
        finally:
            control.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true".encode())
        assert until(lambda: seen.status("/readyz") == 200, WAIT_SECONDS), watched.log.read_text()
        append_all(settings, random_events(seed=21, count=100, keys=10))
        wait_applied(settings)
        watched.drain()


def test_nothing_is_served_unless_a_port_is_set(kafka: str, database: str, topic_prefix: str, tmp_path: Path) -> None:
    settings = prepared(kafka, database, topic_prefix)
    with process(settings, Name.native, tmp_path) as unwatched:
        assert "serves metrics" not in unwatched.log.read_text()
        unwatched.drain()


@pytest.mark.server
def test_a_port_that_is_taken_is_an_error(database: str, kafka: str, topic_prefix: str, tmp_path: Path) -> None:
    settings = prepared(kafka, database, topic_prefix, metrics_port=0)
    with process(settings, Name.native, tmp_path) as first:
        port = Seen(first).client.base_url.port
        second = Process(settings.model_copy(update={"metrics_port": port}), Name.native, tmp_path, "second")
        assert second.process.wait(WAIT_SECONDS) == 2
        assert f"the metrics cannot be served on 127.0.0.1:{port}" in second.log.read_text()


def test_traces_go_to_who_the_environment_names(
    kafka: str, database: str, topic_prefix: str, runner: Name, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = prepared(kafka, database, topic_prefix)
    codec = UpsertCodec("items", registry_of(settings))
    producer = Producer({"bootstrap.servers": kafka, "partitioner": "murmur2_random"})
    for number, sampled in ((0, "01"), (1, "00"), (2, "01")):
        event = Upsert("org_1", f"{number}", "p", None, None, 1_700_000_000_000_000, "req_1", number)
        headers = [("ce_id", b"x"), ("traceparent", f"00-{number + 1:032x}-{7:016x}-{sampled}".encode())]
        topic = settings.topic_prefix + UPSERTS_TOPIC["items"]
        producer.produce(topic, codec.encode(event), message_key("org_1", f"{number}"), headers=headers)
    assert producer.flush(30) == 0
    with receiver() as found:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", found.url)
        with process(settings, runner, tmp_path) as traced:
            wait_applied(settings)
            traced.drain()  # which sends the last
        folds = [span for span in found.spans if span.name == f"fold {settings.topic_prefix}items.upserts.v1"]
        assert {(span.service, span.trace_id, span.parent_id) for span in folds} == {
            ("foldline-processor", f"{number:032x}", f"{7:016x}") for number in (1, 3)
        }
        commits = {(span.trace_id, span.span_id) for span in found.spans if span.name == "commit"}
        assert {link for span in folds for link in span.links} == commits
