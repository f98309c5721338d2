"""What a release is made of: the same bytes from the same sources, and a program that runs with nothing of the checkout."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import httpx
import pytest

from tests.checkout import tracked_or_skip
from tests.e2e.outside import data

pytestmark = [pytest.mark.server, pytest.mark.timeout(600)]

ROOT = Path(__file__).resolve().parents[1]
UV = ROOT / ".venv" / "uv" / "bin" / "uv"
EPOCH = {"SOURCE_DATE_EPOCH": "1700000000"}


def build(source: Path, out: Path, *arguments: str) -> list[Path]:
    """What uv builds of a checkout, or of a source distribution, sorted by name."""
    command = [str(UV), "build", "--quiet", "--no-create-gitignore", "--out-dir", str(out), *arguments, str(source)]
    subprocess.run(command, env=os.environ | EPOCH, check=True, capture_output=True, timeout=300)
    return sorted(out.iterdir())


def digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The wheel and the source distribution."""
    wheel, source = build(ROOT, tmp_path_factory.mktemp("dist"))
    assert (wheel.suffix, source.suffix) == (".whl", ".gz")
    return wheel, source


def test_the_same_sources_give_the_same_bytes(built: tuple[Path, Path], tmp_path: Path) -> None:
    """Elsewhere, as files of another time that others may write."""
    copy = tmp_path / "elsewhere"
    for name in tracked_or_skip():
        if (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, copy / name)
            (copy / name).chmod(0o777 if os.access(ROOT / name, os.X_OK) else 0o666)
            os.utime(copy / name, (1, 1_000_000_000))
    again = build(copy, tmp_path / "dist")
    assert [file.name for file in again] == [file.name for file in built]
    assert [digest(file) for file in again] == [digest(file) for file in built]


def test_the_source_distribution_builds_the_same_wheel(built: tuple[Path, Path], tmp_path: Path) -> None:
    wheel, source = built
    (from_source,) = build(source, tmp_path / "from source", "--wheel")
    (from_checkout,) = build(ROOT, tmp_path / "from checkout", "--wheel")
    assert digest(from_source) == digest(from_checkout) == digest(wheel)


def test_the_wheel_has_the_program_and_nothing_else(built: tuple[Path, Path]) -> None:
    wheel, source = built
    with ZipFile(wheel) as opened:
        names = {name.partition("/")[0].partition("-")[0] for name in opened.namelist()}
        assert names == {"foldline", "schemas", "producers", "processors", "projections"}
        assert {"projections/sql/migrations/0001_initial.sql", "foldline/embedded/jars.lock"} < set(opened.namelist())
    with tarfile.open(source) as unpacked:
        assert any(name.endswith("/tests/test_release.py") for name in unpacked.getnames())


@pytest.fixture(scope="module")
def constraints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The versions of the lock, so that a release of somebody else's breaks no test of ours."""
    file = tmp_path_factory.mktemp("constraints") / "constraints.txt"
    command = [str(UV), "export", "--frozen", "--no-dev", "--no-emit-project", "--no-hashes", "--quiet", "-o", str(file)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return file


def outside(*others: Path) -> dict[str, str]:
    """An environment that knows no setting and no path of the checkout's."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("FOLDLINE_", "PYTHON", "VIRTUAL_ENV"))}
    return kept | {"PATH": os.pathsep.join([*(str(path) for path in others), "/usr/local/bin", "/usr/bin", "/bin"])}


@pytest.fixture(scope="module")
def installed(built: tuple[Path, Path], constraints: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program of a fresh environment that has the wheel and what it needs."""
    environment = tmp_path_factory.mktemp("fresh") / "venv"
    for command in (
        [str(UV), "venv", "--quiet", "--python", sys.executable, str(environment)],
        [str(UV), "pip", "install", "--quiet", "--python", str(environment), "-c", str(constraints), str(built[0])],
    ):
        subprocess.run(command, cwd=environment.parent, env=outside(), check=True, timeout=300)
    return environment / "bin" / "foldline"


def foldline(program: Path, *arguments: str) -> Any:
    """What a command prints as JSON, run where nothing of the checkout is."""
    command = [str(program), *arguments, "--json"]
    done = subprocess.run(
        command, cwd=program.parent, env=outside(), capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done
    return json.loads(done.stdout)


@pytest.fixture
def ready(installed: Path, tmp_path: Path) -> Iterator[dict[str, Any]]:
    command = [str(installed), "up", "--json", "--data-dir", str(tmp_path / "data")]
    with (tmp_path / "up.log").open("w") as log:
        up = subprocess.Popen(command, cwd=tmp_path, env=outside(), stdout=subprocess.PIPE, stderr=log, text=True)
    try:
        assert up.stdout
        line = up.stdout.readline()
        assert line, (tmp_path / "up.log").read_text()
        yield json.loads(line) | {"process": up, "data": str(tmp_path / "data")}
    finally:
        if up.poll() is None:
            up.send_signal(signal.SIGTERM)
            up.wait(90)


def test_the_wheel_alone_runs_the_whole_stack(installed: Path, ready: dict[str, Any]) -> None:
    """Ready, an upsert, its state, a look at all of it, and stopped."""
    where = ("--data-dir", ready["data"])
    org = foldline(installed, "orgs", "create", "Test", *where)
    item = {"item_id": "a", "item_type": "p", "attributes": {"n": 1}}
    headers = {"X-API-KEY": org["secret_key"], "Prefer": "wait=30"}
    with httpx.Client(base_url=ready["url"], headers=headers, timeout=60, trust_env=False) as client:
        assert data(client.post("/v1/ingest/items/upsert", json=item))["status"] == "applied"
        assert client.get("/docs").status_code == 200
        assert client.get("/").status_code in (200, 303)
    assert foldline(installed, "get", "item", org["org_id"], "a", *where)["attributes"] == {"n": 1}
    found = foldline(installed, "doctor", *where)
    assert {one["status"] for one in found["checks"] if "disk" not in one["check"]} == {"ok"}, found
    stopped = subprocess.run([str(installed), "stop", *where], env=outside(), capture_output=True, text=True, check=False)
    assert (stopped.returncode, ready["process"].wait(90)) == (0, 0), stopped


def test_the_program_runs_without_being_installed(built: tuple[Path, Path], constraints: Path, tmp_path: Path) -> None:
    """As `uvx` does it, and nothing is written where it is called."""
    command = [
        str(UV),
        "tool",
        "run",
        "--python",
        sys.executable,
        "-c",
        str(constraints),
        "--from",
        str(built[0]),
        "foldline",
    ]
    done = subprocess.run(
        [*command, "--help"], cwd=tmp_path, env=outside(), capture_output=True, text=True, check=False, timeout=300
    )
    assert (done.returncode, "doctor" in done.stdout) == (0, True), done
    assert list(tmp_path.iterdir()) == []
