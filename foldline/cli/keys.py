"""`foldline keys`: create, list, rotate and revoke keys."""

from __future__ import annotations

import json
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any

import typer

from foldline.cli.context import DataDir, Json, settings_for
from foldline.cli.orgs import Org, as_json_lines, as_table, connected
from producers import tenants

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Create, list, rotate and revoke keys.")


class Role(StrEnum):
    """What a key may be used for."""

    secret = "secret"
    publishable = "publishable"


Named = Annotated[str, typer.Argument(help="The key's id, its hint, or the key itself.", metavar="KEY")]


@app.command()
def create(
    org: Org,
    role: Annotated[
        Role, typer.Option(help="A secret key may write and read; a publishable one may be seen.")
    ] = Role.secret,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Create another key for an organisation; it is shown this once."""
    settings = settings_for(data_dir)
    with connected(settings) as connection:
        made = tenants.create_key(connection, org, role.value, settings.key_prefix)
    _show(made._asdict(), as_json)


@app.command(name="list")
def list_(
    org: Annotated[str | None, typer.Argument(help="Only this organisation's.", metavar="ORG")] = None,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Show keys, oldest first, by what may be seen of them."""
    with connected(settings_for(data_dir)) as connection:
        found = tenants.keys(connection, org)
    rows: list[dict[str, object]] = [
        {name: value.isoformat() if isinstance(value, datetime) else value for name, value in key._asdict().items()}
        for key in found
    ]
    (as_json_lines if as_json else as_table)(rows)


@app.command()
def rotate(
    key: Named,
    grace: Annotated[
        int,
        typer.Option(help="How long the old key goes on working.", min=0, max=tenants.MAX_GRACE_SECONDS, metavar="SECONDS"),
    ] = 0,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Replace a key by another of its role, which is shown this once; the old one ends now, or after a grace."""
    settings = settings_for(data_dir)
    with connected(settings) as connection:
        old, new = tenants.rotate_key(connection, key, settings.key_prefix, grace)
    ended = (
        {"revoked": old.key_id} if old.expires_at is None else {"replaced": old.key_id, "until": old.expires_at.isoformat()}
    )
    _show(new._asdict() | ended, as_json)


@app.command()
def revoke(key: Named, data_dir: DataDir = None, as_json: Json = False) -> None:
    """Revoke a key: its requests are answered with 401 within 2 s."""
    with connected(settings_for(data_dir)) as connection:
        old = tenants.revoke_key(connection, key)
    if as_json:
        print(json.dumps({"key_id": old.key_id, "org_id": old.org_id, "revoked": True}))
    else:
        typer.echo(f"{old.key_id} ({old.hint}) is revoked", err=True)


def _show(made: dict[str, Any], as_json: bool) -> None:
    print(json.dumps(made) if as_json else "\n".join(f"{field}: {value}" for field, value in made.items()))
    if not as_json:
        typer.echo("The key is shown this once: keep it.", err=True)
