"""The reader of the projection topics while Kafka is killed under it."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

import projections
from foldline.adapters.topics import ensure_topics
from foldline.embedded.kafka import kafka_part
from foldline.embedded.ports import Ports
from foldline.embedded.processes import spawn, until
from foldline.settings import Settings
from projections import CaughtUp, ItemState, Waiting
from tests.projections.test_follow import item, publish

pytestmark = pytest.mark.server

EVENTS = 10_000


@contextmanager
def kafka(root: Path, port: int, controller: int) -> Iterator[subprocess.Popen[bytes]]:
    """A Kafka that has the data of the one before it. It ends by being killed."""
    part = kafka_part(root, port, controller)
    process = spawn(part.argv, log=root / "kafka.log", directory=part.directory, death_signal=part.death_signal)
    try:
        assert until(lambda: process.poll() is not None or part.ready(), part.start_seconds)
        yield process
    finally:
        process.kill()
        process.wait()


def take(events: Iterator[Any], last: Callable[[Any], bool]) -> list[Any]:
    """The events up to one that is wanted."""
    taken = []
    for event in events:
        taken.append(event)
        assert len(taken) < EVENTS
        if last(event):
            break
    return taken


def test_a_kafka_that_is_killed_is_waited_for(tmp_path: Path) -> None:
    """Nothing comes twice, nothing is left out, and who follows is told."""
    ports = Ports(tmp_path / "ports.json")
    port, controller = ports.get("kafka"), ports.get("kafka-controller")
    settings = Settings(kafka_bootstrap=f"127.0.0.1:{port}", partitions=2, retry_seconds=0.2)
    with ExitStack() as stack:
        items = stack.enter_context(projections.follow("items", from_start=True, settings=settings))
        with kafka(tmp_path, port, controller):
            ensure_topics(settings)
            publish(settings, item("A", 1), item("B", 2, 1))
            before = take(items, lambda event: isinstance(event, CaughtUp))
        waited = take(items, lambda event: isinstance(event, Waiting))
        assert f"Kafka at 127.0.0.1:{port}" in waited[-1].reason
        with kafka(tmp_path, port, controller):
            publish(settings, item("A", 3), item("C", 4))
            after = take(items, lambda event: isinstance(event, ItemState) and event.item_id == "C")
            after += take(items, lambda event: isinstance(event, CaughtUp))
    states = [event for event in (*before, *waited, *after) if isinstance(event, ItemState)]
    assert sorted((state.item_id, state.offset) for state in states) == [("A", 1), ("A", 3), ("B", 2), ("C", 4)]
    assert items.dropped == 0


def test_a_kafka_that_is_not_there_yet_is_waited_for(tmp_path: Path) -> None:
    ports = Ports(tmp_path / "ports.json")
    port, controller = ports.get("kafka"), ports.get("kafka-controller")
    settings = Settings(kafka_bootstrap=f"127.0.0.1:{port}", partitions=2, retry_seconds=0.2)
    with projections.follow("items", from_start=True, settings=settings) as items:
        assert isinstance(next(items), Waiting)
        with kafka(tmp_path, port, controller):
            ensure_topics(settings)
            publish(settings, item("A", 1))
            states = [
                event for event in take(items, lambda event: isinstance(event, CaughtUp)) if isinstance(event, ItemState)
            ]
    assert [state.item_id for state in states] == ["A"]
