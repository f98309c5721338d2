"""What versions of a record owe each other, so that old and new readers read old and new events (FULL_TRANSITIVE).

1. A topic has one record, whose versions count from 1 in the order of their ids.
2. A field that two versions share has the same type in both.
3. A field that only one of two versions has has a default there, whichever is the older.
4. A default is a value of its field's type.
5. What any version writes, every version reads: shared fields as they were written, the reader's others by default.

1 to 4 are read off the schemas; 5 is tried by fastavro's resolution, on values of each version, both ways.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from io import BytesIO
from typing import Any

from fastavro import parse_schema, schemaless_reader, schemaless_writer
from fastavro.schema import SchemaParseException
from fastavro.utils import generate_many
from fastavro.validation import validate

from schemas import Schema

SAMPLES = 32


def faults(bundle: Sequence[Schema]) -> list[str]:
    """What does not hold, a line each; nothing where all versions of all records are compatible both ways."""
    topics = dict.fromkeys(schema.topic for schema in bundle)
    return [fault for topic in topics for fault in _of_topic([schema for schema in bundle if schema.topic == topic])]


def _of_topic(versions: Sequence[Schema]) -> Iterator[str]:
    first = versions[0]
    for place, schema in enumerate(versions, start=1):
        if (schema.record, schema.version) != (first.record, place):
            yield f"{_name(schema)} is number {place} of {first.topic}: it must be {first.record}.v{place}"
    unsound = [fault for schema in versions for fault in _of_schema(schema)]
    yield from unsound
    if not unsound:
        for writer in versions:
            for reader in versions:
                yield from differences(writer, reader)
                yield from misreadings(writer, reader)


def _of_schema(schema: Schema) -> Iterator[str]:
    try:
        parse_schema(schema.definition)
        fields = _fields(schema)
    except (SchemaParseException, LookupError, TypeError, ValueError) as error:
        yield f"{_name(schema)} is no Avro schema of a record: {error}"
        return
    for name, field in fields.items():
        # A union's default is of its first type.
        kind = field["type"][0] if isinstance(field["type"], list) else field["type"]
        if "default" in field and not validate(field["default"], kind, raise_errors=False):
            yield f"{_name(schema)}: the default of {name} is not of its type"


def differences(writer: Schema, reader: Schema) -> Iterator[str]:
    """Where a reader by one version would be at a loss with what another writes, by the schemas alone (rules 2 and 3)."""
    written, read = _fields(writer), _fields(reader)
    if writer.definition["name"] != reader.definition["name"]:
        yield f"{_name(reader)} is another record than {_name(writer)}"
    for name, field in read.items():
        if name not in written:
            if "default" not in field:
                yield f"{_name(reader)} has {name} without a default, and {_name(writer)} does not have it"
        elif field["type"] != written[name]["type"]:
            yield f"{name} has another type in {_name(reader)} than in {_name(writer)}"


def misreadings(writer: Schema, reader: Schema) -> Iterator[str]:
    """What a reader by one version makes of values that another has written (rule 5): the first that goes wrong."""
    written, read = _fields(writer), _fields(reader)
    for value in generate_many(writer.definition, SAMPLES):
        wanted = {name: value[name] if name in written else field.get("default") for name, field in read.items()}
        try:
            found = _read(_write(value, writer), writer, reader)
            # By the reader's own bytes, since a time goes in as a number and comes out as another type.
            same = _write(found, reader) == _write(wanted, reader)
        except Exception as error:  # whatever the library makes of it: it was not read
            yield f"{_name(reader)} cannot read what {_name(writer)} writes: {type(error).__name__}: {error}"
            return
        if not same:
            yield f"{_name(reader)} reads another value than {_name(writer)} wrote"
            return


def _write(value: Any, schema: Schema) -> bytes:
    written = BytesIO()
    schemaless_writer(written, parse_schema(schema.definition), value)
    return written.getvalue()


def _read(data: bytes, writer: Schema, reader: Schema) -> Any:
    return schemaless_reader(BytesIO(data), parse_schema(writer.definition), parse_schema(reader.definition))


def _fields(schema: Schema) -> Mapping[str, dict[str, Any]]:
    if schema.definition["type"] != "record":
        raise ValueError(f"it is of type {schema.definition['type']}")
    return {field["name"]: field for field in schema.definition["fields"]}


def _name(schema: Schema) -> str:
    return f"{schema.record}.v{schema.version}"
