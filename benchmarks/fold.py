"""The comparisons of the fold: events a second from the log to the table and the state topic."""

from __future__ import annotations

import json
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import psutil
import psycopg

from benchmarks.comparison import Comparison, Plan, compare
from benchmarks.load import write
from benchmarks.servers import PYTHON, Servers, environment
from foldline.embedded.processes import until
from foldline.settings import Settings

KEYS = 100_000
REBUILD_EVENTS, REBUILD_KEYS = 1_000_000, 200_000
BARE_TOPIC = "bare.items.state"


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

    return compare("fold, 1 worker", "bare-loop", "events/s", plan.runs, pair, lambda: f"{notes[-1]} resident")


def users(started: Servers, plan: Plan) -> Comparison:
    """Events a second of one processor: users, whose attributes are sealed, and items."""

    def pair() -> tuple[float, float]:
        rates = []
        for kind in ("users", "items"):
            settings = started.fresh()
            write(settings, plan.events, KEYS, kind)  # type: ignore[arg-type]
            rates.append(_fold_ours(settings, plan.events)[0])
        return rates[0], rates[1]

    return compare("fold of users, 1 worker", "fold-of-items", "events/s", plan.runs, pair, lambda: "")


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

    return compare("rebuild", "live-fold", "events/s", plan.runs, pair, lambda: notes[-1])


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
