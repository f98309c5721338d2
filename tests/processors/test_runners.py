"""What every runner must do, on a real Kafka and a real PostgreSQL: however it delivers, each event is folded once."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import orjson
import psycopg
import pytest
from confluent_kafka import ConsumerGroupState, ConsumerGroupTopicPartitions, Producer, TopicPartition

from foldline.adapters.codec import UPSERTS_TOPIC, UpsertCodec
from foldline.adapters.postgres import connect
from foldline.adapters.registry import registry_of
from foldline.adapters.topics import admin_client, ensure_topics
from foldline.cli.runners import Name
from foldline.domain.errors import FoldlineError
from foldline.domain.keys import message_key
from foldline.domain.records import KINDS, Kind, Upsert
from foldline.embedded.processes import until
from foldline.settings import Settings
from processors import rebuild
from processors.runners.lives import group
from projections import generations
from tests.clock import OwnClock
from tests.pipeline import append, append_raw, assert_equal, ends, prepared, producer_of, running, wait_applied
from tests.processors.dead_letters import dead_letters

WAIT_SECONDS = 60.0
Events = list[tuple[Kind, Upsert]]

STATUSES = (None, None, None, "active", "inactive", "deleted")


def random_events(seed: int, count: int, keys: int) -> Events:
    chosen = random.Random(seed)
    events: Events = []
    for number in range(count):
        kind: Kind = chosen.choice(("items", "users"))
        detail = (
            chosen.choice((None, "product", "article")) if kind == "items" else chosen.choice((None, 1_700_000_000_000_000))
        )
        attributes = {
            f"k{chosen.randrange(4)}": chosen.choice((number, "é\\\t\n😀", None, 1.5, [1, {"a": 2}], 1e21)) for _ in range(2)
        }
        text = chosen.choice((None, orjson.dumps(attributes).decode()))
        entity_id = f"{chosen.randrange(keys)} a/:\\é😀"
        event = Upsert(
            "org_1", entity_id, detail, chosen.choice(STATUSES), text, 1_700_000_000_000_000 + number, "req_1", number
        )
        events.append((kind, event))
    return events


@pytest.fixture(params=list(Name))
def runner(request: pytest.FixtureRequest) -> Name:
    return request.param  # type: ignore[no-any-return]


class Process:
    """`foldline process` in a process of its own."""

    def __init__(
        self, settings: Settings, runner: Name, directory: Path, name: str = "one", clock: OwnClock | None = None
    ) -> None:
        self.ready = directory / f"{name}.ready"
        self.ready.unlink(missing_ok=True)
        self.log = directory / f"{name}.log"
        values = settings.model_dump(exclude_none=True)
        variables = {f"FOLDLINE_{field.upper()}": str(value) for field, value in values.items()}
        command = [sys.executable, "-m", "foldline"] if clock is None else clock.command()
        environment = os.environ if clock is None else clock.environment
        with self.log.open("a") as log:
            self.process = subprocess.Popen(
                [*command, "process", "--runner", runner],
                env={**environment, **variables, "FOLDLINE_READY_FILE": str(self.ready)},
                stdout=log,
                stderr=log,
            )

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def wait_ready(self) -> None:
        assert until(lambda: self.process.poll() is not None or self.ready.exists(), WAIT_SECONDS), self.log.read_text()
        assert self.process.poll() is None, self.log.read_text()

    def drain(self) -> None:
        """Ends it in good order, within the time that a supervisor gives it."""
        self.signal(signal.SIGTERM)
        assert self.process.wait(20) == 0, self.log.read_text()


@contextmanager
def process(
    settings: Settings, runner: Name, directory: Path, name: str = "one", clock: OwnClock | None = None
) -> Iterator[Process]:
    started = Process(settings, runner, directory, name, clock)
    try:
        started.wait_ready()
        yield started
    finally:
        if started.process.poll() is None:
            started.process.kill()
        started.process.wait()


@contextmanager
def writing(settings: Settings, events: Events, seconds: float) -> Iterator[threading.Event]:
    """Appends events evenly over so many seconds; what is given is set once all are in the log."""
    codecs = {kind: UpsertCodec(kind, registry_of(settings)) for kind in KINDS}
    producer = producer_of(settings)
    written, over = threading.Event(), threading.Event()

    def write() -> None:
        for kind, event in events:
            key = message_key(event.org_id, event.entity_id)
            producer.produce(settings.topic_prefix + UPSERTS_TOPIC[kind], codecs[kind].encode(event), key)
            producer.poll(0)
            over.wait(seconds / len(events))
        if producer.flush(WAIT_SECONDS) == 0:
            written.set()

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield written
    finally:
        over.set()
        thread.join()


def applied(settings: Settings) -> int:
    """How many offsets are folded, of all partitions together."""
    with psycopg.connect(settings.database_url) as connection:
        row = connection.execute("SELECT sum(applied) FROM foldline.positions").fetchone()
    assert row is not None
    return int(row[0])


def shares(settings: Settings) -> list[int]:
    """How many partitions each member of the group has, most first; nothing while it is rebalanced."""
    admin, name = admin_client(settings), group(settings)
    described = admin.describe_consumer_groups([name], request_timeout=10)[name].result(WAIT_SECONDS)
    if described.state != ConsumerGroupState.STABLE:
        return []
    return sorted((len(member.assignment.topic_partitions) for member in described.members), reverse=True)


def commit_for_the_group(settings: Settings, offset_of: Callable[[int], int]) -> None:
    """Commits offsets for the group, by hand, given the end of each partition."""
    offsets = [TopicPartition(topic, partition, offset_of(end)) for (topic, partition), end in ends(settings).items()]
    admin = admin_client(settings)  # whose answers come only while it lives
    request = [ConsumerGroupTopicPartitions(group(settings), offsets)]
    admin.alter_consumer_group_offsets(request, request_timeout=10)[group(settings)].result(WAIT_SECONDS)


def append_all(settings: Settings, events: Events) -> None:
    for kind in KINDS:
        append(settings, kind, [event for k, event in events if k == kind])


def test_folds_what_the_model_folds(kafka: str, database: str, topic_prefix: str, runner: Name) -> None:
    settings = prepared(kafka, database, topic_prefix, batch_records=500)
    events = random_events(seed=1, count=5000, keys=300)
    append_all(settings, events[:3000])
    with running(settings, name=runner):
        wait_applied(settings)
        assert_equal(settings, events[:3000])
        append_all(settings, events[3000:4000])
        wait_applied(settings)
    append_all(settings, events[4000:])
    with running(settings, name=runner):
        wait_applied(settings)
    assert_equal(settings, events)


@pytest.mark.parametrize("offset_of", [lambda end: end, lambda end: end // 2, lambda end: end + 1000, lambda end: 0])
def test_what_the_group_committed_does_not_matter(
    kafka: str, database: str, topic_prefix: str, runner: Name, offset_of: Callable[[int], int]
) -> None:
    settings = prepared(kafka, database, topic_prefix)
    events = random_events(seed=2, count=900, keys=50)
    for part in (events[:600], events[600:]):  # once before anything is folded, once in the middle
        append_all(settings, part)
        commit_for_the_group(settings, offset_of)
        with running(settings, name=runner):
            wait_applied(settings)
    assert_equal(settings, events)


def test_only_what_is_committed_in_the_log_is_folded(kafka: str, database: str, topic_prefix: str, runner: Name) -> None:
    settings = prepared(kafka, database, topic_prefix)
    events = random_events(seed=3, count=300, keys=20)
    codecs = {kind: UpsertCodec(kind, registry_of(settings)) for kind in KINDS}
    producer = Producer({"bootstrap.servers": kafka, "partitioner": "murmur2_random", "transactional.id": topic_prefix})
    producer.init_transactions()
    for part, end in (
        (events[:100], producer.commit_transaction),
        (random_events(seed=4, count=50, keys=20), producer.abort_transaction),
        (events[100:], producer.commit_transaction),
    ):
        producer.begin_transaction()
        for kind, event in part:
            key = message_key(event.org_id, event.entity_id)
            producer.produce(settings.topic_prefix + UPSERTS_TOPIC[kind], codecs[kind].encode(event), key)
        producer.flush()
        end()
    later = random_events(seed=5, count=60, keys=20)
    with running(settings, name=runner):
        append_all(settings, later)  # behind the markers, which are offsets without a record
        wait_applied(settings)
    assert_equal(settings, events + later)


def test_what_cannot_be_folded_stops_nothing(kafka: str, database: str, topic_prefix: str, runner: Name) -> None:
    settings = prepared(kafka, database, topic_prefix)
    events = random_events(seed=6, count=200, keys=20)
    junk: list[tuple[bytes | None, bytes | None]] = [
        (None, None), (b"", b""), (b"org_1:1", None), (b"\xff", b"\x00"), (b"org_1:2", os.urandom(70_000)),
    ]  # fmt: skip
    append_all(settings, events[:100])
    for kind in KINDS:
        append_raw(settings, kind, junk)
    append_all(settings, events[100:])
    with running(settings, name=runner):
        wait_applied(settings)
    assert_equal(settings, events)
    for kind in KINDS:
        assert all((kind, *record) in {(one.kind, one.key, one.value) for one in dead_letters(settings)} for record in junk)


def test_a_process_that_is_killed_under_load(
    kafka: str, database: str, topic_prefix: str, runner: Name, tmp_path: Path
) -> None:
    settings = prepared(kafka, database, topic_prefix, batch_records=200)
    events = random_events(seed=7, count=6000, keys=200)
    with writing(settings, events, seconds=25) as written:
        for _ in range(2):
            with process(settings, runner, tmp_path) as victim:
                before = applied(settings)
                assert until(lambda before=before: applied(settings) > before + 300, WAIT_SECONDS), victim.log.read_text()  # type: ignore[misc]
                victim.signal(signal.SIGKILL)
                victim.process.wait()
        with process(settings, runner, tmp_path) as last:
            assert written.wait(WAIT_SECONDS)
            wait_applied(settings)
            last.drain()
    assert_equal(settings, events)


def test_partitions_go_from_one_process_to_another_and_back(
    kafka: str, database: str, topic_prefix: str, runner: Name, tmp_path: Path
) -> None:
    settings = prepared(kafka, database, topic_prefix, batch_records=200)
    events = random_events(seed=8, count=6000, keys=200)
    with ExitStack() as stack, writing(settings, events, seconds=25) as written:
        one = stack.enter_context(process(settings, runner, tmp_path))
        two = stack.enter_context(process(settings, runner, tmp_path, "two"))
        assert until(lambda: shares(settings) == [4, 2], WAIT_SECONDS), (shares(settings), one.log.read_text())
        one.drain()
        assert until(lambda: shares(settings) == [6], WAIT_SECONDS), (shares(settings), two.log.read_text())
        assert written.wait(WAIT_SECONDS)
        wait_applied(settings)
        for log in (one.log, two.log):  # partitions come and go, and nobody has to begin anew
            assert "begin again" not in log.read_text(), log.read_text()
    assert_equal(settings, events)


def test_one_runner_takes_over_from_the_other(kafka: str, database: str, topic_prefix: str, tmp_path: Path) -> None:
    settings = prepared(kafka, database, topic_prefix, batch_records=200)
    events = random_events(seed=11, count=4000, keys=200)
    with ExitStack() as stack, writing(settings, events, seconds=20) as written:
        native = stack.enter_context(process(settings, Name.native, tmp_path, "native"))
        faust = stack.enter_context(process(settings, Name.faust, tmp_path, "faust"))
        assert until(lambda: shares(settings) == [4, 2], WAIT_SECONDS), (shares(settings), faust.log.read_text())
        native.drain()
        assert until(lambda: shares(settings) == [6], WAIT_SECONDS), (shares(settings), faust.log.read_text())
        stack.enter_context(process(settings, Name.native, tmp_path, "another"))
        assert until(lambda: shares(settings) == [4, 2], WAIT_SECONDS), (shares(settings), faust.log.read_text())
        faust.drain()
        assert written.wait(WAIT_SECONDS)
        wait_applied(settings)
    assert_equal(settings, events)


def test_goes_over_to_the_generation_that_is_live(
    kafka: str, database: str, topic_prefix: str, runner: Name, tmp_path: Path
) -> None:
    settings = prepared(kafka, database, topic_prefix, batch_records=200)
    events = random_events(seed=12, count=3000, keys=200)
    with ExitStack() as stack:
        connection = stack.enter_context(connect(database, "test"))
        both = [stack.enter_context(process(settings, runner, tmp_path, name)) for name in ("one", "two")]
        written = stack.enter_context(writing(settings, events, seconds=12))
        for _ in range(2):
            generation, _ = generations.begin(connection, "test", resume=False)
            compared = rebuild.compare(settings, generation, lambda _: None)
            assert compared.differences == []
            rebuild.swap(connection, settings, generation, compared, lambda _: None)
        assert written.wait(WAIT_SECONDS)
        wait_applied(settings)
        for one in both:
            one.drain()
            assert "pause" not in one.log.read_text(), one.log.read_text()
        assert generations.live_generation(connection) == 3
    assert_equal(settings, events)


def test_a_process_that_is_paused_beyond_its_session(
    kafka: str, database: str, topic_prefix: str, runner: Name, tmp_path: Path
) -> None:
    settings = prepared(kafka, database, topic_prefix, batch_records=200)
    events = random_events(seed=9, count=3000, keys=200)
    with ExitStack() as stack:
        one = stack.enter_context(process(settings, runner, tmp_path))
        append_all(settings, events[:1000])
        assert until(lambda: applied(settings) > 0, WAIT_SECONDS), one.log.read_text()
        one.signal(signal.SIGSTOP)  # wherever it is
        two = stack.enter_context(process(settings, runner, tmp_path, "two"))
        append_all(settings, events[1000:2000])
        wait_applied(settings)
        one.signal(signal.SIGCONT)
        assert until(lambda: shares(settings) in ([3, 3], [4, 2]), WAIT_SECONDS), one.log.read_text() + two.log.read_text()
        append_all(settings, events[2000:])
        wait_applied(settings)
        one.drain()
        two.drain()
    assert_equal(settings, events)


def test_another_log_is_not_folded(kafka: str, database: str, topic_prefix: str, runner: Name, tmp_path: Path) -> None:
    settings = prepared(kafka, database, topic_prefix)
    events = random_events(seed=10, count=200, keys=20)
    append_all(settings, events)
    with running(settings, name=runner):
        wait_applied(settings)
    admin = admin_client(settings)
    for deleted in admin.delete_topics([settings.topic_prefix + topic for topic in UPSERTS_TOPIC.values()]).values():
        deleted.result(10)
    assert until(lambda: made_anew(settings), WAIT_SECONDS)
    append_all(settings, events)
    refused = Process(settings, runner, tmp_path)
    assert refused.process.wait(WAIT_SECONDS) == 1
    assert "it was deleted and made anew" in refused.log.read_text()


def made_anew(settings: Settings) -> bool:
    """Whether the topics could be made, the old ones being gone."""
    try:
        ensure_topics(settings)
    except FoldlineError:
        return False
    return True
