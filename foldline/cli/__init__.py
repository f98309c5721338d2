"""The program `foldline`: a table of commands, each loaded when it is called."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

COMMANDS = {
    "up": ("foldline.cli.up:up", "Run the whole stack on embedded Kafka and PostgreSQL."),
    "stop": ("foldline.cli.stack:stop", "Drain and stop the running stack."),
    "gateway": ("foldline.cli.gateway:gateway", "Run the HTTP gateway alone, configured by the environment."),
    "process": ("foldline.cli.process:process", "Run one processor alone, configured by the environment."),
    "init": ("foldline.cli.init:init", "Create or migrate tables and topics; safe to repeat."),
    "orgs": ("foldline.cli.orgs:app", "Create, list, change and suspend organisations."),
    "accounts": ("foldline.cli.accounts:app", "Help people back in."),
    "keys": ("foldline.cli.keys:app", "Create, list, rotate and revoke keys."),
    "import": ("foldline.cli.import_:import_", "Import a file of items or users."),
    "status": ("foldline.cli.status:status", "Show the generation in use and each partition's position."),
    "doctor": ("foldline.cli.doctor:doctor", "Check a deployment, and say what to do where something is wrong."),
    "rebuild": ("foldline.cli.rebuild:rebuild", "Replay the log into a new generation beside the live one."),
    "verify": ("foldline.cli.rebuild:verify", "Replay the log and compare it with the live state, row by row."),
    "generations": ("foldline.cli.generations:app", "List and drop generations of state."),
    "get": ("foldline.cli.get:get", "Show the state of one item or user."),
    "history": ("foldline.cli.history:history_", "Show every event of one item or user, and what it changed."),
    "dead-letters": ("foldline.cli.dead_letters:app", "List, show and redrive what could not be folded."),
    "erasures": ("foldline.cli.erasures:app", "List erasures of users, and prove that they hold."),
    "master-key": ("foldline.cli.master_key:app", "Make a master key, and go over to another one."),
    "tail": ("foldline.cli.tail:tail", "Follow a state topic, decoded."),
    "db-url": ("foldline.cli.stack:db_url", "Print the URL of the running stack's database."),
    "kafka-url": ("foldline.cli.stack:kafka_url", "Print the address of the running stack's Kafka."),
    "settings": ("foldline.cli.stack:settings", "Print every setting with its value, secrets masked."),
}


class _Lazy(TyperCommand):
    """Stands for a command in the listing, and becomes it when it is called."""

    def __init__(self, name: str, target: str, summary: str) -> None:
        super().__init__(name, help=summary)
        self._target = target

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        return load(self._target).make_context(info_name, args, parent, **extra)


class _Program(TyperGroup):
    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        return _Lazy(cmd_name, *COMMANDS[cmd_name]) if cmd_name in COMMANDS else None


def load(target: str) -> Any:
    """The command that `module:name` stands for, be it a function or a Typer application."""
    module, _, name = target.partition(":")
    found = getattr(import_module(module), name)
    if isinstance(found, typer.Typer):
        return get_command(found)
    app = typer.Typer(add_completion=False)
    app.command()(found)
    return get_command(app)


app = typer.Typer(cls=_Program, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


def _print_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        from foldline.adapters.compiled import States

        print(f"foldline {version('foldline')}, {'with' if States is not None else 'without'} the compiled fold")
        raise typer.Exit


@app.callback()
def program(
    _: Annotated[bool, typer.Option("--version", help="Print the version.", is_eager=True, callback=_print_version)] = False,
) -> None:
    """Foldline keeps a recommendation engine's catalogue and users in step with the business that owns them."""


def main() -> None:
    """Runs the command named on the command line and exits with its code."""
    from foldline.cli.context import errors_as_exit_codes

    with errors_as_exit_codes():
        sys.exit(app(standalone_mode=False))
