"""The tests that the pages on security and on guarantees name exist, and every risk of the list has its row."""

from __future__ import annotations

import ast
import re

import pytest

from tests.docs.test_reference import ROOT, page

PAGES = page("security.md") + page("guarantees.md")
NAMED = sorted(set(re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", PAGES)))


@pytest.mark.parametrize(("file", "test"), NAMED)
def test_what_is_named_exists(file: str, test: str) -> None:
    names = {node.name for node in ast.walk(ast.parse((ROOT / file).read_text())) if isinstance(node, ast.FunctionDef)}
    assert test in names if test else any(name.startswith("test_") for name in names)


def test_every_risk_has_a_row_with_a_test() -> None:
    rows = re.findall(r"^\| API(\d+) .* \| (.*) \|$", page("security.md"), re.MULTILINE)
    assert [int(number) for number, _ in rows] == list(range(1, 11))
    assert all("`tests/" in tests for _, tests in rows)
