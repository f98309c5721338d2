"""`python -m producers.imports`: the importer that every gateway runs beside itself, configured by the environment.

It ends at once when its standard input does, which is when its gateway is gone, or where the time of day is set back, and by
SIGTERM at the next stretch of rows.
"""

from __future__ import annotations

import os
import signal
import sys
import threading

from foldline.adapters.clock import watch_clock
from foldline.logs import log_to_stderr
from foldline.settings import Settings
from producers.imports.importer import run


def end_with_parent() -> None:
    os.read(sys.stdin.fileno(), 1)  # not by `sys.stdin`, whose lock the end of the interpreter would wait for
    os._exit(1)


if __name__ == "__main__":
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the gateway, which stops us in its turn
    threading.Thread(target=end_with_parent, daemon=True).start()
    settings = Settings()
    log_to_stderr(settings.log_level)
    watch_clock(lambda _: os._exit(1))  # the gateway says so, too
    run(settings, stop)
