"""How old events were when something became of them, as a histogram that takes a whole batch at once."""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Iterable, Sequence

from prometheus_client.core import HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

BOUNDS_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600)


class AgeHistogram(Collector):
    """Ages in seconds by labels. prometheus-client's own takes one value at a time, at a microsecond each."""

    def __init__(self, name: str, documentation: str, labels: Sequence[str], series: Iterable[Sequence[str]]) -> None:
        """`series` are the values of the labels that there are from the beginning."""
        self._name, self._documentation, self._labels = name, documentation, labels
        self._lock = threading.Lock()
        self._counts = {tuple(values): [0] * (len(BOUNDS_SECONDS) + 1) for values in series}
        self._seconds = dict.fromkeys(self._counts, 0.0)

    def observe(self, values: tuple[str, ...], times: list[int], now: int) -> None:
        """Counts what happened at these times, which are in order. All are microseconds since the epoch; a time that is
        still to come, by another machine's clock, counts as now."""
        total = len(times)
        younger = [total - bisect_left(times, now - round(bound * 1_000_000)) for bound in BOUNDS_SECONDS]
        seconds = max(0, now * total - sum(times)) / 1_000_000
        with self._lock:
            counts = self._counts[values]
            for place, count in enumerate(younger):
                counts[place] += count
            counts[-1] += total
            self._seconds[values] += seconds

    def collect(self) -> Iterable[Metric]:
        """The family, with cumulative buckets."""
        family = HistogramMetricFamily(self._name, self._documentation, labels=self._labels)
        bounds = [*map(floatToGoString, BOUNDS_SECONDS), "+Inf"]
        with self._lock:
            for values, counts in self._counts.items():
                family.add_metric(list(values), list(zip(bounds, counts, strict=True)), self._seconds[values])
        yield family
