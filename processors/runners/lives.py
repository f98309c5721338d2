"""What every runner does: it lives from one assignment to the next, and begins again after whatever went wrong."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol

import structlog

from foldline.adapters.codec import UPSERTS_TOPIC
from foldline.domain.errors import Conflict, FoldlineError, KeysLost, LogReplaced, MasterKeyMissing
from foldline.domain.records import Kind
from foldline.settings import Settings
from processors.watch import Watch
from processors.worker import Ports, Worker

# What a person has to look at before anything more may be folded.
STOPS = (LogReplaced, KeysLost, MasterKeyMissing)

# How many records a worker is handed at a time. Where there are as many, more are likely to have arrived.
HANDED_RECORDS = 2000

log = structlog.get_logger("foldline.processor")


class Runner(Protocol):
    """What delivers the records to a worker."""

    def run(self, stop: threading.Event) -> None:
        """Returns once `stop` is set and all that was folded is published. Raises one of `STOPS`."""


class Runs(Protocol):
    """Makes a runner. `watch` is told what becomes of it."""

    def __call__(self, settings: Settings, ports: Ports, watch: Watch | None = None) -> Runner: ...


def topics(settings: Settings) -> list[str]:
    """The topics that a processor reads."""
    return list(topic_names(settings).values())


def topic_names(settings: Settings) -> dict[Kind, str]:
    """The same by kind."""
    return {kind: settings.topic_prefix + topic for kind, topic in UPSERTS_TOPIC.items()}


def group(settings: Settings) -> str:
    """The consumer group, one for all runners."""
    return settings.topic_prefix + settings.consumer_group


def live_until(stop: threading.Event, life: Callable[[], None], retry_seconds: float, watch: Watch) -> None:
    """Calls `life` until `stop` is set: at once where a race was lost, after a pause where something is away."""
    while not stop.is_set():
        try:
            life()
        except STOPS:
            raise
        except Conflict as conflict:
            watch.begins_again(conflict)
            log.warning("begin again", reason=str(conflict))
        except FoldlineError as failure:
            watch.begins_again(failure)
            log.warning("begin again", reason=str(failure), pause_seconds=retry_seconds)
            stop.wait(retry_seconds)


def end(worker: Worker, drain_seconds: float | None) -> None:
    """Ends a worker: drained for as long as `drain_seconds`, or as it is."""
    try:
        if drain_seconds is not None and not worker.drain(drain_seconds):
            log.warning("publication is left to the next owner")
        if worker.steps.records:
            log.info("folded", records=worker.steps.records, microseconds_per_record=worker.steps.microseconds_per_record())
    finally:
        worker.close()
