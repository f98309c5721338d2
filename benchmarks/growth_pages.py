from __future__ import annotations

from pathlib import Path

DATA = Path(__file__).resolve().parents[1] / "docs" / "growth"


def draw(data: Path) -> None: ...
