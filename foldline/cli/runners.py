"""The names of the runners, which commands take."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer


class Name(StrEnum):
    native = "native"
    faust = "faust"


Runner = Annotated[Name, typer.Option(help="What delivers the records.")]
