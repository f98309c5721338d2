"""Avro in Confluent's wire format: a zero byte, the schema's id in four bytes big-endian, then the Avro body.

Timestamps stay integers: the schemas are parsed without their logical types, which costs nothing at this rate.
Source: https://docs.confluent.io/platform/current/schema-registry/fundamentals/serdes-develop/index.html#wire-format
"""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from operator import itemgetter
from typing import Any, Protocol

import fastavro
from fastavro.read import SchemaResolutionError

import schemas
from foldline.adapters.avro import state_encoder, upsert_decoder, upsert_encoder
from foldline.domain.errors import SchemaUnknown
from foldline.domain.records import DETAIL_FIELD, ID_FIELD, Kind, Rejection, Upsert

UPSERTS_TOPIC: dict[Kind, str] = {"items": "items.upserts.v1", "users": "users.upserts.v1"}
STATE_TOPIC: dict[Kind, str] = {"items": "items.state.v1", "users": "users.state.v1"}


class Registry(Protocol):
    """Where schema ids come from."""

    def id_of(self, topic: str) -> int:
        """The id of the newest schema of a topic's values (the topic's name without prefix)."""

    def schema_of(self, schema_id: int) -> dict[str, Any]:
        """The schema of an id. Raises `SchemaUnknown` for an id that does not exist, `Unreachable` where nobody answers."""


class BundledRegistry:
    """The schemas that ship with this version, by their place in the bundle. Needs no server."""

    def id_of(self, topic: str) -> int:
        return schemas.latest(topic).id

    def schema_of(self, schema_id: int) -> dict[str, Any]:
        bundle = schemas.bundle()
        if not 1 <= schema_id <= len(bundle):
            raise SchemaUnknown(f"no schema has the id {schema_id}; the bundled ones are 1 to {len(bundle)}")
        return bundle[schema_id - 1].definition


class UpsertCodec:
    """Upserts of one kind to and from the values of their topic."""

    def __init__(self, kind: Kind, registry: Registry) -> None:
        topic = UPSERTS_TOPIC[kind]
        self._kind, self._registry = kind, registry
        self._id_field, self._detail_field = ID_FIELD[kind], DETAIL_FIELD[kind]
        self._schema = _parsed(schemas.latest(topic).definition)
        names = ("org_id", self._id_field, self._detail_field, *Upsert._fields[3 : None if kind == "users" else -1])
        self._fields: Callable[[Any], tuple[Any, ...]] = itemgetter(*names)
        self._schema_pairs: dict[bytes, tuple[Any, Any]] = {}
        self._prefix = _prefix(registry.id_of(topic))
        self._before = _parsed(schemas.versions(topic)[-2].definition)
        self._fast = {self._prefix: upsert_decoder(kind, len(self._prefix), has_id=True)}
        self.layouts = [(self._prefix, True)]
        """How values begin that are under the newest schema or the one before, and whether they have idempotency ids."""
        self.encode = upsert_encoder(kind, self._prefix)
        """The value of an upsert, under the newest schema."""

    def decode(self, value: bytes | None) -> Upsert | Rejection:
        """The upsert of a value, or why there is none. Raises `Unreachable` where the registry does not answer."""
        if not value:
            return Rejection("undecodable", "", "the record has no value")
        prefix = value[:5]
        decode = self._fast.get(prefix)
        if decode is not None:
            try:
                return decode(value)
            except (IndexError, ValueError):
                pass
        schema_pair = self._schema_pairs.get(prefix)
        if schema_pair is None:
            if prefix[0] != 0 or len(prefix) < 5:
                return Rejection(
                    "undecodable",
                    "",
                    "the value does not begin as Confluent's wire format does: a zero byte and a schema id",
                )
            try:
                definition = self._registry.schema_of(int.from_bytes(prefix[1:], "big"))
            except SchemaUnknown as unknown:
                return Rejection("unknown_schema", "", str(unknown))
            try:
                writer = _parsed(definition)
            except Exception as error:  # strangers register schemas too
                return Rejection("unknown_schema", "", f"its schema is not one of Avro: {error}"[:500])
            if writer == self._before:
                self._fast[prefix] = upsert_decoder(self._kind, len(prefix), has_id=False)
                self.layouts.append((prefix, False))
            # Where the writer's schema is ours there is nothing to resolve, which is faster.
            schema_pair = self._schema_pairs[prefix] = (writer, None if writer == self._schema else self._schema)
        buffer = BytesIO(value)
        buffer.seek(5)
        try:
            record: Any = fastavro.schemaless_reader(buffer, *schema_pair)
            if buffer.tell() != len(value):
                return Rejection("undecodable", "", "bytes are left after the Avro body")
            if not -(2**31) <= record["record_index"] < 2**31:  # the reader does not look
                return Rejection("undecodable", "record_index", "record_index is not an Avro int: it has more than 32 bits")
            return Upsert(*self._fields(record))
        except Exception as error:  # whatever bytes of a stranger do to the reader, it is this record's fault
            return Rejection("undecodable", "", f"the value is not Avro of its schema: {_in_words(error)}"[:500])


class StateCodec:
    """States of one kind to the values of their topic."""

    def __init__(self, kind: Kind, registry: Registry) -> None:
        self.prefix = _prefix(registry.id_of(STATE_TOPIC[kind]))
        """How every value begins."""
        self.encode = state_encoder(kind, self.prefix)
        """The value of a state, from the state, the JSON text of its attributes, and the generation that it belongs to."""


def decoder(registry: Registry) -> Callable[[bytes], dict[str, Any]]:
    """A function from any value in the wire format to its record as a dictionary; times are integers."""
    parsed: dict[bytes, Any] = {}

    def decode(value: bytes) -> dict[str, Any]:
        prefix = value[:5]
        if prefix not in parsed:
            parsed[prefix] = _parsed(registry.schema_of(int.from_bytes(prefix[1:], "big")))
        buffer = BytesIO(value)
        buffer.seek(5)
        record: dict[str, Any] = fastavro.schemaless_reader(buffer, parsed[prefix], None)  # type: ignore[assignment]
        return record

    return decode


def _in_words(error: Exception) -> str:
    """What the reader stumbled over, for a person."""
    if isinstance(error, EOFError) or (isinstance(error, IndexError) and str(error).startswith("string")):
        return "it ends in the middle of a field"
    if isinstance(error, IndexError):
        return "a union in it names a member that there is not"
    if isinstance(error, UnicodeDecodeError):
        return "a text in it is not UTF-8"
    if isinstance(error, SchemaResolutionError):
        return "it was written for another topic, or another record"
    return f"{type(error).__name__}: {error}"


def _prefix(schema_id: int) -> bytes:
    return b"\x00" + schema_id.to_bytes(4, "big")


def _parsed(definition: dict[str, Any]) -> Any:
    return fastavro.parse_schema(without_logical_types(definition))


def without_logical_types(schema: Any) -> Any:
    """The schema with its logical types as the types under them, so that times are read and written as integers."""
    if isinstance(schema, dict):
        if "logicalType" in schema and schema["type"] != "fixed":
            return schema["type"]
        return {key: without_logical_types(member) for key, member in schema.items() if key != "logicalType"}
    if isinstance(schema, list):
        return [without_logical_types(member) for member in schema]
    return schema
