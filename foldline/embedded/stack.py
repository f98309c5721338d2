"""The whole stack on one machine, under one supervisor.

Started in this order: what a killed stack left is ended; Kafka and PostgreSQL; `foldline init`; the gateway and the
processors. Stopped in this order: the gateway, so that nothing new is accepted; the processors; Kafka and PostgreSQL.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from foldline.embedded.datadir import VARIABLE, Stack, held, remove_stack, write_stack
from foldline.embedded.errors import EmbeddedError
from foldline.embedded.jars import kafka_jars
from foldline.embedded.kafka import kafka_part
from foldline.embedded.masterkey import master_key_file
from foldline.embedded.parts import nothing
from foldline.embedded.ports import Ports, is_free
from foldline.embedded.postgres import postgres_part, postgres_url
from foldline.embedded.processes import identify
from foldline.embedded.services import Services, foldline_services
from foldline.embedded.supervisor import Supervisor, tell

LOG_CHECK_SECONDS = 1.0
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

MakeServices = Callable[[Path, str, int, Sequence[int], str, Mapping[str, str]], Services]


@dataclass(frozen=True, kw_only=True)
class Options:
    """`root` is absolute; without a `port` one that is free is taken, and kept for this `root`."""

    root: Path
    host: str
    port: int | None
    processors: int
    runner: str
    partitions: int


def up(options: Options, announce: Callable[[Stack], None], services: MakeServices = foldline_services) -> None:
    """Runs the stack until SIGTERM or SIGINT; `announce` is called once it accepts and applies work.

    Raises `EmbeddedError`, with everything stopped again, where the stack cannot be started.
    """
    with held(options.root):
        supervisor = Supervisor(options.root)
        supervisor.end_leftovers()
        remove_stack(options.root)
        if options.port and not is_free(options.port, options.host):
            raise EmbeddedError(f"port {options.port} of {options.host} is taken: choose another one with --port")
        kafka_jars()
        asyncio.run(_Up(options, supervisor, services).run(announce))


class _Up:
    def __init__(self, options: Options, supervisor: Supervisor, services: MakeServices) -> None:
        root, ports = options.root, Ports(options.root / "ports.json")
        self._root = root
        self._supervisor = supervisor
        self._kafka_ports = ports.get("kafka"), ports.get("kafka-controller")
        self._postgres_port = ports.get("postgres")
        port = options.port or ports.get("gateway", options.host)
        self._url = f"http://{f'[{options.host}]' if ':' in options.host else options.host}:{port}"
        self._environment = {
            **{name: value for name, value in os.environ.items() if name != "FOLDLINE_MASTER_KEY"},
            VARIABLE: str(root),
            "FOLDLINE_KAFKA_BOOTSTRAP": f"127.0.0.1:{self._kafka_ports[0]}",
            "FOLDLINE_DATABASE_URL": postgres_url(root, self._postgres_port),
            "FOLDLINE_GATEWAY_HOST": options.host,
            "FOLDLINE_GATEWAY_PORT": str(port),
            "FOLDLINE_METRICS_HOST": "127.0.0.1",
            "FOLDLINE_PARTITIONS": str(options.partitions),
            "FOLDLINE_REPLICATION_FACTOR": "1",
            "FOLDLINE_MIN_INSYNC_REPLICAS": "1",
            "FOLDLINE_MASTER_KEY_FILE": str(master_key_file(root)),
        }
        metrics_ports = [ports.get(f"processor-{number}") for number in range(1, options.processors + 1)]
        self._services = services(root, options.host, port, metrics_ports, options.runner, self._environment)
        self._metrics = {"gateway": f"{self._url}/metrics"}
        for part, metrics_port in zip(self._services.processors, metrics_ports, strict=True):
            self._metrics[part.name] = f"http://127.0.0.1:{metrics_port}/metrics"
        self._stop = asyncio.Event()

    async def run(self, announce: Callable[[Stack], None]) -> None:
        for number in STOP_SIGNALS:
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # nohup
                asyncio.get_running_loop().add_signal_handler(number, self._signalled)
        try:
            if await self._unless_stopped(self._start()):
                announce(self._record())
                self._supervisor.changed = self._record
                await self._watch()
        finally:
            await self._drain()

    def _signalled(self) -> None:
        if self._stop.is_set():
            self._supervisor.hurry()
        self._stop.set()

    async def _unless_stopped(self, work: Coroutine[None, None, None]) -> bool:
        """Whether the work was done before a stop was asked for; what it raises is raised."""
        working, stopped = asyncio.ensure_future(work), asyncio.ensure_future(self._stop.wait())
        await asyncio.wait({working, stopped}, return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if working.done():
            await working
            return True
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)
        return False

    async def _start(self) -> None:
        supervisor, services = self._supervisor, self._services
        servers = await asyncio.gather(
            asyncio.to_thread(kafka_part, self._root, *self._kafka_ports),
            asyncio.to_thread(postgres_part, self._root, self._postgres_port),
        )
        await supervisor.start(*servers)
        await supervisor.run(services.init)
        await supervisor.start(services.gateway, *services.processors)

    def _record(self) -> Stack:
        me = identify(os.getpid())
        assert me is not None
        stack = Stack(
            up=me,
            url=self._url,
            kafka=self._environment["FOLDLINE_KAFKA_BOOTSTRAP"],
            database_url=self._environment["FOLDLINE_DATABASE_URL"],
            environment={
                name: value for name, value in self._environment.items() if name.startswith("FOLDLINE_") and name != VARIABLE
            },
            parts=self._supervisor.identities(),
            metrics=self._metrics,
        )
        write_stack(self._root, stack)
        return stack

    async def _watch(self) -> None:
        while not self._stop.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), LOG_CHECK_SECONDS)
            self._supervisor.bound_logs()

    async def _drain(self) -> None:
        self._supervisor.changed = nothing
        remove_stack(self._root)
        processors = [part.name for part in self._services.processors]
        for names in (["init"], ["gateway"], processors, ["kafka", "postgres"]):
            await self._supervisor.stop(*names)
        tell("everything is stopped")
