"""`foldline up`: the whole stack on embedded Kafka and PostgreSQL."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from foldline.cli.context import DataDir, Json
from foldline.cli.runners import Name, Runner
from foldline.embedded import stack
from foldline.embedded.datadir import Stack, data_directory
from foldline.embedded.installed import assert_installed
from foldline.settings import Settings


def up(
    host: Annotated[str | None, typer.Option(help="Where the gateway listens.", show_default="127.0.0.1")] = None,
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="The gateway's port.", show_default="a free one")
    ] = None,
    data_dir: DataDir = None,
    processors: Annotated[int, typer.Option(min=1, help="How many processors to run.")] = 1,
    runner: Runner = Name.native,
    as_json: Json = False,
) -> None:
    """Run the whole stack on embedded Kafka and PostgreSQL until SIGTERM or Ctrl-C."""
    assert_installed()
    settings = Settings()
    options = stack.Options(
        root=data_directory(data_dir),
        host=host or settings.gateway_host,
        port=port,
        processors=processors,
        runner=runner,
        partitions=settings.embedded_partitions,
    )
    stack.up(options, _announce_as_json if as_json else _announce)


def _announce(ready: Stack) -> None:
    print(f"Foldline is ready at {ready.url}", flush=True)


def _announce_as_json(ready: Stack) -> None:
    document = {"url": ready.url, "kafka": ready.kafka, "database_url": ready.database_url, "pid": ready.up.pid}
    print(json.dumps(document), flush=True)
