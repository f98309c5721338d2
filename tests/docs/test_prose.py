"""What pages say of commands and settings between their blocks: the options and the variables exist."""

from __future__ import annotations

import re

from tests.docs.commands import VARIABLES
from tests.docs.pages import ROOT, pages
from tests.docs.test_reference import commands

FENCED = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
# Pages that tell of what was, or of what is to be written by the reader.
LEFT_OUT = ("CHANGELOG.md", "docs/adr/")


def codes() -> list[tuple[str, str]]:
    """Every inline code with its page."""
    found = []
    for page in pages():
        name = page.relative_to(ROOT).as_posix()
        if not name.startswith(LEFT_OUT):
            found += [(name, code) for code in re.findall(r"`([^`\n]+)`", FENCED.sub("", page.read_text()))]
    return found


def test_every_option_of_a_command_exists() -> None:
    known = dict(commands())
    missing = []
    checked = 0
    for page, code in codes():
        words = code.removeprefix(".venv/bin/").split()
        command = next((name for name in (" ".join(words[:3]), " ".join(words[:2])) if name in known), None)
        options = [word.partition("=")[0] for word in words if word.startswith("--") and len(word) > 2]
        if command and options:
            checked += 1
            missing += [f"{page}: {code}" for option in options if option not in known[command] | {"--help"}]
    assert missing == []
    assert checked > 20


def test_every_variable_exists() -> None:
    named = [(page, variable) for page, code in codes() for variable in re.findall(r"\bFOLDLINE_[A-Z_]+[A-Z]\b", code)]
    assert [f"{page}: {variable}" for page, variable in named if variable not in VARIABLES | {"FOLDLINE_NAME"}] == []
    assert len(named) > 50
