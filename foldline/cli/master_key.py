"""`foldline master-key`: what wraps the keys under which users' attributes are sealed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import typer
from rich.console import Console
from rich.progress import Progress

from foldline.adapters.seals import MasterKeys, new_master_key
from foldline.cli.context import DataDir, Json, settings_for, stack_for
from foldline.cli.orgs import connected
from foldline.embedded.masterkey import begin_rotation, end_rotation
from projections import rotation

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Make a master key, and go over to another one.")


@app.command()
def new(as_json: Json = False) -> None:
    """Print a new master key. It is kept nowhere: whoever loses it loses every user's attributes."""
    key = new_master_key()
    print(json.dumps({"master_key": key}) if as_json else key)


@app.command()
def rotate(data_dir: DataDir = None, as_json: Json = False) -> None:
    """Wrap every user's key by the first key of FOLDLINE_MASTER_KEY; a running stack by one that is made now."""
    settings = settings_for(data_dir)
    stack = stack_for(data_dir)
    file = Path(settings.master_key_file) if stack and settings.master_key_file else None
    with connected(settings) as connection:
        rotation.hold(connection)
        if file is not None:
            begin_rotation(file)
        masters = MasterKeys(settings)
        with _bar() as moved:
            keys = rotation.rotate(connection, masters, moved)
        if file is not None:
            end_rotation(file)
    current = masters.current.fingerprint.hex()
    if as_json:
        print(json.dumps({"master_key": current, "rewrapped": keys}))
    else:
        rest = f"{file} has it alone" if file else "the others may be taken out of FOLDLINE_MASTER_KEY"
        typer.echo(f"{keys} keys were wrapped anew; all are wrapped by the master key {current} now, and {rest}", err=True)


@contextmanager
def _bar() -> Iterator[Callable[[int, int], None]]:
    """How far it is, on stderr, where somebody looks at it."""
    console = Console(stderr=True)
    with Progress(console=console, disable=not console.is_terminal, transient=True) as bar:
        task = bar.add_task("wrapping keys", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
