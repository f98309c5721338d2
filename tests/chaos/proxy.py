"""A link between two networks that can be slow, silent, or broken.

A service on the far side finds each server at the address that it has on the near side, and the other way round.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Iterable
from contextlib import suppress

from tests.chaos.machine import Network

CHUNK_BYTES = 64 * 1024
CONNECT_SECONDS = 5.0
HOST = "127.0.0.1"


class Link:
    """One server's connections."""

    def __init__(self) -> None:
        self.delay_seconds = 0.0
        self.silent = False
        self.refuses = False
        self._writers: set[asyncio.StreamWriter] = set()

    def reset(self) -> None:
        """Ends every connection with a reset."""
        for writer in self._writers:
            plain = writer.get_extra_info("socket")
            with suppress(OSError):
                plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()

    async def carry(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, onward: socket.socket, port: int
    ) -> None:
        """One connection, from its acceptance to its end."""
        self._writers.add(writer)
        far_writer: asyncio.StreamWriter | None = None
        try:
            if self.refuses:
                return
            onward.setblocking(False)
            await asyncio.wait_for(asyncio.get_running_loop().sock_connect(onward, (HOST, port)), CONNECT_SECONDS)
            far_reader, far_writer = await asyncio.open_connection(sock=onward)
            self._writers.add(far_writer)
            ways = [asyncio.create_task(self._way(a, b)) for a, b in ((reader, far_writer), (far_reader, writer))]
            _, others = await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            for way in others:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
        except (OSError, TimeoutError):
            onward.close()
        finally:
            for one in (writer, far_writer):
                if one is not None:
                    self._writers.discard(one)
                    one.close()

    async def _way(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(CHUNK_BYTES):
                if self.delay_seconds:
                    await asyncio.sleep(self.delay_seconds)
                while self.silent:  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
                writer.write(data)
                await writer.drain()


class Proxy:
    """Carries connections between a network and the one outside it, in a thread of its own."""

    def __init__(self, network: Network, inward: Iterable[int], outward: dict[int, int]) -> None:
        """`inward` are ports outside that are found at the same ports inside; `outward` maps ports outside to those inside.
        `links` has a link for each port inside."""
        self._network = network
        self.links: dict[int, Link] = {}
        self._loop = asyncio.new_event_loop()
        thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        thread.start()
        for port in inward:
            with network.inside():
                listener = socket.create_server((HOST, port))
            self._serve(listener, port, port, into=False)
        for outside, inside in outward.items():
            self._serve(socket.create_server((HOST, outside)), inside, inside, into=True)

    def reset(self, port: int) -> None:
        """Ends every connection of that link with a reset."""
        self._loop.call_soon_threadsafe(self.links[port].reset)

    def _serve(self, listener: socket.socket, name: int, port: int, *, into: bool) -> None:
        link = self.links[name] = Link()

        async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            if into:
                with self._network.inside():
                    onward = socket.socket()
            else:
                onward = socket.socket()
            await link.carry(reader, writer, onward, port)

        asyncio.run_coroutine_threadsafe(asyncio.start_server(carry, sock=listener), self._loop).result(CONNECT_SECONDS)
