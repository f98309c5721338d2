"""`make overload`: requests at twice the rate that the gateway takes, whatever it answers, and then as many as it takes.

It fails unless memory stays bounded, every answer is 202, or 503 or 429 with `Retry-After`, what was answered 202 is folded,
each record once, and afterwards everything is accepted again, by itself.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import orjson
import psutil
import psycopg
import uvloop

from benchmarks.gateway import benchmark_key, serving
from benchmarks.servers import PYTHON, environment, servers
from foldline.embedded.processes import until
from foldline.settings import Settings

RECORDS = 500
NUMBER = b"@" * 12  # where a request's number goes
BODY = orjson.dumps(
    [
        {"item_id": f"{NUMBER.decode()}-{place}", "item_type": "t", "attributes": {"text": "x" * 100, "n": place}}
        for place in range(RECORDS)
    ]
)
GIVE_UP_SECONDS = 15.0
CONNECTIONS = 16
CALM_SECONDS = 5.0
DRAINED_SECONDS = 600.0
GATEWAY_MB, PROCESSOR_MB = 600, 900  # of memory, at most


@dataclass
class Outcome:
    """What became of the requests of one load."""

    statuses: Counter[str] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    accepted: set[int] = field(default_factory=set)
    dishonest: list[str] = field(default_factory=list)


class Client:
    """Sends requests to one gateway, each of records of its own, over connections that are kept, as many as it takes."""

    def __init__(self, settings: Settings, key: str) -> None:
        self._port, self._key = settings.gateway_port, key
        self._numbers = itertools.count()
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def send(self, outcome: Outcome) -> None:
        """One request; gives up after a while, as clients do."""
        number, began = next(self._numbers), time.perf_counter()
        try:
            async with asyncio.timeout(GIVE_UP_SECONDS):
                status, head = await self._exchange(number)
        except (OSError, TimeoutError, asyncio.IncompleteReadError) as error:
            outcome.statuses[type(error).__name__] += 1
            return
        outcome.statuses[status] += 1
        outcome.seconds.append(time.perf_counter() - began)
        if status == "202":
            outcome.accepted.add(number)
        elif status not in ("429", "503") or b"\r\nretry-after: " not in head:
            outcome.dishonest.append(status)

    def forget(self) -> None:
        """Connections belong to the loop that has ended."""
        self._idle.clear()

    async def _exchange(self, number: int) -> tuple[str, bytes]:
        body = BODY.replace(NUMBER, b"%012d" % number)
        request = (
            f"POST /v1/ingest/items/upsert HTTP/1.1\r\nHost: localhost\r\nX-API-KEY: {self._key}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        reader, writer = self._idle.pop() if self._idle else await asyncio.open_connection("127.0.0.1", self._port)
        try:
            writer.write(request.encode() + body)
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            await reader.readexactly(int(head.partition(b"content-length: ")[2].split(b"\r\n", 1)[0]))
        except BaseException:
            writer.transport.abort()
            raise
        if b"\r\nconnection: close" in head:
            writer.close()
        else:
            self._idle.append((reader, writer))
        return head.split(b" ", 2)[1].decode(), head


async def waiting(client: Client, seconds: float) -> Outcome:
    """Clients that each wait for their answer before they send again."""
    outcome, ends_at = Outcome(), time.perf_counter() + seconds

    async def one() -> None:
        while time.perf_counter() < ends_at:
            await client.send(outcome)

    await asyncio.gather(*(one() for _ in range(CONNECTIONS)))
    client.forget()
    return outcome


async def not_waiting(client: Client, rate: float, seconds: float) -> Outcome:
    """So many requests a second, whatever becomes of those before."""
    outcome, ends_at = Outcome(), time.perf_counter() + seconds
    async with asyncio.TaskGroup() as sending:
        due = time.perf_counter()
        while due < ends_at:
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            sending.create_task(client.send(outcome))
            due += random.expovariate(rate)
    client.forget()
    return outcome


class Memory:
    """The most memory of processes, looked at while they run, in MB."""

    def __init__(self, **pids: int) -> None:
        self.most = dict.fromkeys(pids, 0.0)
        self._processes = {name: psutil.Process(pid) for name, pid in pids.items()}
        threading.Thread(target=self._look, daemon=True).start()

    def _look(self) -> None:
        with suppress(psutil.Error):  # they have ended
            while True:
                for name, process in self._processes.items():
                    self.most[name] = max(self.most[name], process.memory_info().rss / 1e6)
                time.sleep(0.2)


@contextmanager
def processing(settings: Settings) -> Iterator[subprocess.Popen[bytes]]:
    """A processor."""
    process = subprocess.Popen([PYTHON, "-m", "foldline", "process"], env=environment(settings), stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


def versions(settings: Settings) -> dict[str, int]:
    """How many upserts are folded into each item."""
    with psycopg.connect(settings.database_url) as connection:
        return dict(connection.execute("SELECT item_id, version FROM foldline.known_items").fetchall())


def faults(settings: Settings, outcomes: list[Outcome], memory: Memory, calm: Outcome) -> Iterator[str]:
    """What does not hold."""
    limits = {"gateway": GATEWAY_MB, "processor": PROCESSOR_MB}
    for name, most in memory.most.items():
        if most > limits[name]:
            yield f"the {name} took {most:.0f} MB: more than {limits[name]}"
    for outcome in outcomes:
        if outcome.dishonest:
            yield f"{len(outcome.dishonest)} answers were other than 202, and not 503 or 429 with Retry-After"
    if set(calm.statuses) != {"202"}:
        yield f"afterwards not all were accepted: {dict(calm.statuses)}"
    accepted = {f"{number:012}-{place}" for outcome in outcomes for number in outcome.accepted for place in range(RECORDS)}
    folded: dict[str, int] = {}

    def are_folded() -> bool:
        folded.update(versions(settings))
        return accepted <= folded.keys()

    if not until(are_folded, DRAINED_SECONDS):
        yield f"of {len(accepted):,} records that were accepted {len(accepted - folded.keys()):,} are not folded"
    if doubled := sum(version > 1 for version in folded.values()):
        yield f"{doubled:,} records were folded more than once"


def shown(name: str, outcome: Outcome, seconds: float) -> str:
    times = sorted(outcome.seconds) or [0.0]
    p50, p99 = times[len(times) // 2], times[len(times) * 99 // 100]
    statuses = ", ".join(f"{count:,} {status}" for status, count in outcome.statuses.most_common())
    return f"{name}: {sum(outcome.statuses.values()) / seconds:.0f} requests/s: {statuses}; p50 {p50:.2f} s, p99 {p99:.2f} s"


def main() -> None:
    """Parses the command line, measures, prints; exits with 1 where something does not hold."""
    parser = argparse.ArgumentParser(prog="make overload", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="how long there is too much to do")
    parser.add_argument("--times", type=float, default=2.0, help="how much of what the gateway takes")
    arguments = parser.parse_args()
    seconds = 60 * arguments.minutes
    with servers() as started:
        settings = started.fresh()
        key = benchmark_key(settings)
        with serving(settings, key, "foldline gateway") as gateway, processing(settings) as processor:
            memory, client = Memory(gateway=gateway.pid, processor=processor.pid), Client(settings, key)
            warm = uvloop.run(waiting(client, CALM_SECONDS))
            before = uvloop.run(waiting(client, CALM_SECONDS))
            rate = arguments.times * len(before.accepted) / CALM_SECONDS
            print(shown("before", before, CALM_SECONDS), flush=True)
            too_many = uvloop.run(not_waiting(client, rate, seconds))
            print(shown(f"{arguments.times:g} times as many", too_many, seconds), flush=True)
            after = uvloop.run(waiting(client, CALM_SECONDS))
            print(shown("after", after, CALM_SECONDS), flush=True)
            print("; ".join(f"{name} at most {most:.0f} MB" for name, most in memory.most.items()), flush=True)
            found = list(faults(settings, [warm, before, too_many, after], memory, after))
    for fault in found:
        print(fault, file=sys.stderr)
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
