"""`foldline init`: everything that the services find made when they start."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from foldline.adapters.postgres import connect
from foldline.adapters.topics import ensure_topics
from foldline.cli.context import settings_for
from projections.generations import migrate
from projections.tables import ensure_positions


def init(data_dir: Annotated[Path | None, typer.Option(help="Data directory of the embedded stack.")] = None) -> None:
    """Creates or migrates tables and topics, and asserts their settings. Safe to repeat."""
    settings = settings_for(data_dir)
    ensure_topics(settings)
    with connect(settings.database_url, "foldline init", settings.database_timeout_seconds) as connection:
        ran = migrate(connection)
        ensure_positions(connection, settings)
    console = Console(stderr=True)
    console.print(f"database: {', '.join(ran) or 'up to date'}; topics: present, as they must be")
