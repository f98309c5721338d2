"""Where a service without an HTTP server of its own tells how it is: `/metrics`, `/healthz` and `/readyz`.

1. A service may have turned the collector of cycles off: an answer leaves no cycle behind.
2. Whoever asks, and however slowly, holds up nothing but a thread: a connection ends after `TIMEOUT_SECONDS`.
"""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from socketserver import TCPServer
from typing import Any, TypeAlias
from wsgiref.simple_server import WSGIRequestHandler
from wsgiref.types import StartResponse, WSGIEnvironment

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import ThreadingWSGIServer, make_wsgi_app

from foldline.domain.errors import Unreachable

TIMEOUT_SECONDS = 5.0

Check: TypeAlias = Callable[[], str | None]


@contextmanager
def monitored(host: str, port: int, registry: CollectorRegistry, checks: Mapping[str, Check]) -> Iterator[str]:
    """Answers until the block ends, in threads of its own; gives the URL, port 0 being a free one.

    `checks` by path: each says what is wrong, or None. Raises `Unreachable` where nobody can listen there.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, _, _, _, address = found[0]
        server = type("Server", (_Server,), {"address_family": family})(address[:2], _Handler)
    except OSError as error:
        raise Unreachable(
            f"the metrics cannot be served on {host}:{port}: {error.strerror or error}; "
            "choose another place by FOLDLINE_METRICS_HOST and FOLDLINE_METRICS_PORT"
        ) from error
    server.set_app(_App(registry, checks))
    thread = threading.Thread(target=server.serve_forever, name="monitor", daemon=True)
    thread.start()
    try:
        bound_host, bound_port = server.server_address[:2]
        yield f"http://{f'[{bound_host}]' if ':' in bound_host else bound_host}:{bound_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _App:
    """What is answered, as WSGI. The envelope is the gateway's."""

    def __init__(self, registry: CollectorRegistry, checks: Mapping[str, Check]) -> None:
        self._metrics = make_wsgi_app(registry)
        self._checks = checks

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        path, method = environ.get("PATH_INFO", ""), environ["REQUEST_METHOD"]
        known = path == "/metrics" or path in self._checks
        if method not in ("GET", "HEAD"):
            return _answer(start_response, *(("405 Method Not Allowed", "Not with this method") if known else _NOWHERE))
        if path == "/metrics":
            answer: Iterable[bytes] = self._metrics(environ, start_response)
        elif known:
            wrong = self._checks[path]()
            answer = _answer(
                start_response, "503 Service Unavailable" if wrong else "200 OK", wrong, _WELL.get(path, "Well")
            )
        else:
            answer = _answer(start_response, *_NOWHERE)
        return [] if method == "HEAD" else answer


_WELL = {"/healthz": "Alive", "/readyz": "Ready"}
_NOWHERE = "404 Not Found", "There is nothing here but /metrics, /healthz and /readyz"


def _answer(start_response: StartResponse, status: str, wrong: str | None, well: str = "") -> list[bytes]:
    document: dict[str, Any] = {"success": True, "message": well, "data": {"status": "ok"}}
    if wrong:
        document = {"success": False, "message": wrong, "data": None, "error": wrong, "error_count": 1}
    body = json.dumps(document, separators=(",", ":")).encode()
    start_response(status, [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]


class _Server(ThreadingWSGIServer):
    """Looks up no names, which could take as long as a resolver that does not answer."""

    request_queue_size = 64

    def server_bind(self) -> None:
        TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])
        self.setup_environ()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client left: it is nobody's error."""


class _Handler(WSGIRequestHandler):
    timeout = TIMEOUT_SECONDS

    def log_message(self, format: str, *args: Any) -> None:
        """Who asks is not logged."""
