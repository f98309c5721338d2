"""`make growth`: what an event costs as the state, its shape and the number of processes grow, as pictures and tables.

Every curve is kept as JSON in `docs/growth/`, from which the pictures and the tables of `docs/growth.md` and
`docs/capacity.md` are drawn: a curve can be measured alone, and all of it drawn again without measuring.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import psycopg
from confluent_kafka import ConsumerGroupState
from confluent_kafka.admin import AdminClient

from benchmarks.growth_load import Shape, filled, upserts
from benchmarks.growth_meter import Reading, largest_memory, read
from benchmarks.growth_pages import DATA, draw
from benchmarks.load import append
from benchmarks.servers import PYTHON, Servers, environment, servers
from foldline.embedded.postgres import SERVER
from foldline.embedded.processes import until
from foldline.settings import Settings
from processors.runners.lives import group

POLL_SECONDS = 0.02
START_SECONDS = 60.0
# Of the upserts, how many are folded before the measurement begins: caches fill, batches grow.
WARM_SHARE = 4
GATEWAY_SECONDS = 6.0


class Point(NamedTuple):
    """One point of a curve, as people name it; how it is measured, with an n-th of the events; the table that it needs."""

    label: str
    measure: Callable[[Servers, int], Measured]
    shape: Shape | None = None


class Measured(NamedTuple):
    """What one run came to: what an event used of everything, and the most memory that a process had, in bytes."""

    events: int
    used: Reading
    memory: int


class Curve(NamedTuple):
    """Points in order; with `--quick`, the first `quick` of them."""

    points: Sequence[Point]
    quick: int


def main() -> None:
    """Parses the command line, measures the curves, keeps and draws them."""
    parser = argparse.ArgumentParser(prog="make growth", description=__doc__)
    parser.add_argument("curves", nargs="*", metavar="CURVE", help=f"which ones, all by default: {', '.join(CURVES)}")
    parser.add_argument("--quick", action="store_true", help="one run of fewer events, without the largest points")
    parser.add_argument("--runs", type=int, default=3, help="how often a point is measured; the median is kept")
    parser.add_argument("--servers", type=Path, help="a directory that keeps the servers' data and filled tables")
    parser.add_argument("--data", type=Path, default=DATA, help="where curves are kept, docs/growth by default")
    parser.add_argument(
        "--postgres", action="append", default=[], metavar="NAME=VALUE", help="a setting of PostgreSQL to be tried"
    )
    parser.add_argument("--fill", action="store_true", help="only fill the tables of the curves in --servers")
    parser.add_argument("--draw", action="store_true", help="measure nothing, draw what is kept")
    arguments = parser.parse_args()
    if unknown := set(arguments.curves) - CURVES.keys():
        parser.error(f"no such curve: {', '.join(sorted(unknown))}")
    SERVER.update(setting.split("=", 1) for setting in arguments.postgres)
    if not arguments.draw:
        with servers(arguments.servers) as started:
            for name in arguments.curves or CURVES:
                if arguments.fill:
                    _fill(started, name)
                else:
                    _measure(started, name, 1 if arguments.quick else arguments.runs, arguments.quick, arguments.data)
    if not arguments.fill:
        draw(arguments.data)


def _fill(started: Servers, name: str) -> None:
    for point in CURVES[name].points:
        if point.shape is not None:
            began = time.monotonic()
            filled(started, point.shape)
            print(f"{name}, {point.label}: filled in {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)


def _measure(started: Servers, name: str, runs: int, quick: bool, data: Path) -> None:
    curve = CURVES[name]
    points = []
    for point in curve.points[: curve.quick] if quick else curve.points:
        found = [point.measure(started, 4 if quick else 1) for _ in range(runs)]
        points.append({"label": point.label} | _summary(found))
        print(f"{name}, {point.label}: {_shown(points[-1])}", file=sys.stderr, flush=True)
    data.mkdir(parents=True, exist_ok=True)
    machine = {"cores": os.cpu_count(), "python": platform.python_version()}
    text = json.dumps({"machine": machine, "points": points}, indent=1)
    (data / f"{name}.json").write_text(text + "\n")


def _summary(runs: Sequence[Measured]) -> dict[str, Any]:
    """Medians of the runs: microseconds and bytes an event; and the range of the wall time."""
    middle = Reading(*map(statistics.median, zip(*(run.used for run in runs), strict=True)))
    walls = [1e6 * run.used.wall for run in runs]
    return {
        "runs": len(runs),
        "events": runs[0].events,
        "wall_us": round(1e6 * middle.wall, 2),
        "wall_us_range": [round(min(walls), 2), round(max(walls), 2)],
        "service_us": round(1e6 * middle.service, 2),
        "postgres_us": round(1e6 * middle.postgres, 2),
        "broker_us": round(1e6 * middle.broker, 2),
        "states": round(middle.states, 3),
        "wal_bytes": round(middle.wal_bytes),
        "log_bytes": round(middle.log_bytes),
        "state_bytes": round(middle.state_bytes),
        "memory_mb": round(max(run.memory for run in runs) / 1e6),
    }


def _shown(point: dict[str, Any]) -> str:
    return (
        f"{point['wall_us']} µs {point['wall_us_range']}, processor {point['service_us']}, postgres {point['postgres_us']},"
        f" broker {point['broker_us']}, states {point['states']}, WAL {point['wal_bytes']} B, {point['memory_mb']} MB"
    )


def _fold(label: str, shape: Shape, events: int = 200_000, processes: int = 1) -> Point:
    """A point of the fold: processors fold upserts over a table of this shape."""

    def measure(started: Servers, part: int) -> Measured:
        settings = filled(started, shape)
        count = events // part
        warm = count // WARM_SHARE
        with psycopg.connect(settings.database_url, autocommit=True) as connection:
            connection.execute("CHECKPOINT")

            def published() -> int:
                row = connection.execute("SELECT sum(published)::bigint FROM foldline.positions").fetchone()
                assert row is not None
                return int(row[0])

            start = published()
            append(settings, upserts(shape, warm + count, start))
            with _processors(settings, processes) as pids:
                while (begun := published()) < start + warm:
                    time.sleep(POLL_SECONDS)
                before = read(started, settings, pids)
                while published() < start + warm + count:
                    time.sleep(POLL_SECONDS)
                used = read(started, settings, pids).per(before, start + warm + count - begun)
                return Measured(start + warm + count - begun, used, max(map(largest_memory, pids)))

    return Point(label, measure, shape)


def _gateway(label: str, records: int, connections: int) -> Point:
    """A point of the gateway: requests of so many records, answered 202."""

    def measure(started: Servers, part: int) -> Measured:
        settings = started.named("growth_gateway")
        key = _key(settings)
        with _serving(settings) as (url, pid):
            _send(url, key, connections, records, 1.0)
            before = read(started, settings, [pid])
            sent = _send(url, key, connections, records, GATEWAY_SECONDS / part)
            after = read(started, settings, [pid])
            used = after.per(before, sent["requests"] * records)._replace(
                wall=sent["seconds"] / (sent["requests"] * records)
            )
            return Measured(int(sent["requests"] * records), used, largest_memory(pid))

    return Point(label, measure)


@contextmanager
def _processors(settings: Settings, count: int) -> Iterator[list[int]]:
    """So many processors, from when each of them has partitions; gives their process ids."""
    admin = AdminClient({"bootstrap.servers": settings.kafka_bootstrap, "log_level": 0})
    processes = [
        subprocess.Popen([PYTHON, "-m", "foldline", "process"], env=environment(settings), stderr=subprocess.DEVNULL)
        for _ in range(count)
    ]

    def shared() -> bool:
        found = admin.describe_consumer_groups([group(settings)])[group(settings)].result()
        busy = [member for member in found.members if member.assignment and member.assignment.topic_partitions]
        return found.state == ConsumerGroupState.STABLE and len(busy) == count

    try:
        if not until(shared, START_SECONDS):
            raise RuntimeError(f"{count} processors did not share the partitions in {START_SECONDS:.0f} s")
        yield [process.pid for process in processes]
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait()


@contextmanager
def _serving(settings: Settings) -> Iterator[tuple[str, int]]:
    """A gateway that is ready; gives the URL for upserts, and its process id."""
    process = subprocess.Popen([PYTHON, "-m", "foldline", "gateway"], env=environment(settings), stderr=subprocess.DEVNULL)
    base = f"http://127.0.0.1:{settings.gateway_port}"

    def ready() -> bool:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", settings.gateway_port)):
                return False
        return httpx.get(f"{base}/readyz").status_code == httpx.codes.OK

    try:
        if not until(ready, START_SECONDS):
            raise RuntimeError("the gateway did not start")
        yield f"{base}/v1/ingest/items/upsert", process.pid
    finally:
        process.terminate()
        process.wait()


def _key(settings: Settings) -> str:
    """A key of a new organisation without a rate limit."""

    def run(*arguments: str) -> bytes:
        command = [PYTHON, "-m", "foldline", "orgs", *arguments]
        return subprocess.run(command, env=environment(settings), check=True, capture_output=True).stdout

    with tempfile.TemporaryDirectory(prefix="growth-") as name:
        made = json.loads(run("create", Path(name).name, "--json"))
    run("set", made["org_id"], "--rate-limit", "0")
    return str(made["secret_key"])


def _send(url: str, key: str, connections: int, records: int, seconds: float) -> dict[str, float]:
    command = [PYTHON, "-m", "benchmarks.http_load", url, key, str(connections), str(records), str(seconds)]
    sent: dict[str, float] = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    if sent["failed"]:
        raise RuntimeError(f"the gateway failed {sent['failed']:.0f} requests")
    return sent


HOT = Shape(1_000_000)
MIDDLE = Shape(100_000)
CURVES = {
    "records": Curve([_fold(f"{n:,}", Shape(n)) for n in (10_000, 100_000, 1_000_000, 10_000_000)], 2),
    "beside": Curve([_fold(f"{n:,}", Shape(n, touched=10_000)) for n in (10_000, 100_000, 1_000_000, 10_000_000)], 2),
    "organisations": Curve([_fold(f"{n:,}", MIDDLE._replace(organisations=n)) for n in (1, 10, 100, 1000)], 2),
    "keys": Curve(
        [
            _fold("uniform", HOT),
            *(_fold(f"Zipf {skew}", HOT._replace(skew=skew)) for skew in (0.8, 1.0, 1.2)),
            _fold("one key", HOT._replace(touched=1)),
        ],
        1,
    ),
    "attributes": Curve(
        [
            _fold(f"{size:,} B", Shape(20_000, attribute_bytes=size), min(200_000, 400_000_000 // size))
            for size in (100, 300, 1000, 3000, 10_000, 20_000)
        ],
        3,
    ),
    "processes": Curve([_fold(str(n), MIDDLE, 600_000, n) for n in (1, 2, 4)], 2),
    "gateway": Curve(
        [_gateway(f"{n:,}", n, connections) for n, connections in ((1, 256), (10, 128), (100, 16), (1000, 16))], 4
    ),
}


if __name__ == "__main__":
    main()
