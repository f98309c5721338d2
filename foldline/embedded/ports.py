"""TCP ports for the embedded servers, chosen once for a data directory and kept while they are free.

They lie below the range that the system gives to outgoing connections: a client of a server that is restarting must never
be given that server's own port.
"""

from __future__ import annotations

import errno
import json
import random
import socket
from pathlib import Path

from foldline.embedded.errors import EmbeddedError
from foldline.embedded.files import write_atomically

LOWEST_PORT, HIGHEST_PORT = 15_000, 32_000


def is_free(port: int, host: str = "127.0.0.1") -> bool:
    """Whether a server can listen there. Raises `EmbeddedError` where the host is none of this machine's addresses."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except OSError as error:
        raise EmbeddedError(f"{host} is not an address: {error}") from error
    with socket.socket(family, kind, protocol) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
            probe.listen(1)
        except OSError as error:
            if error.errno == errno.EADDRNOTAVAIL:
                raise EmbeddedError(f"{host} is not an address of this machine") from error
            return False
    return True


class Ports:
    """The ports of one data directory by name, remembered in a file."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._ports: dict[str, int] = json.loads(file.read_text()) if file.exists() else {}

    def get(self, name: str, host: str = "127.0.0.1") -> int:
        """The port of that name: the one it had if it is still free, else a new one."""
        port = self._ports.get(name)
        while port is None or not is_free(port, host):
            port = random.randint(LOWEST_PORT, HIGHEST_PORT)
            if port in self._ports.values():
                port = None
        if self._ports.get(name) != port:
            self._ports[name] = port
            write_atomically(self._file, json.dumps(self._ports))
        return port
