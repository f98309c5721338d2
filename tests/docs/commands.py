"""What a block of shell says, and whether the program has it: commands, options, arguments, targets, files, routes."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Callable, Iterator
from functools import cache
from importlib.util import find_spec
from itertools import takewhile
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import typer
from starlette.routing import BaseRoute, Match
from typer.exceptions import TyperException

from foldline.cli import COMMANDS, load
from foldline.settings import Settings
from producers.gateway.app import application
from tests.docs.pages import ROOT

TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
VARIABLES = {f"FOLDLINE_{name.upper()}" for name in Settings.model_fields} | {
    f"FOLDLINE_{name}"
    for name in re.findall(r"^\| `FOLDLINE_(\w+)`", (ROOT / "docs" / "settings.md").read_text(), re.MULTILINE)
}
ASSIGNED = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=")
SUBSTITUTED = re.compile(r"\$\(((?:[^()]|\([^()]*\))*)\)")
ENDS = {"|", "||", "&&", ";", "&", "(", ")", "|&"}
# Curl's options that take a value.
VALUED = {
    "-H",
    "--header",
    "-d",
    "--data",
    "--data-binary",
    "-X",
    "--request",
    "-o",
    "--output",
    "-w",
    "--max-time",
    "--retry",
}


def faults(text: str) -> list[str]:
    """What does not hold of a piece of shell; empty where all of it does."""
    parsed = subprocess.run(["bash", "-n"], input=text, capture_output=True, text=True, check=False)
    if parsed.returncode:
        return [f"bash: {parsed.stderr.strip()}"]
    return [fault for words in calls(text) for fault in _faults_of(words)]


def calls(text: str) -> Iterator[list[str]]:
    """The simple commands, as words; those of substitutions too. Here-documents are left out."""
    text = re.sub(r"<<-?'?(\w+)'?.*?\n.*?^\1$", "", text, flags=re.MULTILINE | re.DOTALL)
    for inner in SUBSTITUTED.findall(text):
        yield from calls(inner)
    for line in _lines(SUBSTITUTED.sub("substituted", text)):
        lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        words: list[str] = []
        for word in lexer:
            if word in ENDS:
                yield from [words] if words else []
                words = []
            else:
                words.append(word)
        if words:
            yield words


def _lines(text: str) -> Iterator[str]:
    """Lines as bash has them: continued by a backslash, or because a quote is open."""
    held = ""
    for line in text.replace("\\\n", " ").splitlines():
        held += line + "\n"
        try:
            shlex.split(held, comments=True)
        except ValueError:
            continue
        yield held
        held = ""
    if held.strip():
        yield held


def _faults_of(words: list[str]) -> Iterator[str]:
    words = [word for word in words if word not in ("do", "then", "else", "while", "if", "sudo", "exec", "time")]
    assigned = list(takewhile(ASSIGNED.match, words[1:] if words and words[0] == "export" else words))
    yield from (f"there is no setting {name}" for name in (one.split("=")[0] for one in assigned) if _unknown(name))
    words = words[len(assigned) :]
    if words and (check := CHECKS.get(Path(words[0]).name)):
        arguments = list(takewhile(lambda word: not re.fullmatch(r"\d?[<>]+&?", word), words[1:]))
        yield from check(arguments)


def _unknown(name: str) -> bool:
    return name.startswith("FOLDLINE_") and name not in VARIABLES


def foldline(arguments: list[str]) -> Iterator[str]:
    """Asks the program's own parser, which is not let do anything."""
    if not arguments or arguments[0].startswith("-"):
        return
    name, *rest = arguments
    if name not in COMMANDS:
        yield f"there is no foldline {name}"
        return
    try:
        _parse(load(COMMANDS[name][0]), name, rest)
    except typer.Exit:
        pass  # --help
    except TyperException as error:
        yield f"foldline {' '.join(arguments)}: {error.format_message()}"


def _parse(command: Any, name: str, arguments: list[str]) -> None:
    context = command.make_context(name, list(arguments))
    if hasattr(command, "commands"):
        below, one, rest = command.resolve_command(context, [*context._protected_args, *context.args])
        _parse(one, below, rest)


def make(arguments: list[str]) -> Iterator[str]:
    targets = [word for word in arguments if not ASSIGNED.match(word) and not word.startswith("-")]
    yield from (f"there is no target {target}" for target in targets if target not in TARGETS)


def python(arguments: list[str]) -> Iterator[str]:
    if arguments[:1] == ["-m"] and find_spec(arguments[1]) is None:
        yield f"there is no module {arguments[1]}"
    if arguments and arguments[0].endswith(".py") and not (ROOT / arguments[0]).is_file():
        yield f"there is no file {arguments[0]}"


def curl(arguments: list[str]) -> Iterator[str]:
    words = iter(arguments)
    method, url = "", ""
    for word in words:
        if word in VALUED:
            value = next(words, "")
            method = (
                value if word in ("-X", "--request") else method or ("POST" if word.startswith(("-d", "--data")) else "")
            )
        elif not word.startswith("-"):
            url = word
    path = re.sub(r"^(\$\{?\w+\}?|https?://[^/]*)", "", url)
    if not served(method or "GET", urlsplit(path).path or "/"):
        yield f"no route takes {method or 'GET'} {path}"


def served(method: str, path: str) -> bool:
    """Whether the gateway has a route for it."""
    scope = {"type": "http", "method": method, "path": path, "raw_path": path.encode(), "headers": [], "root_path": ""}
    return any(route.matches(scope)[0] is Match.FULL for route in routes())


@cache
def routes() -> list[BaseRoute]:
    return application(SimpleNamespace(requests=None)).routes  # type: ignore[arg-type]


CHECKS: dict[str, Callable[[list[str]], Iterator[str]]] = {
    "foldline": foldline,
    "make": make,
    "python": python,
    "python3": python,
    "curl": curl,
}
