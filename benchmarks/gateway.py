"""The comparisons of the gateway: requests and records a second, answered 202 once the broker has them."""

from __future__ import annotations

import json
import socket
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from benchmarks.comparison import Comparison, Plan
from benchmarks.load import ORG_ID
from benchmarks.servers import PYTHON, Servers, environment
from foldline.embedded.processes import until
from foldline.settings import Settings

WARM_SECONDS = 1.0
CONTENDERS = {
    "foldline": "foldline gateway",
    "bare": "benchmarks.bare_gateway",
    "fastapi": "benchmarks.peers.fastapi_gateway",
}


class Case(NamedTuple):
    """One load: so many connections, each of which sends requests of so many records."""

    name: str
    connections: int
    records: int
    unit: str


class Measured(NamedTuple):
    """What one contender made of one case: records a second, CPU time of the process a record, and its most memory."""

    rate: float
    cpu_microseconds: float
    p99_ms: float
    peak_mb: float


CASES = (Case("single", 256, 1, "req/s"), Case("arrays", 16, 1000, "records/s"))


def gateway(started: Servers, plan: Plan) -> list[Comparison]:
    """What single records and arrays come to: ours, the bare bound and FastAPI, each run in another order."""
    settings = started.fresh()
    key = benchmark_key(settings)
    measured: dict[tuple[str, str], list[Measured]] = {}
    with serving(settings, key, CONTENDERS["bare"]) as process:  # nobody is to be the first on servers that are cold
        for case in CASES:
            _measure(settings, key, process, case, WARM_SECONDS)
    for run in range(plan.runs):
        names = list(CONTENDERS)
        for name in names[run % len(names) :] + names[: run % len(names)]:
            with serving(settings, key, CONTENDERS[name]) as process:
                for case in CASES:
                    found = _measure(settings, key, process, case, plan.seconds - WARM_SECONDS)
                    measured.setdefault((case.name, name), []).append(found)
                    progress = f"gateway, {case.name}: run {run + 1} of {plan.runs}: {name}"
                    print(progress, _shown(found, case), file=sys.stderr)
    return [
        _comparison(case, peer, measured[case.name, "foldline"], measured[case.name, peer])
        for case in CASES
        for peer in CONTENDERS
        if peer != "foldline"
    ]


def _comparison(case: Case, peer: str, ours: list[Measured], theirs: list[Measured]) -> Comparison:
    ratios = sorted(one.rate / other.rate for one, other in zip(ours, theirs, strict=True))
    middle = [Measured(*map(statistics.median, zip(*side, strict=True))) for side in (ours, theirs)]
    notes = (
        f"p99 {middle[0].p99_ms:.0f} to {middle[1].p99_ms:.0f} ms;"
        f" CPU {middle[0].cpu_microseconds:.1f} to {middle[1].cpu_microseconds:.1f} µs a record;"
        f" at most {max(one.peak_mb for one in ours):.0f} MB"
    )
    return Comparison(
        f"gateway, {case.name}", f"{peer}-{case.name}", case.unit, middle[0].rate, middle[1].rate,
        statistics.median(ratios), len(ratios), ratios[0], ratios[-1], notes,
    )  # fmt: skip


def _measure(settings: Settings, key: str, process: subprocess.Popen[bytes], case: Case, seconds: float) -> Measured:
    url = f"http://127.0.0.1:{settings.gateway_port}/v1/ingest/items/upsert"
    _load(url, key, case, WARM_SECONDS)
    before = _cpu_seconds(process.pid)
    found = _load(url, key, case, seconds)
    cpu = _cpu_seconds(process.pid) - before
    if found["failed"]:
        raise RuntimeError(f"{process.args!r} failed {found['failed']:.0f} requests")
    records = found["requests"] * case.records
    return Measured(records / found["seconds"], 1e6 * cpu / records, found["p99_ms"], _peak_mb(process.pid))


def _shown(found: Measured, case: Case) -> str:
    return f"{found.rate:,.0f} {case.unit}, {found.cpu_microseconds:.1f} µs CPU a record, p99 {found.p99_ms:.0f} ms"


def _cpu_seconds(pid: int) -> float:
    times = psutil.Process(pid).cpu_times()
    return times.user + times.system


def _peak_mb(pid: int) -> float:
    """The most memory that the process has had at a time."""
    (line,) = (line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) / 1000


def benchmark_key(settings: Settings) -> str:
    """The key of a new organisation without a rate limit."""
    run = {"env": environment(settings), "check": True, "capture_output": True, "text": True}
    made: dict[str, Any] = json.loads(
        subprocess.run([PYTHON, "-m", "foldline", "orgs", "create", ORG_ID, "--json"], **run).stdout  # type: ignore[call-overload]
    )
    subprocess.run([PYTHON, "-m", "foldline", "orgs", "set", made["org_id"], "--rate-limit", "0"], **run)  # type: ignore[call-overload]
    return str(made["secret_key"])


@contextmanager
def serving(settings: Settings, key: str, module: str) -> Iterator[subprocess.Popen[bytes]]:
    """A contender as a process of its own, from when it listens."""
    process = subprocess.Popen(
        [PYTHON, "-m", *module.split()], env=environment(settings, BENCHMARK_KEY=key), stderr=subprocess.DEVNULL
    )
    try:
        if not until(lambda: _listens(settings.gateway_port), 30):
            raise RuntimeError(f"{module} did not start")
        yield process
    finally:
        process.terminate()
        process.wait()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _load(url: str, key: str, case: Case, seconds: float) -> dict[str, float]:
    arguments = [url, key, str(case.connections), str(case.records), str(seconds)]
    ran = subprocess.run([PYTHON, "-m", "benchmarks.http_load", *arguments], check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(ran.stdout)
    return found
