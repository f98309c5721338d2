"""What the page for consumers tells other people's tools: their columns and types are the schemas' own."""

from __future__ import annotations

import ast
import inspect
import json
import re
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaException

import projections
import schemas
from projections import follow

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "consumers.md").read_text(encoding="utf-8")
TOPIC = "items.state.v1"
# What each tool calls the types of Avro; times are read as the longs under them.
TYPES = {
    "Kafka Connect": {"string": "text", "long": "bigint", "int": "integer"},
    "Flink SQL": {"string": "STRING", "long": "BIGINT", "int": "INT"},
    "ksqlDB": {"string": "VARCHAR", "long": "BIGINT", "int": "INT"},
}


def section(name: str) -> str:
    return re.split(r"^##+ ", PAGE.partition(f"### {name}\n")[2], maxsplit=1, flags=re.MULTILINE)[0]


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def fields() -> list[tuple[str, str]]:
    """The fields of the newest schema: name, and type without its logical type."""
    of = schemas.latest(TOPIC).definition["fields"]
    return [(field["name"], field["type"]["type"] if isinstance(field["type"], dict) else field["type"]) for field in of]


@pytest.mark.parametrize("tool", TYPES)
def test_the_columns_are_the_fields(tool: str) -> None:
    table = blocks(section(tool), "sql")[0].partition("TABLE foldline_items (\n")[2].partition("\n)")[0]
    columns = re.findall(r'^    [`"]?(\w+)[`"]? (\w+)(?: NOT NULL)?,?$', table, re.MULTILINE)
    key = [("record_key", "STRING")] if tool == "Flink SQL" else []
    assert columns == key + [(name, TYPES[tool][kind]) for name, kind in fields()]
    assert ("record_key VARCHAR PRIMARY KEY," in table) == (tool == "ksqlDB")


@pytest.mark.parametrize("tool", TYPES)
def test_the_topic_is_named(tool: str) -> None:
    assert f"'{TOPIC}'" in section(tool) or f'"{TOPIC}"' in section(tool)


def test_the_sink_is_configured_by_strings_and_takes_every_field() -> None:
    (text,) = blocks(section("Kafka Connect"), "json")
    sink: dict[str, Any] = json.loads(text)
    assert sink.keys() == {"name", "config"}
    assert all(isinstance(value, str) for value in sink["config"].values())
    assert sink["config"]["fields.whitelist"].split(",") == [name for name, _ in fields()]
    assert sink["config"]["pk.fields"].split(",") == [name for name, _ in fields()[:2]]
    assert f"PRIMARY KEY ({sink['config']['pk.fields'].replace(',', ', ')})" in section("Kafka Connect")


@pytest.mark.parametrize(
    ("tool", "setting"),
    [("Kafka Connect", r'override\.(.*)": "(.*)"'), ("Flink SQL", r"'properties\.(isolation.*)' = '(.*)'")],
)
def test_what_it_sets_kafkas_consumer_takes(tool: str, setting: str) -> None:
    ((name, value),) = re.findall(setting, section(tool))
    Consumer({"group.id": "any", name: value}).close()
    with pytest.raises(KafkaException):
        Consumer({"group.id": "any", name: "committed"})


def test_the_arguments_and_the_events_are_those_of_the_reader() -> None:
    arguments = [name for name in inspect.signature(follow).parameters if name != "kind"]
    rows = re.findall(r"^\| (`\w+`(?:, `\w+`)*) \|", PAGE, re.MULTILINE)
    named = {name for row in rows for name in re.findall(r"\w+", row)}
    assert named == {*arguments, "ItemState", "UserState", "CaughtUp", "Undecodable", "Waiting"}


def test_the_program_is_one() -> None:
    (program,) = blocks(PAGE, "python")
    used = {
        node.attr for node in ast.walk(ast.parse(program))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "projections"
    }  # fmt: skip
    assert used <= {*projections.__all__}
    assert len(used) == 5
