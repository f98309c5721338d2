"""`foldline import` from outside: what holds is queued once, what does not hold leaves no trace."""

from __future__ import annotations

import gzip
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.outside import LOG, Organisation, Stack, eventually

pytestmark = pytest.mark.server

EXAMPLES = Path(__file__).parents[2] / "examples"
HEADER = "item_id,item_type,name,price,status\n"


def load(stack: Stack, org: Organisation, kind: str, file: Path, *options: str) -> tuple[int, Any, str]:
    """The exit code, the document, and what people are told."""
    done = stack.foldline("import", kind, str(file), "--org", org.org_id, "--json", *options)
    return done.returncode, json.loads(done.stdout) if done.stdout else None, done.stderr


def written(path: Path, text: str) -> Path:
    path.write_text(text, newline="")
    return path


def test_a_catalogue_and_its_users(stack: Stack, org: Organisation) -> None:
    code, document, _ = load(stack, org, "items", EXAMPLES / "catalog.csv", "--wait")
    assert code == 0
    assert document == {
        "import_id": document["import_id"], "status": "live", "rows": 4, "errors": [], "error_count": 0, "warnings": [],
        "warning_count": 0, "refused": 0,
    }  # fmt: skip
    assert {state["item_id"]: (state["status"], state["version"]) for state in org.listing("items")} == {
        "PROD-001": ("active", 1), "PROD-002": ("active", 1), "PROD-003": ("active", 1), "PROD-004": ("inactive", 1),
    }  # fmt: skip
    assert org.state("items", "PROD-001").json()["data"]["attributes"]["price"] == 149.99
    code, document, _ = load(stack, org, "users", EXAMPLES / "users.csv")
    assert (code, document["status"], document["rows"]) == (0, "done", 3)
    assert eventually(lambda: len(org.listing("users")) == 3, 20)
    assert org.state("users", "usr_001").json()["data"]["created_at"] == "2025-01-12T09:00:00Z"


def test_a_file_that_does_not_hold_leaves_no_trace(stack: Stack, org: Organisation, tmp_path: Path) -> None:
    faulty = written(
        tmp_path / "faulty.csv",
        HEADER
        + 'A,product,"two\r\nlines",1.50,active\nB,product,N,2,sold\n,product,N,3,active\nC,product\nA,product,N,4,active\n',
    )
    before = stack.ends(*LOG.values())
    code, document, _ = load(stack, org, "items", faulty)
    assert code == 1
    assert (document["import_id"], document["status"], document["rows"], document["error_count"]) == (None, "rejected", 5, 3)
    assert [(error["line"], error["row"], error["column"], error["code"], error["id"]) for error in document["errors"]] == [
        (4, 2, "status", "invalid_status", "B"),
        (5, 3, "item_id", "required", None),
        (6, 4, "", "too_few_cells", "C"),
    ]
    assert set(document["errors"][0]) == {"line", "row", "column", "code", "message", "value", "id"}
    assert [(warning["line"], warning["code"]) for warning in document["warnings"]] == [(7, "duplicate_id")]
    assert stack.ends(*LOG.values()) == before
    assert stack.sql("SELECT count(*) FROM foldline_control.imports WHERE org_id = %s", org.org_id) == [(0,)]
    human = stack.foldline("import", "items", str(faulty), "--org", org.org_id)
    assert (human.returncode, human.stdout) == (1, "")
    assert "faulty.csv:4: status must be active, inactive or deleted (invalid_status)" in human.stderr
    assert "nothing is imported" in human.stderr


def test_a_dry_run_only_looks(stack: Stack, org: Organisation) -> None:
    before = stack.ends(*LOG.values())
    code, document, _ = load(stack, org, "items", EXAMPLES / "catalog.json", "--dry-run")
    assert (code, document["import_id"], document["status"], document["rows"]) == (0, None, "ready", 2)
    assert stack.ends(*LOG.values()) == before


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "empty_file"),
        (HEADER.encode(), "no_rows"),
        (b"\x89PNG\r\n\x1a\n" + bytes(200), "binary_file"),
        (b"[" * 500_000, "too_deep"),
        (HEADER.encode() + b"A,p,caf\xe9,1,active\n", "invalid_encoding"),
        (HEADER.encode() + b"A,product,N,1,active\n" * 2_500_000, "file_too_large"),
        (gzip.compress(HEADER.encode() + b"A,product,N,1,active\n" * 2_500_000, 1, mtime=0), "file_too_large"),
        (gzip.compress(HEADER.encode(), mtime=0)[:-4], "bad_gzip"),
        (None, "unreadable_file"),
    ],
)
def test_a_file_that_is_none_gets_one_sentence(
    stack: Stack, org: Organisation, tmp_path: Path, content: bytes | None, code: str
) -> None:
    file = tmp_path / "file"
    if content is not None:
        file.write_bytes(content)
    exit_code, document, _ = load(stack, org, "items", file)
    assert (exit_code, document["status"], document["import_id"], document["error_count"]) == (1, "rejected", None, 1)
    assert [error["code"] for error in document["errors"]] == [code]


def test_an_organisation_that_does_not_exist(stack: Stack, org: Organisation) -> None:
    done = stack.foldline("import", "items", str(EXAMPLES / "catalog.csv"), "--org", "org_nobody", "--json")
    assert (done.returncode, done.stdout) == (1, "")
    assert "there is no organisation org_nobody" in done.stderr


def test_whoever_is_killed_half_way_another_carries_on(stack: Stack, org: Organisation, tmp_path: Path) -> None:
    """First the command, then the gateway that carried on, whose importer is gone with it."""
    rows = 30_000
    file = written(tmp_path / "many.csv", HEADER + "".join(f"Q-{n},product,N,{n},active\n" for n in range(rows)))
    first = subprocess.Popen([*stack.program("import"), "items", str(file), "--org", org.org_id], stderr=subprocess.DEVNULL)
    query = "SELECT status, queued, refused FROM foldline_control.imports WHERE org_id = %s"
    assert eventually(lambda: bool(found := stack.sql(query, org.org_id)) and found[0][1] > 0, 30, 0.01)
    first.kill()
    first.wait()
    reached = stack.sql(query, org.org_id)[0][1]
    assert eventually(lambda: stack.sql(query, org.org_id)[0][1] > reached, 30, 0.01)
    stack.processes("gateway")[0].kill()
    assert eventually(lambda: stack.sql(query, org.org_id)[0][0] == "live", 90), stack.sql(query, org.org_id)
    assert stack.sql(query, org.org_id) == [("live", rows, 0)]
    versions = "SELECT count(*), min(version), max(version) FROM foldline.items WHERE org_id = %s"
    assert stack.sql(versions, org.org_id) == [(rows, 1, 1)]
