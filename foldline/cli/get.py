"""`foldline get`: the state of one item or user."""

from __future__ import annotations

import json
from enum import StrEnum
from typing import Annotated

import typer

from foldline.cli.context import DataDir, Json, settings_for
from foldline.cli.orgs import Org, connected
from foldline.domain.errors import FoldlineError
from foldline.domain.keys import id_fault
from foldline.domain.records import Kind
from projections.reader import state_json, state_now


class Record(StrEnum):
    """What there are states of."""

    item = "item"
    user = "user"


KINDS: dict[Record, Kind] = {Record.item: "items", Record.user: "users"}


def get(
    record: Annotated[Record, typer.Argument(help="What it is.")],
    org: Org,
    entity_id: Annotated[str, typer.Argument(help="Its id.", metavar="ID")],
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Show the state of one item or user, deleted included; exits with 1 where it is unknown."""
    kind = KINDS[record]
    found = None
    if org.isascii() and org.isprintable() and id_fault(entity_id) is None:
        with connected(settings_for(data_dir)) as connection:
            found = state_now(connection, kind, org, entity_id)
    if found is None:
        raise FoldlineError(f"{org} has no {record} {entity_id!r}")
    print(json.dumps(state_json(kind, found), ensure_ascii=False, indent=None if as_json else 2))
