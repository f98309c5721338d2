"""Whatever dies, what was acknowledged is in the state exactly once, without anybody's help."""

from __future__ import annotations

import time
from collections.abc import Iterator

import psutil
import pytest

from tests.e2e.load import applies_work, writing
from tests.e2e.outside import Organisation, Stack, eventually

pytestmark = pytest.mark.server

HEALED_SECONDS = 60


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    started = Stack(tmp_path_factory.mktemp("crashes") / "data")
    started.start()
    yield started
    started.close()


@pytest.fixture(scope="module")
def prober(stack: Stack) -> Organisation:
    """Another organisation, to ask whether the stack works."""
    return stack.organisation("Prober")


@pytest.mark.parametrize("part", ["process", "gateway", "kafka", "postgres"])
def test_a_killed_part_loses_and_doubles_nothing(
    stack: Stack, org: Organisation, prober: Organisation, part: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with writing(stack, org) as writers:
        writers.more(100)
        (killed,) = stack.processes(part)
        killed.kill()
        began = time.monotonic()
        assert eventually(lambda: gone([killed]), 10)
        assert eventually(lambda: applies_work(stack, prober), HEALED_SECONDS)
        healed = time.monotonic() - began
        writers.more(100)
    assert stack.up.poll() is None
    writers.assert_kept()
    with capsys.disabled():
        print(f"\n{part}: {writers.acknowledged} upserts acknowledged, applied again {healed:.1f} s after the kill")


def test_everything_killed_at_once_loses_and_doubles_nothing(stack: Stack, org: Organisation, prober: Organisation) -> None:
    with writing(stack, org) as writers:
        writers.more(100)
        killed = [process for part in ("process", "gateway", "kafka", "postgres") for process in stack.processes(part)]
        for process in killed:
            process.kill()
        assert eventually(lambda: gone(killed), 10)
        assert eventually(lambda: applies_work(stack, prober), HEALED_SECONDS)
        writers.more(100)
    writers.assert_kept()


def test_a_killed_stack_goes_on_when_it_is_started_again(stack: Stack, org: Organisation, prober: Organisation) -> None:
    with writing(stack, org) as writers:
        writers.more(100)
        below = psutil.Process(stack.up.pid).children(recursive=True)
        stack.up.kill()
        stack.up.wait()
        assert eventually(lambda: gone(below), 15)
        before = stack.url
        stack.start()
        assert stack.url == before
        assert applies_work(stack, prober)
        writers.more(100)
    writers.assert_kept()


def gone(processes: list[psutil.Process]) -> bool:
    return not any(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in processes)
