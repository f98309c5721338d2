"""`foldline process`: one stream processor."""

from __future__ import annotations

import ctypes
import gc
import os
import signal
import sys
import threading
from contextlib import suppress
from pathlib import Path

from foldline.adapters.consumer import KafkaLogReader
from foldline.adapters.registry import registry_of
from foldline.adapters.seals import MasterKeys
from foldline.cli.context import DataDir, settings_for
from foldline.cli.runners import Name, Runner
from foldline.cli.services import assert_initialised
from foldline.domain.errors import Unreachable
from foldline.logs import log_to_stderr
from foldline.settings import Settings
from processors.runners.lives import Runs
from processors.runners.native import NativeRunner
from processors.worker import Ports
from projections.tables import PostgresStateStore
from projections.topics import KafkaStateTopics

# The cyclic collector would go over every cached state again and again, a quarter of the fold's time, and find nothing.
# The committer and the publisher wait for the interpreter's lock at each of their many short calls: hand it over quickly.
SWITCH_SECONDS = 0.002
# glibc gives every thread a heap of its own, and librdkafka has many threads: a quarter of the memory lay idle in them.
COLLECT = 50_000, 20, 100
M_ARENA_MAX, ARENAS = -8, 2


def process(
    runner: Runner = Name.native,
    data_dir: DataDir = None,
) -> None:
    """Fold the log into state until SIGTERM, then finish what was begun."""
    settings = settings_for(data_dir)
    assert_initialised(settings)
    log_to_stderr()
    tune_interpreter(collect=runner is Name.faust)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    ready_file = os.environ.get("FOLDLINE_READY_FILE")
    runner_of(runner)(settings, ports(settings), Path(ready_file) if ready_file else None).run(stop)


def runner_of(name: Name) -> Runs:
    """The runner of a name. Faust takes a second to be imported: only who uses it does. `Unreachable` without Faust."""
    if name is Name.native:
        return NativeRunner
    try:
        from processors.runners.faust import FaustRunner
    except ModuleNotFoundError as error:
        raise Unreachable(f"Faust is not installed here ({error.name} is missing): use --runner native") from error

    return FaustRunner


def tune_interpreter(collect: bool = False) -> None:
    """What a process that folds all day wants of Python and of the C library; each was measured in `benchmarks/`.

    With `collect` cycles are looked for nevertheless, rarely: Faust leaves them behind.
    """
    gc.set_threshold(*COLLECT) if collect else gc.disable()
    sys.setswitchinterval(SWITCH_SECONDS)
    with suppress(OSError, AttributeError):  # a C library other than glibc has no arenas
        ctypes.CDLL(None).mallopt(M_ARENA_MAX, ARENAS)


def ports(settings: Settings) -> Ports:
    """What a worker reads and writes, on Kafka and PostgreSQL."""
    registry = registry_of(settings)
    return Ports(
        store=lambda name, steps: PostgresStateStore(settings, name, steps=steps),
        topics=lambda steps: KafkaStateTopics(settings, registry, steps),
        log=KafkaLogReader(settings),
        registry=registry,
        masters=MasterKeys(settings),
    )
