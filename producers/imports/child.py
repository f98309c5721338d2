"""The importer as a child of the gateway: started again when it ends, and gone when the gateway is."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress

import structlog

from foldline.settings import Settings

RESTART_SECONDS = 1.0
GRACE_SECONDS = 8.0

_log = structlog.get_logger("foldline.gateway")


class ImporterChild:
    """Runs `python -m producers.imports` with these settings. Its standard input ends with this process, and so does it."""

    def __init__(self, settings: Settings, ended: Callable[[], None]) -> None:
        """`ended` is called whenever it has ended by itself."""
        self._ended = ended
        values = {name: value for name, value in settings.model_dump().items() if value is not None}
        self._environment = os.environ | {f"FOLDLINE_{name.upper()}": str(value) for name, value in values.items()}
        self._process: asyncio.subprocess.Process | None = None
        self._keeping: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begins to run it. From an event loop."""
        self._keeping = asyncio.create_task(self._keep())

    async def stop(self) -> None:
        """Has it finish the stretch of rows that it is at, and waits for that."""
        if self._keeping is not None:
            self._keeping.cancel()
            with suppress(asyncio.CancelledError):
                await self._keeping
        process = self._process
        if process is None or process.returncode is not None:
            return
        process.send_signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(process.wait(), GRACE_SECONDS)
        except TimeoutError:
            process.kill()
            await process.wait()

    async def _keep(self) -> None:
        while True:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "producers.imports", stdin=asyncio.subprocess.PIPE, env=self._environment
            )
            code = await self._process.wait()
            self._ended()
            _log.warning("importer ended", code=code, pause_seconds=RESTART_SECONDS)
            await asyncio.sleep(RESTART_SECONDS)
