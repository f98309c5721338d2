"""The stack on Faust: what is killed, paused or restarted costs nothing that was acknowledged."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from confluent_kafka.admin import AdminClient

from tests.e2e.load import applies_work, writing
from tests.e2e.outside import LOG, Organisation, Stack, eventually

pytestmark = pytest.mark.server

SESSION_SECONDS = 6
HEALED_SECONDS = 60


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    started = Stack(
        tmp_path_factory.mktemp("faust") / "data",
        "--runner", "faust",
        "--processors", "2",
        FOLDLINE_SESSION_TIMEOUT_SECONDS=str(SESSION_SECONDS),
    )  # fmt: skip
    started.start()
    yield started
    started.close()


def test_a_life_on_faust(stack: Stack, org: Organisation) -> None:
    prober = stack.organisation("Prober")
    assert ["faust" in process.cmdline() for process in stack.processes("process")] == [True, True]
    with writing(stack, org) as writers:
        for part in ("process", "kafka", "postgres"):
            writers.more(100)
            stack.processes(part)[-1].kill()
            assert eventually(lambda: applies_work(stack, prober), HEALED_SECONDS), part
        writers.more(100)
        paused = stack.processes("process")[0]
        paused.suspend()
        try:
            assert eventually(lambda: applies_work(stack, prober), HEALED_SECONDS)
        finally:
            paused.resume()
        writers.more(100)
    writers.assert_kept()


def test_a_stack_on_faust_drains_and_goes_on(stack: Stack, org: Organisation) -> None:
    prober = stack.organisation("Other")
    with writing(stack, org) as writers:
        writers.more(100)
    assert stack.stop() == 0
    stack.start()
    assert eventually(lambda: applies_work(stack, prober), HEALED_SECONDS)
    writers.assert_kept()
    admin = AdminClient({"bootstrap.servers": stack.kafka})
    own = {name for name in admin.list_topics(timeout=10).topics if not name.startswith("__")}
    assert own == {*LOG.values(), "items.state.v1", "users.state.v1", "upserts.dead-letters.v1"}
