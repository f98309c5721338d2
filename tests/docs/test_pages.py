"""Links lead somewhere, named tests and files exist, and tracked files name nobody's machine and nothing of their making."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

from tests.checkout import tracked_or_skip

ROOT = Path(__file__).resolve().parents[2]
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
# Locks name the registries that packages come from; that is what they are for.
LOCKS = ("uv.lock", "jars.lock")
UNWANTED = {
    "a path of one machine": re.compile(r"(?<![\w.~}])/(?:root|work|workspace|home/\w+|Users/\w+)/\w"),
    "a package registry": re.compile(r"\b(?:pypi\.org|pythonhosted\.org|maven\.org|npmjs\.(?:com|org)|docker\.io)\b"),
    "a mark of unfinished work": re.compile(r"\b(?:T[O]DO|F[I]XME|X[X]X)\b"),
    "a word of its making": re.compile(r"\b(?:A[I]|L[L]M|language[ ]model|co-authored[-]by)\b", re.IGNORECASE),
}


@cache
def tracked() -> list[Path]:
    """The files of the checkout."""
    return [ROOT / name for name in tracked_or_skip() if (ROOT / name).is_file()]


def pages() -> list[Path]:
    return [file for file in tracked() if file.suffix == ".md"]


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives to a page's headings."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_relative_link_leads_somewhere() -> None:
    broken = []
    for page in pages():
        for target in LINK.findall(page.read_text()):
            path, _, anchor = target.partition("#")
            if "://" in target or target.startswith("mailto:"):
                continue
            file = (page.parent / path).resolve() if path else page
            if not file.exists() or (anchor and file.suffix == ".md" and anchor not in anchors(file)):
                broken.append(f"{page.relative_to(ROOT)}: {target}")
    assert broken == []


def test_every_test_that_is_named_exists() -> None:
    missing = []
    for page in pages():
        for path, name in re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", page.read_text()):
            file = ROOT / path
            if not file.exists() or (name and f"def {name}(" not in file.read_text()):
                missing.append(f"{page.relative_to(ROOT)}: {path}::{name}")
    assert missing == []


def test_every_make_target_that_is_named_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {target for page in pages() for target in re.findall(r"`make ([a-z-]+)", page.read_text())}
    assert named <= targets


@pytest.mark.parametrize("what", UNWANTED)
def test_tracked_files_are_free_of(what: str) -> None:
    found = []
    for file in tracked():
        if file.name in LOCKS or "vendor" in file.parts:
            continue
        try:
            lines = file.read_text().splitlines()
        except UnicodeDecodeError:
            continue
        relative = file.relative_to(ROOT)
        found += [f"{relative}:{number}" for number, line in enumerate(lines, 1) if UNWANTED[what].search(line)]
    assert found == []
