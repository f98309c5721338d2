"""A search index kept in SQLite, fed by the items' state topic: what a search engine or a feature store of yours would do.

1. Everything that came of some states, and the position after them, is one transaction. Killed at any moment, it goes on
   from the last one; what was published since comes again.
2. A state replaces what the index has of the item only if it is newer.
3. A transaction ends when the topic is caught up with, when it is full, or when Kafka does not answer.

    python examples/search_index.py follow --index index.sqlite
    python examples/search_index.py search --index index.sqlite headphones
"""

from __future__ import annotations

import argparse
import json
import signal
import sqlite3
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import projections
from foldline.cli.context import settings_for
from foldline.domain.errors import FoldlineError
from foldline.settings import Settings
from projections import CaughtUp, ItemState, Undecodable, Waiting

TRANSACTION_STATES = 500
BUSY_SECONDS = 30

TABLES = """
CREATE TABLE IF NOT EXISTS items (
    id INTEGER PRIMARY KEY, org_id TEXT NOT NULL, item_id TEXT NOT NULL, item_type TEXT NOT NULL, status TEXT NOT NULL,
    attributes TEXT NOT NULL, version INTEGER NOT NULL, first_seen_at TEXT NOT NULL, updated_at TEXT NOT NULL,
    generation INTEGER NOT NULL, "partition" INTEGER NOT NULL, "offset" INTEGER NOT NULL, UNIQUE (org_id, item_id)
);
CREATE TABLE IF NOT EXISTS position (one INTEGER PRIMARY KEY CHECK (one = 1), text TEXT NOT NULL);
CREATE VIRTUAL TABLE IF NOT EXISTS search USING fts5 (item_id, words);
"""
KNOWN = 'SELECT id, generation, "offset" FROM items WHERE org_id = ? AND item_id = ?'
FOUND = """
SELECT items.item_id, items.item_type, items.status, items.attributes FROM search JOIN items ON items.id = search.rowid
WHERE search MATCH ? ORDER BY rank, items.item_id LIMIT ?
"""


def main() -> int:
    parser = argparse.ArgumentParser(description="Keep a search index of the items, or search it.")
    commands = parser.add_subparsers(dest="command", required=True)
    follower = commands.add_parser("follow", help="keep the index until SIGTERM or Ctrl-C")
    follower.add_argument("--org", help="only this organisation's", metavar="ID")
    follower.add_argument("--data-dir", type=Path, help="of a running stack; else what the environment says")
    follower.add_argument("--once", action="store_true", help="end when the topic is caught up with")
    searcher = commands.add_parser("search", help="print the items that have these words, a line of JSON each")
    searcher.add_argument("words", nargs="+")
    searcher.add_argument("--limit", type=int, default=20)
    for command in (follower, searcher):
        command.add_argument("--index", type=Path, required=True, metavar="FILE")
    chosen = parser.parse_args()
    with closing(opened(chosen.index)) as index:
        if chosen.command == "search":
            for found in search(index, chosen.words, chosen.limit):
                print(json.dumps(found, ensure_ascii=False))
            return 0
        stop = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
        try:
            keep(index, settings_for(chosen.data_dir), chosen.org, stop, once=chosen.once)
        except FoldlineError as error:
            print(f"search_index: {error}", file=sys.stderr)
            return 1
    return 0


def opened(file: Path) -> sqlite3.Connection:
    """The index, made where it is not there. Transactions are begun and ended by hand."""
    index = sqlite3.connect(file, timeout=BUSY_SECONDS, isolation_level=None)
    index.execute("PRAGMA journal_mode = WAL")
    index.executescript(f"BEGIN IMMEDIATE; {TABLES} COMMIT")
    return index


def keep(index: sqlite3.Connection, settings: Settings, org_id: str | None, stop: threading.Event, *, once: bool) -> None:
    """Keeps the index as the topic is. Raises `TopicReplaced` where it has to be made anew."""
    row = index.execute("SELECT text FROM position").fetchone()
    resume = None if row is None else row[0]
    with projections.follow("items", from_start=True, settings=settings, org_id=org_id, resume=resume, stop=stop) as items:
        states = 0
        for event in items:
            if isinstance(event, ItemState):
                if not index.in_transaction:
                    index.execute("BEGIN IMMEDIATE")
                put(index, event)
                states += 1
            elif isinstance(event, Undecodable):
                print(f"{event.topic}[{event.partition}]@{event.offset}: {event.reason}", file=sys.stderr)
            elif isinstance(event, Waiting):
                print(event.reason, file=sys.stderr)
            if states >= TRANSACTION_STATES or not isinstance(event, ItemState):
                commit(index, items.position)
                states = 0
            if isinstance(event, CaughtUp):
                print("caught up", file=sys.stderr, flush=True)
                if once:
                    return
        commit(index, items.position)


def put(index: sqlite3.Connection, item: ItemState) -> None:
    """Puts a state into the index, unless it has a newer one. Deleted items are kept, but not found."""
    known = index.execute(KNOWN, (item.org_id, item.item_id)).fetchone()
    if known is not None and not item.newer_than(*known[1:]):
        return
    values = item._asdict() | {name: getattr(item, name).isoformat() for name in ("first_seen_at", "updated_at")}
    values |= {"attributes": json.dumps(item.attributes, ensure_ascii=False)}
    columns = ", ".join(f'"{name}"' for name in values)
    row = (known[0] if known else None, *values.values())
    marks = ", ".join("?" * len(row))
    row_id = index.execute(f"INSERT OR REPLACE INTO items (id, {columns}) VALUES ({marks})", row).lastrowid  # noqa: S608
    index.execute("DELETE FROM search WHERE rowid = ?", (row_id,))
    if item.status != "deleted":
        words = " ".join(texts(item.attributes))
        index.execute("INSERT INTO search (rowid, item_id, words) VALUES (?, ?, ?)", (row_id, item.item_id, words))


def commit(index: sqlite3.Connection, position: projections.TopicPosition | None) -> None:
    """Ends the transaction, with the position that belongs to it."""
    if position is None:
        return
    index.execute("INSERT OR REPLACE INTO position VALUES (1, ?)", (position.json(),))
    if index.in_transaction:
        index.execute("COMMIT")


def texts(value: Any) -> Iterator[str]:
    """Every text in a JSON value, in order."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for member in value.values():
            yield from texts(member)
    elif isinstance(value, list):
        for member in value:
            yield from texts(member)


def search(index: sqlite3.Connection, words: list[str], limit: int) -> Iterator[dict[str, Any]]:
    """The items that have all of these words, the best first."""
    query = " ".join('"' + word.replace('"', '""') + '"' for word in words)
    for item_id, item_type, status, attributes in index.execute(FOUND, (query, limit)):
        yield {"item_id": item_id, "item_type": item_type, "status": status, "attributes": json.loads(attributes)}


if __name__ == "__main__":
    sys.exit(main())
