"""Foldline's five top-level names are its own: pip overwrites silently where two distributions bring the same package."""

from __future__ import annotations

import importlib
import importlib.metadata
import re
import tomllib
from pathlib import Path

import pytest

from tests.checkout import tracked_or_skip

ROOT = Path(__file__).resolve().parents[1]
# What hatchling adds by itself.
ALWAYS = {"pyproject.toml", ".gitignore"}
NAMES = ("foldline", "schemas", "producers", "processors", "projections")


def claimants(name: str) -> set[str]:
    """The distributions that say, or whose files say, that a top-level name is theirs."""
    found = set(importlib.metadata.packages_distributions().get(name, ()))
    for distribution in importlib.metadata.distributions():
        for file in distribution.files or ():
            if file.parts[0].split(".")[0] == name:
                found.add(distribution.name)
    return found


@pytest.mark.parametrize("name", NAMES)
def test_no_other_distribution_claims_a_name_of_ours(name: str) -> None:
    assert claimants(name) <= {"foldline"}


@pytest.mark.parametrize("name", NAMES)
def test_the_names_are_imported_from_one_place(name: str) -> None:
    module = importlib.import_module(name)
    assert module.__file__ is not None
    assert Path(module.__file__).parent.parent == Path(importlib.import_module("foldline").__file__ or "").parent.parent


def test_a_foreign_claim_would_be_seen() -> None:
    assert claimants("fastavro") == {"fastavro"}
    assert claimants("no_such_name") == set()


def test_the_version_has_its_section_in_the_changelog() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    released, _, development = version.partition(".dev")
    heading = rf"## \[Unreleased\]\n\n### {released}" if development else rf"## \[{released}\] - \d{{4}}-\d\d-\d\d"
    assert re.search(rf"^{heading}$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)


def test_the_source_distribution_has_all_that_a_checkout_has() -> None:
    tracked = {name.partition("/")[0] for name in tracked_or_skip()}
    included = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["sdist"]["include"]
    assert {path.removeprefix("/") for path in included} | ALWAYS == tracked
