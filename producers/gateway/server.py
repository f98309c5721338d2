"""The gateway's process: one uvicorn server on one event loop, from the socket to the last answer."""

from __future__ import annotations

import gc
import logging
import signal
import socket

import structlog
import uvicorn

from foldline.domain.errors import Unreachable
from foldline.settings import Settings
from producers.gateway.app import application
from producers.gateway.parts import Parts, assemble
from producers.gateway.protocol import Protocol
from producers.imports.child import ImporterChild

BACKLOG = 2048
KEEP_ALIVE_SECONDS = 75
DRAIN_SECONDS = 10
GC_THRESHOLDS = (50_000, 20, 20)

_log = structlog.get_logger("foldline.gateway")


def serve(settings: Settings) -> None:
    """Runs the gateway until SIGTERM or SIGINT; then finishes what it has begun. Raises `Unreachable` for a taken port."""
    logging.basicConfig(handlers=[_ToStructlog()], level=logging.WARNING, force=True)
    logging.getLogger("psycopg.pool").setLevel(logging.ERROR)
    with bound(settings.gateway_host, settings.gateway_port) as listener:
        server = Server(assemble(settings), ImporterChild(settings))
        # What lives as long as the process is never looked through again; the rest less often than by default.
        gc.collect()
        gc.freeze()
        gc.set_threshold(*GC_THRESHOLDS)
        for number in (signal.SIGTERM, signal.SIGINT):  # uvicorn raises them again when it is done
            signal.signal(number, lambda *_: setattr(server, "should_exit", True))
        server.run(sockets=[listener])
        _log.info("gateway is drained")


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
            http=Protocol,
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
        self._importer = importer

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        for listener in sockets or ():
            host, port = listener.getsockname()[:2]
            _log.info("gateway listens", host=host, port=port)
        if self._importer is not None:
            self._importer.start()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._parts.watcher.stop()
        if self._importer is not None:
            await self._importer.stop()
        await super().shutdown(sockets)


class _ToStructlog(logging.Handler):
    """What libraries log, in our form: without the text of exceptions, which may quote what was sent."""

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[0].__name__ if record.exc_info and record.exc_info[0] else None
        _log.log(record.levelno, record.getMessage().strip(), source=record.name, **({"error": error} if error else {}))
