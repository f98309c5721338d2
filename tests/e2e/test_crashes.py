"""Whatever dies, what was acknowledged is in the state exactly once, without anybody's help."""

from __future__ import annotations

import signal
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


DRAINED_SECONDS = 15
ENDING = {"kafka": signal.SIGTERM, "postgres": signal.SIGINT, "process": signal.SIGTERM, "gateway": signal.SIGTERM}


def test_after_a_rolling_restart_of_everything_no_write_has_failed_that_was_repeated(
    stack: Stack, org: Organisation, prober: Organisation
) -> None:
    with writing(stack, org, repeats=True) as writers:
        for part, ending in ENDING.items():
            writers.more(50)
            (ended,) = stack.processes(part)
            ended.send_signal(ending)
            assert eventually(lambda: gone([ended]), DRAINED_SECONDS), part  # noqa: B023
            assert eventually(lambda: applies_work(stack, prober), HEALED_SECONDS), part
        writers.more(50)
    assert {promise.perhaps for promise in writers.promises.values()} == {0}
    assert writers.repeated
    writers.assert_kept()


def test_gateways_that_are_killed_again_and_again_write_nothing_twice(
    stack: Stack, org: Organisation, prober: Organisation
) -> None:
    with writing(stack, org, repeats=True) as writers:
        for _ in range(3):
            writers.more(30)
            (killed,) = stack.processes("gateway")
            killed.kill()
            assert eventually(lambda: applies_work(stack, prober), HEALED_SECONDS)
        writers.more(30)
    assert {promise.perhaps for promise in writers.promises.values()} == {0}
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
