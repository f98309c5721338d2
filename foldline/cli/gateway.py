"""`foldline gateway`: the HTTP gateway alone, configured by the environment."""

from __future__ import annotations

from foldline.cli.context import DataDir, settings_for
from producers.gateway.server import serve


def gateway(data_dir: DataDir = None) -> None:
    """Run the HTTP gateway alone until SIGTERM, which drains it."""
    serve(settings_for(data_dir))
