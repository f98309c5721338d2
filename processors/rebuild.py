"""Rebuilds: a generation folded from the log beside the live one, compared with it, and put in its place.

A swap, in this order:
1. The new generation is folded as far as the live one is, and the two are compared as they were at one moment.
2. The live positions are locked. Where the rest is more than a little, they are let go, and it begins again.
3. The rest is folded under the lock: both are at the same positions now. What changed since the comparison is compared.
4. In one transaction the live positions are closed, so that whoever waits for them fails and goes over; the records that
   differ are kept as to be published; the views are pointed at the new generation.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from heapq import merge
from itertools import groupby
from typing import Any, Final, NamedTuple

from foldline.adapters.codec import UPSERTS_TOPIC
from foldline.adapters.postgres import Connection, connect, translated
from foldline.domain.errors import FoldlineError
from foldline.domain.records import KINDS, Kind
from foldline.settings import Settings
from processors.replay import Ends, fold_partition, replay
from projections.generations import IDLE_MILLISECONDS, live_generation, point_views, schema_name
from projections.sql import queries
from projections.state import Partition

SMALL_REST: Final = 2000
LOCK_MILLISECONDS: Final = 500
SAMPLE: Final = 10
FETCH_ROWS: Final = 5000
MASK: Final = 2**64 - 1

_SQL: Final = queries("generations")


class Difference(NamedTuple):
    """A record whose state is another one in the other generation. `missing` says in which it is not at all, if so."""

    kind: Kind
    partition: int
    org_id: str
    entity_id: str
    missing: str


class Comparison(NamedTuple):
    """Two generations at the same positions: their rows, a checksum of each, and what differs."""

    rows: tuple[int, int]
    checksums: tuple[str, str]
    differences: list[Difference]
    positions: Ends


class Swap(NamedTuple):
    """What took the live generation's place."""

    old: int
    new: int
    pending: int


def build(settings: Settings, generation: int, ends: Ends, on_progress: Callable[[int], None]) -> None:
    """Folds a generation up to these offsets, by as many processes as there are cores."""
    replay(settings, generation, ends, on_progress, os.cpu_count() or 1)


def positions(connection: Connection, settings: Settings, generation: int) -> dict[Partition, int]:
    """How far a generation is folded."""
    kinds = {settings.topic_prefix + topic: kind for kind, topic in UPSERTS_TOPIC.items()}
    with translated():
        rows = connection.execute(_SQL["applied"], (generation,)).fetchall()
    return {(kinds[topic], partition): applied for topic, partition, applied in rows if topic in kinds}


def compare(settings: Settings, new: int, on_progress: Callable[[int], None]) -> Comparison:
    """Compares the live generation with another one, row by row, as both are at the positions that the live one has now, up
    to which the other one is folded first. Nobody waits for it. A user who is erased meanwhile counts as it is in the other
    one: what the live one had then cannot be known any more."""
    with _snapshot(settings) as live, closing(connect(settings.database_url, "foldline compare")) as other:
        old = live_generation(live)
        assert old is not None
        ends = positions(live, settings, old)
        build(settings, new, ends, on_progress)
        rows, sums, differences = [0, 0], [0, 0], list[Difference]()
        doubtful: list[tuple[Difference, list[bytes], int]] = []
        for kind in KINDS:
            sides = (_rows(live, old, kind, 0), _rows(other, new, kind, 1))
            for key, found in groupby(merge(*sides, key=lambda row: row[:2]), key=lambda row: row[:2]):
                both = {row[5]: row for row in found}
                for side, row in both.items():
                    rows[side] += 1
                    sums[side] = (sums[side] + row[3]) & MASK
                if len(both) < 2 or both[0][3] != both[1][3]:
                    missing = "" if len(both) == 2 else "new" if 0 in both else "live"
                    org_id, entity_id = key
                    difference = Difference(kind, next(iter(both.values()))[2], org_id, entity_id, missing)
                    if not missing and both[0][4]:
                        doubtful.append((difference, both[0][4], both[1][3] - both[0][3]))
                    else:
                        differences.append(difference)
        gone = _destroyed(other, [key_id for _, keys, _ in doubtful for key_id in keys])
        for difference, keys, more in doubtful:
            if gone.isdisjoint(keys):
                differences.append(difference)
            else:
                sums[0] = (sums[0] + more) & MASK
    return Comparison((rows[0], rows[1]), (f"{sums[0]:016x}", f"{sums[1]:016x}"), differences, ends)


def swap(
    connection: Connection, settings: Settings, new: int, compared: Comparison, on_progress: Callable[[int], None]
) -> Swap:
    """Puts a generation that was compared in the live one's place, while writes go on. Raises `Unreachable`."""
    while True:
        old = live_generation(connection)
        assert old is not None
        build(settings, new, positions(connection, settings, old), on_progress)
        found = _try_swap(connection, settings, old, new, compared)
        if found is not None:
            return found


def _try_swap(connection: Connection, settings: Settings, old: int, new: int, compared: Comparison) -> Swap | None:
    """Swaps, or lets go where the rest is too much to be folded while others wait, or others do not let the lock go."""
    kinds = {settings.topic_prefix + topic: kind for kind, topic in UPSERTS_TOPIC.items()}
    topics = {kind: topic for topic, kind in kinds.items()}
    try:
        with translated(), connection.transaction():
            connection.execute(f"SET LOCAL lock_timeout = {LOCK_MILLISECONDS}".encode())
            connection.execute(f"SET LOCAL idle_in_transaction_session_timeout = {IDLE_MILLISECONDS}".encode())
            locked = connection.execute(_SQL["lock_positions"], (old,)).fetchall()
            ends = {(kinds[topic], partition): applied for topic, partition, applied in locked if topic in kinds}
            reached = positions(connection, settings, new)
            rest = {partition: end for partition, end in ends.items() if reached[partition] < end}
            if sum(end - reached[partition] for partition, end in rest.items()) > SMALL_REST:
                return None
            for partition, end in rest.items():
                fold_partition(settings, new, partition, end)
            pending = [(topics[d.kind], d.partition, d.org_id, d.entity_id) for d in compared.differences]
            pending += _moved(connection, old, new, compared.positions, topics)
            connection.execute(_SQL["make_pending"])
            with connection.cursor().copy(_SQL["copy_pending"].encode()) as copy:
                for row in pending:
                    copy.write_row(row)
            connection.execute(_SQL["insert_pending"], (new,))
            connection.execute(_SQL["take_pending"], {"old": old, "new": new})
            connection.execute(_SQL["take_published"], {"old": old, "new": new})
            connection.execute(_SQL["retire"], {"generation": old})
            connection.execute(_SQL["set_live"], (new,))
            connection.execute(_SQL["destroy_ended"], (new,))
            point_views(connection)
            return Swap(old, new, len(pending))
    except FoldlineError as error:
        if "55P03" in str(error):  # somebody holds a lock for longer than we wait
            return None
        raise


def _moved(
    connection: Connection, old: int, new: int, since: Ends, topics: Mapping[Kind, str]
) -> list[tuple[str, int, str, str]]:
    """Records that changed since the comparison and differ."""
    found = []
    for kind in KINDS:
        query = _SQL[f"moved_{kind}"].replace("{old}", schema_name(old)).replace("{new}", schema_name(new))
        starts = [end for (of_kind, _), end in sorted(since.items()) if of_kind == kind]
        rows = connection.execute(query.encode(), {"since": starts}).fetchall()
        found += [(topics[kind], partition, org_id, entity_id) for partition, org_id, entity_id in rows]
    return found


def _destroyed(connection: Connection, key_ids: list[bytes]) -> set[bytes]:
    """Those of the keys that were destroyed."""
    with translated():
        return {key_id for (key_id,) in connection.execute(_SQL["destroyed"], (key_ids,)).fetchall()}


@contextmanager
def _snapshot(settings: Settings) -> Iterator[Connection]:
    """A connection that sees the database as it is now, as long as it lasts."""
    with closing(connect(settings.database_url, "foldline compare")) as connection, translated():
        connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        yield connection


def _rows(connection: Connection, generation: int, kind: Kind, side: int) -> Iterator[tuple[Any, ...]]:
    """Key, partition, digest and keys of every record of a generation, in order; and the side that was given."""
    query = _SQL[f"rows_{kind}"].replace("{schema}", schema_name(generation))
    with translated(), connection.transaction(), connection.cursor(f"rows_{kind}") as cursor:
        cursor.itersize = FETCH_ROWS
        for org_id, entity_id, partition, digest, keys in cursor.execute(query.encode()):
            yield org_id, entity_id, partition, digest & MASK, keys, side
