"""Mirrors a table of products in PostgreSQL into Foldline: all of it at first, then what changes.

    FOLDLINE_URL=http://127.0.0.1:8080 FOLDLINE_KEY=lehnz_sk_… \\
    python examples/sync_products.py --database postgresql://reader@shop/shop --state products.sqlite

The table is `TABLE` below. A program of yours needs another `item_of` and other queries, and the same six rules:

1. Rows are taken in the order of (updated_at, id), page by page, each from behind the last row of the page before.
2. A row is taken only when no transaction is open that began before its stamp. The stamp is the time at which a transaction
   began, and the row is seen when it has ended: without this rule what commits late is passed, and never comes back.
3. A page is kept in the state file, with its idempotency key, before it is sent. It is sent as it was kept until it is
   answered, also after a restart. So an older page never lands behind a newer one, and none is written twice.
4. The place behind a page is kept together with the page. Killed at any moment, the program goes on from there.
5. Rows that went without a trace are found by their ids: an item of this type that has no row is deleted.
6. What Foldline refuses of a page is said, and left out until the row changes. The rest of the page goes on.

Reading needs SELECT on the table, and the role pg_read_all_stats for rule 2.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sqlite3
import sys
import threading
import time
from contextlib import closing
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import psycopg

from foldline.client import (
    BadRecord,
    Client,
    ClientError,
    ItemUpsert,
    NotApplied,
    RateLimited,
    Refused,
    Status,
    Unanswered,
    Unavailable,
)

TABLE = """
CREATE TABLE products (
    id bigint PRIMARY KEY,
    title text NOT NULL,
    price numeric(12, 2),
    status text NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'draft', 'archived')),
    metafields jsonb NOT NULL DEFAULT '{}',
    updated_at timestamptz NOT NULL DEFAULT now(),
    deleted_at timestamptz  -- a row may be marked as deleted, or be deleted
);
CREATE INDEX ON products (updated_at, id);
CREATE FUNCTION stamped() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.updated_at = now(); RETURN NEW; END $$;
CREATE TRIGGER stamped BEFORE INSERT OR UPDATE ON products FOR EACH ROW EXECUTE FUNCTION stamped();
"""

ITEM_TYPE = "product"  # all items of this type are this program's
PAGE_ROWS = 500
STATUSES: dict[str, Status] = {"active": "active", "draft": "inactive", "archived": "inactive"}

SETTLE_SECONDS = 1.0  # a transaction may have its time already and not show yet

# Of transactions that are hidden the type is hidden, too.
HORIZON = """
SELECT least(%s, min(xact_start)), pg_is_in_recovery(), coalesce(bool_or(query = '<insufficient privilege>'), false)
FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type IS DISTINCT FROM 'autovacuum worker'
"""
ROWS = """
SELECT id, title, price, status, metafields, updated_at, deleted_at FROM products
WHERE (updated_at, id) > (%s, %s) AND updated_at < %s ORDER BY updated_at, id LIMIT %s
"""
WITHOUT_ROW = """
SELECT wanted FROM unnest(%s::bigint[]) AS wanted WHERE NOT EXISTS (SELECT FROM products WHERE id = wanted)
"""
STATE = """
CREATE TABLE IF NOT EXISTS place (one INTEGER PRIMARY KEY CHECK (one = 1), updated_at TEXT NOT NULL, id INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS pending (one INTEGER PRIMARY KEY CHECK (one = 1), key TEXT NOT NULL, records TEXT NOT NULL);
INSERT OR IGNORE INTO place VALUES (1, '0001-01-01T00:00:00+00:00', 0);
"""


class Failed(Exception):
    """The program cannot go on. The message says what to do."""


class Row(NamedTuple):
    id: int
    title: str
    price: Any
    status: str
    metafields: Any
    updated_at: datetime
    deleted_at: datetime | None


class Place(NamedTuple):
    """The row up to which the table has been read. The time is ISO 8601, to the microsecond."""

    updated_at: str
    id: int


class Page(NamedTuple):
    """Records under way, and the key under which they are sent."""

    key: str
    records: list[ItemUpsert]


def main() -> int:
    parser = argparse.ArgumentParser(description="Mirror a table of products into Foldline.")
    parser.add_argument("--database", required=True, metavar="URL")
    parser.add_argument("--state", type=Path, required=True, metavar="FILE", help="made where it is not there")
    parser.add_argument("--once", action="store_true", help="end when what is committed now is mirrored")
    parser.add_argument("--poll-seconds", type=float, default=5.0, metavar="N", help="between two looks at the table")
    parser.add_argument("--compare-seconds", type=float, default=3600.0, metavar="N", help="between two comparisons of ids")
    chosen = parser.parse_args()
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        with (
            closing(opened(chosen.state)) as state,
            psycopg.connect(chosen.database, autocommit=True) as shop,
            Client(os.environ["FOLDLINE_URL"], os.environ["FOLDLINE_KEY"]) as foldline,
        ):
            if chosen.once:
                mirror(shop, state, foldline, stop, compare=True)
            else:
                keep(shop, state, foldline, stop, chosen.poll_seconds, chosen.compare_seconds)
    except (Failed, ClientError, psycopg.Error) as error:
        tell(str(error))
        return 1
    return 0


def keep(
    shop: psycopg.Connection[Any],
    state: sqlite3.Connection,
    foldline: Client,
    stop: threading.Event,
    poll: float,
    every: float,
) -> None:
    """Mirrors until it is stopped. What Foldline cannot do now is tried again; with anything else the program ends."""
    compared = -every
    while not stop.is_set():
        now = time.monotonic()
        try:
            mirror(shop, state, foldline, stop, compare=now - compared >= every)
            compared = now if now - compared >= every else compared
        except (Unanswered, Unavailable, RateLimited, NotApplied) as error:
            tell(str(error))
        stop.wait(poll)


def mirror(
    shop: psycopg.Connection[Any], state: sqlite3.Connection, foldline: Client, stop: threading.Event, *, compare: bool
) -> None:
    """Sends what has changed, and with `compare` what is gone. Everything before it is applied when a page is taken."""
    finish(state, foldline)
    until = horizon(shop)
    while not stop.is_set() and (rows := taken(shop, place(state), until)):
        put(state, [item_of(row) for row in rows], Place(rows[-1].updated_at.isoformat(), rows[-1].id))
        finish(state, foldline)
    items = foldline.items(item_type=ITEM_TYPE) if compare else iter(())
    while not stop.is_set() and (ids := [int(item.item_id) for item in islice(items, PAGE_ROWS)]):
        gone = shop.execute(WITHOUT_ROW, (ids,)).fetchall()
        put(state, [{"item_id": str(product_id), "status": "deleted"} for (product_id,) in gone])
        finish(state, foldline)


def item_of(row: Row) -> ItemUpsert:
    """A product as an item. Every attribute is there every time: what is empty now replaces what was."""
    price = None if row.price is None else float(row.price)
    return {
        "item_id": str(row.id),
        "item_type": ITEM_TYPE,
        "status": "deleted" if row.deleted_at else STATUSES[row.status],
        "attributes": {"title": row.title, "price": price, "metafields": row.metafields},
    }


def horizon(shop: psycopg.Connection[Any]) -> datetime:
    """The time before which nothing comes any more (rule 2). Raises `Failed` where that cannot be known."""
    now = shop.execute("SELECT clock_timestamp()").fetchone()
    time.sleep(SETTLE_SECONDS)
    ((until, standby, hidden),) = shop.execute(HORIZON, now).fetchall()
    if standby:
        raise Failed("this is a standby, which does not know what is still open: connect to the primary")
    if hidden:
        raise Failed("the transactions of others are hidden: GRANT pg_read_all_stats TO this user")
    assert isinstance(until, datetime)
    return until


def taken(shop: psycopg.Connection[Any], after: Place, until: datetime) -> list[Row]:
    """The next rows behind a place."""
    return [Row(*row) for row in shop.execute(ROWS, (*after, until, PAGE_ROWS))]


def opened(file: Path) -> sqlite3.Connection:
    """The state file, which no other process can open meanwhile. Raises `Failed` where one has."""
    state = sqlite3.connect(file, timeout=0, isolation_level=None)
    try:
        state.execute("PRAGMA locking_mode = EXCLUSIVE")
        state.executescript(f"BEGIN EXCLUSIVE; {STATE} COMMIT")
    except sqlite3.OperationalError as error:
        state.close()
        raise Failed(f"{file}: {error}; does this program run already?") from error
    return state


def place(state: sqlite3.Connection) -> Place:
    return Place(*state.execute("SELECT updated_at, id FROM place").fetchone())


def pending(state: sqlite3.Connection) -> Page | None:
    row = state.execute("SELECT key, records FROM pending").fetchone()
    return None if row is None else Page(row[0], json.loads(row[1]))


def put(state: sqlite3.Connection, records: list[ItemUpsert], behind: Place | None = None) -> None:
    """Keeps records that are to be sent, and the place behind them, in one transaction (rules 3 and 4)."""
    state.execute("BEGIN IMMEDIATE")
    state.execute("DELETE FROM pending")
    if records:
        state.execute("INSERT INTO pending VALUES (1, ?, ?)", (uuid4().hex, json.dumps(records)))
    if behind is not None:
        state.execute("UPDATE place SET updated_at = ?, id = ?", behind)
    state.execute("COMMIT")


def finish(state: sqlite3.Connection, foldline: Client) -> None:
    """Sends what is kept until it is applied, but for what is refused."""
    while page := pending(state):
        try:
            done = foldline.upsert_items(page.records, wait=30, idempotency_key=page.key)
            done = done if done.is_applied else foldline.wait_applied(done)
        except (Refused, BadRecord) as refused:
            put(state, without(page.records, refused))
            continue
        for error in done.errors:
            tell(f"product {error.id} is rejected: {error.message} ({error.code})")
        put(state, [])


def without(records: list[ItemUpsert], refused: Refused | BadRecord) -> list[ItemUpsert]:
    """What is left to be sent: without what was accepted before the refusal, and what was refused (rule 6)."""
    if isinstance(refused, BadRecord):
        reasons = {refused.index: str(refused)}
    else:
        reasons = {error.index: f"{error.message} ({error.code})" for error in refused.errors}
    if not reasons:
        raise refused
    for index, reason in reasons.items():
        tell(f"product {records[index]['item_id']} is refused: {reason}")
    return [record for index, record in enumerate(records) if index >= refused.upserted.accepted and index not in reasons]


def tell(line: str) -> None:
    print(f"sync_products: {line}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
