"""`foldline accounts`: help people back in."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from foldline.cli.context import DataDir, Json, base_url, settings_for
from foldline.cli.orgs import connected
from producers.accounts import directory, entry, links

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Help people back in.")


@app.callback()
def accounts() -> None:
    """Help people back in."""


@app.command()
def reset(
    email: Annotated[str, typer.Argument(help="The account's e-mail address.", metavar="EMAIL")],
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Make a link by which somebody sets another password, once; exits with 1 where there is no such account."""
    settings = settings_for(data_dir)
    with connected(settings) as connection:
        token = entry.reset_link(connection, settings, email)
    shown = {"email": directory.normal_email(email), "reset_link": links.url_of(base_url(data_dir, settings), token)}
    print(json.dumps(shown) if as_json else "\n".join(f"{field}: {value}" for field, value in shown.items()))
    if not as_json:
        typer.echo("The link works once: give it to that person alone.", err=True)
