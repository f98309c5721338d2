"""`python -m schemas.asyncapi FILE`: the topics as an AsyncAPI 3.0 document, made from the newest schema of each.

Source: https://www.asyncapi.com/docs/reference/specification/v3.0.0 and its bindings for Kafka, version 0.5.0
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Final, NamedTuple

from schemas import latest

AVRO: Final = "application/vnd.apache.avro+json;version=1.9.0"
KEEP: Final = {"cleanup.policy": ["delete"], "retention.ms": -1, "retention.bytes": -1}
COMPACT: Final = {"cleanup.policy": ["compact"]}
SOURCE: Final = "/foldline/gateway"


class Topic(NamedTuple):
    """A topic: its name without prefix, what Foldline does with it, and what it is for."""

    name: str
    id: str
    action: str
    summary: str
    configuration: dict[str, Any]


TOPICS: Final = (
    Topic("items.upserts.v1", "itemUpserts", "receive", "The log of items: every upsert, in order, for ever.", KEEP),
    Topic("users.upserts.v1", "userUpserts", "receive", "The log of users: every upsert, in order, for ever.", KEEP),
    Topic("items.state.v1", "itemStates", "send", "The newest state of every item. Has no tombstones.", COMPACT),
    Topic("users.state.v1", "userStates", "send", "The newest state of every user. Has no tombstones.", COMPACT),
    Topic("upserts.dead-letters.v1", "deadLetters", "send", "What was not folded, as it came, and why.", KEEP),
)
UPSERT_HEADERS: Final = {
    "ce_specversion": "Always 1.0.",
    "ce_id": "The event's id: the request's id, -, the record's index.",
    "ce_type": "The kind of event, with its version.",
    "ce_source": f"Where it comes from: {SOURCE}.",
    "ce_time": "When the gateway accepted the request (RFC 3339).",
    "ce_subject": "The item's or user's id.",
    "traceparent": "The caller's trace (W3C Trace Context).",
}
LETTER_HEADERS: Final = {
    "reason": "The code and a message for a person.",
    "code": "Why it was not folded, as one word.",
    "source_topic": "The topic of upserts that has the record.",
    "source_partition": "Its partition, in decimal.",
    "source_offset": "Its offset, in decimal.",
}
KEY: Final = {
    "type": "string",
    "description": "org_id:entity_id, which decides the partition (murmur2, as Java clients do).",
}
BINDING: Final = "0.5.0"


def document() -> dict[str, Any]:
    """The document, as JSON."""
    return {
        "asyncapi": "3.0.0",
        "id": "urn:foldline",
        "info": {
            "title": "Foldline",
            "version": "1",
            "description": "The log of upserts, the states folded from it, and what could not be folded. Names follow the "
            "deployment's topic prefix (FOLDLINE_TOPIC_PREFIX). States of one key are ordered by generation, then offset.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/vnd.confluent.avro",
        "channels": {topic.id: _channel(topic) for topic in TOPICS},
        "operations": {topic.action + topic.id[0].upper() + topic.id[1:]: _operation(topic) for topic in TOPICS},
        "components": {"messages": {topic.id: _message(topic) for topic in TOPICS}},
    }


def text() -> str:
    """The document as it is written to a file."""
    return json.dumps(document(), indent=2, ensure_ascii=False) + "\n"


def _channel(topic: Topic) -> dict[str, Any]:
    return {
        "address": topic.name,
        "description": topic.summary,
        "messages": {"record": {"$ref": f"#/components/messages/{topic.id}"}},
        "bindings": {"kafka": {"topicConfiguration": dict(topic.configuration), "bindingVersion": BINDING}},
    }


def _operation(topic: Topic) -> dict[str, Any]:
    channel = f"#/channels/{topic.id}"
    return {
        "action": topic.action,
        "channel": {"$ref": channel},
        "summary": topic.summary,
        "messages": [{"$ref": f"{channel}/messages/record"}],
    }


def _message(topic: Topic) -> dict[str, Any]:
    if topic.id == "deadLetters":
        return {
            "name": "DeadLetter",
            "summary": "A record of the log with its key and value as they were, whatever they were.",
            "contentType": "application/octet-stream",
            "headers": _headers(LETTER_HEADERS),
            "bindings": {"kafka": {"bindingVersion": BINDING}},
        }
    schema = latest(topic.name).definition
    headers = {"headers": _headers(UPSERT_HEADERS)} if topic.action == "receive" else {}
    wire = {"schemaIdLocation": "payload", "schemaIdPayloadEncoding": "confluent", "schemaLookupStrategy": "TopicIdStrategy"}
    return {
        "name": schema["name"],
        "summary": schema["doc"],
        "contentType": "application/vnd.confluent.avro",
        **headers,
        "payload": {"schemaFormat": AVRO, "schema": schema},
        "bindings": {"kafka": {"key": KEY, **wire, "bindingVersion": BINDING}},
    }


def _headers(described: dict[str, str]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {name: {"type": "string", "description": what} for name, what in described.items()},
    }


def main(arguments: list[str]) -> int:
    """Writes the document; returns the exit code."""
    if len(arguments) != 1:
        print("usage: python -m schemas.asyncapi docs/asyncapi.json", file=sys.stderr)
        return 2
    Path(arguments[0]).write_text(text(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
