"""A load of HTTP requests from one process: so many connections, each of which sends as soon as it was answered.

Prints JSON: `{"requests", "seconds", "p50_ms", "p99_ms", "failed"}`. Usage: URL KEY CONNECTIONS RECORDS SECONDS.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from itertools import islice
from urllib.parse import urlsplit

import orjson
import uvloop

from benchmarks.load import upserts

BODIES = 64


class Connection(asyncio.Protocol):
    """Sends one request after another until the end; notes how long each took and whether it was a 202."""

    def __init__(self, requests: list[bytes], ends_at: float, latencies: list[float]) -> None:
        self.requests, self.ends_at, self.latencies = requests, ends_at, latencies
        self.failed = self.sent = 0
        self.answer = b""
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: asyncio.Transport = transport  # type: ignore[assignment]
        self.send()

    def send(self) -> None:
        self.began = time.perf_counter()
        if self.began >= self.ends_at:
            self.transport.close()
            return
        self.sent += 1
        self.transport.write(self.requests[self.sent % len(self.requests)])

    def data_received(self, data: bytes) -> None:
        self.answer += data
        head, found, body = self.answer.partition(b"\r\n\r\n")
        if not found or len(body) < int(head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0]):
            return
        self.latencies.append(time.perf_counter() - self.began)
        self.failed += not head.startswith(b"HTTP/1.1 202")
        self.answer = b""
        self.send()

    def connection_lost(self, error: Exception | None) -> None:
        self.failed += error is not None
        self.done.set_result(None)


def requests(url: str, key: str, records: int) -> list[bytes]:
    """Whole HTTP requests, of one record each or of an array of them."""
    events = upserts(BODIES * records, keys=100_000)
    found = []
    for _ in range(BODIES):
        batch = [
            {
                "item_id": event.entity_id,
                "item_type": event.detail,
                "status": event.status or "active",
                "attributes": orjson.loads(event.attributes or ""),
            }
            for event in islice(events, records)
        ]
        body = orjson.dumps(batch if records > 1 else batch[0])
        head = f"POST {urlsplit(url).path} HTTP/1.1\r\nHost: {urlsplit(url).netloc}\r\nX-API-KEY: {key}\r\n"
        found.append(f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
    return found


async def load(url: str, key: str, connections: int, records: int, seconds: float) -> dict[str, float]:
    """Runs the load and sums it up."""
    bodies = requests(url, key, records)
    latencies: list[float] = []
    began = time.perf_counter()
    loop, parts = asyncio.get_running_loop(), urlsplit(url)
    made = [
        await loop.create_connection(lambda: Connection(bodies, began + seconds, latencies), parts.hostname, parts.port)
        for _ in range(connections)
    ]
    await asyncio.gather(*(connection.done for _, connection in made))
    took = time.perf_counter() - began
    ordered = sorted(latencies) or [0.0]
    return {
        "requests": len(latencies),
        "seconds": took,
        "p50_ms": 1000 * ordered[len(ordered) // 2],
        "p99_ms": 1000 * ordered[len(ordered) * 99 // 100],
        "failed": sum(connection.failed for _, connection in made),
    }


if __name__ == "__main__":
    arguments = (sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), float(sys.argv[5]))
    print(json.dumps(uvloop.run(load(*arguments))))
