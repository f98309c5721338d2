"""The examples in the reference come out as it says."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from foldline.domain.fold import fold_item
from foldline.domain.records import Kind, State
from producers.validation import Refused, Stamp, validate

DOCS = Path(__file__).resolve().parents[2] / "docs"
STAMP = Stamp("org_1", "0" * 32, 1_700_000_000_000_000)


def errors() -> list[tuple[str, str, str]]:
    """The rows of the table of field errors whose example is a body: code, body, message."""
    table = (DOCS / "http.md").read_text().partition("## Error codes")[2].partition("Codes that the fold adds")[0]
    return re.findall(r"^\| `(\w+)` \| `([{\[].*?)` \| (.*) \|$", table, re.MULTILINE)


def history() -> list[tuple[str, str, str, int]]:
    """The rows of the laws' example: upsert, status, attributes as JSON or empty for unchanged, version."""
    table = (DOCS / "how-it-works.md").read_text().partition("An example, an item's events")[2]
    rows = re.findall(r"^\| `(.*?)` \| (\w+), (?:`(.*?)`|the same attributes), version (\d+) \|$", table, re.MULTILINE)
    return [(sent, status, attributes, int(version)) for sent, status, attributes, version in rows]


@pytest.mark.parametrize(("code", "body", "message"), errors())
def test_an_error_is_the_one_described(code: str, body: str, message: str) -> None:
    kind: Kind = "users" if "user_id" in body else "items"
    outcome = validate(kind, body.encode(), STAMP, 10_000)
    assert isinstance(outcome, Refused)
    assert [(error.code, error.message) for error in outcome.errors] == [(code, message.replace("\\`", "`"))]


def test_most_errors_have_a_body_for_example() -> None:
    assert len(errors()) == 10


def test_the_example_of_the_laws_folds_as_described() -> None:
    assert len(history()) == 5
    state: State | None = None
    before = ""
    for offset, (sent, status, attributes, version) in enumerate(history()):
        upserts = validate("items", sent.encode(), STAMP, 1)
        assert isinstance(upserts, list)
        after = fold_item(state, upserts[0], 0, offset)
        assert isinstance(after, State)
        before = attributes or before
        assert (after.status, after.attributes, after.version) == (status, json.loads(before), version)
        state = after
