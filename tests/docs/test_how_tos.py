"""The how-tos, one after the other on one stack, as far as they are marked as followed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.followed import clone, reader
from tests.docs.pages import ROOT, Block, blocks

pytestmark = [pytest.mark.server, pytest.mark.timeout(900)]

FOLLOWED = "followed"
ORDER = ("load", "sync", "consume", "erase", "rebuild", "operate", "secure")
# What the pages take for granted: a stack that runs, an organisation with its key, and some users.
TUTORIAL = [block for block in blocks(ROOT / "docs" / "tutorial.md") if block.heading == "1. Start it"]
USERS = Block("", 0, "sh", 'foldline import users examples/users.csv --org "$ORG" --wait\n', "", "")


def followed(name: str) -> list[Block]:
    """The marked blocks of a page, each with what it prints."""
    found = blocks(ROOT / "docs" / f"how-to-{name}.md")
    steps = []
    for block, after in zip(found, [*found[1:], None], strict=True):
        if block.mark == FOLLOWED:
            steps += [block, after] if after and after.language != "sh" and after.heading == block.heading else [block]
    return steps


def test_every_how_to_is_followed_in_order(tmp_path: Path) -> None:
    with reader(clone(tmp_path / "clone"), tmp_path / "scratch") as somebody:
        somebody.follow([*TUTORIAL, USERS])
        for name in ORDER:
            assert followed(name)
            somebody.follow(followed(name))
