"""Two processors share the partitions; one that is paused beyond its session, and comes back, spoils nothing."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from functools import partial

import psutil
import pytest
from confluent_kafka import ConsumerGroupState
from confluent_kafka.admin import AdminClient

from tests.e2e.load import applies_work, writing
from tests.e2e.outside import LOG, Organisation, Stack, eventually

pytestmark = pytest.mark.server

GROUP = "foldline-processors"
SESSION_SECONDS = 6
REBALANCED_SECONDS = 60


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    started = Stack(
        tmp_path_factory.mktemp("two") / "data",
        "--processors", "2",
        FOLDLINE_SESSION_TIMEOUT_SECONDS=str(SESSION_SECONDS),
    )  # fmt: skip
    started.start()
    yield started
    started.close()


@pytest.fixture(scope="module")
def prober(stack: Stack) -> Organisation:
    return stack.organisation("Prober")


def shares(stack: Stack) -> list[int]:
    """How many partitions each member of the group has, most first; nothing while it is rebalanced."""
    admin = AdminClient({"bootstrap.servers": stack.kafka})
    group = admin.describe_consumer_groups([GROUP], request_timeout=10)[GROUP].result()
    if group.state != ConsumerGroupState.STABLE:
        return []
    return sorted((len(member.assignment.topic_partitions) for member in group.members), reverse=True)


def replaced(stack: Stack, before: list[psutil.Process]) -> bool:
    """Whether another process stands in the place of the last of these."""
    now = stack.processes("process")
    return len(now) == len(before) and before[-1] not in now


def test_the_partitions_are_spread(stack: Stack, org: Organisation, prober: Organisation) -> None:
    partitions = len(stack.ends(*LOG.values()))
    assert eventually(lambda: shares(stack) == [partitions // 2] * 2, REBALANCED_SECONDS), shares(stack)
    with writing(stack, org) as writers:
        writers.more(200)
    writers.assert_kept()


def test_a_processor_that_is_paused_and_comes_back(stack: Stack, org: Organisation, prober: Organisation) -> None:
    partitions = len(stack.ends(*LOG.values()))
    paused, _ = stack.processes("process")
    with writing(stack, org) as writers:
        writers.more(100)
        paused.suspend()
        try:
            # The other one takes over, and goes on alone.
            assert eventually(lambda: shares(stack) == [partitions], REBALANCED_SECONDS), shares(stack)
            assert eventually(lambda: applies_work(stack, prober), REBALANCED_SECONDS)
            writers.more(100)
        finally:
            paused.resume()
        # It comes back with the memory of another time, and finds that it may do nothing with it.
        assert eventually(lambda: shares(stack) == [partitions // 2] * 2, REBALANCED_SECONDS), shares(stack)
        writers.more(100)
    assert paused in stack.processes("process")
    writers.assert_kept()


def test_a_processor_that_dies_is_taken_over(stack: Stack, org: Organisation, prober: Organisation) -> None:
    partitions = len(stack.ends(*LOG.values()))
    with writing(stack, org) as writers:
        writers.more(100)
        for number in (signal.SIGKILL, signal.SIGTERM):
            before = stack.processes("process")
            before[-1].send_signal(number)
            assert eventually(partial(replaced, stack, before), 30)
            assert eventually(lambda: shares(stack) == [partitions // 2] * 2, REBALANCED_SECONDS), shares(stack)
            writers.more(100)
    writers.assert_kept()
