"""One Kafka, one PostgreSQL and one schema registry for a test session: containers where Docker answers, else embedded.

`TEST_BACKEND=containers` or `TEST_BACKEND=embedded` decides it by hand.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Protocol

from foldline.embedded.kafka import kafka_part
from foldline.embedded.parts import Part
from foldline.embedded.ports import Ports
from foldline.embedded.postgres import postgres_part, postgres_url
from foldline.embedded.processes import spawn, until
from tests.containers import Containers
from tests.registry import registry


class Servers(Protocol):
    def kafka(self) -> str:
        """The bootstrap address, once Kafka is ready."""

    def postgres(self) -> str:
        """The URL of a superuser's database, once PostgreSQL is ready."""

    def registry(self, root: Path) -> AbstractContextManager[str]:
        """A schema registry that keeps its schemas in Kafka; gives the URL that Confluent's clients take."""


@contextmanager
def servers(names: set[str]) -> Iterator[Servers]:
    """Starts the servers of these names (`kafka`, `postgres`) at the same time and stops them at the end."""
    with (containers if docker_answers() else embedded)(names) as started:
        yield started


def docker_answers() -> bool:
    if choice := os.environ.get("TEST_BACKEND"):
        return choice == "containers"
    import docker  # type: ignore[import-untyped]

    try:
        docker.from_env(timeout=2).ping()
    except docker.errors.DockerException:
        return False
    return True


def _patient(kafka: Part) -> Part:
    """Nobody takes it for dead where the machine is so busy that it is not heard of for a while."""
    assert kafka.directory is not None
    with (kafka.directory / "kafka.properties").open("a") as file:
        file.write("broker.session.timeout.ms=30000\n")
    return kafka


class Embedded:
    def __init__(self, root: Path, names: set[str]) -> None:
        ports = Ports(root / "ports.json")
        kafka, controller, postgres = (ports.get(name) for name in ("kafka", "kafka-controller", "postgres"))
        self._root = root
        self._urls = {"kafka": f"127.0.0.1:{kafka}", "postgres": postgres_url(root, postgres)}
        prepare: dict[str, Callable[[], Part]] = {
            "kafka": lambda: _patient(kafka_part(root, kafka, controller)),
            "postgres": lambda: postgres_part(root, postgres),
        }
        with ThreadPoolExecutor() as pool:
            parts = pool.map(lambda name: prepare[name](), sorted(names))
        self._running = {part.name: (part, self._spawn(part)) for part in parts}

    def _spawn(self, part: Part) -> subprocess.Popen[bytes]:
        log = self._root / f"{part.name}.log"
        return spawn(part.argv, log=log, directory=part.directory, death_signal=part.death_signal)

    def _ready(self, name: str) -> str:
        part, process = self._running[name]
        ready = until(lambda: process.poll() is not None or part.ready(), part.start_seconds)
        if not ready or process.poll() is not None:
            raise RuntimeError(f"{name} did not start\n{(self._root / f'{name}.log').read_text()}")
        return self._urls[name]

    def kafka(self) -> str:
        return self._ready("kafka")

    def postgres(self) -> str:
        return self._ready("postgres")

    def registry(self, root: Path) -> AbstractContextManager[str]:
        return registry(self.kafka(), root)

    def stop(self) -> None:
        for part, process in self._running.values():
            process.send_signal(part.stop_signal)
        for part, process in self._running.values():
            process.wait(part.grace_seconds)


@contextmanager
def embedded(names: set[str]) -> Iterator[Servers]:
    with tempfile.TemporaryDirectory(prefix="foldline-tests-") as directory:
        started = Embedded(Path(directory).resolve(), names)
        try:
            yield started
        finally:
            started.stop()


@contextmanager
def containers(names: set[str]) -> Iterator[Servers]:
    with ExitStack() as stack:
        yield Containers(stack, names)
