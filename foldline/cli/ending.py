"""How a processor ends, also when its threads wait for what may not come.

1. It may end anywhere: what is not committed has not happened, and whoever comes next goes on from the positions.
2. SIGTERM and SIGINT are waited for in a thread: a main thread that is inside a library hears of no signal.
"""

from __future__ import annotations

import os
import signal
import threading

import structlog

from foldline.adapters.clock import watch_clock

# What a processor has left to close its connections, once its last publication has had its time.
CLOSE_SECONDS = 4.0
SIGNALS = (signal.SIGTERM, signal.SIGINT)

_log = structlog.get_logger("foldline.processor")


def stop_when_told(stop: threading.Event, drain_seconds: float) -> None:
    """Sets `stop` at the first signal. What has not ended by itself `CLOSE_SECONDS` after `drain_seconds` is ended, with
    exit code 1. To be called in the main thread, before there is another one."""
    for number in SIGNALS:  # one that is ignored, as in a shell's background job, would never come
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)

    def wait() -> None:
        signal.sigwait(SIGNALS)
        stop.set()
        threading.Event().wait(drain_seconds + CLOSE_SECONDS)
        _log.warning("ends without waiting any longer: what is not committed has not happened")
        os._exit(1)

    threading.Thread(target=wait, name="signals", daemon=True).start()


def end_when_set_back() -> None:
    """From now on the process ends at once, with exit code 1, where the time of day is set back: its threads may stand still
    for as long."""
    watch_clock(_end_set_back)


def _end_set_back(seconds: float) -> None:
    _log.error(
        "the clock was set back: ends, since Kafka's client may wait for as long; what is not committed has not happened",
        seconds=round(seconds),
    )
    os._exit(1)
