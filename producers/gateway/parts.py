"""What the gateway's handlers work with, and how they find it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import cast

from starlette.requests import Request
from starlette.types import Scope

from foldline.adapters.pool import Connections, Database
from foldline.adapters.producer import KafkaLog, Log
from foldline.adapters.registry import registry_of
from foldline.domain.errors import Unreachable
from foldline.settings import Settings
from foldline.tracing import Spans
from producers.gateway.access import Access, Caller
from producers.gateway.activity import Activities
from producers.gateway.bodies import Room
from producers.gateway.envelope import Refusal
from producers.gateway.figures import Figures
from producers.gateway.idempotency import IdempotencyKeys
from producers.gateway.metrics import Metrics
from producers.gateway.progress import Watcher
from producers.gateway.rates import UNLIMITED_HEADERS, Rates
from producers.gateway.telemetry import EXTRA_HEADERS, Requests, told_of
from producers.gateway.uses import Uses
from producers.sealing import SealedLog
from projections.generations import OPERATIONS_SECRET
from projections.reader import Reader

FLUSH_SECONDS = 2.0


@dataclass
class Parts:
    """The gateway's parts. `open` and `close` frame their use; neither waits for a server."""

    settings: Settings
    database: Database
    connections: Connections
    log: Log
    reader: Reader
    access: Access
    uses: Uses
    rates: Rates
    watcher: Watcher
    activity: Activities
    keys: IdempotencyKeys
    room: Room
    metrics: Metrics
    requests: Requests
    known_secret: bytes | None = None

    async def open(self) -> None:
        await self.database.open()
        self.uses.open()
        self.activity.open()
        self.metrics.open()
        await self.log.open()

    async def close(self) -> None:
        self.watcher.stop()
        self.metrics.close()
        await self.log.close(FLUSH_SECONDS)
        await asyncio.gather(self.uses.close(), self.activity.close())
        await self.database.close()
        self.connections.close()

    async def secret(self) -> bytes:
        """What authenticates operation ids and cursors, on all gateways. Raises `Unreachable`."""
        if self.known_secret is None:
            self.known_secret = await self.reader.secret(OPERATIONS_SECRET)
        if self.known_secret is None:
            raise Unreachable("the database has no secret for operations: run `foldline init`")
        return self.known_secret

    async def check_database(self) -> None:
        """Raises `Unreachable` where the database cannot be reached or is not initialised."""
        if await self.reader.secret(OPERATIONS_SECRET) is None:
            raise Unreachable("the database has no secret for operations: run `foldline init`")

    async def admit(self, scope: Scope, key: str | None) -> Caller:
        """The caller with that key, counted. From here on answers carry the rate limit. Raises `Refusal`: 401, 403, 429."""
        caller = self.access.known(key) or await self.access.caller(key, address_of(scope))
        told_of(scope).org_id = caller.org_id
        if caller.forbidden:
            scope[EXTRA_HEADERS] = (await self.rates.peek(caller)).headers()
            raise Refusal(403, caller.forbidden)
        if not caller.rate_limit:
            scope[EXTRA_HEADERS] = UNLIMITED_HEADERS
            return caller
        window = await self.rates.spend(caller)
        scope[EXTRA_HEADERS] = headers = window.headers()
        if not window.allowed:
            seconds = max(1, int(headers[2][1]))
            raise Refusal(
                429,
                f"The organisation has made its {window.limit} requests of this window; the next begins in {seconds} s",
                headers={"Retry-After": str(seconds)},
            )
        return caller


def address_of(scope: Scope) -> str:
    """The address that a request's connection comes from."""
    client = scope.get("client")
    return str(client[0]) if client else ""


def parts_of(request: Request) -> Parts:
    """The parts of the application that a request came to."""
    return cast(Parts, request.app.state.parts)


def assemble(settings: Settings, spans: Spans | None = None) -> Parts:
    """The parts on Kafka and PostgreSQL, as the settings say. Connects to nothing yet. Raises `MasterKeyMissing`."""
    database = Database(settings, "foldline gateway")
    uses = Uses(database)
    reader = Reader(database, settings.topic_prefix)
    watcher = Watcher(reader.positions)
    metrics = Metrics(Figures(database))
    kafka = KafkaLog(settings, registry_of(settings), lambda error, records: metrics.delivery_failed(error.name(), records))
    log = SealedLog(kafka, database.fetch, settings)
    room = Room(settings.max_pending_kilobytes * 1024)
    show(metrics, settings, log, room, database)
    return Parts(
        settings=settings,
        database=database,
        connections=Connections(settings, "foldline dashboard"),
        log=log,
        reader=reader,
        access=Access(database, settings, uses),
        uses=uses,
        rates=Rates(database, settings),
        watcher=watcher,
        activity=Activities(database, watcher),
        keys=IdempotencyKeys(database.fetch),
        room=room,
        metrics=metrics,
        requests=Requests(metrics, settings.log_level == "debug", spans),
    )


def show(metrics: Metrics, settings: Settings, log: Log, room: Room, database: Database) -> None:
    """Has the metrics show how full the gateway is, and how full it may be."""
    metrics.shows("foldline_pending_bytes", lambda: room.limit - room.free)
    metrics.shows("foldline_pending_limit_bytes", lambda: room.limit)
    metrics.shows("foldline_producer_queue_records", log.queued)
    metrics.shows("foldline_producer_queue_limit_records", lambda: settings.producer_queue_messages)
    metrics.shows("foldline_database_connections", lambda: database.use().connections)
    metrics.shows("foldline_database_limit_connections", lambda: settings.database_pool_size)
    metrics.shows("foldline_database_waiting", lambda: database.use().waiting)
