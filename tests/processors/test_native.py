"""The native runner on a real Kafka and a real PostgreSQL."""

from __future__ import annotations

import random

import orjson

from foldline.domain.records import Kind, Upsert
from tests.pipeline import append, assert_equal, prepared, running, wait_applied

STATUSES = (None, None, None, "active", "inactive", "deleted")


def random_events(seed: int, count: int, keys: int) -> list[tuple[Kind, Upsert]]:
    chosen = random.Random(seed)
    events: list[tuple[Kind, Upsert]] = []
    for number in range(count):
        kind: Kind = chosen.choice(("items", "users"))
        detail = (
            chosen.choice((None, "product", "article")) if kind == "items" else chosen.choice((None, 1_700_000_000_000_000))
        )
        attributes = {
            f"k{chosen.randrange(4)}": chosen.choice((number, "é\\\t\n😀", None, 1.5, [1, {"a": 2}], 1e21)) for _ in range(2)
        }
        text = chosen.choice((None, orjson.dumps(attributes).decode()))
        entity_id = f"{chosen.randrange(keys)} a/:\\é😀"
        event = Upsert(
            "org_1", entity_id, detail, chosen.choice(STATUSES), text, 1_700_000_000_000_000 + number, "req_1", number
        )
        events.append((kind, event))
    return events


def test_folds_what_the_model_folds(kafka: str, database: str, topic_prefix: str) -> None:
    settings = prepared(kafka, database, topic_prefix, batch_records=500)
    events = random_events(seed=1, count=5000, keys=300)
    for kind in ("items", "users"):
        append(settings, kind, [event for k, event in events[:3000] if k == kind])
    with running(settings):
        wait_applied(settings)
        assert_equal(settings, events[:3000])
        for kind in ("items", "users"):
            append(settings, kind, [event for k, event in events[3000:4000] if k == kind])
        wait_applied(settings)
    for kind in ("items", "users"):
        append(settings, kind, [event for k, event in events[4000:] if k == kind])
    with running(settings):
        wait_applied(settings)
    assert_equal(settings, events)
