"""A crash is an input: a worker is stopped, cut off or paused at every effect that it has on the outside, one after another.

Whatever happens, once a worker comes through to the end, table, dead letters, positions and projection topics are what
the fold alone makes of the log.
"""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from itertools import count
from typing import Any, Literal

import orjson
import pytest

from foldline.adapters.codec import BundledRegistry, UpsertCodec
from foldline.adapters.consumer import Claim, LogReader, Record
from foldline.adapters.memory import MemoryLog, MemoryLogReader, MemoryRecord
from foldline.adapters.seals import DataKey, new_data_key, opened, seal_key, sealed
from foldline.domain.errors import BadData, Conflict, FoldlineError, LogReplaced, Unreachable
from foldline.domain.fold import FOLD, ended_keys, key_fault
from foldline.domain.keys import message_key
from foldline.domain.records import KINDS, Kind, Rejection, State, Upsert
from foldline.settings import Settings
from processors.worker import Ports, Worker
from projections.memory import MemoryDatabase, MemoryStateStore, MemoryStateTopics, MemoryTopics
from projections.state import Commit, DeadLetter, Keyring, Partition, Position, StateStore
from projections.topics import Publication, StateTopics
from tests.folds import fold_is  # noqa: F401
from tests.keys import MASTERS

REGISTRY = BundledRegistry()
PARTITIONS = 2
PATIENCE_SECONDS = 20.0  # a wait that takes longer is a deadlock
# More seeds find more; this many take a few seconds.
SEEDS = int(os.environ.get("CRASH_SEEDS", "1"))
EVENTS = 20
NO_END = 1_000_000
REFUSED = "the database takes no such thing"

Fault = Literal["crash", "failure", "pause"]
# In lockstep each batch is published before the next one is delivered. Overlapped, each is committed while the next one,
# folded on top of it, waits, and all are published at the end. Free, threads run as they like.
Pace = Literal["lockstep", "overlapped", "free"]
Place = tuple[Kind, int, int]


class Crash(Exception):
    """The process is gone: nothing that it had begun goes on."""


class Process:
    """One worker's life. Its `fault` strikes at effect number `at`; every effect is a step, before and after it is done."""

    def __init__(self, fault: Fault | None = None, at: int = -1) -> None:
        self.fault, self.at = fault, at
        self.steps: list[str] = []
        self.on_step: Callable[[int], None] = lambda number: None
        self.struck = False
        self.struck_or_over, self.resumed = threading.Event(), threading.Event()
        self.publishing = threading.Event()
        self._folded, self._free = 0, False
        self._changed = threading.Condition()

    def step(self, name: str) -> None:
        with self._changed:
            number = len(self.steps)
            self.steps.append(name)
        if number == self.at:
            self.struck = True
            self.struck_or_over.set()
            if self.fault == "failure":
                raise Unreachable(f"the connection was lost at {name}")
        if self.struck and self.fault == "crash":
            raise Crash(name)
        if self.struck and self.fault == "pause":
            assert self.resumed.wait(PATIENCE_SECONDS)
        self.on_step(number)

    def folded(self) -> None:
        """Another batch has been folded."""
        with self._changed:
            self._folded += 1
            self._changed.notify_all()

    def commit_under_the_next(self, number: int) -> None:
        """Waits until the batch after this one has been folded on top of it, or none will come."""
        with self._changed:
            assert self._changed.wait_for(lambda: self._free or self._folded > number, PATIENCE_SECONDS), "nothing is folded"

    def free(self) -> None:
        """Nothing waits for anything any more."""
        with self._changed:
            self._free = True
            self._changed.notify_all()
        self.publishing.set()


class Store:
    """A connection of a process to the database, which may refuse rows that hold a certain text."""

    def __init__(self, process: Process, inner: StateStore, held: bool) -> None:
        self._process, self._inner, self._held = process, inner, held
        self._commits = 0
        self.generation = inner.generation

    def positions(self) -> dict[Partition, Position]:
        self._process.step("positions")
        return self._inner.positions()

    def load(self, kind: Kind, ids: Sequence[tuple[str, str]]) -> list[State]:
        self._process.step("load")
        return self._inner.load(kind, ids)

    def keyring(self) -> Keyring:
        self._process.step("keyring")
        return self._inner.keyring()

    def keys(self, key_ids: Sequence[bytes]) -> dict[bytes, bytes | None]:
        self._process.step("keys")
        return self._inner.keys(key_ids)

    def key_ends(self, event_ids: Sequence[str]) -> dict[str, list[bytes]]:
        self._process.step("key_ends")
        return self._inner.key_ends(event_ids)

    def commit(self, commit: Commit) -> None:
        if self._held:
            self._commits += 1
            self._process.commit_under_the_next(self._commits)
        self._process.step("commit")
        if any(REFUSED in row.attributes for rows in commit.rows.values() for row in rows):
            self._process.free()  # the batch is bisected now, one commit after the other
            raise BadData(REFUSED)
        self._inner.commit(commit)
        self._process.step("committed")

    def move_published(self, moves: Mapping[Partition, tuple[int, int]]) -> None:
        self._process.step("move_published")
        self._inner.move_published(moves)
        self._process.step("moved_published")

    def letters(self, partition: Partition, start: int, end: int) -> list[DeadLetter]:
        self._process.step("letters")
        return self._inner.letters(partition, start, end)

    def is_live(self) -> bool:
        return self._inner.is_live()

    def pending(self, partition: Partition) -> list[tuple[str, str]]:
        self._process.step("pending")
        return self._inner.pending(partition)

    def remove_pending(self, partition: Partition, ids: Sequence[tuple[str, str]]) -> None:
        self._process.step("remove_pending")
        self._inner.remove_pending(partition, ids)
        self._process.step("removed_pending")

    def close(self) -> None:
        self._inner.close()


class Topics:
    """A process's producers: a transaction of a partition may be committed, and the next one's not."""

    def __init__(self, process: Process, inner: StateTopics, held: bool) -> None:
        self._process, self._inner, self._held = process, inner, held

    def open(self, partitions: Sequence[Partition]) -> None:
        for partition in partitions:
            self._process.step("open")
            self._inner.open([partition])
        self._process.step("opened")

    def publish(self, publications: Mapping[Partition, Publication], generation: int) -> None:
        if self._held:
            assert self._process.publishing.wait(PATIENCE_SECONDS)
        for partition, publication in publications.items():
            self._process.step("publish")
            self._inner.publish({partition: publication}, generation)
        self._process.step("published")

    def close(self) -> None:
        self._inner.close()


class Log:
    """A process's consumer outside its group."""

    def __init__(self, process: Process, inner: LogReader) -> None:
        self._process, self._inner = process, inner

    def verify(self, claims: Sequence[Claim]) -> None:
        self._process.step("verify")
        self._inner.verify(claims)

    def read(self, kind: Kind, partition: int, start: int, end: int) -> Iterator[Record]:
        self._process.step("read")
        return self._inner.read(kind, partition, start, end)


class Delivered(MemoryRecord):
    """A record that tells when its key is looked at for the second time: it has been folded, and is noted as the last."""

    def __init__(self, record: MemoryRecord, folded: Callable[[], None]) -> None:
        super().__init__(
            record.topic(), record.partition(), record.offset(), record.key(), record.value(), record.timestamp()[1]
        )
        self._looks, self._folded = 0, folded

    def key(self) -> bytes | None:
        self._looks += 1
        if self._looks == 2:
            self._folded()
        return super().key()


class Delivery:
    """What a bad consumer group makes of the log: batches of any size, with repetitions, losses, and records out of turn.

    A record that it has lost comes when it is sent back, or is lost again.
    """

    def __init__(self, log: MemoryLog, starts: Mapping[tuple[str, int], int], seed: int) -> None:
        self._log, self._random = log, random.Random(seed)
        self._kinds = {topic: kind for kind, topic in log.topics.items()}
        self._next = dict(starts)

    def batch(self) -> list[MemoryRecord]:
        """Some records, from several partitions."""
        places = [place for place in self._next if self._left(place)]
        chosen = self._random.sample(places, self._random.randint(1, len(places)))
        return [record for place in chosen for record in self._some(place)]

    def more(self) -> bool:
        """Whether it is said that more has arrived: the worker may wait for it, or not."""
        return self._random.random() < 0.5

    def over(self) -> bool:
        return not any(self._left(place) for place in self._next)

    def back(self, places: Mapping[tuple[str, int], int]) -> None:
        self._next |= places

    def _left(self, place: tuple[str, int]) -> list[MemoryRecord]:
        return self._log.stretch(self._kinds[place[0]], place[1], self._next[place], NO_END)

    def _some(self, place: tuple[str, int]) -> list[MemoryRecord]:
        left = self._left(place)
        taken, later = left[: (size := self._random.randint(1, 4))], left[size:]
        start, self._next[place] = self._next[place], taken[-1].offset() + 1
        match self._random.randrange(10):
            case 0 if later:  # the last record of all is not lost: nothing would come after it that shows the hole
                del taken[self._random.randrange(len(taken))]
            case 1:
                taken = [*taken, *taken]
            case 2:
                taken = [*self._log.stretch(self._kinds[place[0]], place[1], max(0, start - 3), start), *taken]
            case 3:
                taken = [*later[:2], *taken]
        return taken


class World:
    """What outlives every process: log, database, topics."""

    def __init__(self, seed: int, pace: Pace = "lockstep", cache_bytes: int = 2000, refused: int = 0) -> None:
        self.seed, self.pace = seed, pace
        pending_bytes = 1 if pace == "free" else 10**9
        self.settings = Settings(partitions=PARTITIONS, cache_bytes=cache_bytes, pending_bytes=pending_bytes)
        self.log = MemoryLog(REGISTRY, PARTITIONS)
        self.refused: set[Place] = set()
        self.keys = Keys(seed)
        fill(self.log, self.keys, random.Random(seed), self.refused, refused)
        self.database = MemoryDatabase({kind: self.log.topic_id(kind) for kind in KINDS}, PARTITIONS)
        self.database.keys, self.database.key_ends = dict(self.keys.wrapped), self.keys.ends
        self.topics = MemoryTopics()

    def ports(self, process: Process) -> Ports:
        held = self.pace == "overlapped"
        return Ports(
            store=lambda _name, _steps: Store(process, MemoryStateStore(self.database), held),
            topics=lambda _steps: Topics(process, MemoryStateTopics(self.topics), held),
            log=Log(process, MemoryLogReader(self.log)),
            registry=REGISTRY,
            masters=MASTERS,
        )

    def run(self, process: Process, seed: int = 0) -> bool:
        """A worker from its assignment to the end of the log. Whether it came through."""
        with suppress(Crash, FoldlineError):
            worker = Worker(self.settings, self.ports(process))
            try:
                self._run(process, worker, seed)
                return True
            except LogReplaced:
                raise AssertionError("the log is the one that was folded") from None
            finally:
                process.free()
                worker.close()
                process.struck_or_over.set()
        return False

    def _run(self, process: Process, worker: Worker, seed: int) -> None:
        topics = self.log.topics.values()
        starts = worker.begin([(topic, number) for topic in topics for number in range(PARTITIONS)])
        delivery = Delivery(self.log, starts, self.seed * 1000 + seed)
        self._between(worker)
        while not delivery.over():
            seen = threading.Event()

            def folded(seen: threading.Event = seen) -> None:
                if not seen.is_set():
                    seen.set()
                    process.folded()

            records = [Delivered(record, folded) for record in delivery.batch()]
            delivery.back(worker.handle(records, more=delivery.more()))
            self._between(worker)
        process.free()
        assert worker.drain(PATIENCE_SECONDS)

    def _between(self, worker: Worker) -> None:
        if self.pace == "lockstep":
            assert worker.drain(PATIENCE_SECONDS)

    def finish(self) -> None:
        """Workers without a fault, until one comes through."""
        for attempt in range(1, 5):
            if self.run(Process(), attempt):
                return
        raise AssertionError("no worker comes through")

    def check(self) -> None:
        """All is what the fold alone makes of the log."""
        states, letters, ended = expected(self.log, self.keys, self.refused)
        assert {key_id for key_id, wrapped in self.database.keys.items() if wrapped is None} == ended
        found = {(kind, *pair): bare(state) for kind in KINDS for pair, state in self.database.states[kind].items()}
        assert found == states
        assert {place: letter.code for place, letter in self.database.letters.items()} == letters
        for (kind, number), position in self.database.positions.items():
            records = self.log.stretch(kind, number, 0, NO_END)
            end = records[-1].offset() + 1 if records else 0
            assert (position.applied, position.published) == (end, end)
        last: dict[bytes, State] = {}
        for (kind, number), published in self.topics.states.items():
            for (key, state, attributes), _ in published:
                assert (key, state.partition) == (message_key(state.org_id, state.entity_id), number)
                last[kind.encode() + key] = state._replace(attributes=orjson.loads(attributes))
        wanted = {
            kind.encode() + message_key(org_id, entity_id): state for (kind, org_id, entity_id), state in states.items()
        }
        assert {key: bare(state) for key, state in last.items()} == wanted
        assert {(letter.kind, letter.partition, letter.offset) for letter in self.topics.letters} == letters.keys()


def bare(state: State) -> State:
    return state._replace(attributes_bound=0)


class Keys:
    """The keys of users, a few for each, and which of them a delete event ends beside those of the row."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._own: dict[str, list[DataKey]] = {}
        self.wrapped: dict[bytes, bytes | None] = {}
        self.secrets: dict[bytes, bytes] = {}
        self.ends: dict[str, list[bytes]] = {}

    def sealed(self, event: Upsert) -> Upsert:
        """The event of a user, sealed under one of the user's keys; a delete ends one more, or none."""
        if event.entity_id not in self._own:
            self._own[event.entity_id] = [self._new_key(event) for _ in range(2)]
        own = self._own[event.entity_id]
        if event.status == "deleted" and self._random.random() < 0.5:
            self.ends[event.event_id] = [self._random.choice(own).key_id]
            own.append(self._new_key(event))
        return sealed(event, self._random.choice(own))

    def _new_key(self, event: Upsert) -> DataKey:
        made = new_data_key(b"ids", event.org_id, event.entity_id)
        self.wrapped[made.key_id] = MASTERS.current.wrap(*made)
        self.secrets[made.key_id] = made.secret
        return made


def expected(
    log: MemoryLog, keys: Keys, refused: set[Place]
) -> tuple[dict[tuple[Kind, str, str], State], dict[Place, str], set[bytes]]:
    """The states that the fold alone makes of a log, the codes of what it rejects, and the keys that it ends."""
    states: dict[tuple[Kind, str, str], State] = {}
    letters: dict[Place, str] = {}
    ended: set[bytes] = set()
    for kind in KINDS:
        codec = UpsertCodec(kind, REGISTRY)
        for number in range(PARTITIONS):
            for record in log.stretch(kind, number, 0, NO_END):
                place = (kind, number, record.offset())
                after: State | Rejection | None = None
                event = codec.decode(record.value())
                if isinstance(event, Rejection):
                    after = event
                elif place in refused:
                    after = Rejection("refused", "", REFUSED)
                else:
                    after = key_fault(kind, record.key(), event, number, PARTITIONS)
                    if after is None:
                        entity = (kind, event.org_id, event.entity_id)
                        key_id = seal_key(event)
                        event = opened(event, None if key_id is None or key_id in ended else keys.secrets[key_id])
                        after = FOLD[kind](states.get(entity), event, number, record.offset())
                        if kind == "users" and isinstance(after, State) and event.status == "deleted":
                            ended |= ended_keys(states.get(entity), event) | set(keys.ends.get(event.event_id, ()))
                if isinstance(after, Rejection):
                    letters[place] = after.code
                else:
                    states[kind, event.org_id, event.entity_id] = bare(after)  # type: ignore[union-attr]
    return states, letters, ended


def fill(log: MemoryLog, keys: Keys, chosen: random.Random, refused: set[Place], refusals: int) -> None:
    """Events of a few items and users, records that nobody can fold, and offsets without a record."""
    codecs = {kind: UpsertCodec(kind, REGISTRY) for kind in KINDS}
    refused_at = set(chosen.sample(range(EVENTS), refusals))
    for at in range(EVENTS):
        kind: Kind = "items" if at in refused_at else chosen.choice(KINDS)  # an item keeps what the database does not take
        detail: Any = chosen.choice((None, "product", "article") if kind == "items" else (None, 5))
        attributes: dict[str, Any] = {chosen.choice("abc"): chosen.choice((at, None, [at], "é", 1.5))}
        status = chosen.choice((None, None, None, "active", "inactive", "deleted"))
        if at in refused_at:
            attributes[f"refused {at}"], detail = REFUSED, "product"
        text = None if chosen.random() < 0.2 and at not in refused_at else orjson.dumps(attributes).decode()
        event = Upsert("org_1", f"{chosen.randrange(4)}", detail, status, text, 1000 + at, "req_1", at)
        event = keys.sealed(event) if kind == "users" else event
        key, value = message_key(event.org_id, event.entity_id), codecs[kind].encode(event)
        record = log.append_raw(kind, key, value)
        if at in refused_at:
            refused.add((kind, record.partition(), record.offset()))
        anywhere = chosen.randrange(PARTITIONS)
        match chosen.randrange(12):
            case 0:
                log.skip(kind, anywhere, chosen.randint(1, 3))
            case 1:
                log.append_raw(kind, key, value, 1 - record.partition())
            case 2:
                log.append_raw(kind, chosen.choice((None, b"org_1:5", b"")), value, anywhere)
            case 3:
                log.append_raw(
                    kind, chosen.choice((None, key, b"\xff", b"org_1:\x00")), chosen.choice((None, b"", b"?")), anywhere
                )


@pytest.mark.parametrize("cache_bytes", [1, 10**9])
@pytest.mark.parametrize("pace", ["lockstep", "overlapped", "free"])
def test_whatever_is_delivered(pace: Pace, cache_bytes: int) -> None:
    for seed in range(SEEDS * 15):
        world = World(seed, pace, cache_bytes, refused=seed % 4)
        assert world.run(Process())
        world.check()


@pytest.mark.parametrize(
    ("pace", "fault", "refused"),
    [("lockstep", "crash", 2), ("lockstep", "failure", 0), ("overlapped", "crash", 0), ("overlapped", "failure", 2)],
)
def test_a_fault_at_every_effect(pace: Pace, fault: Fault, refused: int) -> None:
    for seed in range(SEEDS):
        for at in count():
            world, process = World(seed, pace, refused=refused), Process(fault, at)
            through = world.run(process)
            if not process.struck:
                assert through
                assert at > EVENTS, process.steps
                break
            world.finish()
            world.check()


@pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("pace", ["lockstep", "overlapped"])
def test_a_paused_worker_goes_on_while_its_successor_works(pace: Pace) -> None:
    for seed in range(SEEDS):
        chosen = random.Random(seed)
        for at in count():
            world, paused, successor = World(seed, pace), Process("pause", at), Process()
            zombie = threading.Thread(target=world.run, args=(paused, 1), daemon=True)
            zombie.start()
            assert paused.struck_or_over.wait(PATIENCE_SECONDS)
            if not paused.struck:
                assert at > EVENTS, paused.steps
                break

            def wake(number: int, at: int, paused: Process, zombie: threading.Thread) -> None:
                if number == at:
                    paused.resumed.set()
                    zombie.join(PATIENCE_SECONDS)
                    assert not zombie.is_alive()

            successor.on_step = partial(wake, at=chosen.randrange(60), paused=paused, zombie=zombie)
            world.run(successor, 2)
            wake(0, 0, paused, zombie)
            world.finish()
            world.check()


def test_who_comes_second_is_told_and_loses_nothing() -> None:
    world = World(seed=7)
    first, second = (Worker(world.settings, world.ports(Process())) for _ in range(2))
    partitions = [(topic, number) for topic in world.log.topics.values() for number in range(PARTITIONS)]
    records = world.log.stretch("items", 0, 0, 5)
    for worker in (first, second):
        worker.begin(partitions)
        assert worker.drain(PATIENCE_SECONDS)
    first.handle(records)
    with suppress(Conflict):  # it commits; to publish is the second's right by now
        first.drain(PATIENCE_SECONDS)
    second.handle(records)
    with pytest.raises(Conflict):
        second.drain(PATIENCE_SECONDS)
    first.close()
    second.close()
    world.finish()
    world.check()


def test_a_log_that_is_another_one_is_not_folded() -> None:
    world = World(seed=8)
    world.finish()
    world.log.recreate("items")
    worker = Worker(world.settings, world.ports(Process()))
    with pytest.raises(LogReplaced):
        worker.begin([(world.log.topics["items"], 0)])
    worker.close()
