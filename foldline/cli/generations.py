"""`foldline generations`: the states that were built from the log."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from foldline.cli.context import DataDir, Json, settings_for
from foldline.cli.orgs import as_json_lines, as_table, connected
from projections import generations

app = typer.Typer(no_args_is_help=True, add_completion=False, help="List and drop generations of state.")


@app.command(name="list")
def list_(data_dir: DataDir = None, as_json: Json = False) -> None:
    """Show all generations, oldest first."""
    with connected(settings_for(data_dir)) as connection:
        found = generations.generations(connection)
    rows: list[dict[str, object]] = [
        {
            "generation": one.generation,
            "status": one.status,
            "purpose": one.purpose,
            "records": one.records,
            "created_at": one.created_at.isoformat(),
            "live_at": one.live_at and one.live_at.isoformat(),
            "retired_at": one.retired_at and one.retired_at.isoformat(),
        }
        for one in found
    ]
    (as_json_lines if as_json else as_table)(rows)


@app.command()
def drop(
    generation: Annotated[int, typer.Argument(help="Its number.", metavar="N")],
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Remove a generation that is not live."""
    with connected(settings_for(data_dir)) as connection:
        generations.drop(connection, generation)
    if as_json:
        print(json.dumps({"generation": generation, "dropped": True}))
    else:
        typer.echo(f"generation {generation} is dropped", err=True)
