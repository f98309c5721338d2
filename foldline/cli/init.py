"""`foldline init`: everything that the services find made when they start."""

from __future__ import annotations

from rich.console import Console

from foldline.adapters.postgres import connect
from foldline.adapters.registry import ensure_schemas
from foldline.adapters.seals import MasterKeys
from foldline.adapters.topics import ensure_topics
from foldline.cli.context import DataDir, settings_for
from projections.generations import migrate
from projections.keys import ensure_keyring
from projections.tables import ensure_positions


def init(data_dir: DataDir = None) -> None:
    """Create or migrate tables and topics, register schemas, and assert their settings; safe to repeat."""
    settings = settings_for(data_dir)
    masters = MasterKeys(settings)
    registered = ensure_schemas(settings)
    ensure_topics(settings)
    with connect(settings.database_url, "foldline init", settings.database_timeout_seconds) as connection:
        ran = migrate(connection)
        ensure_keyring(connection, masters)
        ensure_positions(connection, settings)
    console = Console(stderr=True)
    said = f"database: {', '.join(ran) or 'up to date'}; topics: present, as they must be"
    if settings.schema_registry_url:
        said += f"; schemas: {', '.join(registered) or 'registered before'}, compatible both ways"
    console.print(said, soft_wrap=True)
