"""`python -m tests.chaos.up CLOCK up …`: the program `foldline`, of whose stack PostgreSQL alone has a clock of its own.

CLOCK is variables of the environment in JSON. Given to all of the stack, and restricted to PostgreSQL by FAKETIME_ONLY_CMDS,
libfaketime makes clocks fail in threads of the others.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from pathlib import Path

from foldline.cli import main
from foldline.embedded import kafka, postgres, services, stack
from foldline.embedded.parts import Part
from foldline.embedded.postgres import postgres_part
from tests.chaos.patience import patient


def with_clock(clock: dict[str, str]) -> None:
    def part(root: Path, port: int) -> Part:
        return replace(postgres_part(root, port), environment=os.environ | clock)

    stack.postgres_part = part  # type: ignore[attr-defined]


def with_patience() -> None:
    for module in (kafka, postgres, services):
        vars(module)["START_SECONDS"] = patient(vars(module)["START_SECONDS"])


if __name__ == "__main__":
    with_clock(json.loads(sys.argv.pop(1)))
    with_patience()
    main()
