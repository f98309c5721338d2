"""The demonstration shows what it promises."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.server

DEMO = Path(__file__).parents[2] / "examples" / "demo.py"


def demo(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(DEMO), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=200)


def test_the_demonstration(tmp_path: Path) -> None:
    done = demo("--once", "--data-dir", str(tmp_path / "demo"))
    assert done.returncode == 0, done.stderr
    rows = [line.split() for line in done.stdout.splitlines()]
    assert {row[0]: (row[2], row[3]) for row in rows if row and re.fullmatch(r"PROD-\d+|usr_\d+", row[0])} == {
        "PROD-001": ("inactive", "2"),
        "PROD-002": ("active", "1"),
        "PROD-003": ("deleted", "2"),
        "PROD-004": ("inactive", "1"),
        "PROD-005": ("active", "1"),
        "usr_001": ("active", "1"),
        "usr_002": ("deleted", "2"),
        "usr_003": ("active", "1"),
    }
    assert re.search(r"http://127.0.0.1:\d+/docs", done.stdout)
    assert re.search(r"lehnz_sk_\w+", done.stdout)


def test_it_removes_nothing_that_is_not_its_own(tmp_path: Path) -> None:
    (tmp_path / "lock").touch()
    done = demo("--once", "--data-dir", str(tmp_path))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"demo: {tmp_path} is not an earlier demonstration's: move it away\n"
    assert (tmp_path / "lock").exists()
