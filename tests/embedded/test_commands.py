"""The program from outside, where no stack is running."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from foldline.adapters.compiled import States
from foldline.cli import COMMANDS, load
from tests.keys import MASTER_KEY_FILE

pytestmark = pytest.mark.server


def foldline(directory: Path, *arguments: str, **variables: str) -> tuple[int, str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("FOLDLINE_")}
    command = [sys.executable, "-m", "foldline", *arguments]
    done = subprocess.run(command, cwd=directory, env=inherited | variables, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


def test_help_lists_every_command(tmp_path: Path) -> None:
    code, out, _ = foldline(tmp_path, "--help")
    assert code == 0
    assert [name for name in COMMANDS if f" {name} " not in out] == []


def test_it_says_its_version_and_how_it_folds(tmp_path: Path) -> None:
    code, out, _ = foldline(tmp_path, "--version")
    how = "without" if States is None else "with"
    assert (code, out) == (0, f"foldline {version('foldline')}, {how} the compiled fold\n")


@pytest.mark.parametrize("command", ["up", "stop", "db-url", "kafka-url", "settings"])
def test_every_command_has_help(tmp_path: Path, command: str) -> None:
    code, out, _ = foldline(tmp_path, command, "--help")
    assert (code, "--data-dir" in out) == (0, True)


@pytest.mark.parametrize("command", ["stop", "db-url", "kafka-url"])
def test_no_stack_is_one_clear_line(tmp_path: Path, command: str) -> None:
    line = f"foldline: no stack is running on {tmp_path}/.foldline: start one with `foldline up`\n"
    assert foldline(tmp_path, command) == (2, "", line)


def test_the_environment_stands_in_for_a_stack(tmp_path: Path) -> None:
    url = "postgresql://me:secret@db.example/foldline"
    assert foldline(tmp_path, "db-url", FOLDLINE_DATABASE_URL=url) == (0, f"{url}\n", "")
    code, out, _ = foldline(tmp_path, "settings", "--json", FOLDLINE_DATABASE_URL=url)
    assert (code, json.loads(out)["FOLDLINE_DATABASE_URL"]) == (0, "postgresql://me:***@db.example/foldline")


def test_a_directory_that_was_given_is_not_passed_over(tmp_path: Path) -> None:
    code, _, err = foldline(tmp_path, "settings", "--data-dir", "there")
    assert (code, err) == (2, f"foldline: no stack is running on {tmp_path}/there: start one with `foldline up`\n")


def test_a_wrong_setting_is_named(tmp_path: Path) -> None:
    code, _, err = foldline(tmp_path, "settings", FOLDLINE_PARTITIONS="many")
    assert (code, err.startswith("foldline: FOLDLINE_PARTITIONS: ")) == (2, True)


def test_a_schema_registry_is_not_passed_over(tmp_path: Path) -> None:
    away, key = "http://me:secret@127.0.0.1:1", MASTER_KEY_FILE
    code, out, err = foldline(tmp_path, "init", FOLDLINE_SCHEMA_REGISTRY_URL=away, FOLDLINE_MASTER_KEY_FILE=key)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("foldline: the schema registry at http://me:***@127.0.0.1:1 does not answer: ")
    code, _, err = foldline(tmp_path, "settings", FOLDLINE_SCHEMA_REGISTRY_URL="registry:8081")
    assert (code, err.startswith("foldline: FOLDLINE_SCHEMA_REGISTRY_URL: ")) == (2, True)


def every_command() -> Iterator[tuple[str, Any]]:
    """Each command and group with its path."""
    for name, (target, _) in COMMANDS.items():
        command = load(target)
        yield name, command
        yield from ((f"{name} {below}", one) for below, one in getattr(command, "commands", {}).items())


def test_the_help_of_every_command_is_of_one_kind() -> None:
    data_dir = set()
    for name, command in every_command():
        options = {option: parameter.help for parameter in command.params for option in parameter.opts}
        assert "--install-completion" not in options, name
        for text in (command.help, COMMANDS.get(name, ("", command.help))[1]):
            verb = text.split()[0].rstrip(",")
            assert verb[0].isupper(), name
            assert not verb.endswith("s"), f"{name}: {verb}: say what it is told to do, not what it does"
        data_dir.add(options.get("--data-dir"))
    assert len(data_dir - {None}) == 1


def test_wrong_use_exits_with_2(tmp_path: Path) -> None:
    assert foldline(tmp_path, "nonsense")[0] == 2
    assert foldline(tmp_path, "up", "--port", "nonsense")[0] == 2
    assert foldline(tmp_path, "up", "--runner", "nonsense")[0] == 2
