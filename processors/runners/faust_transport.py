"""Faust's transport, mended where it trusts the offsets that a group committed or what it delivered before.

1. Before partitions flow, the runner has taken them on; where Faust goes to what was committed, to where the runner is.
2. Faust may be asked to go back: it drops nothing for having been delivered before.
3. Only what is committed in the log is delivered; an offset that is not there is an error; the session is short.
4. A thread that does not end is left behind: it delivers to nobody.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol, cast

import aiokafka
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.errors import NoOffsetForPartitionError
from faust.transport.drivers import aiokafka as driver
from faust.types import TP
from mode.threads import WorkerThread

from foldline.adapters.security import aiokafka_config
from foldline.settings import Settings
from processors.runners.lives import HANDED_RECORDS, group, log

STOP_SECONDS = 10.0
REBALANCE_SECONDS = 60.0
REQUEST_SECONDS = 15.0

Place = tuple[str, int]


class Owner(Protocol):
    """Who takes partitions on, gives them back, and knows from where each is to be delivered."""

    settings: Settings

    @property
    def wanted(self) -> Mapping[Place, int]: ...

    async def assigned(self, partitions: Iterable[Place]) -> None: ...
    async def revoked(self) -> None: ...


class Nothing(dict[Any, Any]):
    """Remembers nothing: of every key it knows None."""

    def __missing__(self, key: object) -> None:
        return None

    def __setitem__(self, key: object, value: object) -> None: ...

    def update(self, *others: object, **named: object) -> None: ...


class Thread(WorkerThread):
    """The thread of a consumer. Nobody waits for it longer than a while."""

    def __init__(self, service: Any, **options: Any) -> None:
        super().__init__(service, **options)
        self.daemon = True

    def stop(self) -> None:
        if not self.is_stopped.wait(STOP_SECONDS):
            log.warning("the consumer's thread is left behind", seconds=STOP_SECONDS)


class ConsumerThread(driver.AIOKafkaConsumerThread):
    """Where aiokafka's consumer lives."""

    Worker = Thread

    def __post_init__(self) -> None:
        super().__post_init__()
        self._known: dict[object, object] = {}
        cast(Transport, self.transport).thread = self

    def _create_worker_consumer(self, transport: driver.Transport) -> aiokafka.AIOKafkaConsumer:
        settings = cast(Transport, transport).owner.settings
        session_ms = round(settings.session_timeout_seconds * 1000)
        return aiokafka.AIOKafkaConsumer(
            bootstrap_servers=settings.kafka_bootstrap,
            **aiokafka_config(settings),
            group_id=group(settings),
            group_instance_id=settings.group_instance_id,
            partition_assignment_strategy=[RangePartitionAssignor],
            enable_auto_commit=False,
            auto_offset_reset="none",
            isolation_level="read_committed",
            session_timeout_ms=session_ms,
            heartbeat_interval_ms=session_ms // 5,
            rebalance_timeout_ms=round(REBALANCE_SECONDS * 1000),
            request_timeout_ms=round(max(REQUEST_SECONDS, 2 * settings.session_timeout_seconds) * 1000),
            max_poll_records=HANDED_RECORDS,
            max_partition_fetch_bytes=settings.message_max_bytes,
            fetch_max_bytes=max(settings.batch_bytes, settings.message_max_bytes),
        )

    def reconnected(self) -> bool:
        if self._consumer is None:
            return False
        connections = list(self._consumer._client._conns.items())
        return any(self._known.setdefault(place, connection) is not connection for place, connection in connections)

    async def go(self, offsets: Mapping[Place, int]) -> None:
        await self.call_thread(self._go, offsets)

    async def _go(self, offsets: Mapping[Place, int]) -> None:
        consumer = self._ensure_consumer()
        assigned = consumer.assignment()
        for place, offset in offsets.items():
            if (partition := aiokafka.TopicPartition(*place)) in assigned:
                consumer.seek(partition, offset)

    # A consumer that stops waits for its listeners, and they for the loop that waits for the consumer.
    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        await self.wait(super().on_partitions_revoked(revoked))

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        await self.wait(super().on_partitions_assigned(assigned, generation_id))

    def on_crash(self, msg: str, *fmt: Any, **kwargs: Any) -> None:
        log.warning(msg.format(*fmt))


class Consumer(driver.Consumer):
    """Faust's consumer, whose committed offsets are what the owner wants."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._owner = cast(Transport, self.transport).owner
        self._read_offset = Nothing()

    def _new_consumer_thread(self) -> ConsumerThread:
        return ConsumerThread(self, loop=self.loop, beacon=self.beacon)

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        await super().on_partitions_revoked(revoked)  # nothing flows any more
        await self._owner.revoked()

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        await self._owner.assigned(assigned)
        await super().on_partitions_assigned(assigned, generation_id)  # goes to what is committed, and lets it flow

    async def _getmany(self, active_partitions: set[TP] | None, timeout: float) -> Any:  # noqa: ASYNC109
        try:
            return await super()._getmany(active_partitions, timeout)
        except NoOffsetForPartitionError:  # of partitions that have just come, and go to where they are wanted in a moment
            return {}

    async def seek_to_committed(self) -> Mapping[TP, int]:
        """Goes to where the owner wants each partition to be delivered from, and says where that is."""
        wanted = dict(self._owner.wanted)
        await cast(ConsumerThread, self._thread).go(wanted)
        return {TP(*place): offset for place, offset in wanted.items()}

    async def verify_all_partitions_active(self) -> None:
        """Says nothing of partitions that are quiet: how far each is, `foldline status` tells."""


class Transport(driver.Transport):
    """Faust's transport for one owner."""

    Consumer = Consumer

    def __init__(self, url: Any, app: Any, owner: Owner) -> None:
        super().__init__(url, app)
        self.owner = owner
        self.thread: ConsumerThread | None = None

    def reconnected(self) -> bool:
        """Whether a connection to a broker was lost and made anew; what came over it may be another log."""
        return self.thread is not None and self.thread.reconnected()

    async def go(self, offsets: Mapping[Place, int]) -> None:
        """Delivers on from these offsets, where the partitions are still assigned."""
        if self.thread is not None:
            await self.thread.go(offsets)
