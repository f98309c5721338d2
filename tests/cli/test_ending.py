"""A process that was told to end does, whatever its main thread waits for."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import pytest

from foldline.cli.ending import CLOSE_SECONDS

DRAIN_SECONDS = 1
# Outside Python no handler of a signal runs; `sleep` of the C library stands for a call that does not return.
PROGRAM = f"""
import ctypes, threading
from foldline.cli.ending import stop_when_told
from foldline.logs import log_to_stderr

log_to_stderr("info")
stop = threading.Event()
stop_when_told(stop, {DRAIN_SECONDS})
threading.Thread(target=lambda: (stop.wait(), print("told", flush=True)), daemon=True).start()
print("waits", flush=True)
ctypes.CDLL(None).sleep(600)
"""

pytestmark = pytest.mark.server


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_main_thread_outside_python(number: signal.Signals) -> None:
    command = [sys.executable, "-c", PROGRAM]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "waits\n"
        process.send_signal(number)
        assert process.stdout.readline() == "told\n"
        told = time.monotonic()
        assert process.wait(DRAIN_SECONDS + CLOSE_SECONDS + 10) == 1
        assert time.monotonic() - told > DRAIN_SECONDS + CLOSE_SECONDS - 1
        assert "ends without waiting any longer" in process.stderr.read()
