"""`make bench`: ours and the bounds, in alternation on the same servers, as a table of ratios. See `--help`."""

from __future__ import annotations

import argparse
import json
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import psycopg
from rich.console import Console
from rich.table import Table

from benchmarks.load import ORG_ID, write
from benchmarks.servers import PYTHON, Servers, environment, servers
from foldline.embedded.processes import until
from foldline.settings import Settings

KEYS = 100_000
REBUILD_EVENTS, REBUILD_KEYS = 1_000_000, 200_000
BARE_TOPIC = "bare.items.state"


class Plan(NamedTuple):
    """How much is measured."""

    events: int
    seconds: float
    runs: int


PLANS = {"quick": Plan(200_000, 4, 3), "normal": Plan(400_000, 8, 3), "full": Plan(600_000, 10, 5)}


class Comparison(NamedTuple):
    """Medians of ours and a peer's, and the spread of the ratio between the runs."""

    name: str
    peer: str
    unit: str
    ours: float
    theirs: float
    ratio: float
    runs: int
    lowest: float
    highest: float
    notes: str


def main() -> None:
    """Parses the command line, measures, prints."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer events and seconds")
    parser.add_argument("--full", action="store_true", help="medians of five")
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    arguments = parser.parse_args()
    plan = PLANS["quick" if arguments.quick else "full" if arguments.full else "normal"]
    with servers() as started:
        comparisons = [fold(started, plan), users(started, plan), rebuild(started, plan), *gateway(started, plan)]
    if arguments.json:
        print(json.dumps({"comparisons": [comparison._asdict() for comparison in comparisons]}))
        return
    table = Table(title="Ratios above 1 mean that Foldline is better")
    for column in ("what", "peer", "unit", "ours", "theirs", "ratio", "spread", "runs", "notes"):
        table.add_column(column)
    for c in comparisons:
        spread = f"{c.lowest:.2f} to {c.highest:.2f}"
        table.add_row(
            c.name, c.peer, c.unit, f"{c.ours:,.0f}", f"{c.theirs:,.0f}", f"{c.ratio:.2f}", spread, str(c.runs), c.notes
        )
    Console(width=160).print(table)


def fold(started: Servers, plan: Plan) -> Comparison:
    """Events a second from the log to the table and the state topic: one processor, and the bare loop."""
    started.make_topic(BARE_TOPIC)
    notes: list[str] = []

    def pair() -> tuple[float, float]:
        settings = started.fresh()
        write(settings, plan.events, KEYS)
        ran = subprocess.run(
            [PYTHON, "-m", "benchmarks.bare_loop", str(plan.events), str(settings.batch_records)],
            env=environment(settings), check=True, capture_output=True, text=True,
        )  # fmt: skip
        ours, memory = _fold_ours(settings, plan.events)
        _assert_same_table(settings)
        notes.append(f"{memory / 1e6:.0f} MB")
        return ours, plan.events / float(ran.stdout)

    return _compare("fold, 1 worker", "bare-loop", "events/s", plan.runs, pair, lambda: f"{notes[-1]} resident")


def users(started: Servers, plan: Plan) -> Comparison:
    """Events a second of one processor: users, whose attributes are sealed, and items."""

    def pair() -> tuple[float, float]:
        rates = []
        for kind in ("users", "items"):
            settings = started.fresh()
            write(settings, plan.events, KEYS, kind)  # type: ignore[arg-type]
            rates.append(_fold_ours(settings, plan.events)[0])
        return rates[0], rates[1]

    return _compare("fold of users, 1 worker", "fold-of-items", "events/s", plan.runs, pair, lambda: "")


def rebuild(started: Servers, plan: Plan) -> Comparison:
    """Events a second of a rebuild by as many processes as there are cores, and of one processor that folds the same log."""
    notes: list[str] = []

    def pair() -> tuple[float, float]:
        settings = started.fresh()
        write(settings, REBUILD_EVENTS, REBUILD_KEYS)
        live, _ = _fold_ours(settings, REBUILD_EVENTS)
        ours, memory = _rebuild(settings)
        notes.append(f"{memory / 1e6:.0f} MB resident together")
        return ours, live

    return _compare("rebuild", "live-fold", "events/s", plan.runs, pair, lambda: notes[-1])


def gateway(started: Servers, plan: Plan) -> list[Comparison]:
    """What single records and arrays come to, each against the bare bound."""
    settings = started.fresh()
    key = _benchmark_key(settings)
    cases = (("single", 256, 1, "req/s"), ("arrays", 16, 1000, "records/s"))
    return [_gateway_case(settings, key, plan, *case) for case in cases]


def _gateway_case(
    settings: Settings, key: str, plan: Plan, name: str, connections: int, records: int, unit: str
) -> Comparison:
    p99: list[float] = []

    def pair() -> tuple[float, float]:
        rates = []
        for module in ("foldline gateway", "benchmarks.bare_gateway"):
            with _serving(settings, module.split()):
                url = f"http://127.0.0.1:{settings.gateway_port}/v1/ingest/items/upsert"
                for seconds in (1.0, plan.seconds):
                    found = _load(url, key, connections, records, seconds)
            if found["failed"]:
                raise RuntimeError(f"{module} failed {found['failed']} requests")
            rates.append(found["requests"] * records / found["seconds"])
            if module == "foldline gateway":
                p99.append(found["p99_ms"])
        return rates[0], rates[1]

    return _compare(
        f"gateway, {name}", f"bare-{name}", unit, plan.runs, pair, lambda: f"p99 {statistics.median(p99):.0f} ms"
    )


def _compare(
    name: str, peer: str, unit: str, runs: int, pair: Callable[[], tuple[float, float]], notes: Callable[[], str]
) -> Comparison:
    pairs = []
    for run in range(runs):
        pairs.append(pair())
        print(f"{name}: run {run + 1} of {runs}: {pairs[-1][0]:,.0f} to {pairs[-1][1]:,.0f} {unit}", file=sys.stderr)
    ratios = sorted(ours / theirs for ours, theirs in pairs)
    ours, theirs = (statistics.median(side) for side in zip(*pairs, strict=True))
    return Comparison(name, peer, unit, ours, theirs, statistics.median(ratios), runs, ratios[0], ratios[-1], notes())


def _fold_ours(settings: Settings, events: int) -> tuple[float, int]:
    """Events a second of one processor, until all is applied and published, and its largest resident memory in bytes."""
    with tempfile.TemporaryDirectory() as directory, psycopg.connect(settings.database_url, autocommit=True) as connection:
        ready = Path(directory) / "ready"
        process = subprocess.Popen(
            [PYTHON, "-m", "foldline", "process"],
            env=environment(settings, FOLDLINE_READY_FILE=str(ready)), stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            until(ready.exists, 60)
            began = time.monotonic()
            reached = "SELECT sum(published) FROM foldline.positions"
            while connection.execute(reached).fetchone() != (events,):
                time.sleep(0.01)
            took = time.monotonic() - began
            status = Path(f"/proc/{process.pid}/status").read_text()
            return events / took, 1024 * int(status.partition("VmHWM:")[2].split()[0])
        finally:
            process.terminate()
            process.wait()


def _rebuild(settings: Settings) -> tuple[float, int]:
    """Events a second of a rebuild, and the largest resident memory of its processes together in bytes."""
    process = psutil.Popen(
        [PYTHON, "-m", "foldline", "rebuild", "--json"],
        env=environment(settings), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    largest = 0
    while process.poll() is None:
        with suppress(psutil.NoSuchProcess):
            family = [process, *process.children(recursive=True)]
            largest = max(largest, sum(member.memory_info().rss for member in family))
        time.sleep(0.05)
    found = json.loads(process.stdout.read())
    return found["records"] / found["seconds"], largest


def _assert_same_table(settings: Settings) -> None:
    # jsonb's own hash: 20.0 and 20 are the same number, though not the same text.
    row_hash = "hash_record_extended(row(org_id, item_id, item_type, status, attributes, version), 0)"
    checksum = f"SELECT count(*), sum({row_hash}::numeric) FROM "  # noqa: S608
    with psycopg.connect(settings.database_url) as connection:
        ours, bare = (connection.execute(checksum + table).fetchone() for table in ("foldline.known_items", "bare.items"))
    if ours != bare:
        raise RuntimeError(f"the contenders do not end with the same table: {ours} and {bare}")


def _benchmark_key(settings: Settings) -> str:
    run = {"env": environment(settings), "check": True, "capture_output": True, "text": True}
    made: dict[str, Any] = json.loads(
        subprocess.run([PYTHON, "-m", "foldline", "orgs", "create", ORG_ID, "--json"], **run).stdout  # type: ignore[call-overload]
    )
    subprocess.run([PYTHON, "-m", "foldline", "orgs", "set", made["org_id"], "--rate-limit", "0"], **run)  # type: ignore[call-overload]
    return str(made["secret_key"])


@contextmanager
def _serving(settings: Settings, module: list[str]) -> Any:
    process = subprocess.Popen([PYTHON, "-m", *module], env=environment(settings), stderr=subprocess.DEVNULL)
    try:
        if not until(lambda: _listens(settings.gateway_port), 30):
            raise RuntimeError(f"{module} did not start")
        yield
    finally:
        process.terminate()
        process.wait()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _load(url: str, key: str, connections: int, records: int, seconds: float) -> dict[str, float]:
    arguments = [url, key, str(connections), str(records), str(seconds)]
    ran = subprocess.run([PYTHON, "-m", "benchmarks.http_load", *arguments], check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(ran.stdout)
    return found


if __name__ == "__main__":
    main()
