"""Golden files: bytes of every event and state version ever written, and what they mean. See README.md."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import schemas
from foldline.adapters.codec import STATE_TOPIC, UPSERTS_TOPIC, BundledRegistry, StateCodec, UpsertCodec
from foldline.domain.records import DETAIL_FIELD, ID_FIELD, KINDS, Kind, State, Upsert

HERE = Path(__file__).parent


class Golden(NamedTuple):
    """One case. `schema` is the name of its schema's file without the ending."""

    name: str
    schema: schemas.Schema
    meaning: dict[str, Any]

    @property
    def record(self) -> dict[str, Any]:
        """What the value decodes to. JSON has no bytes: seals and ids are in hexadecimal there."""
        record: dict[str, Any] = self.meaning["record"]
        return record | {name: bytes.fromhex(record[name]) for name in ("sealed", "idempotency_id") if record.get(name)}

    @property
    def value(self) -> bytes:
        return bytes.fromhex((HERE / f"{self.name}.hex").read_text())

    @property
    def kind(self) -> Kind:
        return next(kind for kind in KINDS if self.schema.topic in (UPSERTS_TOPIC[kind], STATE_TOPIC[kind]))

    @property
    def is_upsert(self) -> bool:
        return self.schema.topic in UPSERTS_TOPIC.values()


def golden(name: str) -> Golden:
    record, version, _ = name.split(".", 2)
    schema = next(s for s in schemas.bundle() if (s.record, f"v{s.version}") == (record, version))
    return Golden(name, schema, json.loads((HERE / f"{name}.json").read_text()))


def encoded(case: Golden) -> bytes:
    """The bytes that today's encoder makes of a case's record."""
    record, kind = case.record, case.kind
    head = (record["org_id"], record[ID_FIELD[kind]], record[DETAIL_FIELD[kind]], record["status"])
    if case.is_upsert:
        rest = [record[field] for field in Upsert._fields[4 : None if kind == "users" else -1]]
        return UpsertCodec(kind, BundledRegistry()).encode(Upsert(*head, *rest))
    rest = [record[field] for field in State._fields[5:10]]
    state = State(*head, {}, *rest, 0)
    return StateCodec(kind, BundledRegistry()).encode(state, record["attributes"], record["generation"])
