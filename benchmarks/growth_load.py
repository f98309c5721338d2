"""The load of the growth curves: a table filled with as many records as are wanted, and upserts over them, from a seed."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from itertools import accumulate, pairwise
from multiprocessing import get_context
from typing import Any, NamedTuple

import orjson
import psycopg

from benchmarks.growth_meter import topic_ends
from benchmarks.load import CATEGORIES, append
from benchmarks.servers import Servers
from foldline.domain.records import Upsert
from foldline.settings import Settings
from processors.rebuild import build, positions

SMALLEST_BYTES = 100
FIRST_RECEIVED_AT = 1_700_000_000_000_000
REQUEST_RECORDS = 1000
# Prime, and no factor of a number of records: keys are made in no order that an index would like.
STRIDE = 2_654_435_761
TEXT_BYTES = 1_000_000


class Shape(NamedTuple):
    """A table of so many records of so many organisations, and which of them upserts are of.

    `touched` is how many of them get upserts, spread over the table; None means all. `skew` is the exponent of Zipf's law
    by which a record's rank decides how often it comes; 0 means that all are as likely.
    """

    records: int
    organisations: int = 1
    attribute_bytes: int = SMALLEST_BYTES
    touched: int | None = None
    skew: float = 0.0


def filled(started: Servers, shape: Shape) -> Settings:
    """Settings of a database whose generation in use has every record of the shape, with nothing left to be published.

    The log has an upsert of each, which a rebuild's processes fold into the generation: the same batches as a processor's,
    in larger commits. The states are not on the state topic. What a directory that is kept has already is not made again.
    """
    name = f"growth_{shape.records}_{shape.organisations}_{shape.attribute_bytes}"
    settings = started.named(name)
    with psycopg.connect(settings.database_url, autocommit=True) as connection:
        if connection.execute("SELECT to_regclass('public.filled')").fetchone() == (None,):
            _append_all(settings, shape)
            build(settings, 1, _ends(settings, connection), lambda _: None)
            connection.execute("UPDATE foldline_control.positions SET published = applied")
            connection.execute("VACUUM ANALYZE")
            connection.execute("CREATE TABLE public.filled ()")
    return settings


def upserts(shape: Shape, count: int, seed: int) -> Iterator[Upsert]:
    """Upserts of records that are there: a price, a status now and then, and one of five counters change."""
    chosen = random.Random(seed)
    now = time.time_ns() // 1000
    texts = _texts(shape)
    for number, place in enumerate(_places(shape, count, chosen)):
        key = place * STRIDE % shape.records
        yield _upsert(shape, key, number, chosen, texts, chosen.choice((None, "active", "inactive")), now)


def first_upserts(shape: Shape, start: int, stop: int) -> Iterator[Upsert]:
    """The first upsert of every record whose place in the order of their making is in this range."""
    chosen = random.Random(start)
    texts = _texts(shape)
    for place in range(start, stop):
        yield _upsert(shape, place * STRIDE % shape.records, place, chosen, texts, "active", FIRST_RECEIVED_AT + place)


def _places(shape: Shape, count: int, chosen: random.Random) -> Iterator[int]:
    touched = shape.touched or shape.records
    if not shape.skew or touched == 1:
        return (chosen.randrange(touched) for _ in range(count))
    weights = list(accumulate((rank + 1) ** -shape.skew for rank in range(touched)))
    return iter(chosen.choices(range(touched), cum_weights=weights, k=count))


def _upsert(
    shape: Shape, key: int, number: int, chosen: random.Random, texts: str, status: str | None, received_at: int
) -> Upsert:
    attributes: dict[str, Any] = {
        "name": f"Wireless Headphones {key}",
        "price": round(chosen.random() * 200, 2),
        "category": chosen.choice(CATEGORIES),
        "brand": "Acoustix",
        f"k{number % 5}": number,
    }
    if texts:
        start = chosen.randrange(TEXT_BYTES)
        attributes["description"] = texts[start : start + shape.attribute_bytes - SMALLEST_BYTES]
    return Upsert(
        f"org_{key % shape.organisations:04d}",
        f"PROD-{key:08d}",
        "product",
        status,
        orjson.dumps(attributes).decode(),
        received_at,
        f"req_{number // REQUEST_RECORDS:016d}",
        number % REQUEST_RECORDS,
    )


def _texts(shape: Shape) -> str:
    """What descriptions are cut from: words in no order, as hard to compress as a shop's."""
    if shape.attribute_bytes <= SMALLEST_BYTES:
        return ""
    chosen = random.Random(7)
    letters = "etaoinshrdlucmfwypvbgkjqxz"
    words = ["".join(chosen.choices(letters, k=chosen.randint(2, 10))) for _ in range(5000)]
    text = " ".join(chosen.choices(words, k=(TEXT_BYTES + shape.attribute_bytes) // 5))
    return text[: TEXT_BYTES + shape.attribute_bytes]


def _append_all(settings: Settings, shape: Shape) -> None:
    parts = min(os.cpu_count() or 1, 1 + shape.records // 100_000)
    bounds = [shape.records * part // parts for part in range(parts + 1)]
    with ProcessPoolExecutor(parts, get_context("spawn")) as pool:
        for done in [pool.submit(_append_part, settings, shape, *pair) for pair in pairwise(bounds)]:
            done.result()


def _append_part(settings: Settings, shape: Shape, start: int, stop: int) -> None:
    append(settings, first_upserts(shape, start, stop))


def _ends(settings: Settings, connection: psycopg.Connection[Any]) -> dict[Any, int]:
    items = topic_ends(settings, settings.topic_prefix + "items.upserts.v1")
    return {(kind, number): items[number] for kind, number in positions(connection, settings, 1) if kind == "items"}
