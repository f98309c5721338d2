"""Runs parts: starts them, starts again what dies, stops them.

1. Processes are started from the main thread only: they are set to die with the thread that started them.
2. A part has started when its probe has succeeded once. Before that it may die twice; the third death is a failure.
3. A part that had started is started again for ever, after 0.2 s, doubling to 5 s; a healthy stretch resets that.
4. Every process is on record in `run/` as soon as it exists: the next supervisor ends what this one leaves.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

from foldline.embedded.errors import EmbeddedError
from foldline.embedded.files import write_atomically
from foldline.embedded.parts import Part, nothing
from foldline.embedded.processes import POLL_SECONDS, Identity, end, identify, spawn

BACKOFF_SECONDS = 0.2
BACKOFF_MAX_SECONDS = 5.0
HEALTHY_SECONDS = 10.0
DEATHS_AT_START = 3
LEFTOVER_GRACE_SECONDS = 5.0
LOG_BYTES = 16 * 1024 * 1024
LOG_LINES_SHOWN = 20

Process = subprocess.Popen[bytes]


def tell(line: str) -> None:
    """Progress, for a person who may have gone."""
    with suppress(OSError):
        print(line, file=sys.stderr, flush=True)


@dataclass
class _Kept:
    part: Part
    log: Path
    record: Path
    process: Process | None = None
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    keeper: asyncio.Task[None] | None = None


class Supervisor:
    """The parts of one data directory; `changed` is called when one that was started again is ready."""

    def __init__(self, root: Path) -> None:
        self.changed: Callable[[], object] = nothing
        self._logs = root / "logs"
        self._records = root / "run"
        self._kept: dict[str, _Kept] = {}
        self._hurry = asyncio.Event()
        for directory in (self._logs, self._records):
            directory.mkdir(exist_ok=True)

    def end_leftovers(self) -> None:
        """Ends what a killed supervisor left running here. SIGINT is a fast shutdown for every part there is."""
        records = [json.loads(file.read_text()) for file in self._records.glob("*.json")]
        end([Identity(**record) for record in records], signal.SIGINT, LEFTOVER_GRACE_SECONDS)

    def identities(self) -> dict[str, Identity]:
        """The processes that run now, by part."""
        found = {name: identify(kept.process.pid) for name, kept in self._kept.items() if kept.process}
        return {name: identity for name, identity in found.items() if identity}

    async def start(self, *parts: Part) -> None:
        """Starts the parts at the same time; returns when all are ready, raises `EmbeddedError` when one fails."""
        await asyncio.gather(*(self._start(part) for part in parts))

    async def run(self, part: Part) -> None:
        """Runs a part that ends by itself; raises `EmbeddedError` when it fails or takes longer than `start_seconds`."""
        kept = self._admit(part)
        process = self._spawn(kept)
        if not await _ends(process, part.start_seconds):
            raise _failure(kept, f"did not end in {part.start_seconds:g} s")
        if process.returncode:
            raise _failure(kept, _ending(process))

    async def stop(self, *names: str) -> None:
        """Stops the parts at the same time, each with its signal and grace; returns when they are gone."""
        await asyncio.gather(*(self._stop(self._kept[name]) for name in names if name in self._kept))

    def hurry(self) -> None:
        """From now on nothing is granted a grace, also what is being stopped already."""
        self._hurry.set()

    def bound_logs(self) -> None:
        """Moves each log that has grown too large aside; its writer goes on at the beginning."""
        for kept in self._kept.values():
            with suppress(OSError):  # somebody may have removed it
                if kept.log.stat().st_size > LOG_BYTES:
                    shutil.copyfile(kept.log, _older(kept.log))
                    os.truncate(kept.log, 0)

    def _admit(self, part: Part) -> _Kept:
        kept = _Kept(part, self._logs / f"{part.name}.log", self._records / f"{part.name}.json")
        if kept.log.exists():
            kept.log.replace(_older(kept.log))
        self._kept[part.name] = kept
        return kept

    def _spawn(self, kept: _Kept) -> Process:
        part = kept.part
        kept.process = process = spawn(
            part.argv,
            log=kept.log,
            environment=part.environment,
            directory=part.directory,
            death_signal=part.death_signal,
        )
        if identity := identify(process.pid):
            with suppress(OSError):  # the part matters more than its record
                write_atomically(kept.record, json.dumps(asdict(identity)))
        return process

    async def _start(self, part: Part) -> None:
        began = time.monotonic()
        kept = self._admit(part)
        kept.keeper = asyncio.create_task(self._keep(kept))
        ready = asyncio.create_task(kept.ready.wait())
        try:
            await asyncio.wait({kept.keeper, ready}, timeout=part.start_seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            ready.cancel()
        if kept.keeper.done():
            await kept.keeper
        if not kept.ready.is_set():
            raise _failure(kept, f"is not ready after {part.start_seconds:g} s")
        tell(f"{part.name} is ready ({time.monotonic() - began:.1f} s)")

    async def _keep(self, kept: _Kept) -> None:
        deaths, delay = 0, BACKOFF_SECONDS
        while True:
            ending, healthy = await self._live(kept)
            deaths += 1
            if not kept.ready.is_set() and deaths == DEATHS_AT_START:
                raise _failure(kept, ending)
            if healthy > HEALTHY_SECONDS:
                delay = BACKOFF_SECONDS
            tell(f"{kept.part.name} {ending}; started again in {delay:g} s")
            await asyncio.sleep(delay)
            delay = min(2 * delay, BACKOFF_MAX_SECONDS)

    async def _live(self, kept: _Kept) -> tuple[str, float]:
        """One life of a part: how it ended, and how long it was ready."""
        try:
            await asyncio.to_thread(kept.part.prepare)
            process = self._spawn(kept)
        except OSError as error:
            return f"cannot be started: {error}", 0
        if not await _becomes_ready(kept.part, process):
            return _ending(process), 0
        since = time.monotonic()
        if kept.ready.is_set():
            tell(f"{kept.part.name} is ready again")
            with suppress(OSError):  # a full disk must not end the supervision
                self.changed()
        kept.ready.set()
        await _ends(process)
        return _ending(process), time.monotonic() - since

    async def _stop(self, kept: _Kept) -> None:
        if kept.keeper:
            kept.keeper.cancel()
            await asyncio.gather(kept.keeper, return_exceptions=True)
        process = kept.process
        if process and process.poll() is None:
            process.send_signal(kept.part.stop_signal)
            if not await _ends(process, kept.part.grace_seconds, self._hurry):
                tell(f"{kept.part.name} is killed")
                process.kill()
                await _ends(process)
        kept.record.unlink(missing_ok=True)


async def _becomes_ready(part: Part, process: Process) -> bool:
    while process.poll() is None:
        if await asyncio.to_thread(part.ready):
            return True
        await asyncio.sleep(POLL_SECONDS)
    return False


async def _ends(process: Process, seconds: float | None = None, hurry: asyncio.Event | None = None) -> bool:
    deadline = None if seconds is None else time.monotonic() + seconds
    while process.poll() is None:
        if (deadline and time.monotonic() > deadline) or (hurry and hurry.is_set()):
            return False
        await asyncio.sleep(POLL_SECONDS)
    return True


def _ending(process: Process) -> str:
    code = process.returncode
    return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"


def _older(log: Path) -> Path:
    return log.with_name(f"{log.name}.1")


def _failure(kept: _Kept, reason: str) -> EmbeddedError:
    lines = kept.log.read_text(errors="replace").splitlines()[-LOG_LINES_SHOWN:] if kept.log.exists() else []
    shown = "".join(f"\n  {line}" for line in lines)
    return EmbeddedError(f"{kept.part.name} {reason}; its log is {kept.log}{shown and f', which ends:{shown}'}")
