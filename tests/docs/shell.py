"""A terminal for pages that are followed: blocks of shell are typed into it, and what it printed is read."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

from foldline.embedded.processes import until


class Terminal:
    """A bash of its own, in a directory. Variables and functions last from block to block; a command that fails ends it."""

    def __init__(self, directory: Path, environment: dict[str, str], scratch: Path) -> None:
        self._scratch = scratch
        self._count = 0
        scratch.mkdir()
        self.process = subprocess.Popen(
            ["bash", "--noprofile", "--norc", "-e", "-o", "pipefail"],
            cwd=directory,
            env=environment,
            stdin=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def type(self, block: str) -> Path:
        """Begins a block, and returns the file that gets what it prints."""
        self._count += 1
        script, printed = (self._scratch / f"{self._count}.{ending}" for ending in ("sh", "out"))
        script.write_text(block)
        printed.touch()
        assert self.process.stdin
        self.process.stdin.write(f"source {script} < /dev/null > {printed} 2>&1; : > {self._done()}\n")
        self.process.stdin.flush()
        return printed

    def run(self, block: str, seconds: float) -> str:
        """Does a block to its end, and returns what it printed. Fails where a command of it does."""
        printed = self.type(block)
        assert until(lambda: self._done().exists() or self.process.poll() is not None, seconds), printed.read_text()
        assert self._done().exists(), f"a command of this block failed:\n{block}\n{printed.read_text()}"
        return printed.read_text()

    def _done(self) -> Path:
        return self._scratch / f"{self._count}.done"

    def close(self) -> None:
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait(60)


def is_as_shown(printed: str, shown: str) -> bool:
    """Whether a page shows what was printed. `…` stands for anything within a line, and alone for any lines; spaces at the
    ends of lines and empty lines at the end do not count."""
    pattern = "".join(
        r"(?:[^\n]*\n)*?" if line.strip() == "…" else "[^\n]*?".join(map(re.escape, line.rstrip().split("…"))) + r"[ ]*\n"
        for line in shown.splitlines()
    )
    return re.fullmatch(pattern, "".join(f"{line.rstrip()}\n" for line in printed.rstrip().splitlines())) is not None


def environment(*directories: Path) -> dict[str, str]:
    """Without what the machine has set for Foldline, and with these directories last on the path."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("FOLDLINE_", "VIRTUAL_ENV"))}
    return clean | {"PATH": ":".join([clean["PATH"], *map(str, directories)])}
