"""The example clients in shell, Python and TypeScript do the same, and their generated types are the document's."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from producers.gateway.openapi import text
from tests.client.conftest import WINDOW_SECONDS
from tests.e2e.outside import Organisation, Stack

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
CLIENTS = EXAMPLES / "clients"
TYPESCRIPT = CLIENTS / "typescript"
NPM_SECONDS = 240

ITEMS = [
    {"item_id": "a/b", "item_type": "p", "attributes": {"name": "Größe", "sizes": [1, None]}},
    {"item_id": "c", "item_type": "p", "status": "inactive"},
    {"item_id": "new"},  # only the fold can notice what is missing
]


def needs(*programs: str) -> None:
    """Skips the test where a program does not exist on this machine."""
    for program in programs:
        if shutil.which(program) is None:
            pytest.skip(f"there is no {program} here: apt-get install {program if program != 'node' else 'nodejs'}")


@pytest.fixture(scope="session")
def typescript(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The TypeScript example in a directory of its own, with its locked packages, compiled."""
    needs("node", "npm")
    directory = tmp_path_factory.mktemp("typescript")
    for name in ("package.json", "package-lock.json", ".npmrc", "tsconfig.json", "upsert.ts", "api.d.ts"):
        shutil.copy(TYPESCRIPT / name, directory)
    for command in (["npm", "ci", "--silent"], ["npm", "run", "--silent", "build"]):
        done = subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=NPM_SECONDS, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    return directory


@pytest.fixture(params=["shell", "python", "typescript"])
def command(request: pytest.FixtureRequest) -> list[str]:
    """The example, as a command."""
    if request.param == "shell":
        needs("curl")
        return ["sh", str(CLIENTS / "upsert.sh")]
    if request.param == "python":
        return [sys.executable, str(CLIENTS / "upsert.py")]
    directory: Path = request.getfixturevalue("typescript")
    return ["node", str(directory / "built" / "upsert.js")]


Run = Callable[[Organisation, Any], subprocess.CompletedProcess[str]]


@pytest.fixture
def run(command: list[str], stack: Stack, tmp_path: Path) -> Run:
    """Runs the example for an organisation, on records."""

    def run_it(org: Organisation, records: Any) -> subprocess.CompletedProcess[str]:
        (tmp_path / "items.json").write_text(json.dumps(records, ensure_ascii=False), encoding="utf-8")
        environment = os.environ | {"FOLDLINE_URL": stack.url, "FOLDLINE_KEY": org.secret_key, "NO_PROXY": "*"}
        return subprocess.run(
            [*command, str(tmp_path / "items.json")],
            env=environment,
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )

    return run_it


def printed(output: str) -> list[Any]:
    """The states that an example has printed: a line each, or the answer as it came."""
    documents = [json.loads(line) for line in output.splitlines()]
    return documents[0]["data"]["items"] if "data" in documents[0] else documents  # type: ignore[no-any-return]


@pytest.mark.server
def test_it_upserts_and_prints_what_is_there(run: Run, org: Organisation) -> None:
    done = run(org, ITEMS)
    assert done.returncode == 0, done.stderr
    assert [
        (state["item_id"], state["status"], state["attributes"], state["version"]) for state in printed(done.stdout)
    ] == [
        ("a/b", "active", {"name": "Größe", "sizes": [1, None]}, 1),
        ("c", "inactive", {}, 1),
    ]


@pytest.mark.server
def test_it_says_what_is_refused(run: Run, org: Organisation) -> None:
    done = run(org, [*ITEMS, {"item_id": "d", "status": "gone"}])
    assert done.returncode == 1
    assert "status must be active, inactive or deleted" in done.stderr
    assert org.listing("items") == []


@pytest.mark.server
def test_it_waits_as_long_as_it_is_told_and_writes_once(run: Run, stack: Stack) -> None:
    """One request passes in a window: the first is somebody else's, and every later one has to wait."""
    org = stack.organisation("Limited", rate_limit=1)
    assert org.client.get("/v1/items").status_code == 200
    began = time.monotonic()
    done = run(org, ITEMS[:2])
    assert done.returncode == 0, done.stderr
    assert time.monotonic() - began > 0.5 * WINDOW_SECONDS
    assert [(state["item_id"], state["version"]) for state in printed(done.stdout)] == [("a/b", 1), ("c", 1)]


def test_the_types_are_those_of_the_document(typescript: Path) -> None:
    (typescript / "openapi.json").write_text(text(), encoding="utf-8")
    made = subprocess.run(
        ["npx", "--no-install", "openapi-typescript", "openapi.json"],
        cwd=typescript, capture_output=True, text=True, timeout=NPM_SECONDS, check=False,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    assert (TYPESCRIPT / "api.d.ts").read_text(encoding="utf-8") == made.stdout, "make types"


def test_types_that_do_not_fit_are_found(typescript: Path, tmp_path: Path) -> None:
    """The compiler looks at the example by these types: a field that is misspelt does not pass."""
    broken = tmp_path / "broken"
    shutil.copytree(typescript, broken, symlinks=True)
    source = (broken / "upsert.ts").read_text(encoding="utf-8")
    (broken / "upsert.ts").write_text(source.replace("page.next_cursor", "page.nextCursor"), encoding="utf-8")
    done = subprocess.run(["npm", "run", "--silent", "build"], cwd=broken, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "nextCursor" in done.stdout
