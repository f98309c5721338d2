"""`python -m schemas.reference FILE`: the newest schema of each topic as a page, field by field."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Final

from schemas import Schema, bundle, latest, versions

HEAD: Final = """# Schemas

The values on the topics, field by field, as the newest schema of each has them. Made from the schemas by
`python -m schemas.reference`. How they are written, and where to get them:
[Topics and tables](topics-and-tables.md#schemas). All of them as an AsyncAPI document: [asyncapi.json](asyncapi.json).

`id` is a schema's without a registry of your own. A field that a version brought has a default in it, so every version reads
what every other writes. Of *or null*, null is the default.
"""


def text() -> str:
    """The page."""
    topics = list(dict.fromkeys(schema.topic for schema in bundle()))
    return "\n".join([HEAD, *(_section(topic) for topic in topics)])


def _section(topic: str) -> str:
    definition = latest(topic).definition
    every = ", ".join(f"{schema.id} (version {schema.version})" for schema in versions(topic))
    rows = [
        f"| `{field['name']}` | {_type(field['type'])} | {_since(topic, field['name']).id} | {field['doc']} |"
        for field in definition["fields"]
    ]
    lines = [
        f"## {definition['name']}",
        "",
        f"On `{topic}`; subject `{topic}-value`; ids: {every}. {definition['doc']}",
        "",
        "| field | type | since id | |",
        "| --- | --- | --- | --- |",
        *rows,
    ]
    return "\n".join(lines) + "\n"


def _type(of: Any) -> str:
    if isinstance(of, list):
        return f"{_type(next(one for one in of if one != 'null'))} or null"
    if isinstance(of, str):
        return f"`{of}`"
    if of["type"] == "fixed":
        return f"`fixed` of {of['size']} bytes"
    return f"`{of['type']}`, `{of['logicalType']}`"


def _since(topic: str, field: str) -> Schema:
    return next(schema for schema in versions(topic) if field in [one["name"] for one in schema.definition["fields"]])


def main(arguments: list[str]) -> int:
    """Writes the page; returns the exit code."""
    if len(arguments) != 1:
        print("usage: python -m schemas.reference docs/schemas.md", file=sys.stderr)
        return 2
    Path(arguments[0]).write_text(text(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
