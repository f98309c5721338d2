"""What the tests of the deployment's files share."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
KUBERNETES = DEPLOY / "kubernetes"


def documents(path: Path) -> list[dict[str, Any]]:
    """The documents of a YAML file; what Compose merges and resets is read as plain YAML."""
    return [document for document in yaml.load_all(path.read_text(), _Loader) if document is not None]


def variables() -> set[str]:
    """The names of `docs/settings.md`: every setting, and what else services read from the environment."""
    return set(re.findall(r"^\| `(FOLDLINE_\w+)`", (ROOT / "docs" / "settings.md").read_text(), re.MULTILINE))


def lines(path: Path) -> dict[str, str]:
    """The `NAME=value` lines of a file, those behind a `#` too."""
    return dict(re.findall(r"^#?([A-Z][A-Z0-9_]*)=(.*)$", path.read_text(), re.MULTILINE))


class _Loader(yaml.SafeLoader):
    pass


_Loader.add_constructor("!reset", lambda loader, node: None)
