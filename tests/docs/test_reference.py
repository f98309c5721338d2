"""The reference says what the code has: a setting, command, route, code, topic or metric without its row fails here."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import pytest
from prometheus_client import CollectorRegistry
from starlette.routing import BaseRoute, Mount

from foldline.adapters.codec import STATE_TOPIC, UPSERTS_TOPIC
from foldline.adapters.pool import Database
from foldline.adapters.producer import headers_of
from foldline.adapters.topics import DEAD_LETTERS_TOPIC
from foldline.cli import COMMANDS, load
from foldline.cli.doctor import CHECKS
from foldline.domain.records import Upsert
from foldline.settings import Settings
from processors.metrics import REASONS
from processors.metrics import Metrics as ProcessorMetrics
from processors.watch import Watch
from producers.gateway.app import application
from producers.gateway.figures import Figures
from producers.gateway.metrics import Metrics as GatewayMetrics
from projections.sql import script

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("foldline", "schemas", "producers", "processors", "projections")
# Where a code stands in a call, by the name of what is called.
CODE_ARGUMENT = {"Rejection": 0, "Unparsable": 0, "_whole": 0, "FieldError": 3}

# What is written like a code in the code of imports, and is none.
NO_FILE_CODES = {"foldline_error", "import_id", "error_count", "warning_count"}


@cache
def page(name: str) -> str:
    return (ROOT / "docs" / name).read_text()


def row(page_name: str, cell: str) -> str:
    """The row of a table that begins with this cell, as code."""
    found = [line for line in page(page_name).splitlines() if line.startswith(f"| `{cell}` |")]
    assert len(found) == 1, f"docs/{page_name} needs one row for {cell}"
    return found[0]


def trees() -> Iterator[ast.Module]:
    for package in PACKAGES:
        for file in sorted((ROOT / package).rglob("*.py")):
            yield ast.parse(file.read_text())


def error_codes() -> set[str]:
    nodes = [node for tree in trees() for node in ast.walk(tree)]
    found = _codes_of(nodes)
    for node in nodes:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.target.id == "_CODES":
            assert isinstance(node.value, ast.Dict)
            found |= _constants(node.value.values)
    return found


def _codes_of(nodes: list[ast.AST]) -> set[str]:
    found: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in CODE_ARGUMENT:
            found |= _constants(node.args[CODE_ARGUMENT[node.func.id] :][:1])
        if isinstance(node, ast.FunctionDef) and node.name == "id_fault":
            returned = [step.value for step in ast.walk(node) if isinstance(step, ast.Return)]
            found |= _constants([value.elts[0] for value in returned if isinstance(value, ast.Tuple)])
    return found


def file_codes() -> set[str]:
    """Every string of the code of imports that is written like a code, whatever is done with it."""
    files = [*(ROOT / "producers" / "files").glob("[!_]*.py"), ROOT / "foldline" / "cli" / "import_.py"]
    nodes = [node for file in files for node in ast.walk(ast.parse(file.read_text()))]
    return {text for text in _constants(nodes) if re.fullmatch(r"[a-z]+(_[a-z0-9]+)+", text)} - NO_FILE_CODES


def _constants(nodes: list[ast.expr]) -> set[str]:
    return {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}


def commands() -> Iterator[tuple[str, set[str]]]:
    """Every command with its options."""
    for name, (target, _) in COMMANDS.items():
        command = load(target)
        below = getattr(command, "commands", None)
        for path, one in [(f"{name} {key}", value) for key, value in below.items()] if below else [(name, command)]:
            options = {option for parameter in one.params for option in parameter.opts if option.startswith("--")}
            yield f"foldline {path}", options


def routes() -> list[BaseRoute]:
    return application(SimpleNamespace(requests=None)).routes  # type: ignore[arg-type]


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_has_its_row_with_its_default(name: str) -> None:
    default = Settings.model_fields[name].default
    shown = f"| `{default}` |" if default not in (None, "") else "| |"
    assert shown in row("settings.md", f"FOLDLINE_{name.upper()}")


def test_every_variable_of_the_code_is_a_row() -> None:
    strings = {node.value for tree in trees() for node in ast.walk(tree) if isinstance(node, ast.Constant)}
    named = {text for text in strings if isinstance(text, str) and re.fullmatch("FOLDLINE_[A-Z_]+[A-Z]", text)}
    rows = set(re.findall(r"^\| `(FOLDLINE_\w+)`", page("settings.md"), re.MULTILINE))
    assert named <= rows
    assert rows - named <= {f"FOLDLINE_{name.upper()}" for name in Settings.model_fields}


def test_every_command_and_option_is_described() -> None:
    text = page("cli.md")
    found = dict(commands())
    assert [name for name in found if f"{name}`" not in text and f"{name} " not in text] == []
    options = {option for own in found.values() for option in own}
    assert [option for option in sorted(options) if not re.search(rf"[` ]{option}\b", text)] == []
    known = {" ".join(name.split()[:2]) for name in found}
    assert {f"foldline {word}" for word in re.findall(r"`foldline ([a-z][a-z-]*)", text)} <= known


def test_every_check_is_described_in_order() -> None:
    section = page("cli.md").partition("### `foldline doctor`")[2].partition("###")[0]
    rows = re.findall(r"^\| `([a-z.-]+)` \|", section, re.MULTILINE)
    assert rows == [check.name for check in CHECKS]


def test_every_route_is_described() -> None:
    text = page("http.md") + page("topics-and-tables.md")
    interface = [route for route in routes() if not _is_page(route)]
    missing = [place for route in interface for place in _places(route) if f"`{place}`" not in text]
    assert missing == []


def test_every_page_is_described() -> None:
    """The dashboard is for people: its pages are described, not its routes."""
    pages = {f"/{path.split('/')[1]}" for route in routes() if _is_page(route) for path in [getattr(route, "path", "/")]}
    assert [path for path in sorted(pages) if f"`{path}`" not in page("dashboard.md")] == []


def _is_page(route: BaseRoute) -> bool:
    endpoint = getattr(route, "endpoint", None)
    return str(getattr(endpoint, "__module__", "")).startswith("producers.dashboard")


def _places(route: BaseRoute) -> Iterator[str]:
    """As the reference writes it: the registry's endpoints and what is mounted by path, others with their method."""
    path = str(getattr(route, "path", "")).replace(":path}", "}").removesuffix("/") or "/"
    if isinstance(route, Mount) or path.startswith("/registry/"):
        yield path
    else:
        yield from (f"{method} {path}" for method in sorted(getattr(route, "methods", None) or ()) if method != "HEAD")


def test_every_error_code_is_described_and_no_other() -> None:
    described = re.findall(r"^\| `([a-z_]+)` \|", page("http.md").partition("## Error codes")[2], re.MULTILINE)
    assert sorted(described) == sorted(error_codes())


def test_every_code_of_a_file_is_described_and_no_other() -> None:
    described = re.findall(r"^\| `([a-z_]+)` \|", page("imports.md").partition("## Codes")[2], re.MULTILINE)
    assert len(described) == len(set(described))
    assert sorted(described) == sorted(file_codes() - error_codes())


def test_every_topic_header_and_view_is_described() -> None:
    for topic in (*UPSERTS_TOPIC.values(), *STATE_TOPIC.values(), DEAD_LETTERS_TOPIC):
        row("topics-and-tables.md", topic)
    event = Upsert("org", "id", None, None, None, 0, "request", 0)
    for name in [name for name, _ in headers_of("items", event, "")] + ["ce_id", "ce_subject"]:
        row("topics-and-tables.md", name)
    views = re.findall(r"CREATE OR REPLACE VIEW (foldline\.\w+)", script("views"))
    for view in views:
        row("topics-and-tables.md", view)
    assert len(views) == len(set(views)) == 7


def registries() -> list[CollectorRegistry]:
    """What both services measure."""
    return [GatewayMetrics(Figures(Database(Settings(), "test"))).registry, ProcessorMetrics(Watch()).registry]


def metric_names() -> set[str]:
    """The same as Prometheus has it."""
    endings = {"counter": "_total", "info": "_info"}
    return {family.name + endings.get(family.type, "") for registry in registries() for family in registry.collect()}


def test_every_metric_is_described_and_no_other() -> None:
    section = page("operations.md").partition("### Metrics")[2].partition("\n### ")[0]
    described = re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)
    assert sorted(described) == sorted(metric_names())


def test_every_reason_of_a_dead_letter_is_there_from_the_beginning() -> None:
    rejecting = [ROOT / "foldline" / "domain", ROOT / "foldline" / "adapters", ROOT / "processors"]
    files = [file for directory in rejecting for file in directory.rglob("*.py")]
    nodes = [node for file in files for node in ast.walk(ast.parse(file.read_text()))]
    assert set(REASONS) == _codes_of(nodes)
