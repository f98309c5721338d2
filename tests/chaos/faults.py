"""What is done to the cluster. Which fault comes when is a matter of weights and a seed; two may be there at a time.

A fault of the first lane befalls processes, disks or tables, and the next one comes when the stack has applied work again. A
fault of the second lane befalls the second machine: its links, its clock, its processors.
"""

from __future__ import annotations

import random
import signal
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import NamedTuple

import psutil
import psycopg

from tests.chaos import torn
from tests.chaos.cluster import Cluster, wait

GONE_SECONDS = 60.0
HOUR = 3600
MOST_PROCESSORS = 3
LOCKED = ("items", "users", "positions", "user_keys", "dead_letters", "organisations")


class Fault(NamedTuple):
    """`begin` says whether it could be done; `end` mends it after so many seconds."""

    name: str
    seconds: float
    begin: Callable[[], bool]
    end: Callable[[], None]


Make = Callable[[Cluster, random.Random, float], Fault]
Lane = Sequence[tuple[Make, int]]


def nothing() -> None:
    """There is nothing to be mended by hand."""


def first_lane(cluster: Cluster) -> Lane:
    """What may befall the first machine, and how often."""
    found: list[tuple[Make, int]] = [
        (kill, 6),
        (pause, 5),
        (restart, 4),
        (kill_up, 2),
        (restart_up, 1),
        (locked, 3),
        (torn_end, 2),
    ]
    return found + ([(full_disk, 5)] if cluster.disks else [])


def second_lane(cluster: Cluster) -> Lane:
    """What may befall the second one."""
    found: list[tuple[Make, int]] = [(more_processors, 2), (fewer_processors, 2)]
    if cluster.links:
        found += [(slow_link, 3), (silent_link, 3), (reset_link, 3), (refusing_link, 2)]
    if cluster.machine.second_clock.environment:
        found += [(clock_jump, 3)]
    return found


def chosen(lane: Lane, cluster: Cluster, dice: random.Random, longest: float) -> Fault:
    makes, weights = zip(*lane, strict=True)
    make: Make = dice.choices(makes, weights)[0]
    return make(cluster, dice, longest)


PARTS = ("gateway", "process", "kafka", "postgres")
SERVICES = (*PARTS, "far gateway", "far processor")


def found(cluster: Cluster, service: str) -> list[psutil.Process]:
    return cluster.far(service[4:]) if service.startswith("far ") else cluster.parts(service)


def signalled(cluster: Cluster, service: str, dice: random.Random, number: signal.Signals, tree: bool = False) -> bool:
    processes = found(cluster, service)
    if not processes:
        return False
    process = dice.choice(processes)
    with suppress(psutil.Error):
        befallen = [process, *(process.children(recursive=True) if tree else ())]
        for one in befallen:
            one.send_signal(number)
        return True
    return False


def kill(cluster: Cluster, dice: random.Random, longest: float) -> Fault:
    service, own = dice.choice(SERVICES), random.Random(dice.random())
    return Fault(f"SIGKILL {service}", 0, lambda: signalled(cluster, service, own, signal.SIGKILL), nothing)


def restart(cluster: Cluster, dice: random.Random, longest: float) -> Fault:
    service, own = dice.choice(SERVICES), random.Random(dice.random())
    number = signal.SIGINT if service == "postgres" else signal.SIGTERM  # that of a fast shutdown
    return Fault(f"restart {service}", 0, lambda: signalled(cluster, service, own, number), nothing)


def pause(cluster: Cluster, dice: random.Random, longest: float) -> Fault:
    service, own = dice.choice((*SERVICES, "up")), random.Random(dice.random())
    paused: list[psutil.Process] = []

    def begin() -> bool:
        up = cluster.up
        processes = found(cluster, service) if service != "up" else [up] if up else []
        if not processes:
            return False
        process = own.choice(processes)
        with suppress(psutil.Error):
            paused.extend([process, *(process.children(recursive=True) if service != "up" else ())])
        for one in paused:
            with suppress(psutil.Error):
                one.suspend()
        return bool(paused)

    def end() -> None:
        for one in paused:
            with suppress(psutil.Error):
                one.resume()

    return Fault(f"SIGSTOP {service}", dice.uniform(min(5, longest), longest), begin, end)


def _end_up(cluster: Cluster, number: signal.Signals) -> bool:
    up = cluster.up
    if up is None:
        return False
    below = up.children(recursive=True)
    cluster.may_be_down = True
    up.send_signal(number)
    wait(lambda: cluster.up is None and not any(map(runs, below)), GONE_SECONDS, "parts outlive `foldline up`")
    return True


def runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def kill_up(cluster: Cluster, dice: random.Random, longest: float) -> Fault:
    return Fault("SIGKILL up", dice.uniform(0, 3), lambda: _end_up(cluster, signal.SIGKILL), cluster.start_up)


def restart_up(cluster: Cluster, dice: random.Random, longest: float) -> Fault:
    return Fault("restart up", dice.uniform(0, 3), lambda: _end_up(cluster, signal.SIGTERM), cluster.start_up)


def torn_end(cluster: Cluster, dice: random.Random, longest: float) -> Fault:
    """The whole stack is killed in the middle of a write to the log: its last segment ends in half a batch."""
    own = random.Random(dice.random())

    def begin() -> bool:
        return _end_up(cluster, signal.SIGKILL) and torn.tear(cluster.data / "kafka", own)

    return Fault("torn last segment", 0, begin, cluster.start_up)


def full_disk(cluster: Cluster, dice: random.Random, longest: float) -> Fault:
    name = dice.choice(sorted(cluster.disks))
    disk = cluster.disks[name]

    def begin() -> bool:
        try:
            disk.fill()
        except OSError:  # somebody has written more since it was looked at
            return False
        return True

    return Fault(f"full disk under {name}", dice.uniform(min(4, longest), min(20, longest)), begin, disk.free)


def locked(cluster: Cluster, dice: random.Random, longest: float) -> Fault:
    table = dice.choice(LOCKED)
    connections: list[psycopg.Connection] = []
    seconds = dice.uniform(2, min(15, longest))

    def begin() -> bool:
        try:
            url = cluster.wait_ready().database_url
            connection = psycopg.connect(url, connect_timeout=5, application_name="chaos")
            connections.append(connection)
            connection.execute(f"SET idle_in_transaction_session_timeout = {round(seconds + 10) * 1000}".encode())
            connection.execute("SET lock_timeout = 3000")
            rows = connection.execute("SELECT generation FROM foldline_control.generations WHERE live").fetchall()
            schema = f"gen_{rows[0][0]}" if table in ("items", "users") else "foldline_control"
            connection.execute(f"LOCK TABLE {schema}.{table} IN ACCESS EXCLUSIVE MODE".encode())
        except psycopg.Error:
            end()
            return False
        return True

    def end() -> None:
        for connection in connections:
            with suppress(psycopg.Error):
                connection.close()

    return Fault(f"locked table {table}", seconds, begin, end)


def _linked(name: str, cluster: Cluster, dice: random.Random, longest: float, change: Callable[[str, bool], None]) -> Fault:
    target = dice.choice(sorted(cluster.links))

    def begin() -> bool:
        change(target, True)
        return True

    return Fault(f"{name} to {target}", dice.uniform(min(3, longest), longest), begin, lambda: change(target, False))


def slow_link(cluster: Cluster, dice: random.Random, longest: float) -> Fault:
    delay = dice.uniform(0.02, 0.5)

    def change(target: str, bad: bool) -> None:
        cluster.links[target].delay_seconds = delay if bad else 0

    return _linked("slow link", cluster, dice, longest, change)


def silent_link(cluster: Cluster, dice: random.Random, longest: float) -> Fault:
    def change(target: str, bad: bool) -> None:
        cluster.links[target].silent = bad

    return _linked("silent link", cluster, dice, longest, change)


def reset_link(cluster: Cluster, dice: random.Random, longest: float) -> Fault:
    def change(target: str, bad: bool) -> None:
        cluster.reset(target)

    return _linked("reset connections", cluster, dice, min(3, longest), change)


def refusing_link(cluster: Cluster, dice: random.Random, longest: float) -> Fault:
    def change(target: str, bad: bool) -> None:
        cluster.links[target].refuses = bad
        cluster.reset(target)

    return _linked("cut link", cluster, dice, longest, change)


def clock_jump(cluster: Cluster, dice: random.Random, longest: float) -> Fault:
    whose = dice.choice(("database", "second machine"))
    clock = cluster.machine.database_clock if whose == "database" else cluster.machine.second_clock
    ahead = dice.choice((-HOUR, HOUR))

    def begin() -> bool:
        clock.set(ahead)
        return True

    direction = "forwards" if ahead > 0 else "back"
    return Fault(f"clock of the {whose} {direction}", dice.uniform(3, max(3, longest)), begin, lambda: clock.set(0))


def more_processors(cluster: Cluster, dice: random.Random, longest: float) -> Fault:
    def begin() -> bool:
        return len(cluster.far_processors) < MOST_PROCESSORS and bool(cluster.add_processor())

    return Fault("a processor more", 0, begin, nothing)


def fewer_processors(cluster: Cluster, dice: random.Random, longest: float) -> Fault:
    own = random.Random(dice.random())

    def begin() -> bool:
        names = cluster.far_processors
        if names:
            cluster.remove_processor(own.choice(names))
        return bool(names)

    return Fault("a processor fewer", 0, begin, nothing)
