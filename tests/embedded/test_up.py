"""The whole stack from outside, with stand-ins for the services."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import psycopg
import pytest

from foldline.cli import main
from foldline.cli.context import settings_for
from foldline.embedded.datadir import Stack, running_stack
from foldline.embedded.ports import is_free
from foldline.embedded.processes import until

pytestmark = pytest.mark.server

Up = subprocess.Popen[str]


@contextmanager
def started(data: Path, *arguments: str, **variables: str) -> Iterator[Up]:
    command = [sys.executable, "-m", "tests.embedded.standins", str(data), *arguments]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, text=True, env={**os.environ, **variables}, **pipes) as process:  # type: ignore[call-overload]
        try:
            yield process
        finally:
            process.terminate()


def ready(process: Up, data: Path) -> Stack:
    assert process.stdout
    line = process.stdout.readline()
    stack = running_stack(data)
    assert stack, process.communicate()
    assert line == f"ready at {stack.url}\n"
    return stack


def foldline(capfd: pytest.CaptureFixture[str], *arguments: str) -> tuple[object, str, str]:
    sys.argv = ["foldline", *arguments]
    with pytest.raises(SystemExit) as ended:
        main()
    return ended.value.code or 0, *capfd.readouterr()


def test_the_life_of_a_stack(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    data = tmp_path / "data"
    with started(data) as up:
        stack = ready(up, data)
        assert stack.up.pid == up.pid
        assert set(stack.parts) == {"kafka", "postgres", "gateway", "processor-1"}
        below = psutil.Process(up.pid).children(recursive=True)
        assert {part.pid for part in stack.parts.values()} <= {process.pid for process in below}
        assert all(part.alive() for part in stack.parts.values())

        # Commands find it by its data directory.
        assert foldline(capfd, "db-url", "--data-dir", str(data)) == (0, f"{stack.database_url}\n", "")
        assert foldline(capfd, "kafka-url", "--data-dir", str(data)) == (0, f"{stack.kafka}\n", "")
        settings = settings_for(data)
        assert (settings.kafka_bootstrap, settings.database_url) == (stack.kafka, stack.database_url)
        assert (settings.partitions, settings.topic_prefix) == (4, "standin.")
        code, out, _ = foldline(capfd, "settings", "--json", "--data-dir", str(data))
        assert (code, ":***@" in json.loads(out)["FOLDLINE_DATABASE_URL"]) == (0, True)

        # A second stack is refused and does no harm.
        with started(data) as second:
            _, err = second.communicate()
        assert (second.returncode, err) == (
            2,
            f"foldline: a stack is running on {data} already: end it with `foldline stop`\n",
        )

        # What dies comes back, under a new process id.
        with psycopg.connect(stack.database_url, autocommit=True) as connection:
            connection.execute("CREATE TABLE kept ()")
        for part in stack.parts.values():
            part.signal(signal.SIGKILL)
        assert until(lambda: healed(data, stack), 60)

        # It drains in order, and leaves nothing running.
        below = psutil.Process(up.pid).children(recursive=True)
        assert foldline(capfd, "stop", "--data-dir", str(data)) == (0, "", "")
        assert up.wait(1) == 0
        assert (data / "order").read_text() == "gateway\nprocessor while Kafka answers\n"
        assert not any(process.is_running() for process in below)
        assert not (data / "stack.json").exists()
        code, out, err = foldline(capfd, "db-url", "--data-dir", str(data))
        assert (code, out) == (2, "")
        assert err == f"foldline: no stack is running on {data}: start one with `foldline up`\n"


def healed(data: Path, before: Stack) -> bool:
    now = running_stack(data)
    if now is None or is_free(int(now.kafka.rpartition(":")[2])):
        return False
    return all(now.parts.get(name, part) != part and now.parts[name].alive() for name, part in before.parts.items())


def test_a_killed_up_takes_all_with_it_and_the_next_goes_on(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with started(data) as up:
        before = ready(up, data)
        with psycopg.connect(before.database_url, autocommit=True) as connection:
            connection.execute("CREATE TABLE kept ()")
        below = psutil.Process(up.pid).children(recursive=True)
        up.kill()
    assert until(lambda: not any(process.is_running() for process in below), 10)

    with started(data) as up:
        after = ready(up, data)
        assert (after.url, after.kafka, after.database_url) == (before.url, before.kafka, before.database_url)
        with psycopg.connect(after.database_url) as connection:
            assert connection.execute("SELECT count(*) FROM kept").fetchone() == (0,)


def test_a_taken_port_is_an_error_before_anything_starts(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with started(data, str(port)) as up:
            out, err = up.communicate()
    assert (up.returncode, out) == (2, "")
    assert err == f"foldline: port {port} of 127.0.0.1 is taken: choose another one with --port\n"
    assert not (data / "postgres").exists()


def test_a_failed_init_ends_the_stack_with_its_last_lines(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with started(data, FAIL_INIT="1") as up:
        out, err = up.communicate()
    assert (up.returncode, out) == (2, "")
    assert "foldline: init ended with exit code 1; its log is" in err
    assert err.endswith("\n  no schema\n")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stack_can_be_stopped_while_it_starts(tmp_path: Path, number: signal.Signals) -> None:
    data = tmp_path / "data"
    with started(data) as up:
        assert until((data / "run" / "kafka.json").exists, 30)
        up.send_signal(number)
        out, _ = up.communicate()
    assert (up.returncode, out) == (0, "")
    assert list((data / "run").glob("*.json")) == []
