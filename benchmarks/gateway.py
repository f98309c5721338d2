"""The comparisons of the gateway: requests and records a second, answered 202 once the broker has them."""

from __future__ import annotations

import json
import socket
import statistics
import subprocess
from contextlib import contextmanager
from typing import Any

from benchmarks.comparison import Comparison, Plan, compare
from benchmarks.load import ORG_ID
from benchmarks.servers import PYTHON, Servers, environment
from foldline.embedded.processes import until
from foldline.settings import Settings


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

    return compare(f"gateway, {name}", f"bare-{name}", unit, plan.runs, pair, lambda: f"p99 {statistics.median(p99):.0f} ms")


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
