"""Two minutes of chaos by a fixed seed; longer runs are `make chaos`."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.mutants.mutants import ROOT

pytestmark = pytest.mark.server

MINUTES = 2
LEAST_FAULTS = 5


def test_nothing_is_lost_and_nothing_folded_twice(capsys: pytest.CaptureFixture[str]) -> None:
    command = [sys.executable, "-m", "tests.chaos", "--seed", "1", "--minutes", str(MINUTES)]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)
    report = json.loads(ran.stdout)
    assert report["failures"] == [], ran.stderr[-3000:]
    assert ran.returncode == 0
    assert report["fault_count"] >= LEAST_FAULTS
    assert report["done"]["upserts acknowledged"] > 0
    with capsys.disabled():
        print(f"\n{report['fault_count']} faults, {report['done']['upserts acknowledged']} upserts acknowledged")
