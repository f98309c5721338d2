"""The supervisor, with small programs as parts."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from itertools import pairwise
from pathlib import Path

import pytest

from foldline.embedded import supervisor as module
from foldline.embedded.errors import EmbeddedError
from foldline.embedded.parts import Part
from foldline.embedded.processes import Identity, identify, spawn, until
from foldline.embedded.supervisor import Supervisor

pytestmark = pytest.mark.server


def shell(name: str, script: str, ready: Path | None = None, **more: object) -> Part:
    return Part(name=name, argv=["sh", "-c", script], ready=ready.exists if ready else lambda: True, **more)  # type: ignore[arg-type]


def sleeper(name: str) -> Part:
    return shell(name, "exec sleep 60")


async def until_soon(condition: Callable[[], bool]) -> None:
    assert await asyncio.to_thread(until, condition, 10)


def test_a_part_that_dies_is_started_again_ever_later(tmp_path: Path) -> None:
    lives = tmp_path / "lives"
    script = f"import time; open({str(lives)!r}, 'a').write(f'{{time.monotonic()}}\\n'); time.sleep(0.1)"
    part = Part(name="mortal", argv=[sys.executable, "-c", script], ready=lives.exists)

    async def conversation() -> None:
        supervisor = Supervisor(tmp_path)
        await supervisor.start(part)
        await until_soon(lambda: len(lives.read_text().splitlines()) == 4)
        await supervisor.stop("mortal")

    asyncio.run(conversation())
    times = [float(line) for line in lives.read_text().splitlines()]
    gaps = [later - earlier for earlier, later in pairwise(times)]
    assert [gap > least for gap, least in zip(gaps, (0.3, 0.5, 0.9), strict=True)] == [True, True, True]


def another(supervisor: Supervisor, before: Identity) -> bool:
    return supervisor.identities().get("part", before) != before


def test_a_healthy_stretch_resets_the_back_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(module, "HEALTHY_SECONDS", 0.0)
    monkeypatch.setattr(module, "BACKOFF_SECONDS", 0.01)

    async def conversation() -> None:
        supervisor = Supervisor(tmp_path)
        await supervisor.start(sleeper("part"))
        for _ in range(6):
            before = supervisor.identities()["part"]
            before.signal(signal.SIGKILL)
            await until_soon(partial(another, supervisor, before))
        await supervisor.stop("part")

    asyncio.run(conversation())
    assert capsys.readouterr().err.count("started again in 0.01 s\n") == 6


def test_a_change_is_told_when_the_part_is_ready_again(tmp_path: Path) -> None:
    async def conversation() -> None:
        supervisor, told = Supervisor(tmp_path), asyncio.Event()
        supervisor.changed = told.set
        await supervisor.start(sleeper("part"))
        assert not told.is_set()
        os.kill(supervisor.identities()["part"].pid, signal.SIGKILL)
        await asyncio.wait_for(told.wait(), 10)
        await supervisor.stop("part")

    asyncio.run(conversation())


def test_a_part_that_cannot_start_fails_with_its_last_lines(tmp_path: Path) -> None:
    never = tmp_path / "never"
    with pytest.raises(EmbeddedError, match=r"part ended with exit code 3; .*\n  out of cheese"):
        asyncio.run(Supervisor(tmp_path).start(shell("part", "echo out of cheese; exit 3", never)))


def test_a_part_that_does_not_become_ready_fails(tmp_path: Path) -> None:
    async def conversation() -> None:
        supervisor = Supervisor(tmp_path)
        with pytest.raises(EmbeddedError, match=r"part is not ready after 0\.2 s"):
            await supervisor.start(shell("part", "exec sleep 60", tmp_path / "never", start_seconds=0.2))
        await supervisor.stop("part")
        assert supervisor.identities() == {}

    asyncio.run(conversation())


def test_a_part_that_ends_by_itself(tmp_path: Path) -> None:
    supervisor = Supervisor(tmp_path)
    asyncio.run(supervisor.run(shell("good", "exit 0")))
    with pytest.raises(EmbeddedError, match="bad ended with exit code 1"):
        asyncio.run(supervisor.run(shell("bad", "exit 1")))


@pytest.mark.parametrize("hurried", [False, True])
def test_a_part_that_ignores_its_signal_is_killed_after_its_grace(tmp_path: Path, hurried: bool) -> None:
    deaf = "trap '' TERM; touch deaf; while true; do sleep 0.05; done"
    grace = 60.0 if hurried else 0.2

    async def conversation() -> None:
        supervisor = Supervisor(tmp_path)
        await supervisor.start(shell("deaf", deaf, tmp_path / "deaf", directory=tmp_path, grace_seconds=grace))
        stopping = asyncio.create_task(supervisor.stop("deaf"))
        await asyncio.sleep(0)
        if hurried:
            supervisor.hurry()
        await asyncio.wait_for(stopping, 10)
        assert supervisor.identities() == {}

    asyncio.run(conversation())


def test_what_a_killed_supervisor_left_is_ended_and_nothing_else(tmp_path: Path) -> None:
    supervisor = Supervisor(tmp_path)
    left, other = (spawn(["sleep", "60"], log=tmp_path / "log") for _ in range(2))
    for name, process, started in (("left", left, None), ("reused", other, "an earlier boot/7")):
        identity = identify(process.pid)
        assert identity
        record = asdict(identity) | ({"started": started} if started else {})
        (tmp_path / "run" / f"{name}.json").write_text(json.dumps(record))

    supervisor.end_leftovers()

    assert left.wait(5) == -signal.SIGINT
    assert other.poll() is None
    other.kill()
    other.wait()


def test_every_process_is_on_record_while_it_runs(tmp_path: Path) -> None:
    async def conversation() -> None:
        supervisor = Supervisor(tmp_path)
        await supervisor.start(sleeper("part"))
        record = tmp_path / "run" / "part.json"
        assert json.loads(record.read_text()) == asdict(supervisor.identities()["part"])
        await supervisor.stop("part")
        assert not record.exists()

    asyncio.run(conversation())


def test_logs_are_bounded_and_the_writer_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOG_BYTES", 4)
    log = tmp_path / "logs" / "part.log"
    script = "echo first; while [ ! -e go ]; do sleep 0.02; done; echo second; exec sleep 60"

    async def conversation() -> None:
        supervisor = Supervisor(tmp_path)
        await supervisor.start(shell("part", script, log, directory=tmp_path))
        await until_soon(lambda: log.read_text() == "first\n")
        supervisor.bound_logs()
        (tmp_path / "go").touch()
        await until_soon(lambda: log.read_text() == "second\n")
        await supervisor.stop("part")

    asyncio.run(conversation())
    assert log.with_name("part.log.1").read_text() == "first\n"
