"""The client needs httpx, and nothing of the program around it."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

from foldline import client

ROOT = Path(__file__).resolve().parents[2]


def test_it_imports_nothing_of_the_rest() -> None:
    listing = "import sys; before = set(sys.modules); import foldline.client; print(*sorted(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", listing], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = done.stdout.split()
    ours = {
        name
        for name in loaded
        if name.partition(".")[0] in ("foldline", "schemas", "producers", "processors", "projections")
    }
    assert ours == {name for name in ours if name == "foldline" or name.startswith("foldline.client")}
    others = {name.partition(".")[0] for name in loaded} & {
        "confluent_kafka",
        "psycopg",
        "pydantic",
        "fastapi",
        "orjson",
        "faust",
    }
    assert others == set()
    assert "httpx" in loaded


def test_what_it_needs_is_its_extra() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert [one.partition(">")[0] for one in project["optional-dependencies"]["client"]] == ["httpx"]


def test_both_clients_have_the_same_calls() -> None:
    calls = {name for name in vars(client.Client) if not name.startswith("_")}
    assert calls == {name for name in vars(client.AsyncClient) if not name.startswith("_")}
    assert calls == {
        "close", "item", "items", "operation", "upsert_items", "upsert_users", "user", "users", "wait_applied"
    }  # fmt: skip
