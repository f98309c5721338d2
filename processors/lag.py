"""How far a processor's partitions are behind the log, measured now and then, whatever the processor is at."""

from __future__ import annotations

import threading

from confluent_kafka import KafkaException

from foldline.domain.errors import FoldlineError
from foldline.settings import Settings
from processors.metrics import Metrics
from processors.watch import Watch
from projections.lag import Applied, lags_of

# How soon it is tried again while nothing is known.
AGAIN_SECONDS = 1.0
END_SECONDS = 1.0


class LagSampler:
    """Measures in a thread of its own while its block runs. Where Kafka is away nothing is known, and no metric is shown."""

    def __init__(self, settings: Settings, watch: Watch, metrics: Metrics) -> None:
        self._settings, self._watch, self._metrics = settings, watch, metrics
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lag", daemon=True)

    def __enter__(self) -> LagSampler:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(END_SECONDS)

    def measure(self) -> None:
        """Measures once."""
        positions = [Applied(*place, at) for place, at in dict(self._watch.applied or {}).items()]
        try:
            self._metrics.lags = lags_of(self._settings, positions) if positions else ()
        except (FoldlineError, KafkaException):
            self._metrics.lags = ()

    def _run(self) -> None:
        seconds = self._settings.lag_interval_seconds
        while not self._over.wait(seconds if self._metrics.lags else min(seconds, AGAIN_SECONDS)):
            self.measure()
