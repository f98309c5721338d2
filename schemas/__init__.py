"""The Avro schemas, one `.avsc` file per record and version, and their order.

The order is append-only: a schema's id without a registry is its place in `bundle()`, from 1, and events carry it.
"""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from typing import Any, NamedTuple


class Schema(NamedTuple):
    """One version of one record. `topic` is the topic whose values it describes, without prefix; `id` counts from 1."""

    id: int
    record: str
    version: int
    topic: str
    text: str

    @property
    def definition(self) -> dict[str, Any]:
        """The schema as parsed JSON, a new object each time."""
        definition: dict[str, Any] = json.loads(self.text)
        return definition


_ORDER = (
    ("item_upserted", 1, "items.upserts.v1"),
    ("user_upserted", 1, "users.upserts.v1"),
    ("item_state", 1, "items.state.v1"),
    ("user_state", 1, "users.state.v1"),
    ("user_upserted", 2, "users.upserts.v1"),
    ("item_upserted", 2, "items.upserts.v1"),
    ("user_upserted", 3, "users.upserts.v1"),
)


@cache
def bundle() -> tuple[Schema, ...]:
    """Every schema ever released, oldest first."""
    here = files(__name__)
    return tuple(
        Schema(place, record, version, topic, (here / f"{record}.v{version}.avsc").read_text(encoding="utf-8"))
        for place, (record, version, topic) in enumerate(_ORDER, start=1)
    )


def versions(topic: str) -> tuple[Schema, ...]:
    """Every schema of a topic's values, oldest first. Raises `KeyError` for a topic that has none."""
    found = tuple(schema for schema in bundle() if schema.topic == topic)
    if not found:
        raise KeyError(topic)
    return found


def latest(topic: str) -> Schema:
    """The newest schema of a topic's values. Raises `KeyError` for a topic that has none."""
    return versions(topic)[-1]
