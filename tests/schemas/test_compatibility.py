"""Versions of a record that cannot read each other are found, each kind of them, before anything is written by one."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

import schemas
from schemas import Schema
from schemas.__main__ import main
from schemas.compatibility import faults, misreadings

Definition = dict[str, Any]
LONG = {"type": "long", "logicalType": "timestamp-micros"}


def planted(change: Callable[[Definition], object], record: str = "item_upserted") -> tuple[Schema, ...]:
    """The bundle with one more version of a record, which differs from its newest by `change`."""
    last = [schema for schema in schemas.bundle() if schema.record == record][-1]
    definition = last.definition
    change(definition)
    added = last._replace(id=len(schemas.bundle()) + 1, version=last.version + 1, text=json.dumps(definition))
    return (*schemas.bundle(), added)


def field(definition: Definition, name: str) -> Definition:
    return next(field for field in definition["fields"] if field["name"] == name)


def adding(kind: Any, **others: Any) -> Callable[[Definition], None]:
    return lambda definition: definition["fields"].insert(2, {"name": "new", "type": kind, "doc": "New."} | others)


def typed(name: str, kind: Any) -> Callable[[Definition], None]:
    return lambda definition: field(definition, name).update(type=kind)


def without(name: str) -> Callable[[Definition], None]:
    return lambda definition: definition["fields"].remove(field(definition, name))


def test_the_bundle_is_compatible(capsys: pytest.CaptureFixture[str]) -> None:
    assert faults(schemas.bundle()) == []
    assert main() == 0
    assert capsys.readouterr().out == f"{len(schemas.bundle())} schemas: every version of a record reads every other\n"


@pytest.mark.parametrize(
    "change",
    [
        adding(["null", "string"], default=None),
        adding("string", default=""),
        adding(LONG, default=0),
        adding({"type": "array", "items": "string"}, default=[]),
        without("status"),
        lambda definition: definition["fields"].reverse(),
        lambda definition: field(definition, "item_id").update(doc="Said otherwise."),
    ],
)
def test_versions_that_read_each_other_pass(change: Callable[[Definition], None]) -> None:
    assert faults(planted(change)) == []


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (adding("string"), "item_upserted.v3 has new without a default, and item_upserted.v1 does not have it"),
        (without("request_id"), "item_upserted.v1 has request_id without a default, and item_upserted.v3 does not have it"),
        (typed("record_index", "long"), "record_index has another type in item_upserted.v3 than in item_upserted.v1"),
        (typed("record_index", "string"), "record_index has another type in item_upserted.v3 than in item_upserted.v1"),
        (typed("status", ["null", "string", "int"]), "status has another type in item_upserted.v3 than in item_upserted.v1"),
        (typed("received_at", "long"), "received_at has another type in item_upserted.v3 than in item_upserted.v1"),
        (adding("string", default=None), "item_upserted.v3 is no Avro schema of a record: Default value <None>"),
        (adding(["null", "string"], default="x"), "item_upserted.v3: the default of new is not of its type"),
        (adding("strnig", default=""), "item_upserted.v3 is no Avro schema of a record: foldline.strnig"),
        (lambda d: d.update(name="Item"), "item_upserted.v3 is another record than item_upserted.v1"),
        (
            lambda d: d.update(type="enum", symbols=["A"]),
            "item_upserted.v3 is no Avro schema of a record: it is of type",
        ),
    ],
)
def test_versions_that_do_not_are_named(change: Callable[[Definition], None], fault: str) -> None:
    assert [line for line in faults(planted(change)) if line.startswith(fault)]


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (adding("string"), "item_upserted.v3 cannot read what item_upserted.v1 writes"),
        (without("request_id"), "item_upserted.v1 cannot read what item_upserted.v3 writes"),
        (typed("record_index", "long"), "item_upserted.v1 cannot read what item_upserted.v3 writes"),
        (typed("record_index", "string"), "item_upserted.v3 cannot read what item_upserted.v1 writes"),
    ],
)
def test_what_is_written_is_read_back_in_earnest(change: Callable[[Definition], None], fault: str) -> None:
    first, *_, second = planted(change)
    tried = [*misreadings(first, second), *misreadings(second, first)]
    assert [line for line in tried if line.startswith(fault)]


def test_versions_count_from_one_and_a_topic_has_one_record() -> None:
    *bundle, added = planted(lambda _: None)
    assert faults([*bundle, added._replace(version=4)]) == [
        "item_upserted.v4 is number 3 of items.upserts.v1: it must be item_upserted.v3"
    ]
    assert "user_upserted.v1 is number 2 of items.upserts.v1: it must be item_upserted.v2" in faults(
        [bundle[0], bundle[1]._replace(topic="items.upserts.v1")]
    )


def test_a_single_version_that_is_wrong_is_found() -> None:
    (first, *others) = schemas.bundle()
    broken = first.definition
    field(broken, "status")["default"] = "active"
    assert faults([first._replace(text=json.dumps(broken)), *others]) == [
        "item_upserted.v1: the default of status is not of its type"
    ]


def test_what_is_found_fails_the_check(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = planted(adding("string"))
    monkeypatch.setattr("schemas.__main__.bundle", lambda: bundle)
    assert main() == 1
    out, err = capsys.readouterr()
    assert (out, err.splitlines()[0]) == (
        "",
        "item_upserted.v3 has new without a default, and item_upserted.v1 does not have it",
    )
