"""The traces of a processor: what became of the events of every request that is sampled, from their delivery to the commit.

A record's headers are looked at only where traces are asked for, and remembered only where its request is sampled.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol, cast

from foldline.adapters.consumer import Record
from foldline.domain.errors import FoldlineError
from foldline.domain.records import Kind
from foldline.steps import Steps
from foldline.tracing import Folded, Spans
from processors.watch import Place
from projections.state import Commit, Partition
from projections.topics import Publication

# As the gateway writes it, and sampled. Strangers write to the log, too.
_SAMPLED = re.compile(rb"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f][13579bdf]")


class _Headed(Protocol):
    """What records that are delivered have besides: both clients give the headers as pairs."""

    def headers(self) -> Iterable[tuple[str, bytes | None]] | None: ...


class _Delivered(NamedTuple):
    at: float
    traceparent: str


class BatchTraces:
    """An `Observer` that tells of the requests in a batch. `delivers` is to be told of records before they are handled."""

    def __init__(self, topics: Mapping[Kind, str], spans: Spans) -> None:
        """`topics` are the names of the log's topics by kind."""
        self._topics, self._spans = topics, spans
        self._waiting: dict[Place, dict[int, _Delivered]] = {}

    def delivers(self, records: Sequence[Record]) -> None:
        """Remembers whose they are, until they are committed."""
        now = time.time()
        for record in records:
            traceparent = _sampled(cast(_Headed, record).headers())
            if traceparent is not None:
                place = record.topic(), record.partition()
                self._waiting.setdefault(place, {})[record.offset()] = _Delivered(now, traceparent)

    def begins(self, steps: Steps) -> None:
        """What a worker before has not committed is delivered again."""
        self._waiting = {}

    def committed(self, commit: Commit, began: float, ended: float) -> None:
        folded = [one for partition, move in commit.moves.items() for one in self._folded(partition, move.start, move.end)]
        if folded:
            counts = {
                "foldline.records": sum(move.end - move.start for move in commit.moves.values()),
                "foldline.states": sum(map(len, commit.rows.values())),
                "foldline.dead_letters": len(commit.letters),
            }
            self._spans.batch(folded, began, ended, counts)

    def failed(self, commit: Commit, began: float, failure: FoldlineError) -> None: ...

    def published(self, publications: Mapping[Partition, Publication], began: float, ended: float) -> None: ...

    def _folded(self, partition: Partition, start: int, end: int) -> list[Folded]:
        """The requests of a stretch of a partition, which is done with."""
        kind, number = partition
        topic = self._topics[kind]
        waiting = self._waiting.get((topic, number), {})
        found: dict[str, Folded] = {}
        for offset in sorted(offset for offset in list(waiting) if offset < end):
            at, traceparent = waiting.pop(offset)
            if offset < start:  # folded before, and delivered again
                continue
            one = found.get(traceparent)
            records = 1 if one is None else one.records + 1
            found[traceparent] = (one or Folded(topic, number, offset, 0, at, traceparent))._replace(records=records)
        return list(found.values())


def _sampled(headers: Iterable[tuple[str, bytes | None]] | None) -> str | None:
    for name, value in headers or ():
        if name == "traceparent" and value is not None and _SAMPLED.fullmatch(value):
            return value.decode()
    return None
