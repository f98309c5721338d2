"""The AsyncAPI document: up to date, valid by the specification's own schema, and about the topics that there are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

import schemas
from foldline.adapters.codec import STATE_TOPIC, UPSERTS_TOPIC
from foldline.adapters.producer import EVENT_SOURCE, headers_of
from foldline.adapters.topics import topic_configs
from foldline.domain.records import Upsert
from foldline.settings import Settings
from schemas import asyncapi

DOCS = Path(__file__).resolve().parents[2] / "docs"
SPECIFICATION = Path(__file__).parent / "vendor" / "asyncapi-3.0.0.json"


def faults(document: Any) -> list[str]:
    # Its $schema lacks the # that the validator looks for.
    specification = json.loads(SPECIFICATION.read_text()) | {"$schema": "http://json-schema.org/draft-07/schema#"}
    return [error.json_path for error in jsonschema.Draft7Validator(specification).iter_errors(document)]


def test_the_document_is_up_to_date() -> None:
    written = (DOCS / "asyncapi.json").read_text(encoding="utf-8")
    assert written == asyncapi.text(), "run python -m schemas.asyncapi docs/asyncapi.json"


def test_it_is_valid() -> None:
    assert faults(asyncapi.document()) == []


def test_what_is_wrong_is_found() -> None:
    document = asyncapi.document()
    document["operations"]["sendItemStates"]["action"] = "publish"
    document["channels"]["itemStates"]["bindings"]["kafka"]["topicConfiguration"]["cleanup.policy"] = "compact"
    assert len(faults(document)) == 2


def references(node: Any) -> list[str]:
    if isinstance(node, dict):
        return [str(node["$ref"])] if "$ref" in node else [ref for member in node.values() for ref in references(member)]
    return [ref for member in node for ref in references(member)] if isinstance(node, list) else []


def test_every_reference_leads_somewhere() -> None:
    document = asyncapi.document()
    assert len(references(document)) == 15
    for reference in references(document):
        node: Any = document
        for step in reference.removeprefix("#/").split("/"):
            node = node[step]
        assert isinstance(node, dict)


def test_it_has_every_topic_as_it_is_made() -> None:
    channels = asyncapi.document()["channels"].values()
    configs = topic_configs(Settings())
    assert sorted(channel["address"] for channel in channels) == sorted(configs)
    for channel in channels:
        for name, value in channel["bindings"]["kafka"]["topicConfiguration"].items():
            said = ",".join(value) if isinstance(value, list) else str(value)
            assert said == configs[channel["address"]][name], (channel["address"], name)


@pytest.mark.parametrize("topic", [*UPSERTS_TOPIC.values(), *STATE_TOPIC.values()])
def test_the_payload_of_a_topic_is_its_newest_schema(topic: str) -> None:
    document = asyncapi.document()
    (name,) = [name for name, channel in document["channels"].items() if channel["address"] == topic]
    assert document["components"]["messages"][name]["payload"]["schema"] == schemas.latest(topic).definition


def test_the_headers_are_those_that_are_written() -> None:
    messages = asyncapi.document()["components"]["messages"]
    written = {name for name, _ in headers_of("items", Upsert("org", "id", None, None, None, 0, "request", 0), "")}
    for name in ("itemUpserts", "userUpserts"):
        assert set(messages[name]["headers"]["properties"]) == written | {"ce_id", "ce_subject"}
    assert EVENT_SOURCE.decode() == asyncapi.SOURCE
    reference = (DOCS / "topics-and-tables.md").read_text()
    for name in messages["deadLetters"]["headers"]["properties"]:
        assert f"`{name}`" in reference


def test_the_command_writes_it(tmp_path: Path) -> None:
    file = tmp_path / "asyncapi.json"
    assert asyncapi.main([str(file)]) == 0
    assert file.read_text() == asyncapi.text()
    assert asyncapi.main([]) == 2
