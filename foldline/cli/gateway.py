"""`foldline gateway`: the HTTP gateway alone, configured by the environment."""

from __future__ import annotations

from typing import Annotated

import typer

from foldline.cli.context import DataDir, settings_for
from foldline.cli.services import assert_initialised
from foldline.logs import log_to_stderr
from producers.gateway.server import serve


def gateway(
    host: Annotated[str | None, typer.Option(help="Where it listens; else FOLDLINE_GATEWAY_HOST.")] = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Its port, 0 for a free one; else FOLDLINE_GATEWAY_PORT.")
    ] = None,
    data_dir: DataDir = None,
) -> None:
    """Run the HTTP gateway alone until SIGTERM, which drains it."""
    settings = settings_for(data_dir)
    given = {"gateway_host": host, "gateway_port": port}
    settings = settings.model_copy(update={name: value for name, value in given.items() if value is not None})
    assert_initialised(settings)
    log_to_stderr(settings.log_level)
    serve(settings)
