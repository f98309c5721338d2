"""The page on clients does what it says: its programs run in order, and print what stands beside."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from foldline import client
from tests.client.test_examples import needs
from tests.docs.test_consumers import blocks
from tests.e2e.outside import Organisation, Stack, data

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "clients.md").read_text(encoding="utf-8")
URL, KEY = "http://127.0.0.1:8080", "lehnz_sk_…"


def for_stack(program: str, stack: Stack, org: Organisation) -> str:
    return program.replace(URL, stack.url).replace(KEY, org.secret_key)


@pytest.mark.server
def test_the_programs_print_what_stands_beside(stack: Stack, org: Organisation) -> None:
    program = "\n".join(blocks(PAGE, "python"))
    expected = re.findall(r"^ *print\(.*\)  # (.*)$", program, re.MULTILINE)
    assert len(expected) == program.count("print(") > 5
    program, environment = for_stack(program, stack, org), os.environ | {"NO_PROXY": "*"}
    done = subprocess.run([sys.executable, "-"], input=program, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == expected


@pytest.mark.server
def test_the_command_is_one(stack: Stack, org: Organisation) -> None:
    needs("curl")
    (command,) = blocks(PAGE, "sh")
    done = subprocess.run(["sh", "-c", for_stack(command, stack, org)], capture_output=True, text=True, check=False)
    assert '"status":"applied"' in done.stdout
    assert data(org.client.get("/v1/items/PROD-003"))["attributes"] == {"name": "Coffee Maker"}


def test_every_class_and_call_is_described() -> None:
    errors = {name for name in client.__all__ if isinstance(getattr(client, name), type) and name.isidentifier()}
    errors = {name for name in errors if issubclass(getattr(client, name), client.ClientError)}
    calls = {name for name in vars(client.Client) if not name.startswith("_")}
    assert {name for name in errors | calls if not re.search(rf"`{name}\b", PAGE)} == set()
