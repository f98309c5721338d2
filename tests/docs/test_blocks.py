"""Every fenced block of every page holds, as far as its language can be asked."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable, Iterator
from importlib import import_module
from types import ModuleType
from typing import Any

import psycopg
import pytest
import yaml  # type: ignore[import-untyped]

from foldline.adapters.postgres import connect
from projections.generations import migrate
from tests.docs import commands
from tests.docs.pages import Block, blocks, pages

BLOCKS = [block for page in pages() for block in blocks(page)]
# Blocks of SQL that PostgreSQL does not read; test_consumers.py holds their columns and types.
OTHER_SQL = {("docs/consumers.md", "Flink SQL"), ("docs/consumers.md", "ksqlDB")}


def of(*languages: str) -> list[Any]:
    return [pytest.param(block, id=str(block)) for block in BLOCKS if block.language in languages]


def sql() -> list[Any]:
    return [parameter for parameter in of("sql") if (parameter.values[0].page, parameter.values[0].heading) not in OTHER_SQL]


def diff(text: str) -> None:
    """What a diff does is held by tests/processors/test_change_the_fold.py, which applies it."""
    assert text.startswith("--- ")
    assert re.search(r"^@@ -\d+", text, re.MULTILINE)


def console(text: str) -> None:
    """Lines that begin with a prompt are shell, the rest is what it printed."""
    typed = re.findall(r"^\$ (.*)$", text, re.MULTILINE)
    assert typed
    assert commands.faults("\n".join(typed)) == []


def shell(text: str) -> None:
    assert commands.faults(text) == []


def python(text: str) -> None:
    """It compiles, what it imports there is, and so are the attributes of the modules that it names."""
    tree = ast.parse(text)
    compile(tree, "page", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    modules: dict[str, ModuleType] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules |= {alias.asname or alias.name: import_module(alias.name) for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            module = import_module(str(node.module))
            assert [alias.name for alias in node.names if not hasattr(module, alias.name)] == []
    named = [
        (node.value.id, node.attr)
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in modules
    ]
    missing = [(name, attribute) for name, attribute in named if not hasattr(modules[name], attribute)]
    assert missing == []


CHECKS: dict[str, Callable[[str], Any]] = {
    "sh": shell,
    "console": console,
    "json": json.loads,
    "python": python,
    "yaml": lambda text: list(yaml.safe_load_all(text)),
    "diff": diff,
    "text": lambda text: None,  # what a program prints
    "": lambda text: None,
    "sql": lambda text: None,  # asked of a database, below
}


@pytest.mark.parametrize("block", of(*(CHECKS.keys() - {"sql", "text", ""})))
def test_a_block_holds(block: Block) -> None:
    CHECKS[block.language](block.text)


def test_every_block_has_a_language_that_can_be_asked() -> None:
    assert [f"{block} {block.language}" for block in BLOCKS if block.language not in CHECKS] == []
    assert {(block.page, block.heading) for block in BLOCKS if block.language == "sql"} >= OTHER_SQL


@pytest.fixture
def schema(database: str) -> Iterator[psycopg.Connection[Any]]:
    """A database that `foldline init` has made, in which nothing stays."""
    with connect(database, "test") as connection:
        migrate(connection)
    with psycopg.connect(database) as connection:
        yield connection
        connection.rollback()


@pytest.mark.parametrize("block", sql())
def test_postgresql_takes_the_block(block: Block, schema: psycopg.Connection[Any]) -> None:
    for statement in re.split(r";\s*$", block.text, flags=re.MULTILINE):
        if statement.strip():
            schema.execute(statement.encode())


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("foldline stop --now", "foldline stop --now: No such option: --now"),
        ("foldline orgs make X", "foldline orgs make X: No such command 'make'."),
        ("foldline generations drop", "foldline generations drop: Missing argument 'N'."),
        ("foldline fly", "there is no foldline fly"),
        ("make demo tea", "there is no target tea"),
        ("export FOLDLINE_SPEED=1 && foldline init", "there is no setting FOLDLINE_SPEED"),
        ("X=$(foldline urls)", "there is no foldline urls"),
        ("python examples/no.py items", "there is no file examples/no.py"),
        ("python -m schemas.no", "there is no module schemas.no"),
        ("curl -d '{}' http://127.0.0.1:8080/v1/items/A", "no route takes POST /v1/items/A"),
        ('curl -s "$URL/v2/items"', "no route takes GET /v2/items"),
    ],
)
def test_a_fault_of_shell_is_found(text: str, fault: str) -> None:
    assert commands.faults(text) == [fault]


@pytest.mark.parametrize(
    "text",
    [
        "foldline up --port 8080 &\nKEY=$(foldline keys create org_1 --json | jq -r .secret_key)",
        "curl -s $URL/v1/items/MUG-1 \\\n  -H \"X-API-KEY: $KEY\" | jq '.data'",
        "foldline import items a.csv --org org_1 > log 2>&1",
        'if foldline verify; then make demo ARGS="--once"; fi',
    ],
)
def test_what_holds_has_no_fault(text: str) -> None:
    assert commands.faults(text) == []


def test_shell_that_does_not_parse_is_found() -> None:
    assert "bash: " in commands.faults("if true; then echo")[0]
