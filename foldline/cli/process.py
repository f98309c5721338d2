"""`foldline process`: one stream processor."""

from __future__ import annotations

import ctypes
import gc
import os
import signal
import sys
import threading
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from foldline.adapters.consumer import KafkaLogReader
from foldline.adapters.registry import registry_of
from foldline.cli.context import DataDir, settings_for
from foldline.cli.services import assert_initialised
from foldline.domain.errors import Unreachable
from foldline.logs import log_to_stderr
from foldline.settings import Settings
from processors.runners.native import NativeRunner
from processors.worker import Ports
from projections.tables import PostgresStateStore
from projections.topics import KafkaStateTopics

# The cyclic collector would go over every cached state again and again, a quarter of the fold's time, and find nothing.
# The committer and the publisher wait for the interpreter's lock at each of their many short calls: hand it over quickly.
SWITCH_SECONDS = 0.002
# glibc gives every thread a heap of its own, and librdkafka has many threads: a quarter of the memory lay idle in them.
M_ARENA_MAX, ARENAS = -8, 2


class Runner(StrEnum):
    """What delivers the records."""

    native = "native"
    faust = "faust"


def process(
    runner: Annotated[Runner, typer.Option(help="What delivers the records.")] = Runner.native,
    data_dir: DataDir = None,
) -> None:
    """Fold the log into state until SIGTERM, then finish what was begun."""
    if runner is Runner.faust:
        raise Unreachable("the faust runner comes with a later version: use --runner native")
    settings = settings_for(data_dir)
    assert_initialised(settings)
    log_to_stderr()
    tune_interpreter()
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    ready_file = os.environ.get("FOLDLINE_READY_FILE")
    NativeRunner(settings, ports(settings), Path(ready_file) if ready_file else None).run(stop)


def tune_interpreter() -> None:
    """What a process that folds all day wants of Python and of the C library; each was measured in `benchmarks/`."""
    gc.disable()
    sys.setswitchinterval(SWITCH_SECONDS)
    with suppress(OSError, AttributeError):  # a C library other than glibc has no arenas
        ctypes.CDLL(None).mallopt(M_ARENA_MAX, ARENAS)


def ports(settings: Settings) -> Ports:
    """What a worker reads and writes, on Kafka and PostgreSQL."""
    registry = registry_of(settings)
    return Ports(
        store=lambda name: PostgresStateStore(settings, name),
        topics=lambda: KafkaStateTopics(settings, registry),
        log=KafkaLogReader(settings),
        registry=registry,
    )
