"""The contenders of the fold: programs that fold a log of items into a table and onto a state topic, all timed alike.

The time of each goes from the first record that it polled, or the moment that it is ready with its partitions, until all is
committed in its table and acknowledged on its topic; the start of an interpreter or a virtual machine does not count.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import cache, partial
from pathlib import Path
from typing import IO, NamedTuple
from urllib.parse import urlsplit

import psycopg
from confluent_kafka import Consumer
from confluent_kafka.admin import AdminClient

import schemas
from benchmarks.peers.kafka_streams import program
from benchmarks.servers import PYTHON, environment
from foldline.embedded.processes import until
from foldline.settings import Settings
from processors.runners.lives import group, topics

ROOT = Path(__file__).parent.parent
PEERS = ROOT / "benchmarks" / "peers"
READY_SECONDS, DONE_SECONDS = 60, 600
UPSERTS, STATES = "items.upserts.v1", "items.state.v1"
COPY_ROWS = 10_000
CACHE_BYTES = 300 * 1024 * 1024
COMMIT_MILLISECONDS = 1000
JVM_OPTIONS = ["-XX:+UseParallelGC", "-Xmx3g", "--enable-native-access=ALL-UNNAMED", "--sun-misc-unsafe-memory-access=allow"]
KAFKA_STREAMS = {
    "auto.offset.reset": "earliest",
    "commit.interval.ms": COMMIT_MILLISECONDS,
    "consumer.max.poll.records": 5000,
    "producer.linger.ms": 20,
    "producer.compression.type": "lz4",
    "producer.batch.size": 500_000,
}


class Work(NamedTuple):
    """What a contender is to do: fold the log of `settings`, so many events; peers into `peer.items` and onto this topic."""

    settings: Settings
    events: int
    states_topic: str


class Outcome(NamedTuple):
    """Events a second, the largest resident memory in bytes, and how many states it says it has published.

    `steps`, which only ours tells, are microseconds an event by step; steps of different threads overlap.
    """

    rate: float
    memory: int
    states: int | None = None
    steps: Mapping[str, float] | None = None


class Contender(NamedTuple):
    """A program, by its name in the comparisons; those of ours have their database and publish where readers look."""

    name: str
    run: Callable[[Work], Outcome]
    ours: bool = False


class Unavailable(Exception):
    """A peer cannot be had on this machine."""


def fold_ours(settings: Settings, events: int, processors: int = 1) -> Outcome:
    """Ours, until all is applied and published. What was applied before each processor had its partitions does not count."""
    with ExitStack() as stack:
        connection = stack.enter_context(psycopg.connect(settings.database_url, autocommit=True))
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        processes, logs = [], []
        with _held(settings, processors):
            for number in range(processors):
                ready = environment(settings, FOLDLINE_READY_FILE=str(directory / f"{number}.ready"))
                errors = stack.enter_context((directory / f"{number}.log").open("w+b"))
                process = subprocess.Popen([PYTHON, "-m", "foldline", "process"], env=ready, stderr=errors)
                stack.callback(_stop, process)
                processes.append(process)
                logs.append(errors)
        if not until(lambda: len(list(directory.glob("*.ready"))) == processors, READY_SECONDS):
            raise RuntimeError("the processors are not ready")

        def reached() -> tuple[int, int]:
            query = "SELECT sum(applied)::bigint, sum(published)::bigint FROM foldline.positions"
            ((applied, published),) = connection.execute(query)
            return applied, published

        began, (before, _) = time.monotonic(), reached()
        while reached()[1] < events:
            if time.monotonic() > began + DONE_SECONDS or any(process.poll() is not None for process in processes):
                raise RuntimeError("the processors do not reach the end of the log")
            time.sleep(0.02)
        rate = (events - before) / (time.monotonic() - began)
        memory = sum(_peak_bytes(process.pid) for process in processes)
        for process in processes:
            _stop(process)
        return Outcome(rate, memory, steps=_steps(logs))


def _steps(logs: Iterable[IO[bytes]]) -> dict[str, float]:
    """Microseconds an event by step, over all processors, from what each has logged at its end."""
    records, microseconds = 0, Counter[str]()
    for log in logs:
        log.seek(0)
        for line in map(json.loads, log):
            if line["event"] == "folded":
                records += line["records"]
                for step, each in line["microseconds_per_record"].items():
                    microseconds[step] += each * line["records"]
    return {step: total / records for step, total in microseconds.items()}


@contextmanager
def _held(settings: Settings, members: int) -> Iterator[None]:
    """Keeps the group's partitions until so many processors ask for them, so that all begin at once."""
    groups = AdminClient({"bootstrap.servers": settings.kafka_bootstrap, "log_level": 0})
    holder = Consumer(
        {
            "bootstrap.servers": settings.kafka_bootstrap,
            "group.id": group(settings),
            "partition.assignment.strategy": "range",
            "log_level": 0,
        }
    )
    given: list[object] = []
    holder.subscribe(
        topics(settings), on_assign=lambda consumer, partitions: (given.append(partitions), consumer.assign([]))
    )
    while not given:
        holder.poll(0.1)
    yield
    described = partial(groups.describe_consumer_groups, [group(settings)])
    joined = until(lambda: len(described()[group(settings)].result().members) == members + 1, READY_SECONDS)
    holder.close()
    if not joined:
        raise RuntimeError("the processors do not join their group")


def _peak_bytes(pid: int) -> int:
    return 1024 * int(Path(f"/proc/{pid}/status").read_text().partition("VmHWM:")[2].split()[0])


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    process.wait()


def ours(processors: int, work: Work) -> Outcome:
    return fold_ours(work.settings, work.events, processors)


def kafka_streams(changed: dict[str, object], work: Work) -> Outcome:
    """Kafka Streams with the given settings changed."""
    database = urlsplit(work.settings.database_url)
    login = f"user={database.username}&password={database.password}"
    with tempfile.TemporaryDirectory() as directory:
        settings = KAFKA_STREAMS | {
            "application.id": work.states_topic,
            "bootstrap.servers": work.settings.kafka_bootstrap,
            "state.dir": directory,
        }
        given = [work.events, work.settings.topic_prefix + UPSERTS, work.states_topic, schemas.latest(STATES).id]
        options = [COPY_ROWS, "copy", *(f"{name}={value}" for name, value in (settings | changed).items())]
        command = [*program.command(JVM_OPTIONS), *map(str, given + options)]
        return _reported(work, command, f"jdbc:postgresql://{database.hostname}:{database.port}{database.path}?{login}")


def python_peer(module: str, option: object, work: Work) -> Outcome:
    """A peer of the locked environment beside the product's."""
    return _python(str(peers_environment() / "bin" / "python"), module, option, work)


def bare_loop(work: Work) -> Outcome:
    return _python(PYTHON, "benchmarks.bare_loop", work.settings.batch_records, work)


def _python(interpreter: str, module: str, option: object, work: Work) -> Outcome:
    given = [work.events, work.settings.topic_prefix + UPSERTS, work.states_topic, option]
    return _reported(work, [interpreter, "-m", module, *map(str, given)], work.settings.database_url)


def _reported(work: Work, command: list[str], database_url: str) -> Outcome:
    with tempfile.TemporaryDirectory() as directory:
        variables = {"DATABASE_URL": database_url, "KAFKA_BOOTSTRAP": work.settings.kafka_bootstrap, "TMPDIR": directory}
        ran = subprocess.run(
            command, env=os.environ | variables, cwd=ROOT, capture_output=True, text=True, timeout=DONE_SECONDS, check=False
        )
    if ran.returncode:
        raise RuntimeError(f"{work.states_topic} failed\n{ran.stdout[-2000:]}{ran.stderr[-4000:]}")
    found = json.loads(next(line for line in ran.stdout.splitlines() if line.startswith("{")))
    return Outcome(work.events / found["seconds"], found["memory"], found["states"])


@cache
def peers_environment() -> Path:
    """The Python peers' environment, made as their lock file says. Raises `Unavailable`."""
    directory, uv = Path(sys.prefix) / "peers", Path(sys.prefix) / "uv" / "bin" / "uv"
    command = [uv, "sync", "--frozen", "--quiet", "--project", PEERS, "--python", PYTHON]
    try:
        subprocess.run(command, env=os.environ | {"UV_PROJECT_ENVIRONMENT": str(directory)}, check=True, stdout=sys.stderr)
    except (OSError, subprocess.CalledProcessError) as error:
        raise Unavailable(f"the packages of the Python peers cannot be had: {error}") from error
    return directory


def streams(name: str, threads: int, cache_bytes: int, **changed: object) -> Contender:
    """Kafka Streams under a name, with its threads and the size of its record cache."""
    settings = {"num.stream.threads": threads, "statestore.cache.max.bytes": cache_bytes}
    return Contender(f"kafka-streams-jdbc-{name}", partial(kafka_streams, settings | changed))


OURS = {processors: Contender(f"ours-{processors}", partial(ours, processors), ours=True) for processors in (1, 2)}
