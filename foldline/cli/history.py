"""`foldline history`: every event of one item or user, and what each one changed."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from foldline.cli.context import DataDir, Json, settings_for
from foldline.cli.get import KINDS, Record, reading
from foldline.cli.orgs import Org, connected
from foldline.domain.errors import FoldlineError
from foldline.domain.times import format_rfc3339
from projections.history import Entry, history
from projections.reader import import_of


def history_(
    record: Annotated[Record, typer.Argument(help="What it is.")],
    org: Org,
    entity_id: Annotated[str, typer.Argument(help="Its id.", metavar="ID")],
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Show every event of one item or user, oldest first; exits with 1 where there is none."""
    settings = settings_for(data_dir)
    imports: dict[str, str | None] = {}
    found = False
    with reading() as moved, connected(settings) as connection:
        for entry in history(settings, KINDS[record], org, entity_id, moved):
            found = True
            request_id = entry.event.request_id if entry.event else ""
            if request_id not in imports:
                imports[request_id] = import_of(connection, org, request_id)
            line = as_json_line(entry, imports[request_id])
            print(json.dumps(line, ensure_ascii=False) if as_json else _sentence(line))
    if not found:
        raise FoldlineError(f"the log has no event of {org}'s {record} {entity_id!r}")


def as_json_line(entry: Entry, import_id: str | None) -> dict[str, Any]:
    """An event as programs are shown it."""
    event, rejection = entry.event, entry.rejection
    return {
        "partition": entry.partition,
        "offset": entry.offset,
        "logged_at": format_rfc3339(entry.logged_at),
        "received_at": event and format_rfc3339(event.received_at),
        "request_id": event and event.request_id,
        "record_index": event and event.record_index,
        "import_id": import_id,
        "outcome": "rejected" if rejection else "applied",
        "code": rejection and rejection.code,
        "message": rejection and rejection.message,
        "version": entry.state.version if entry.state else 0,
        "erased": entry.erased,
        "changed": {path: {"before": before, "after": after} for path, (before, after) in entry.changed.items()},
    }


def _sentence(line: dict[str, Any]) -> str:
    who = f"import {line['import_id']}" if line["import_id"] else f"request {line['request_id']}"
    head = f"{line['logged_at']}  {line['partition']}:{line['offset']}  version {line['version']}  {who}"
    if line["outcome"] == "rejected":
        return f"{head}\n  rejected: {line['message']} ({line['code']})"
    changed = [
        f"\n  {path}: {json.dumps(pair['before'], ensure_ascii=False)} → {json.dumps(pair['after'], ensure_ascii=False)}"
        for path, pair in line["changed"].items()
    ]
    if line["erased"]:
        changed.append("\n  attributes of then were erased")
    return head + ("".join(changed) or "\n  nothing changed")
