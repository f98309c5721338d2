"""`foldline erasures`: users who were erased, and the proof of it."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Annotated, Any

import typer

from foldline.adapters.postgres import Connection
from foldline.cli.context import NEGATIVE, DataDir, Json, settings_for
from foldline.cli.get import reading
from foldline.cli.orgs import Org, as_json_lines, as_table, connected
from foldline.domain.errors import FoldlineError
from foldline.domain.keys import id_fault
from projections.erasures import PAGE_ERASURES, Erasure, Proof, as_json, erasures, moment, prove

app = typer.Typer(no_args_is_help=True, add_completion=False, help="List erasures of users, and prove that they hold.")


@app.command(name="list")
def list_(
    org: Annotated[str | None, typer.Option(help="Of this organisation alone.", metavar="ORG")] = None,
    user: Annotated[str | None, typer.Option(help="Of this user alone.", metavar="ID")] = None,
    limit: Annotated[int, typer.Option(help="At most so many.", min=1, metavar="N")] = PAGE_ERASURES,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Show which users were erased, newest first, and by which delete event."""
    if any("\0" in text for text in (org, user) if text):
        raise typer.BadParameter("a NUL character is in no id")
    with connected(settings_for(data_dir)) as connection:
        rows = [_row(erasure) for erasure in _newest(connection, org, user, limit)]
    (as_json_lines if as_json else as_table)(rows)


@app.command(name="prove")
def prove_(
    org: Org,
    user: Annotated[str, typer.Argument(help="The user's id.", metavar="USER")],
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Read all that there is of an erased user, and try to open every seal; exits with 1 where anything can be read."""
    if not (org.isascii() and org.isprintable()) or id_fault(user) is not None:
        raise FoldlineError(f"{org!r}:{user!r} is no user's key, and has not been erased")
    settings = settings_for(data_dir)
    with reading() as moved, connected(settings) as connection:
        proof = prove(settings, connection, org, user, moved)
    _print_json(proof) if as_json else print("\n".join(f"{name}: {value}" for name, value in _sentences(proof)))
    for fault in proof.faults:
        typer.echo(f"foldline: {fault}", err=True)
    if not proof.holds:
        sys.exit(NEGATIVE)


def _newest(connection: Connection, org: str | None, user: str | None, limit: int) -> Iterator[Erasure]:
    after = None
    while limit > 0 and (found := erasures(connection, org, user, after, min(limit, PAGE_ERASURES))):
        yield from found
        after, limit = found[-1].place, limit - len(found)


def _row(erasure: Erasure) -> dict[str, Any]:
    return {
        "org_id": erasure.org_id,
        "user_id": erasure.user_id,
        "erased_at": moment(erasure.erased_at),
        "topic": erasure.topic,
        "partition": erasure.partition,
        "offset": erasure.offset,
        "request_id": erasure.request_id,
        "keys": erasure.keys,
        "publish_due": erasure.publish_due and moment(erasure.publish_due),
    }


def _print_json(proof: Proof) -> None:
    print(json.dumps(as_json(proof), ensure_ascii=False))


def _sentences(proof: Proof) -> Iterator[tuple[str, str]]:
    """What was found, for people."""
    yield "erased", f"{moment(proof.erased_at)}, by the event at {proof.topic}[{proof.partition}] offset {proof.offset}"
    yield "status", f"{proof.status or 'unknown'}"
    yield "tables", "clean" if not proof.unclean else f"not clean: generation {', '.join(map(str, proof.unclean))}"
    yield "keys", f"{proof.keys_destroyed} destroyed, {proof.keys_living} living, {proof.keys_left} left"
    yield "events", f"{proof.events}, of which {proof.sealed} sealed, {proof.plain} with attributes that are not sealed"
    if proof.undecodable:
        yield "undecodable", f"{proof.undecodable} records under the user's key"
    yield "readable", f"{proof.readable} of the events up to the erasure"
    yield "dead letters", f"{proof.letters} of before the erasure with their bytes"
    kept = f", which Kafka may keep until {moment(proof.compacted_by)}" if proof.states else ""
    yield "states", f"{proof.states} of before the erasure on the state topic{kept}"
    yield "behind", f"{proof.behind} records of the partition are not folded yet"
    yield "proof", "holds" if proof.holds else "does not hold"
