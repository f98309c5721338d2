"""`make chaos`: breaks a working stack in every way that there is, and shows that nothing acknowledged is lost or folded
twice.

What is broken, when and for how long, is drawn from `--seed`. Afterwards the tables, the state topics, a replay of the log
and what the clients were promised have to be the same, and no process and no lock may be left. Else the exit status is 1.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path
from typing import Any

from tests.chaos.cluster import Broken, Cluster, wait
from tests.chaos.faults import Fault, Lane, chosen, first_lane, second_lane
from tests.chaos.machine import Machine
from tests.chaos.patience import VARIABLE, patient
from tests.chaos.work import Work, healed
from tests.e2e import outside

LONGEST_SECONDS = 70.0
LOOK_SECONDS = 0.1
GAP_SECONDS = 0.5, 3.0
PATIENCE_SECONDS = 150.0
LOCKS_SECONDS = 60.0
VERIFY_SECONDS = 600.0


class Schedule:
    """One lane of faults, one after the other."""

    def __init__(self, lane: Lane, cluster: Cluster, work: Work, seed: str, longest: float, needs_health: bool) -> None:
        """With `needs_health` a fault is followed by another one once the stack has applied a write again."""
        self._lane, self._cluster, self._work = lane, cluster, work
        self._dice, self._longest, self._needs_health = random.Random(seed), longest, needs_health
        self._fault: Fault | None = None
        self._until = 0.0
        self._over = self._next = time.monotonic()
        self.done: Counter[str] = Counter()
        self.impossible: Counter[str] = Counter()

    def look(self, calm: bool) -> None:
        """Ends a fault that has lasted long enough, or begins the next. `calm` says that the other lane has none now."""
        now = time.monotonic()
        if self._fault is not None:
            if now >= self._until:
                self.end()
        elif now < self._next:
            return
        elif self._needs_health and not self._work.is_healthy(self._over):
            patience = patient(PATIENCE_SECONDS)
            if calm and now > self._over + patience:
                raise Broken(f"no write was applied for {patience:g} s after a fault was over")
            if not calm:
                self._over = max(self._over, now - patience / 2)
        else:
            fault = chosen(self._lane, self._cluster, self._dice, self._longest)
            print(f"{time.strftime('%H:%M:%S')} {fault.name}, {fault.seconds:.0f} s", file=sys.stderr, flush=True)
            if fault.begin():
                self.done[fault.name] += 1
                self._fault, self._until = fault, time.monotonic() + fault.seconds
            else:
                self.impossible[fault.name] += 1
                self._next = time.monotonic() + LOOK_SECONDS

    def end(self) -> None:
        """Ends the fault that there is."""
        if self._fault is not None:
            self._fault.end()
            self._fault, self._over = None, time.monotonic()
            self._next = self._over + self._dice.uniform(*GAP_SECONDS)

    @property
    def calm(self) -> bool:
        return self._fault is None


def main() -> None:
    """Parses the command line, breaks, checks, prints one line of JSON."""
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=2.0)
    parser.add_argument("--report", type=Path, help="a file for the JSON, too")
    parser.add_argument("--keep", action="store_true", help="keep the directory of the run")
    parser.add_argument("--patience", type=float, default=1.0, help="so many times longer may the stack take to heal")
    arguments = parser.parse_args()
    os.environ[VARIABLE] = str(arguments.patience)
    root = Path(tempfile.mkdtemp(prefix="foldline-chaos-"))
    machine = Machine(root)  # before any thread
    report = run(root, machine, arguments.seed, 60 * arguments.minutes)
    text = json.dumps(report)
    print(text, flush=True)
    if arguments.report:
        arguments.report.write_text(text + "\n")
    if report["failures"] or arguments.keep:
        print(f"the run's files are in {root}", file=sys.stderr)
    else:
        machine.leave()
        shutil.rmtree(root)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(1 if report["failures"] else 0)  # threads that hang are among the failures


def run(root: Path, machine: Machine, seed: int, seconds: float) -> dict[str, Any]:
    """What a run came to. `failures` is empty where everything was kept."""
    began = time.monotonic()
    cluster = Cluster(root, machine)
    failures: list[str] = []
    report: dict[str, Any] = {
        "seed": seed,
        "minutes": round(seconds / 60, 2),
        "patience": patient(1),
        "lacks": machine.lacks,
    }
    work: Work | None = None
    lanes: list[Schedule] = []
    try:
        cluster.start()
        work = Work(cluster, seed, root)
        work.start()
        longest = min(LONGEST_SECONDS, seconds / 6)
        lanes = [
            Schedule(first_lane(cluster), cluster, work, f"{seed}-1", longest, needs_health=True),
            Schedule(second_lane(cluster), cluster, work, f"{seed}-2", longest, needs_health=False),
        ]
        while time.monotonic() < began + seconds:
            cluster.tend()
            for lane, other in (lanes, lanes[::-1]):
                lane.look(other.calm)
            time.sleep(LOOK_SECONDS)
        for lane in lanes:
            lane.end()
        healed(cluster, work)
        work.stop()
        healed_stack = cluster.wait_ready()
        stack = outside.Stack(cluster.data)
        stack.url, stack.kafka, stack.database_url = healed_stack.url, healed_stack.kafka, healed_stack.database_url
        failures += check(cluster, work, stack)
        cluster.stop()
    except (Broken, AssertionError) as error:
        failures.append("".join(traceback.format_exception(error))[-2000:])
    finally:
        failures += cluster.failures
        left = cluster.left() if not failures else []
        failures += [f"left behind: {process.cmdline()}" for process in left if process.is_running()]
        cluster.kill()
    if work is not None:
        failures += work.told.failures
        report |= {"answers": dict(work.told.answers), "done": dict(work.told.done), "records": len(work.told.promises)}
    faults = sum((lane.done for lane in lanes), Counter[str]())
    impossible = sum((lane.impossible for lane in lanes), Counter[str]())
    report |= {"faults": dict(faults), "fault_count": faults.total(), "impossible": dict(impossible)}
    return report | {"seconds": round(time.monotonic() - began), "failures": failures[:50]}


def check(cluster: Cluster, work: Work, stack: outside.Stack) -> list[str]:
    """What does not hold, once nothing is broken any more and nobody writes."""
    found = []
    stack.wait_published(patient(PATIENCE_SECONDS))
    states, published = stack.table_states(work.org_id), stack.topic_states(work.org_id)
    for entity in states.keys() | published.keys():
        row, state = (
            {**side.get(entity, {}), "generation": None}  # each has that of its own writing
            for side in (states, published)
        )
        if outside.canonical(row) != outside.canonical(state):
            found.append(f"{entity}: the table has {row}, the topic {state}")
    for entity, promise in work.told.promises.items():
        if broken := promise.broken(states.pop(entity, None)):
            found.append(f"{entity}: {broken}")
    found += [f"{entity} was never written" for entity in states]
    found += _poison(work, stack)
    verified = work.command("verify", seconds=patient(VERIFY_SECONDS))
    if verified != 0:
        found.append(f"`foldline verify` ended with {verified}: a replay of the log is not what the tables have")
    locks = "SELECT count(*) FROM pg_locks WHERE NOT granted OR locktype = 'advisory'"
    idle = "SELECT count(*) FROM pg_stat_activity WHERE starts_with(state, 'idle in transaction')"
    wait(lambda: stack.sql(f"SELECT ({locks}) + ({idle})") == [(0,)], LOCKS_SECONDS, "locks are left in the database")
    return found


def _poison(work: Work, stack: outside.Stack) -> list[str]:
    """Every poisoned record is one dead letter, and no other record is."""
    done = work.told.done
    query = (
        "SELECT count(*), count(*) FILTER (WHERE code NOT IN ('undecodable', 'unknown_schema'))"
        " FROM foldline_control.dead_letters JOIN foldline_control.generations USING (generation) WHERE live"
    )
    ((letters, others),) = stack.sql(query)
    found = [f"{others} records were refused that are no poison"] if others else []
    if not done["poison acknowledged"] <= letters <= done["poison sent"]:
        found.append(f"{letters} dead letters of {done['poison acknowledged']} poisoned records, {done['poison sent']} sent")
    return found


if __name__ == "__main__":
    main()
