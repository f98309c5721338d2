"""`foldline orgs`: create, list, change and suspend organisations."""

from __future__ import annotations

import json
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from foldline.adapters.postgres import Connection, connect, translated
from foldline.cli.context import DataDir, Json, base_url, settings_for
from foldline.settings import Settings
from producers import tenants
from producers.accounts import directory, entry, links

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Create, list, change and suspend organisations.")

Org = Annotated[str, typer.Argument(help="The organisation's id.", metavar="ORG")]


def connected(settings: Settings) -> Connection:
    """A connection to the settings' database."""
    return connect(settings.database_url, "foldline", settings.database_timeout_seconds)


def as_json_lines(rows: list[dict[str, object]]) -> None:
    """A listing on stdout, a JSON document a line."""
    for row in rows:
        print(json.dumps(row, ensure_ascii=False, default=str))


def as_table(rows: list[dict[str, object]]) -> None:
    """A listing on stdout, for people; nothing in it is cut."""
    if not rows:
        return
    table = Table(box=None, pad_edge=False)
    for name in rows[0]:
        table.add_column(name, overflow="fold", no_wrap=True)
    for row in rows:
        table.add_row(*("" if value is None else str(value) for value in row.values()))
    Console(width=10_000 if not Console().is_terminal else None, highlight=False).print(table, markup=False)


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="What people call it.")],
    owner: Annotated[
        str | None, typer.Option(help="Who owns it: a link to sign in once is printed, too.", metavar="EMAIL")
    ] = None,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Create an organisation with a publishable and a secret key, which are shown this once."""
    settings = settings_for(data_dir)
    with connected(settings) as connection, translated(), connection.transaction():
        made = tenants.create_organisation(connection, name, settings.key_prefix)
        known = owner is not None and directory.account_of(connection, directory.normal_email(owner)) is not None
        token = entry.insert_owner(connection, settings, made.org_id, owner) if owner is not None else None
    shown = {"org_id": made.org_id, "publishable_key": made.publishable_key, "secret_key": made.secret_key}
    if token is not None:
        shown["sign_in_link"] = links.url_of(base_url(data_dir, settings), token)
    print(json.dumps(shown) if as_json else "\n".join(f"{field}: {value}" for field, value in shown.items()))
    if known:
        typer.echo(f"{owner} had an account already: whoever has its password owns the organisation.", err=True)
    if not as_json:
        typer.echo("The keys are shown this once: keep them." + (" The link works once." if token else ""), err=True)


@app.command(name="list")
def list_(data_dir: DataDir = None, as_json: Json = False) -> None:
    """Show all organisations, oldest first."""
    settings = settings_for(data_dir)
    with connected(settings) as connection:
        found = tenants.organisations(connection)
    rows: list[dict[str, object]] = [
        {
            "org_id": organisation.org_id,
            "name": organisation.name,
            "rate_limit": settings.rate_limit_requests if organisation.rate_limit is None else organisation.rate_limit,
            "suspended_at": organisation.suspended_at and organisation.suspended_at.isoformat(),
            "created_at": organisation.created_at.isoformat(),
        }
        for organisation in found
    ]
    (as_json_lines if as_json else as_table)(rows)


@app.command(name="set")
def set_(
    org: Org,
    rate_limit: Annotated[
        int, typer.Option(help="Requests a window; 0 is unlimited.", min=0, max=tenants.MAX_RATE_LIMIT, metavar="N")
    ],
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Change an organisation's rate limit; holds on every gateway within 2 s."""
    with connected(settings_for(data_dir)) as connection:
        tenants.set_rate_limit(connection, org, rate_limit)
    _told({"org_id": org, "rate_limit": rate_limit}, f"{org}: {rate_limit or 'unlimited'} requests a window", as_json)


@app.command()
def suspend(org: Org, data_dir: DataDir = None, as_json: Json = False) -> None:
    """Close the API to an organisation: its requests are answered with 403 within 2 s."""
    with connected(settings_for(data_dir)) as connection:
        tenants.suspend(connection, org)
    _told({"org_id": org, "suspended": True}, f"{org} is suspended", as_json)


@app.command()
def resume(org: Org, data_dir: DataDir = None, as_json: Json = False) -> None:
    """Open the API to a suspended organisation again."""
    with connected(settings_for(data_dir)) as connection:
        tenants.resume(connection, org)
    _told({"org_id": org, "suspended": False}, f"{org} is not suspended", as_json)


def _told(data: dict[str, object], sentence: str, as_json: bool) -> None:
    if as_json:
        print(json.dumps(data))
    else:
        typer.echo(sentence, err=True)
