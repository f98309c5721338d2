"""`foldline get`: the state of one item or user, now or at an earlier position or time."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress

from foldline.cli.context import DataDir, Json, settings_for
from foldline.cli.orgs import Org, connected
from foldline.domain.errors import FoldlineError
from foldline.domain.keys import id_fault
from foldline.domain.records import Kind
from foldline.domain.times import parse_rfc3339
from foldline.settings import Settings
from projections.history import Entry, history, state_at
from projections.reader import Found, found_of, state_json, state_now


class Record(StrEnum):
    """What there are states of."""

    item = "item"
    user = "user"


KINDS: dict[Record, Kind] = {Record.item: "items", Record.user: "users"}


def get(
    record: Annotated[Record, typer.Argument(help="What it is.")],
    org: Org,
    entity_id: Annotated[str, typer.Argument(help="Its id.", metavar="ID")],
    as_of: Annotated[
        str | None,
        typer.Option(
            help="At that offset of its partition, or at that time by the log (RFC 3339), inclusive.", metavar="POS|TIME"
        ),
    ] = None,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Show the state of one item or user, deleted included; exits with 1 where it is unknown."""
    kind = KINDS[record]
    found, erased = None, False
    if org.isascii() and org.isprintable() and id_fault(entity_id) is None:
        settings = settings_for(data_dir)
        if as_of is not None:
            found, erased = _found_at(settings, kind, org, entity_id, _too_late(as_of))
        else:
            with connected(settings) as connection:
                found = state_now(connection, kind, org, entity_id)
    if found is None:
        when = "" if as_of is None else f" as of {as_of}"
        raise FoldlineError(f"{org} has no {record} {entity_id!r}{when}")
    shown = state_json(kind, found) | ({"erased": True} if erased else {})
    print(json.dumps(shown, ensure_ascii=False, indent=None if as_json else 2))
    if erased:
        typer.echo("the user has been erased since: attributes of then are not known any more", err=True)


@contextmanager
def reading() -> Iterator[Callable[[int, int], None]]:
    """How far a partition is read, on stderr, where somebody looks at it."""
    console = Console(stderr=True)
    with Progress(console=console, disable=not console.is_terminal, transient=True) as bar:
        task = bar.add_task("reading the partition", total=None)
        yield lambda read, total: bar.update(task, completed=read, total=total)


def _found_at(
    settings: Settings, kind: Kind, org: str, entity_id: str, too_late: Callable[[Entry], bool]
) -> tuple[Found | None, bool]:
    with reading() as moved:
        state, erased = state_at(history(settings, kind, org, entity_id, moved), too_late)
    return None if state is None else found_of(state), erased


def _too_late(as_of: str) -> Callable[[Entry], bool]:
    if as_of.isascii() and as_of.isdigit():
        position = int(as_of)
        return lambda entry: entry.offset > position
    micros = parse_rfc3339(as_of)
    if micros is None:
        raise typer.BadParameter(
            f"{as_of!r} is neither an offset nor RFC 3339 with Z or an offset, such as 2025-01-12T09:00:00Z",
            param_hint="--as-of",
        )
    return lambda entry: entry.logged_at > micros
