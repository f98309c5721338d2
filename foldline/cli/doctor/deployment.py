"""What is examined, and how much of it could be reached so far."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

from foldline.adapters.postgres import Connection
from foldline.adapters.topics import TopicState
from foldline.cli.context import settings_for
from foldline.domain.errors import FoldlineError
from foldline.embedded.datadir import Stack, data_directory, running_stack
from foldline.settings import Settings
from projections.sql import queries

Part: TypeAlias = Literal["servers", "database", "tables", "kafka", "log"]

NAMES: Mapping[Part, str] = {
    "servers": "no stack is running",
    "database": "PostgreSQL cannot be reached",
    "tables": "the database is not initialised",
    "kafka": "Kafka cannot be reached",
    "log": "a topic of the log is missing",
}

_SQL = queries("doctor")


@dataclass
class Deployment:
    """A stack on a data directory, or what the environment names. `reached` grows as checks find parts that work.

    `root` is the data directory, `stack` is None where none runs on it; `down` says that one should.
    """

    settings: Settings
    root: Path
    stack: Stack | None
    down: bool
    reached: set[Part] = field(default_factory=set)
    connection: Connection | None = None
    topics: dict[str, TopicState] = field(default_factory=dict)

    def log_or(self, part: str, otherwise: str) -> str:
        """What to do where a part does not answer: look into its log if it is one of a stack's, else something else."""
        if self.stack is None:
            return otherwise
        return f"see why in {self.root}/logs/{part}.log; `foldline up` starts again by itself what has ended"

    def rows(self, query: str, parameters: Sequence[Any] | Mapping[str, Any] = ()) -> list[tuple[Any, ...]]:
        """The rows of a query of `doctor.sql`. Raises the driver's errors: what they mean is told where checks are run."""
        if self.connection is None:
            raise FoldlineError("PostgreSQL cannot be reached")
        return self.connection.execute(_SQL[query].encode(), parameters).fetchall()


def deployment_of(data_dir: Path | None) -> Deployment:
    """The stack on the data directory that was given; else the one on the default directory, if one runs there or nothing in
    the environment names other servers; else what the environment names."""
    root = data_directory(data_dir)
    stack = running_stack(root)
    elsewhere = "FOLDLINE_DATABASE_URL" in os.environ or "FOLDLINE_KAFKA_BOOTSTRAP" in os.environ
    down = stack is None and (data_dir is not None or (not elsewhere and (root / "postgres").is_dir()))
    settings = Settings() if down else settings_for(data_dir)
    return Deployment(settings, root, stack, down, set() if down else {"servers"})
