"""The watch on the time of day, with clocks that are handed over."""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterator

import pytest

from foldline.adapters.clock import SET_BACK_SECONDS, TOGETHER_SECONDS, DayClock, watch_clock


def read(*values: float) -> Callable[[], float]:
    left: Iterator[float] = iter(values)
    return lambda: next(left)


class Day:
    """Two clocks that go on together until one is set."""

    def __init__(self) -> None:
        self.day, self.running = 1_800_000_000.0, 5.0

    def goes_on(self, seconds: float) -> None:
        self.day += seconds
        self.running += seconds

    def clock(self) -> DayClock:
        return DayClock(lambda: self.day, lambda: self.running)


@pytest.mark.parametrize("seconds", [0.0, 1.0, 70.0, 86_400.0])
def test_time_that_passes_is_no_step(seconds: float) -> None:
    both = Day()
    clock = both.clock()
    both.goes_on(seconds)
    assert clock.set_back() == 0.0


@pytest.mark.parametrize("step", [3600.0, 0.5, -3600.0])
def test_a_step_is_told_once(step: float) -> None:
    both = Day()
    clock = both.clock()
    both.goes_on(1)
    both.day -= step
    assert clock.set_back() == step
    both.goes_on(1)
    assert clock.set_back() == 0.0


def test_what_was_set_ahead_and_is_right_again_was_set_back() -> None:
    both = Day()
    clock = both.clock()
    both.day += 3600
    assert clock.set_back() == -3600.0
    both.goes_on(1800)
    both.day -= 3600
    assert clock.set_back() == 3600.0


def test_who_is_paused_between_two_clocks_reads_them_again() -> None:
    paused = 5 + TOGETHER_SECONDS + 60
    day = read(1000.0, 1001.0, 1062.0)
    running = read(5.0, 5.0, 6.0, paused, 67.0, 67.0)  # before and after each look at the other clock
    clock = DayClock(day, running)
    assert clock.set_back() == 0.0


def test_slewing_is_no_step() -> None:
    both = Day()
    clock = both.clock()
    for _ in range(1000):
        both.goes_on(1)
        both.day -= 1 / 12
        assert clock.set_back() < SET_BACK_SECONDS


def test_the_first_step_that_matters_is_called_out() -> None:
    steps = iter([0.0, SET_BACK_SECONDS, 3600.0])
    both = Day()

    def day() -> float:
        both.day -= next(steps)
        return both.day

    told: queue.Queue[float] = queue.Queue()
    watch_clock(told.put, DayClock(day, lambda: both.running))
    assert told.get(timeout=30) == 3600.0
    assert told.empty()
