"""Whether the hot paths are as fast as they were: each is measured against a fixed piece of work, in turns, in one process.

`python -m benchmarks.hot_paths` fails where a path takes `LIMIT` times what is recorded for this version of Python in
`hot_paths.json`, relative to the fixed work; `--record` records what is measured now. What slows the machine down slows both
alike, so a ratio holds on any machine; a path that seems slow is measured again before it is called so.
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import orjson
from pydantic import SecretStr

from benchmarks.load import ORG_ID, upserts
from foldline.adapters.codec import BundledRegistry, StateCodec, UpsertCodec
from foldline.adapters.compiled import States
from foldline.adapters.memory import MemoryLog
from foldline.adapters.seals import MasterKeys, new_master_key
from foldline.domain.records import Upsert
from foldline.settings import Settings
from processors.batch import BatchFolder, Stretch
from producers.validation import Stamp, validate
from projections.memory import MemoryDatabase, MemoryStateStore
from projections.state import Partition

Work: TypeAlias = Callable[[], object]

LIMIT = 1.3
RECORDED = Path(__file__).with_suffix(".json")
EVENTS, KEYS = 400, 200
ROUNDS = 60
ATTEMPTS = 4
VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"


class Slower(NamedTuple):
    """A path that takes `ratio` times the fixed work, and took `recorded` times of it."""

    path: str
    ratio: float
    recorded: float


def paths() -> dict[str, Work]:
    """The hot paths by name, each ready to be run over the same few hundred events again and again."""
    registry = BundledRegistry()
    events = list(upserts(EVENTS, KEYS))
    log = MemoryLog(registry, partitions=1)
    log.append("items", events)
    records = log.stretch("items", 0, 0, EVENTS)
    topic_ids = {kind: log.topic_id(kind) for kind in log.topics}
    store = MemoryStateStore(MemoryDatabase(topic_ids, partitions=1))
    settings = Settings(master_key=SecretStr(new_master_key()))
    stretches: dict[Partition, Stretch] = {("items", 0): Stretch(0, records)}  # type: ignore[arg-type]
    codec, states = UpsertCodec("items", registry), StateCodec("items", registry)
    body, stamp = _body(events), Stamp(ORG_ID, "req_1", events[0].received_at)
    found: dict[str, Work] = {
        "validate": lambda: validate("items", body, stamp, EVENTS),
        "encode upserts": lambda: [codec.encode(event) for event in events],
        "decode upserts": lambda: [codec.decode(record.value()) for record in records],
    }
    for prefix in ("", "compiled: ") if States is not None else ("",):
        folder = BatchFolder(store, registry, MasterKeys(settings), 1, settings.cache_bytes, compiled=bool(prefix))
        rows = folder.fold(stretches, {}).commit.rows["items", 0]
        found |= {
            f"{prefix}fold": partial(folder.fold, stretches, {}),
            f"{prefix}copy": rows.copy_text,
            f"{prefix}encode states": partial(rows.messages, states, 1),
        }
    return found


def fixed_work() -> Work:
    """What the paths are measured against. It is never changed: the values recorded would mean something else."""
    texts = [
        orjson.dumps({"name": f"Thing {n}", "price": n / 7, "tags": ["a", "b"], "n": n}).decode() for n in range(EVENTS)
    ]

    def work() -> object:
        merged: dict[str, dict[str, Any]] = {}
        lines = []
        for number, text in enumerate(texts):
            value = orjson.loads(text)
            key = value["name"]
            if type(value["price"]) is not float or len(key) > 100:
                continue
            merged[key] = {**merged.get(key, {}), **value, "place": number}
            raw = orjson.dumps(merged[key])
            size = len(raw)
            lines.append(b"".join((bytes((size & 0x7F | 0x80, size >> 7)), raw, key.encode())))
        return lines

    return work


def ratio(path: Work, fixed: Work) -> float:
    """How often the fixed work's CPU time a path takes: the median of many rounds, in each of which both run."""
    path(), fixed()
    gc.collect()
    gc.disable()
    try:
        return statistics.median(_seconds(path) / _seconds(fixed) for _ in range(ROUNDS))
    finally:
        gc.enable()


def measured(found: Mapping[str, Work]) -> dict[str, float]:
    """What is recorded of the paths: the median of a few measurements of each."""
    fixed = fixed_work()
    return {name: statistics.median(ratio(path, fixed) for _ in range(ATTEMPTS)) for name, path in found.items()}


def slower(found: Mapping[str, Work], recorded: Mapping[str, float]) -> list[Slower]:
    """The paths that take `LIMIT` times what was recorded, however often they are measured."""
    fixed = fixed_work()
    slow = []
    for name, path in found.items():
        lowest = float("inf")
        for _ in range(ATTEMPTS):
            lowest = min(lowest, ratio(path, fixed))
            if lowest < LIMIT * recorded[name]:
                break
        else:
            slow.append(Slower(name, lowest, recorded[name]))
    return slow


def main() -> None:
    """Checks, or records."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.hot_paths", description=__doc__)
    parser.add_argument("--record", action="store_true", help="record what is measured now")
    arguments = parser.parse_args()
    recorded: dict[str, dict[str, float]] = json.loads(RECORDED.read_text()) if RECORDED.exists() else {}
    if arguments.record:
        recorded[VERSION] = {name: round(value, 3) for name, value in measured(paths()).items()}
        RECORDED.write_text(json.dumps(recorded, indent=1, sort_keys=True) + "\n")
    elif VERSION not in recorded:
        print(f"hot paths: nothing is recorded for Python {VERSION}; `python -m benchmarks.hot_paths --record` does it")
    elif slow := slower(paths(), recorded[VERSION]):
        for name, now, then in slow:
            print(
                f"hot paths: {name} takes {now:.2f} of the fixed work, {now / then:.2f} times what is recorded ({then:.2f})"
            )
        print("If that is meant, record it: `python -m benchmarks.hot_paths --record`")
        sys.exit(1)
    else:
        print(f"hot paths: none takes {LIMIT} times what is recorded")


def _seconds(work: Work) -> int:
    began = time.thread_time_ns()
    work()
    return time.thread_time_ns() - began


def _body(events: list[Upsert]) -> bytes:
    return orjson.dumps(
        [
            {"item_id": event.entity_id, "item_type": event.detail, "attributes": orjson.loads(event.attributes or "{}")}
            for event in events
        ]
    )


if __name__ == "__main__":
    main()
