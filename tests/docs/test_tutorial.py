"""The tutorial, followed to the letter, ends where it says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from tests.docs.followed import clone, reader
from tests.docs.pages import ROOT, blocks
from tests.docs.shell import environment, is_as_shown

pytestmark = [pytest.mark.server, pytest.mark.timeout(900)]

PAGE = ROOT / "docs" / "tutorial.md"
END = "Where you are"
STATE = """
SELECT item_id, status, version FROM foldline.known_items
UNION ALL SELECT user_id, status, version FROM foldline.known_users ORDER BY 1
"""


def test_it_ends_where_it_says(tmp_path: Path) -> None:
    steps = blocks(PAGE)
    last = [step for step in steps if step.heading == END]
    promised = re.findall(r"^\| `([\w-]+)` \| (\w+) \| (\d+) \|$", PAGE.read_text().partition(f"## {END}")[2], re.MULTILINE)
    assert len(promised) == 9
    assert [step.text for step in last] == ["foldline stop\n"]
    directory = clone(tmp_path / "clone")
    with reader(directory, tmp_path / "scratch") as somebody:
        somebody.follow(steps[: -len(last)])
        url = foldline(directory, "db-url").stdout.strip()
        with psycopg.connect(url) as connection:
            assert [(key, status, str(version)) for key, status, version in connection.execute(STATE)] == promised
        somebody.follow(last)
        assert foldline(directory, "db-url").returncode == 2


def foldline(directory: Path, command: str) -> subprocess.CompletedProcess[str]:
    arguments = [sys.executable, "-m", "foldline", command]
    return subprocess.run(arguments, cwd=directory, env=environment(), capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("printed", "shown", "same"),
    [
        ("a\nb\n", "a\nb\n", True),
        ("a  \nb", "a\nb\n", True),
        ("a\nb\n", "a\n", False),
        ("op_1 and op_2\n", "op_… and op_…\n", True),
        ("op_1\nop_2\n", "op_…\n", False),
        ("1\n2\nready\n", "…\nready\n", True),
        ("ready\n", "…\nready\n", True),
        ("ready\nmore\n", "…\nready\n", False),
    ],
)
def test_what_is_shown_is_compared(printed: str, shown: str, same: bool) -> None:
    assert is_as_shown(printed, shown) is same
