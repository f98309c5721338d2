"""What was ever written can be read, and means what it meant."""

from __future__ import annotations

import json

import pytest

import schemas
from foldline.adapters.codec import BundledRegistry, UpsertCodec, decoder
from foldline.adapters.seals import opened
from foldline.domain.fold import FOLD
from foldline.domain.records import Rejection
from tests.golden import HERE, Golden, encoded, golden

CASES = [golden(path.stem) for path in sorted(HERE.glob("*.json"))]
every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


def test_every_meaning_has_bytes_and_every_schema_has_both() -> None:
    assert {path.stem for path in HERE.glob("*.hex")} == {case.name for case in CASES}
    assert {case.schema.id for case in CASES} == {schema.id for schema in schemas.bundle()}


@every_case
def test_it_decodes(case: Golden) -> None:
    assert int.from_bytes(case.value[1:5], "big") == case.schema.id
    assert decoder(BundledRegistry())(case.value) == case.record


@pytest.mark.parametrize("case", [case for case in CASES if case.is_upsert], ids=lambda case: case.name)
def test_it_folds(case: Golden) -> None:
    event = UpsertCodec(case.kind, BundledRegistry()).decode(case.value)
    assert not isinstance(event, Rejection)
    event = opened(event, bytes.fromhex(case.meaning["key"]) if "key" in case.meaning else None)
    after = FOLD[case.kind](None, event, 0, 0)
    if isinstance(after, Rejection):
        assert after.code == case.meaning["rejected"]
    else:
        fields = ("detail", "status", "attributes", "version", "first_seen_at", "updated_at")
        found = {field: getattr(after, field) for field in fields}
        assert json.dumps(found, sort_keys=True) == json.dumps(case.meaning["state"], sort_keys=True)


@every_case
def test_the_newest_version_is_what_is_written_today(case: Golden) -> None:
    if case.schema == schemas.latest(case.schema.topic):
        assert encoded(case) == case.value
