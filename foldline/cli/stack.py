"""Commands for the stack that is running: `stop`, `db-url`, `kafka-url`, `settings`."""

from __future__ import annotations

import json
import os
import signal

from foldline.cli.context import DataDir, Json, no_stack, settings_for, stack_for
from foldline.domain.errors import FoldlineError
from foldline.embedded.datadir import data_directory, holder
from foldline.embedded.processes import until

STOP_SECONDS = 120.0


def stop(data_dir: DataDir = None) -> None:
    """Drain and stop the running stack; returns when it is gone."""
    up = holder(data_directory(data_dir))
    if up is None:
        raise no_stack(data_dir)
    up.signal(signal.SIGTERM)
    if not until(lambda: not up.alive(), STOP_SECONDS):
        raise FoldlineError(f"the stack (process {up.pid}) is still draining after {STOP_SECONDS:g} s")


def db_url(data_dir: DataDir = None, as_json: Json = False) -> None:
    """Print the URL of the running stack's database, else FOLDLINE_DATABASE_URL."""
    stack = stack_for(data_dir)
    _print("database_url", stack.database_url if stack else os.environ.get("FOLDLINE_DATABASE_URL"), as_json)


def kafka_url(data_dir: DataDir = None, as_json: Json = False) -> None:
    """Print the address of the running stack's Kafka as host:port, else FOLDLINE_KAFKA_BOOTSTRAP."""
    stack = stack_for(data_dir)
    _print("kafka", stack.kafka if stack else os.environ.get("FOLDLINE_KAFKA_BOOTSTRAP"), as_json)


def _print(name: str, value: str | None, as_json: bool) -> None:
    if not value:
        raise no_stack(None)
    print(json.dumps({name: value}) if as_json else value)


def settings(data_dir: DataDir = None, as_json: Json = False) -> None:
    """Print every setting with its value, secrets masked."""
    values = settings_for(data_dir).masked()
    lines = (f"{name}={'' if value is None else value}" for name, value in values.items())
    print(json.dumps(values) if as_json else "\n".join(lines))
