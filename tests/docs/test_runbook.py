"""Every symptom of the runbook has its four parts, and what it quotes is what the program says."""

from __future__ import annotations

import ast
import re

import pytest

from tests.docs.test_reference import PACKAGES, ROOT, page

PARTS = ("**You see**", "**It means**", "**Do**", "**It is over when**")
SECTIONS = re.split(r"^## ", page("runbook.md"), flags=re.MULTILINE)[1:]
# Placeholders in what is quoted.
ANY = re.compile(r"\b(?:N|M|HOST|DIR)\b|…")
STOPS = {"LogReplaced", "KeysLost", "MasterKeyMissing"}
QUOTED_IN = {"the message", "the last line", "the line"}


def said() -> str:
    """Every string of the program, with a mark where a value is filled in, and the lines of logs."""
    found = []
    for package in PACKAGES:
        for file in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text())):
                if isinstance(node, ast.JoinedStr):
                    parts = [str(part.value) if isinstance(part, ast.Constant) else "\0" for part in node.values]
                    found.append("".join(parts))
                elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                    found.append(node.value)
    return "\n".join(found)


SAID = said()


def quoted() -> list[str]:
    """What stands in code in the first column of the tables of messages."""
    messages = []
    for section in SECTIONS:
        for header, rows in re.findall(r"^\| ([\w ]+) \|.*\n\|[ |-]+\n((?:\|.*\n)+)", section, re.MULTILINE):
            if header in QUOTED_IN:
                messages += [text for row in rows.splitlines() for text in re.findall(r"`([^`]+)`", row.split(" | ")[0])]
    return messages


@pytest.mark.parametrize("section", SECTIONS, ids=[section.partition("\n")[0] for section in SECTIONS])
def test_a_symptom_has_its_parts_in_order(section: str) -> None:
    places = [section.find(part) for part in PARTS]
    assert -1 not in places
    assert places == sorted(places)


@pytest.mark.parametrize("message", [message for message in quoted() if not message.startswith("FOLDLINE_…")])
def test_a_message_is_one_of_the_program(message: str) -> None:
    pattern = r"\0".join(re.escape(part) for part in ANY.split(message))
    assert re.search(pattern, SAID), message


def test_messages_are_quoted() -> None:
    assert len(quoted()) >= 20


def test_every_loud_stop_is_there() -> None:
    """What ends a service for good: of each place where it is raised, some words that nothing is filled into."""
    missing = [words for words in loud_stops() if not any(one.strip(" .:,;") in page("runbook.md") for one in words)]
    assert missing == []
    assert len(loud_stops()) >= 10


def loud_stops() -> list[list[str]]:
    found = []
    for file in (file for package in PACKAGES for file in (ROOT / package).rglob("*.py") if file.name != "memory.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            raised = node.exc if isinstance(node, ast.Raise) else None
            if isinstance(raised, ast.Call) and isinstance(raised.func, ast.Name) and raised.func.id in STOPS:
                strings = [str(part.value) for part in ast.walk(raised) if isinstance(part, ast.Constant)]
                pieces = [piece for text in strings for piece in re.split(r"[.:;,]", text)]
                found.append([piece for piece in pieces if len(piece.strip()) > 7])
    return found
