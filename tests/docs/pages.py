"""What stands in the pages of the documentation: their fenced blocks, in order."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
_FENCE = re.compile(r"^```([^\n`]*)\n(.*?)^```[ ]*$", re.MULTILINE | re.DOTALL)
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
_MARK = re.compile(r"<!-- ([^\n]*) -->\n\Z")


class Block(NamedTuple):
    """A fenced block, with the line where it begins, the heading above, and the comment right before it."""

    page: str
    line: int
    language: str
    text: str
    heading: str
    mark: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def pages() -> list[Path]:
    """Every page for users and contributors."""
    return [
        *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
        *sorted((ROOT / "docs").rglob("*.md")),
    ]


def blocks(page: Path) -> list[Block]:
    text = page.read_text()
    found = []
    for fence in _FENCE.finditer(text):
        before = text[: fence.start()]
        headings = _HEADING.findall(_FENCE.sub("", before))
        mark = _MARK.search(before)
        found.append(
            Block(
                page.relative_to(ROOT).as_posix(),
                before.count("\n") + 1,
                fence[1].strip(),
                fence[2],
                headings[-1] if headings else "",
                mark[1] if mark else "",
            )
        )
    return found
