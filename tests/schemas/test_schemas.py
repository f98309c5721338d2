"""The schemas are public: documented, in an order that never changes, and parseable by anybody."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fastavro
import pytest

import schemas
from foldline.adapters.codec import STATE_TOPIC, UPSERTS_TOPIC

# Events carry these ids. Lines are added at the end, and nothing here is ever changed.
IDS = [
    (1, "item_upserted", 1, "items.upserts.v1"),
    (2, "user_upserted", 1, "users.upserts.v1"),
    (3, "item_state", 1, "items.state.v1"),
    (4, "user_state", 1, "users.state.v1"),
    (5, "user_upserted", 2, "users.upserts.v1"),
    (6, "item_upserted", 2, "items.upserts.v1"),
    (7, "user_upserted", 3, "users.upserts.v1"),
]

every_schema = pytest.mark.parametrize("schema", schemas.bundle(), ids=lambda schema: f"{schema.record}.v{schema.version}")


def records(definition: Any) -> Iterator[dict[str, Any]]:
    """Every record in a schema, however deep."""
    if isinstance(definition, dict):
        if definition.get("type") == "record":
            yield definition
        for member in definition.values():
            yield from records(member)
    elif isinstance(definition, list):
        for member in definition:
            yield from records(member)


def test_ids_are_stable() -> None:
    assert [schema[:4] for schema in schemas.bundle()] == IDS


def test_every_file_is_in_the_bundle() -> None:
    files = {path.name for path in Path(schemas.__file__).parent.glob("*.avsc")}
    assert files == {f"{schema.record}.v{schema.version}.avsc" for schema in schemas.bundle()}


@every_schema
def test_it_parses_and_its_name_is_its_file(schema: schemas.Schema) -> None:
    parsed = fastavro.parse_schema(schema.definition)
    assert isinstance(parsed, dict)
    words = "".join(word.capitalize() for word in schema.record.split("_"))
    assert parsed["name"] == f"foldline.{words}"
    assert schema.topic.endswith(".v1"), "a compatible version stays on its topic"


@every_schema
def test_everything_has_a_doc(schema: schemas.Schema) -> None:
    found = list(records(schema.definition))
    assert found
    for record in found:
        assert record["doc"].endswith("."), record["name"]
        for field in record["fields"]:
            assert field["doc"].endswith("."), field["name"]


@every_schema
def test_what_may_be_left_out_is_null_by_default(schema: schemas.Schema) -> None:
    for field in schema.definition["fields"]:
        optional = isinstance(field["type"], list)
        assert optional == ("default" in field), field["name"]
        if optional:
            assert (field["type"][0], field["default"]) == ("null", None)


def test_times_are_microseconds() -> None:
    for schema in schemas.bundle():
        for field in schema.definition["fields"]:
            if field["name"].endswith("_at"):
                assert '"timestamp-micros"' in json.dumps(field["type"]), (schema.record, field["name"])


def test_every_topic_has_a_newest() -> None:
    for topic in (*UPSERTS_TOPIC.values(), *STATE_TOPIC.values()):
        newest = schemas.latest(topic)
        assert newest.version == max(schema.version for schema in schemas.bundle() if schema.topic == topic)
    with pytest.raises(KeyError):
        schemas.latest("upserts.dead-letters.v1")


def test_a_definition_is_the_callers_own() -> None:
    schemas.latest("items.state.v1").definition["fields"].clear()
    assert schemas.latest("items.state.v1").definition["fields"]
