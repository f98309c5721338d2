"""Whatever is deployed is told by settings that there are."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from foldline.settings import Settings
from tests.deploy.files import DEPLOY, ROOT, lines, variables

FILES = sorted(
    [ROOT / "compose.yaml", ROOT / "Dockerfile", ROOT / ".env.example"]
    + [file for file in DEPLOY.rglob("*") if file.suffix in {".yaml", ".env"}]
)
VALUES = [ROOT / ".env.example", *sorted(DEPLOY.rglob("*.env"))]


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_every_variable_that_is_named_is_one(file: Path) -> None:
    named = set(re.findall(r"FOLDLINE_[A-Z0-9_]+", file.read_text()))
    assert named <= variables()


def test_a_variable_that_is_none_would_be_seen() -> None:
    assert {"FOLDLINE_KAFKA_BOOTSTRAP", "FOLDLINE_READY_FILE"} <= variables()
    assert not {"FOLDLINE_KAFKA", "FOLDLINE_IMAGE"} & variables()


@pytest.mark.parametrize("file", VALUES, ids=lambda file: str(file.relative_to(ROOT)))
def test_their_values_are_taken(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = {name: value for name, value in lines(file).items() if name.startswith("FOLDLINE_") and value}
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    taken = Settings().model_dump(mode="json")
    assert {name: str(taken[name.removeprefix("FOLDLINE_").lower()]) for name in values} == values
