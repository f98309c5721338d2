"""The log in memory, for tests and trials in one process: what a processor reads of it, without a server.

It can also be damaged as a real log can: its beginning deleted, its end cut off, a topic made anew.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence

from foldline.adapters.codec import UPSERTS_TOPIC, Registry, UpsertCodec
from foldline.adapters.consumer import Claim, Record, digest
from foldline.domain.errors import LogReplaced
from foldline.domain.keys import message_key, partition_of
from foldline.domain.records import KINDS, Kind, Upsert

FIRST_LOGGED_AT_MS = 1_700_000_000_000
LOG_APPEND_TIME = 2  # Kafka's number for the broker's time


class MemoryRecord:
    """`Record` in memory."""

    __slots__ = ("_key", "_logged_at_ms", "_offset", "_partition", "_topic", "_value")

    def __init__(
        self, topic: str, partition: int, offset: int, key: bytes | None, value: bytes | None, logged_at_ms: int
    ) -> None:
        self._topic, self._partition, self._offset = topic, partition, offset
        self._key, self._value, self._logged_at_ms = key, value, logged_at_ms

    def topic(self) -> str:
        return self._topic

    def partition(self) -> int:
        return self._partition

    def offset(self) -> int:
        return self._offset

    def key(self) -> bytes | None:
        return self._key

    def value(self) -> bytes | None:
        return self._value

    def timestamp(self) -> tuple[int, int]:
        return LOG_APPEND_TIME, self._logged_at_ms


class _PartitionLog:
    """Records by offset, in order, from `low` to before `end`; an offset may hold none."""

    def __init__(self) -> None:
        self.records: dict[int, MemoryRecord] = {}
        self.low = self.end = 0


class MemoryLog:
    """The upsert topics, to be read. May be shared between threads. Times are counted, a millisecond a record: no clock."""

    def __init__(self, registry: Registry, partitions: int = 4, topic_prefix: str = "") -> None:
        self.partitions = partitions
        self._encode = {kind: UpsertCodec(kind, registry).encode for kind in KINDS}
        self.topics = {kind: topic_prefix + topic for kind, topic in UPSERTS_TOPIC.items()}
        self._lock = threading.Lock()
        self._made = self._appended = 0
        self._ids: dict[Kind, str] = {}
        self._logs: dict[Kind, list[_PartitionLog]] = {}
        for kind in KINDS:
            self.recreate(kind)

    def topic_id(self, kind: Kind) -> str:
        """The id of a topic, which it does not share with a topic made anew under its name."""
        return self._ids[kind]

    def append(self, kind: Kind, events: Iterable[Upsert]) -> None:
        """Writes events where a Java producer would put them."""
        for event in events:
            self.append_raw(kind, message_key(event.org_id, event.entity_id), self._encode[kind](event))

    def append_raw(self, kind: Kind, key: bytes | None, value: bytes | None, partition: int | None = None) -> MemoryRecord:
        """Writes a record to a partition, without one to the key's own; a record without key goes to the first."""
        if partition is None:
            partition = 0 if key is None else partition_of(key, self.partitions)
        with self._lock:
            log = self._logs[kind][partition]
            record = MemoryRecord(self.topics[kind], partition, log.end, key, value, FIRST_LOGGED_AT_MS + self._appended)
            log.records[log.end] = record
            log.end += 1
            self._appended += 1
            return record

    def skip(self, kind: Kind, partition: int, offsets: int = 1) -> None:
        """Leaves offsets without a record, as the marker at the end of a transaction does."""
        with self._lock:
            self._logs[kind][partition].end += offsets

    def watermarks(self, kind: Kind, partition: int) -> tuple[int, int]:
        """The first offset and the offset after the last record."""
        with self._lock:
            log = self._logs[kind][partition]
            return log.low, log.end

    def delete_before(self, kind: Kind, partition: int, offset: int) -> None:
        """Loses the beginning of a partition."""
        with self._lock:
            log = self._logs[kind][partition]
            log.records = {at: record for at, record in log.records.items() if at >= offset}
            log.low = offset

    def truncate(self, kind: Kind, partition: int, offset: int) -> None:
        """Loses the end of a partition, from an offset on."""
        with self._lock:
            log = self._logs[kind][partition]
            log.records = {at: record for at, record in log.records.items() if at < offset}
            log.end = offset

    def recreate(self, kind: Kind) -> None:
        """Makes the topic anew: empty, with another id."""
        with self._lock:
            self._made += 1
            self._ids[kind] = f"memory-{self._made}"
            self._logs[kind] = [_PartitionLog() for _ in range(self.partitions)]

    def stretch(self, kind: Kind, partition: int, start: int, end: int) -> list[MemoryRecord]:
        """The records from offset `start` to before `end`, those that there are."""
        with self._lock:
            records = self._logs[kind][partition].records
            return [records[at] for at in range(start, min(end, self._logs[kind][partition].end)) if at in records]


class MemoryLogReader:
    """`LogReader` on a `MemoryLog`."""

    def __init__(self, log: MemoryLog) -> None:
        self._log = log

    def verify(self, claims: Sequence[Claim]) -> None:
        for claim in claims:
            place = self._place(claim.kind, claim.partition)
            if self._log.topic_id(claim.kind) != claim.topic_id:
                raise LogReplaced(f"{place} is not the topic that was folded: it was deleted and made anew")
            low, high = self._log.watermarks(claim.kind, claim.partition)
            if not low <= claim.applied <= high:
                raise LogReplaced(f"{place} goes from {low} to {high}, {claim.applied} was folded: records are lost")
            if claim.last_offset is not None:
                last = self._log.stretch(claim.kind, claim.partition, claim.last_offset, claim.last_offset + 1)
                if not last or digest(last[0]) != claim.last_digest:
                    raise LogReplaced(f"{place} at offset {claim.last_offset} is another record than the one folded")

    def read(self, kind: Kind, partition: int, start: int, end: int) -> Iterator[Record]:
        if start >= end:
            return
        low, high = self._log.watermarks(kind, partition)
        if not low <= start <= high:
            raise LogReplaced(f"{self._place(kind, partition)} has no offset {start} any more")
        yield from self._log.stretch(kind, partition, start, end)

    def _place(self, kind: Kind, partition: int) -> str:
        return f"{self._log.topics[kind]}[{partition}]"
