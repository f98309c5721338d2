"""`foldline process`: one stream processor."""

from __future__ import annotations

import ctypes
import gc
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from foldline.adapters.consumer import KafkaLogReader
from foldline.adapters.registry import registry_of
from foldline.adapters.seals import MasterKeys
from foldline.cli.context import DataDir, settings_for
from foldline.cli.ending import end_when_set_back, stop_when_told
from foldline.cli.runners import Name, Runner
from foldline.cli.services import assert_initialised
from foldline.domain.errors import Unreachable
from foldline.logs import log_to_stderr
from foldline.monitor import monitored
from foldline.settings import Settings
from foldline.tracing import Spans, tracing
from processors.batch_log import BatchLog
from processors.lag import LagSampler
from processors.metrics import Metrics
from processors.runners.lives import Runs, log, topic_names
from processors.runners.native import NativeRunner
from processors.traces import BatchTraces
from processors.watch import Watch
from processors.watched import Observer, watched
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
    log_to_stderr(settings.log_level)
    stop = threading.Event()
    stop_when_told(stop, settings.transaction_timeout_seconds)  # before anything starts threads, traces too
    end_when_set_back()
    spans = tracing("processor")
    tune_interpreter(collect=runner is Name.faust or spans is not None)
    ready_file = os.environ.get("FOLDLINE_READY_FILE")
    watch = Watch(Path(ready_file) if ready_file else None, settings.stalled_seconds)
    with observed(settings, ports(settings), watch, spans) as own:
        runner_of(runner)(settings, own, watch).run(stop)


@contextmanager
def observed(settings: Settings, own: Ports, watch: Watch, spans: Spans | None = None) -> Iterator[Ports]:
    """The same ports, with what goes through them logged and traced; and where the settings say so, with metrics and health
    served while the block runs."""
    names = topic_names(settings)
    told: list[Observer] = [BatchLog(names)]
    with ExitStack() as stack:
        if spans is not None:
            stack.callback(spans.close)
            traces = BatchTraces(names, spans)
            watch.delivered = traces.delivers
            told.append(traces)
        if settings.metrics_port is not None:
            metrics = Metrics(watch)
            checks = {"/healthz": watch.stalled, "/readyz": watch.not_ready}
            place = settings.metrics_host, settings.metrics_port
            url = stack.enter_context(monitored(*place, metrics.registry, checks))
            stack.enter_context(LagSampler(settings, watch, metrics))
            log.info("serves metrics", url=f"{url}/metrics")
            told.append(metrics)
        yield watched(own, names, watch, told)


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

    With `collect` cycles are looked for nevertheless, rarely: Faust and the senders of traces leave them behind.
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
