"""The Faust runner: an agent of a Faust application delivers. Offsets are set on assignment, from the positions.

Delivery guarantee: none is needed, and of Faust's own none is used. It acknowledges nothing, commits no offsets, has no
tables, makes no topics and sends nothing. A worker lives from one assignment to the next; whatever goes wrong ends it and
the application, and after a pause the runner joins the group anew.

Everything of this object happens on the application's loop; the worker, in a thread of its own, one call at a time.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, TypeVar

import faust

from foldline.domain.errors import FoldlineError, Unreachable
from foldline.logs import log_libraries
from foldline.settings import Settings
from processors.runners.faust_transport import STOP_SECONDS, Place, Transport
from processors.runners.lives import HANDED_RECORDS, end, group, live_until, log, topics
from processors.watch import Watch
from processors.worker import Ports, Worker

POLL_SECONDS = 0.1
# How many records wait within Faust before it stops to fetch their partition.
QUEUED_RECORDS = 8192

T = TypeVar("T")


class Delivered:
    """A record of the log, from a message of Faust's."""

    __slots__ = ("_message",)

    def __init__(self, message: Any) -> None:
        self._message = message

    def topic(self) -> str:
        return self._message.topic  # type: ignore[no-any-return]

    def partition(self) -> int:
        return self._message.partition  # type: ignore[no-any-return]

    def offset(self) -> int:
        return self._message.offset  # type: ignore[no-any-return]

    def key(self) -> bytes | None:
        return self._message.key  # type: ignore[no-any-return]

    def value(self) -> bytes | None:
        return self._message.value  # type: ignore[no-any-return]

    def timestamp(self) -> tuple[int, int]:
        return self._message.timestamp_type, round(self._message.timestamp * 1000)

    def headers(self) -> list[tuple[str, bytes | None]]:
        return list(self._message.headers or ())


class Arrivals:
    """What has arrived and was not handled yet, within bounds."""

    def __init__(self, records: int, size: int) -> None:
        self._records, self._size = records, size
        self._waiting: deque[Delivered] = deque()
        self._bytes = 0
        self._some, self._room = asyncio.Event(), asyncio.Event()

    async def put(self, message: Any) -> None:
        """Takes a message; waits while too much is there."""
        self._waiting.append(record := Delivered(message))
        self._bytes += weight(record)
        self._some.set()
        if len(self._waiting) >= self._records or self._bytes >= self._size:
            self._room.clear()
            await self._room.wait()

    async def take(self, records: int) -> list[Delivered]:
        """The first of what is there, at most so many; none where nothing comes for a short while."""
        with suppress(TimeoutError):
            async with asyncio.timeout(POLL_SECONDS):
                await self._some.wait()
        taken = [self._waiting.popleft() for _ in range(min(records, len(self._waiting)))]
        self._bytes -= sum(map(weight, taken))
        self._changed()
        return taken

    def forget(self, places: Iterable[Place] | None = None) -> None:
        """Drops what is there of these partitions, or of all."""
        gone = None if places is None else set(places)
        kept = [record for record in self._waiting if gone is not None and (record.topic(), record.partition()) not in gone]
        self._waiting = deque(kept)
        self._bytes = sum(map(weight, kept))
        self._changed()

    def _changed(self) -> None:
        self._room.set()
        if not self._waiting:
            self._some.clear()


def weight(record: Delivered) -> int:
    """The bytes of a record's key and value."""
    return len(record.key() or b"") + len(record.value() or b"")


class Undecoded(faust.Schema[Any, Any]):
    """Gives each message as it is: to decode it is the worker's matter, and what cannot be decoded is a dead letter."""

    def compile(self, app: Any, **_: Any) -> Callable[..., Awaitable[Any]]:
        async def decode(message: Any, *, propagate: bool = False) -> Any:
            return app.create_event(None, message, message.headers, message)

        return decode


class App(faust.App):
    """A Faust application that keeps nothing in files."""

    def _create_directories(self) -> None: ...


class FaustRunner:
    """Runs a processor until it is stopped. `watch` is told what becomes of it."""

    def __init__(self, settings: Settings, ports: Ports, watch: Watch | None = None) -> None:
        self.settings, self._ports, self._watch = settings, ports, watch or Watch()
        self.wanted: dict[Place, int] = {}
        """From where each partition that is assigned is to be delivered."""

    def run(self, stop: threading.Event) -> None:
        """Returns once `stop` is set and all that was folded is published. Raises one of `STOPS`."""
        log_libraries("faust", "mode", "aiokafka")
        live_until(stop, lambda: asyncio.run(self._live(stop)), self.settings.retry_seconds, self._watch)

    async def _live(self, stop: threading.Event) -> None:
        """One application's life."""
        self._worker: Worker | None = None
        self._failure: BaseException | None = None
        self._arrivals = Arrivals(2 * HANDED_RECORDS, self.settings.batch_bytes)
        self._turn = asyncio.Lock()
        app = self._app()
        with ThreadPoolExecutor(1, thread_name_prefix="worker") as self._thread:
            starting = asyncio.ensure_future(app.start())
            try:
                while not stop.is_set():
                    self._watch.turns()
                    records = await self._arrivals.take(HANDED_RECORDS if self._worker is not None else 0)
                    self._check(app, starting)
                    await self._handle(records)
                await self._release(drain=True)
            finally:
                await self._release(drain=False)
                await stopped(app, starting)

    def _app(self) -> App:
        app = App(
            group(self.settings),
            broker=f"kafka://{self.settings.kafka_bootstrap}",
            store="memory://",
            web_enabled=False,
            topic_disable_leader=True,
            topic_allow_declare=False,
            stream_buffer_maxsize=QUEUED_RECORDS,
            stream_wait_empty=False,
        )
        app.boot_strategy.enable_kafka_producer = False
        app.transport = self._transport = Transport(app.conf.broker_consumer, app, self)
        upserts = app.topic(*topics(self.settings), schema=Undecoded(), acks=False)

        @app.agent(upserts, name="fold")
        async def fold(stream: Any) -> None:
            async for message in stream:
                await self._arrivals.put(message)

        return app

    def _check(self, app: App, starting: asyncio.Future[Any]) -> None:
        if self._failure is not None:
            raise self._failure
        crash = starting.exception() if starting.done() and not starting.cancelled() else app.crash_reason
        if crash is not None or app.should_stop:
            raise Unreachable("Faust has stopped" + (f": {type(crash).__name__}: {crash}" if crash is not None else ""))

    async def _handle(self, records: list[Delivered]) -> None:
        async with self._turn:
            if self._worker is None:
                return
            if records and self._transport.reconnected():
                raise Unreachable("the connection to Kafka was lost: the log is verified before anything more is folded")
            self._watch.delivers(records)
            try:
                back = await self._call(self._worker.handle, records, len(records) == HANDED_RECORDS)
            except BaseException as failure:
                self._failure = failure
                raise
            self.wanted |= {(record.topic(), record.partition()): record.offset() + 1 for record in records} | back
            for (topic, partition), offset in back.items():
                log.warning("hole in delivery", topic=topic, partition=partition, offset=offset)
            if back:
                self._arrivals.forget(back)
                await self._transport.go(back)

    async def assigned(self, partitions: Iterable[Place]) -> None:
        """Takes partitions on. Where that fails, the application is ended by it."""
        await self._release(drain=False)
        async with self._turn:
            try:
                self._worker = await self._call(lambda: Worker(self.settings, self._ports))
                self.wanted = await self._call(self._worker.begin, [tuple(partition) for partition in partitions])
            except BaseException as failure:
                self._failure = failure
                raise
        log.info("assigned", partitions={f"{topic}[{partition}]": at for (topic, partition), at in self.wanted.items()})
        self._watch.assigned(self.wanted)

    async def revoked(self) -> None:
        """Gives all partitions back, after what was handled is committed and published."""
        if self._worker is not None:
            log.info("revoked", partitions=len(self.wanted))
        try:
            await self._release(drain=True)
        except FoldlineError as failure:
            self._failure = failure

    async def _release(self, drain: bool) -> None:
        async with self._turn:
            worker, self._worker = self._worker, None
            self.wanted = {}
            self._watch.released()
            self._arrivals.forget()
            if worker is not None:
                seconds = self.settings.transaction_timeout_seconds if drain and self._failure is None else None
                await self._call(end, worker, seconds)

    async def _call(self, function: Callable[..., T], *arguments: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, function, *arguments)


async def stopped(app: App, starting: asyncio.Future[Any]) -> None:
    """Stops an application, as far as it can be."""
    starting.cancel()
    try:
        async with asyncio.timeout(2 * STOP_SECONDS):
            await app.stop()
    except Exception as failure:
        log.warning("Faust did not stop as it should", reason=f"{type(failure).__name__}: {failure}")
