"""The comparisons of the fold: events a second from the log to the table and the state topic."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple

import psutil
import psycopg
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, TopicPartition

from benchmarks.comparison import Comparison, Plan, compare
from benchmarks.contenders import (
    CACHE_BYTES,
    OURS,
    STATES,
    Contender,
    Outcome,
    Unavailable,
    Work,
    bare_loop,
    fold_ours,
    python_peer,
    streams,
)
from benchmarks.load import write
from benchmarks.peers.kafka_streams import program
from benchmarks.servers import PYTHON, Servers, environment
from foldline.adapters.codec import BundledRegistry, decoder
from foldline.embedded.errors import EmbeddedError
from foldline.settings import Settings

KEYS = 100_000
PEERS_TABLE = "peer.items"
WARM_EVENTS = 100_000
EXACTLY_ONCE = {"processing.guarantee": "exactly_once_v2"}

# Each peer, and how many processors of ours it is compared with.
PEERS = [
    (streams("1-thread", 1, 0), 1),
    (streams("2-threads", 2, CACHE_BYTES), 2),
    (Contender("quix-postgresql", partial(python_peer, "benchmarks.peers.quix", "copy")), 1),
    (Contender("faust-take", partial(python_peer, "benchmarks.peers.faust_take", 2000)), 1),
    (Contender("bare-loop", bare_loop), 1),
]
VARIANTS = [
    (streams("1-thread-cache", 1, CACHE_BYTES), 1),
    (streams("1-thread-exactly-once", 1, 0, **EXACTLY_ONCE), 1),
    (streams("2-threads-every-state", 2, 0), 2),
    (streams("2-threads-exactly-once", 2, CACHE_BYTES, **EXACTLY_ONCE), 2),
    (Contender("quix-postgresql-own-sink", partial(python_peer, "benchmarks.peers.quix", "sink")), 1),
]


class Checked(NamedTuple):
    """What a contender did, and what was found of it: its table's checksum, and the states on its topic."""

    outcome: Outcome
    checksum: tuple[Any, ...]
    states: int


class Folds(NamedTuple):
    """The comparisons; microseconds an event by step, for each number of our workers; and why which peers are missing."""

    comparisons: list[Comparison]
    steps: dict[str, dict[str, float]]
    missing: list[str]


def fold(started: Servers, plan: Plan) -> Folds:
    """Ours with one processor and with two, and every peer, in another order each run."""
    peers = PEERS + VARIANTS if plan.variants else PEERS
    missing: dict[str, str] = {}
    _warm_up(started)
    runs = [
        _run(started, plan, number, [*OURS.values(), *(peer for peer, _ in peers)], missing) for number in range(plan.runs)
    ]
    return Folds(
        [_comparison(peer, processors, runs) for peer, processors in peers if peer.name not in missing],
        {_workers(processors): _steps([run[ours.name] for run in runs]) for processors, ours in OURS.items()},
        [f"{name} is left out: {reason}" for name, reason in missing.items()],
    )


def _run(
    started: Servers, plan: Plan, number: int, contenders: list[Contender], missing: dict[str, str]
) -> dict[str, Checked]:
    """What every contender makes of one log. Raises `RuntimeError` unless all end with the same table."""
    log = started.fresh()
    write(log, plan.events, KEYS)
    first = number % len(contenders)
    found: dict[str, Checked] = {}
    for contender in contenders[first:] + contenders[:first]:
        if contender.name in missing:
            continue
        try:
            found[contender.name] = checked = _checked(started, contender, log, plan.events)
        except (Unavailable, EmbeddedError) as error:
            missing[contender.name] = str(error)
            continue
        rate, states = f"{checked.outcome.rate:,.0f} events/s", f"{checked.states:,} states"
        print(f"fold: run {number + 1} of {plan.runs}: {contender.name}: {rate}, {states}", file=sys.stderr)
    if len({checked.checksum for checked in found.values()}) != 1:
        raise RuntimeError(f"the contenders do not end with the same table: {found}")
    started.drop_topics(log.topic_prefix)
    return found


def _checked(started: Servers, contender: Contender, log: Settings, events: int) -> Checked:
    """Runs a contender on a table and a topic of its own; raises `RuntimeError` where the topic has not what it should."""
    settings = started.beside(log)
    table, topic, begins = "foldline.known_items", log.topic_prefix + STATES, started.ends(log.topic_prefix + STATES)
    if not contender.ours:
        table, topic = PEERS_TABLE, f"{log.topic_prefix}{contender.name}.state"
        _make_table(settings)
        started.make_topic(topic)
        begins = {}
    started.settle()
    outcome = contender.run(Work(settings, events, topic))
    states, versions = _published(settings, topic, begins)
    with psycopg.connect(settings.database_url) as connection:
        # jsonb's own hash: 20.0 and 20 are the same number, though not the same text.
        row_hash = "hash_record_extended(row(org_id, item_id, item_type, status, attributes, version), 0)"
        ((*checksum,),) = connection.execute(f"SELECT count(*), sum({row_hash}::numeric) FROM {table}".encode())  # noqa: S608
        stored = dict(connection.execute(f"SELECT org_id || ':' || item_id, version FROM {table}".encode()).fetchall())  # noqa: S608
    if versions != stored or outcome.states not in (None, states):
        raise RuntimeError(
            f"{contender.name}: {states} states on its topic, {outcome.states} claimed, or not the newest last"
        )
    started.drop_database(settings)
    return Checked(outcome, tuple(checksum), states)


def _make_table(settings: Settings) -> None:
    """A table with the columns, the keys and the indexes that ours has, since readers need them."""
    with psycopg.connect(settings.database_url, autocommit=True) as connection:
        ((options,),) = connection.execute("SELECT reloptions FROM pg_class WHERE oid = 'gen_1.items'::regclass")
        connection.execute("CREATE SCHEMA peer")
        connection.execute(
            f"CREATE TABLE {PEERS_TABLE} (LIKE gen_1.items INCLUDING ALL) WITH ({', '.join(options)})".encode()
        )


def _published(settings: Settings, topic: str, begins: dict[int, int]) -> tuple[int, dict[str, int]]:
    """How many committed records a topic has from these offsets on, and the version of the last of each key."""
    consumer = Consumer(
        {"bootstrap.servers": settings.kafka_bootstrap, "group.id": "check", "enable.partition.eof": True, "log_level": 0}
    )
    count, newest = 0, dict[bytes, bytes]()
    left = set(range(settings.partitions))
    consumer.assign([TopicPartition(topic, partition, begins.get(partition, OFFSET_BEGINNING)) for partition in left])
    while left:
        for message in consumer.consume(10_000, 0.1):
            error = message.error()
            if error is None:
                count += 1
                newest[message.key()] = message.value()  # type: ignore[index,assignment]
            elif error.code() == KafkaError._PARTITION_EOF:
                left.discard(message.partition())  # type: ignore[arg-type]
            else:
                raise KafkaException(error)
    consumer.close()
    decode = decoder(BundledRegistry())
    return count, {key.decode(): decode(value)["version"] for key, value in newest.items()}


def _warm_up(started: Servers) -> None:
    """The first work of a broker and a database is slow, and is nobody's; nor is what a virtual machine learns once."""
    settings = started.fresh()
    write(settings, WARM_EVENTS, KEYS)
    with suppress(EmbeddedError):  # which is said when the peer is due
        if not program.has_learned():
            _checked(started, streams("learning", 2, CACHE_BYTES), settings, WARM_EVENTS)
    fold_ours(settings, WARM_EVENTS)


def _comparison(peer: Contender, processors: int, runs: list[dict[str, Checked]]) -> Comparison:
    ours, theirs = ([run[name] for run in runs] for name in (OURS[processors].name, peer.name))
    ratios = sorted(one.outcome.rate / other.outcome.rate for one, other in zip(ours, theirs, strict=True))
    rates = [statistics.median(checked.outcome.rate for checked in side) for side in (ours, theirs)]
    states = [round(statistics.median(checked.states for checked in side)) for side in (ours, theirs)]
    memory = [max(checked.outcome.memory for checked in side) / 1e6 for side in (ours, theirs)]
    notes = f"{states[0]:,} states to {states[1]:,}; {memory[0]:,.0f} MB to {memory[1]:,.0f}"
    unit, middle = "events/s", statistics.median(ratios)
    name = _workers(processors)
    return Comparison(name, peer.name, unit, rates[0], rates[1], middle, len(runs), ratios[0], ratios[-1], notes)


def _workers(processors: int) -> str:
    return f"fold, {processors} worker{'s' if processors > 1 else ''}"


def _steps(runs: list[Checked]) -> dict[str, float]:
    steps = [run.outcome.steps or {} for run in runs]
    return {step: round(statistics.median(found.get(step, 0.0) for found in steps), 2) for step in steps[0]}


def users(started: Servers, plan: Plan) -> Comparison:
    """Events a second of one processor: users, whose attributes are sealed, and items."""

    def pair() -> tuple[float, float]:
        rates = []
        for kind in ("users", "items"):
            settings = started.fresh()
            write(settings, plan.events, KEYS, kind)  # type: ignore[arg-type]
            rates.append(fold_ours(settings, plan.events).rate)
        return rates[0], rates[1]

    return compare("fold of users, 1 worker", "fold-of-items", "events/s", plan.runs, pair, lambda: "")


def rebuild(started: Servers, plan: Plan) -> Comparison:
    """Events a second of a rebuild by as many processes as there are cores, and of one processor that folds the same log."""
    notes: list[str] = []

    def pair() -> tuple[float, float]:
        settings = started.fresh()
        write(settings, plan.rebuild_events, plan.rebuild_events // 5)
        live = fold_ours(settings, plan.rebuild_events).rate
        ours, memory = _rebuild(settings)
        notes.append(f"{memory / 1e6:.0f} MB resident together")
        return ours, live

    return compare("rebuild", "live-fold", "events/s", plan.runs, pair, lambda: notes[-1])


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
