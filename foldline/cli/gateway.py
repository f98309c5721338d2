"""`foldline gateway`: the HTTP gateway alone, configured by the environment."""

from __future__ import annotations

from foldline.cli.context import DataDir, settings_for
from foldline.cli.logs import log_to_stderr
from producers.gateway.server import serve


def gateway(data_dir: DataDir = None) -> None:
    """Run the HTTP gateway alone until SIGTERM, which drains it."""
    settings = settings_for(data_dir)
    log_to_stderr()
    serve(settings)
