"""The items or users as a CSV file, as the state topic has them now: every record once, with its newest state, by id.

The topic is read to where it ended when the export began. What has come by then is sorted out on disk, so that memory does
not grow with the catalogue; the file takes the place of an older one only when all of it is written.

    python examples/csv_export.py items items.csv --org org_…
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import sqlite3
import sys
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Any, Literal

import projections
from foldline.cli.context import settings_for
from foldline.domain.errors import FoldlineError
from foldline.settings import Settings
from projections import CaughtUp, ItemState, Undecodable, UserState

COLUMNS: dict[str, tuple[str, ...]] = {"items": ItemState._fields[:8], "users": UserState._fields[:8]}
KNOWN = "SELECT generation, place FROM states WHERE org_id = ? AND id = ?"


def main() -> int:
    parser = argparse.ArgumentParser(description="Write the items or users as they are now to a CSV file.")
    parser.add_argument("kind", choices=("items", "users"))
    parser.add_argument("file", type=Path)
    parser.add_argument("--org", help="only this organisation's", metavar="ID")
    parser.add_argument("--include-deleted", action="store_true")
    parser.add_argument("--data-dir", type=Path, help="of a running stack; else what the environment says")
    chosen = parser.parse_args()
    try:
        count = export(settings_for(chosen.data_dir), chosen.kind, chosen.file, chosen.org, chosen.include_deleted)
    except FoldlineError as error:
        print(f"csv_export: {error}", file=sys.stderr)
        return 1
    print(f"{count} {chosen.kind}", file=sys.stderr)
    return 0


def export(settings: Settings, kind: Literal["items", "users"], file: Path, org_id: str | None, deleted: bool) -> int:
    """Writes the file; returns how many records it has."""
    with closing(sqlite3.connect("")) as states:  # a database without a name is a temporary file
        states.execute(
            "CREATE TABLE states (org_id, id, generation, place, deleted, row, PRIMARY KEY (org_id, id)) WITHOUT ROWID"
        )
        with projections.follow(kind, from_start=True, settings=settings, org_id=org_id) as following:
            for event in following:
                if isinstance(event, ItemState | UserState):
                    put(states, event)
                elif isinstance(event, Undecodable):
                    print(f"left out {event.topic}[{event.partition}]@{event.offset}: {event.reason}", file=sys.stderr)
                elif isinstance(event, CaughtUp):
                    break
                else:
                    print(event.reason, file=sys.stderr)
        rows = states.execute("SELECT row FROM states WHERE NOT deleted OR ? ORDER BY org_id, id", (deleted,))
        return write(file, COLUMNS[kind], (json.loads(row) for (row,) in rows))


def put(states: sqlite3.Connection, state: ItemState | UserState) -> None:
    """Keeps a state, unless a newer one is there."""
    key = (state.org_id, state[1])
    known = states.execute(KNOWN, key).fetchone()
    if known is None or state.newer_than(*known):
        row = json.dumps([text(field) for field in state[:8]], ensure_ascii=False)
        order = (state.generation, state.offset, state.status == "deleted")
        states.execute("INSERT OR REPLACE INTO states VALUES (?, ?, ?, ?, ?, ?)", (*key, *order, row))


def text(field: Any) -> str:
    """A field as it stands in the file: times in RFC 3339, attributes as JSON."""
    if isinstance(field, dict):
        return json.dumps(field, ensure_ascii=False)
    return field.isoformat().replace("+00:00", "Z") if hasattr(field, "isoformat") else str(field)


def write(file: Path, columns: tuple[str, ...], rows: Iterable[list[str]]) -> int:
    count = 0
    beside = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        with beside.open("w", newline="", encoding="utf-8") as opened:
            writer = csv.writer(opened)
            writer.writerow(columns)
            for row in rows:
                writer.writerow(row)
                count += 1
        beside.replace(file)
    finally:
        beside.unlink(missing_ok=True)
    return count


if __name__ == "__main__":
    sys.exit(main())
