"""How soon what was acknowledged can be read, at a tenth of what the gateway takes.

As a program it sends single records at a steady rate, follows some of them by `min_operation` from the 202 to the answer
that shows them, and prints JSON: `{"sent", "followed", "p50_ms", "p99_ms"}`. Usage: URL KEY REQUESTS_A_SECOND SECONDS.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import orjson
import uvloop

from benchmarks.comparison import Plan
from benchmarks.gateway import benchmark_key, serving
from benchmarks.http_load import requests
from benchmarks.servers import PYTHON, Servers, environment
from foldline.embedded.processes import until
from foldline.settings import Settings

CONNECTIONS = 32
READERS = 32
FOLLOWED_A_SECOND = 100


class Figure(NamedTuple):
    """Milliseconds from the 202 until the record can be read."""

    name: str
    unit: str
    p50: float
    p99: float
    notes: str


def freshness(started: Servers, plan: Plan, capacity: float) -> Figure:
    """At a tenth of `capacity`, in requests of one record a second, with one gateway and one processor."""
    settings = started.fresh()
    key = benchmark_key(settings)
    with serving(settings, key, "foldline gateway"), _processing(settings):
        url = f"http://127.0.0.1:{settings.gateway_port}/v1/ingest/items/upsert"
        for seconds in (2.0, plan.seconds):
            arguments = [PYTHON, "-m", "benchmarks.freshness", url, key, str(capacity / 10), str(seconds)]
            found = json.loads(subprocess.run(arguments, check=True, capture_output=True, text=True).stdout)
    notes = f"{found['sent'] / plan.seconds:,.0f} req/s, {found['followed']} followed"
    return Figure("freshness, 202 to readable", "ms", found["p50_ms"], found["p99_ms"], notes)


@contextmanager
def _processing(settings: Settings) -> Iterator[None]:
    with tempfile.TemporaryDirectory() as directory:
        ready = Path(directory) / "ready"
        own = environment(settings, FOLDLINE_READY_FILE=str(ready))
        process = subprocess.Popen([PYTHON, "-m", "foldline", "process"], env=own, stderr=subprocess.DEVNULL)
        try:
            if not until(ready.exists, 60):
                raise RuntimeError("the processor did not start")
            yield
        finally:
            process.terminate()
            process.wait()


class Connection:
    """One connection that waits for the answer to each request."""

    def __init__(self, url: str) -> None:
        self._host, self._port = urlsplit(url).hostname, urlsplit(url).port

    async def open(self) -> Connection:
        self._reader, self._writer = await asyncio.open_connection(self._host, self._port)
        return self

    async def ask(self, request: bytes, status: bytes) -> Any:
        """The answer's `data`. Raises `RuntimeError` for another status."""
        self._writer.write(request)
        head = (await self._reader.readuntil(b"\r\n\r\n")).lower()
        body = await self._reader.readexactly(int(head.partition(b"content-length:")[2].split(b"\r\n", 1)[0]))
        if not head.startswith(b"http/1.1 " + status):
            raise RuntimeError(f"answered {head!r}")
        return orjson.loads(body)["data"]


async def follow(url: str, key: str, rate: float, seconds: float) -> dict[str, float]:
    """Runs the load and sums it up."""
    bodies = requests(url, key, 1)
    ids = [orjson.loads(body.partition(b"\r\n\r\n")[2])["item_id"] for body in bodies]
    readers: asyncio.Queue[Connection] = asyncio.Queue()
    for _ in range(READERS):
        readers.put_nowait(await Connection(url).open())
    tail = f" HTTP/1.1\r\nHost: {urlsplit(url).netloc}\r\nX-API-KEY: {key}\r\n\r\n"
    total, every = int(rate * seconds), max(1, round(rate / FOLLOWED_A_SECOND))
    times: list[float] = []

    async def read(item_id: str, operation_id: str, acknowledged: float) -> None:
        reader = await readers.get()
        await reader.ask(f"GET /v1/items/{item_id}?min_operation={operation_id}{tail}".encode(), b"200")
        times.append(time.perf_counter() - acknowledged)
        readers.put_nowait(reader)

    async def send(first: int) -> None:
        connection = await Connection(url).open()
        for number in range(first, total, CONNECTIONS):
            await asyncio.sleep(began + number / rate - time.perf_counter())
            accepted = await connection.ask(bodies[number % len(bodies)], b"202")
            if number % every == 0:
                reading.create_task(read(ids[number % len(ids)], accepted["operation_id"], time.perf_counter()))

    began = time.perf_counter() + 0.1
    async with asyncio.TaskGroup() as reading, asyncio.TaskGroup() as sending:
        for first in range(CONNECTIONS):
            sending.create_task(send(first))
    ordered = sorted(times)
    p50, p99 = (1000 * ordered[len(ordered) * percent // 100] for percent in (50, 99))
    return {"sent": total, "followed": len(times), "p50_ms": p50, "p99_ms": p99}


if __name__ == "__main__":
    print(json.dumps(uvloop.run(follow(sys.argv[1], sys.argv[2], float(sys.argv[3]), float(sys.argv[4])))))
