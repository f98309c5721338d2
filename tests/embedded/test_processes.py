"""Processes are known again by more than their id, and die with what started them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from foldline.embedded.processes import Identity, end, identify, spawn, until

STARTER = """
import signal, sys
from pathlib import Path
from foldline.embedded.processes import spawn
signal.signal(signal.SIGINT, signal.SIG_IGN)  # as a shell's background job begins
children = [spawn(["sleep", "60"], log=Path(sys.argv[1]), death_signal=number) for number in (9, 2)]
print(*[child.pid for child in children], flush=True)
signal.pause()
"""

pytestmark = pytest.mark.server


def known(pid: int) -> Identity:
    identity = identify(pid)
    assert identity is not None
    return identity


def test_a_process_is_known_by_its_id_and_its_start(tmp_path: Path) -> None:
    process = spawn(["sleep", "60"], log=tmp_path / "log")
    identity = known(process.pid)
    assert identity.alive()
    assert not replace(identity, started="another boot/1").alive()

    process.kill()
    assert until(lambda: not identity.alive(), 5), "a zombie is not alive"
    process.wait()
    assert identify(process.pid) is None


def test_a_signal_is_for_that_very_process(tmp_path: Path) -> None:
    process = spawn(["sleep", "60"], log=tmp_path / "log")
    replace(known(process.pid), started="another boot/1").signal(signal.SIGKILL)
    assert process.poll() is None
    process.kill()
    process.wait()


def test_what_ignores_a_signal_is_killed(tmp_path: Path) -> None:
    process = spawn(["sh", "-c", "trap '' INT; echo up; while true; do sleep 0.1; done"], log=tmp_path / "log")
    assert until(lambda: (tmp_path / "log").read_text() == "up\n", 5)
    end([known(process.pid)], signal.SIGINT, 0.2)
    assert process.wait(5) == -signal.SIGKILL


def test_nothing_outlives_a_killed_starter(tmp_path: Path) -> None:
    starter = subprocess.Popen([sys.executable, "-c", STARTER, str(tmp_path / "log")], stdout=subprocess.PIPE, text=True)
    assert starter.stdout
    children = [known(int(pid)) for pid in starter.stdout.readline().split()]
    os.kill(starter.pid, signal.SIGKILL)
    starter.wait()
    assert until(lambda: not any(child.alive() for child in children), 5)
