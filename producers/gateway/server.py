"""The gateway's process: one uvicorn server on one event loop, from the socket to the last answer."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import resource
import signal
import socket
import threading
from types import FrameType
from typing import Any

import structlog
import uvicorn

from foldline.adapters.clock import watch_clock
from foldline.domain.errors import Unreachable
from foldline.settings import Settings
from foldline.tracing import tracing
from producers.gateway.app import application
from producers.gateway.parts import Parts, assemble
from producers.gateway.protocol import Protocol, look_at
from producers.imports.child import ImporterChild

BACKLOG = 2048
ACCEPTS_A_TURN = 1024
ACCEPT_RETRY_SECONDS = 1.0
KEEP_ALIVE_SECONDS = 75
DRAIN_SECONDS = 10
END_SECONDS = 14.0
GC_THRESHOLDS = (50_000, 20, 20)

_log = structlog.get_logger("foldline.gateway")


def serve(settings: Settings) -> None:
    """Runs the gateway until SIGTERM or SIGINT; then finishes what it has begun. Raises `Unreachable` for a taken port.

    Where the time of day is set back it finishes what it can, and ends the process with exit code 1."""
    logging.basicConfig(handlers=[_ToStructlog()], level=logging.WARNING, force=True)
    logging.getLogger("psycopg.pool").setLevel(logging.ERROR)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # who only opens connections keeps nobody out
    with bound(settings.gateway_host, settings.gateway_port) as listener:
        parts = assemble(settings, tracing("gateway"))
        server = Server(parts, ImporterChild(settings, parts.metrics.importer_ended))
        # What lives as long as the process is never looked through again; the rest less often than by default.
        gc.collect()
        gc.freeze()
        gc.set_threshold(*GC_THRESHOLDS)
        for number in (signal.SIGTERM, signal.SIGINT):  # until uvicorn runs; it raises them again when it is done
            signal.signal(number, lambda *_: server.end())
        watch_clock(server.clock_was_set_back)
        server.run(sockets=[listener])
        parts.requests.close()
        _log.info("gateway is drained")
        if server.clock_is_set_back:
            os._exit(1)  # to take Kafka's client down is a wait, too


def bound(host: str, port: int) -> socket.socket:
    """A socket that is bound there. Raises `Unreachable`."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = found[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise Unreachable(f"the gateway cannot listen on {host}: {error.strerror or error}") from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        listener.close()
        raise Unreachable(
            f"the gateway cannot listen on {host}:{port}: {error.strerror}; "
            "choose another port by --port or FOLDLINE_GATEWAY_PORT"
        ) from error
    return listener


class Server(uvicorn.Server):
    """The server of one gateway. Draining begins with the signal: who only waits for an operation is answered at once."""

    def __init__(self, parts: Parts, importer: ImporterChild | None = None) -> None:
        config = uvicorn.Config(
            application(parts),
            loop="uvloop",
            http=type("Protocol", (Protocol,), {"max_head_bytes": parts.settings.max_head_bytes}),
            ws="none",
            lifespan="on",
            access_log=False,
            log_config=None,
            server_header=False,
            proxy_headers=False,
            backlog=BACKLOG,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=DRAIN_SECONDS,
        )
        super().__init__(config)
        self._parts = parts
        parts.metrics.shows("foldline_http_connections", lambda: len(self.server_state.connections))
        self._importer = importer
        self._looking: asyncio.Task[None] | None = None
        self._accepting: list[socket.socket] = []
        self._connecting: set[asyncio.Task[Any]] = set()
        self._retrying: asyncio.TimerHandle | None = None
        self._ending = False
        self.clock_is_set_back = False

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        super().handle_exit(sig, frame)
        self.end()

    def clock_was_set_back(self, seconds: float) -> None:
        """Drains and ends: what Kafka's client waits for may take as long. From any thread."""
        _log.error(
            "the clock was set back: drains and ends, since Kafka's client may wait for as long", seconds=round(seconds)
        )
        self.clock_is_set_back = True
        self.end()

    def end(self) -> None:
        """Begins to drain, and ends the process where that takes too long: a call that waits in a thread may. From any
        thread."""
        self.should_exit = True
        if not self._ending:
            self._ending = True
            last = threading.Timer(END_SECONDS, self._end_now)
            last.daemon = True
            last.start()

    def _end_now(self) -> None:
        _log.warning("gateway ends without waiting any longer: every request was answered or cut off")
        os._exit(1 if self.clock_is_set_back else 0)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._looking = asyncio.create_task(look_at(self.server_state.connections, self._parts.settings))
        for listener in sockets or ():
            self._accept_from(listener)
            host, port = listener.getsockname()[:2]
            _log.info("gateway listens", host=host, port=port)
        if self._importer is not None:
            self._importer.start()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._parts.watcher.stop()
        if self._retrying is not None:
            self._retrying.cancel()
        for listener in self._accepting:
            asyncio.get_running_loop().remove_reader(listener)
            listener.close()
        async with asyncio.TaskGroup() as ending:
            if self._importer is not None:
                ending.create_task(self._importer.stop())
            await super().shutdown(sockets)
        if self._looking is not None:
            self._looking.cancel()

    def _accept_from(self, listener: socket.socket) -> None:
        """Accepts all that wait at every turn of the loop, where uvloop accepts one: whoever is not accepted cannot be told
        that there is too much to do."""
        loop, accepting = asyncio.get_running_loop(), listener.dup()

        def protocol() -> asyncio.Protocol:
            own = {"config": self.config, "server_state": self.server_state, "app_state": self.lifespan.state}
            return self.config.http_protocol_class(**own)

        def accept() -> None:
            for _ in range(ACCEPTS_A_TURN):
                try:
                    connection, _ = accepting.accept()
                except BlockingIOError:
                    return
                except OSError:  # there are too many connections: as asyncio, look again after a while
                    loop.remove_reader(accepting)
                    self._retrying = loop.call_later(ACCEPT_RETRY_SECONDS, loop.add_reader, accepting, accept)
                    return
                connection.setblocking(False)
                task = loop.create_task(loop.connect_accepted_socket(protocol, connection))
                self._connecting.add(task)
                task.add_done_callback(self._connecting.discard)

        accepting.setblocking(False)
        loop.add_reader(accepting, accept)
        self._accepting.append(accepting)


class _ToStructlog(logging.Handler):
    """What libraries log, in our form: without the text of exceptions, which may quote what was sent."""

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[0].__name__ if record.exc_info and record.exc_info[0] else None
        _log.log(record.levelno, record.getMessage().strip(), source=record.name, **({"error": error} if error else {}))
