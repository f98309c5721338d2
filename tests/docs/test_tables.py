"""The reference has every view and column that readers see, as the database itself describes them."""

from __future__ import annotations

import re

from foldline.adapters.postgres import connect
from projections.generations import migrate
from tests.docs.test_reference import page

COLUMNS = b"""
SELECT c.relname::text, a.attname::text, format_type(a.atttypid, a.atttypmod), col_description(c.oid, a.attnum)
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
WHERE c.relnamespace = 'foldline'::regnamespace ORDER BY c.relname, a.attnum
"""
# Of the other views the comments say what the view leaves out.
DESCRIBED = {"known_items": "items", "known_users": "users", "positions": "positions"}


def test_every_view_and_column_is_described(database: str) -> None:
    with connect(database, "test") as connection:
        migrate(connection)
        columns = connection.execute(COLUMNS).fetchall()
    text = page("topics-and-tables.md")
    rows = re.findall(r"^\| `foldline\.(\w+)` \| .* \| (`.*`) \|$", text, re.MULTILINE)
    assert {view: re.findall(r"`(\w+)`", named) for view, named in rows} == {
        view: [name for of, name, *_ in columns if of == view] for view in {view for view, *_ in columns}
    }
    described = re.findall(r"^\| `(\w+)` \| ([a-z, ]+) \| `(\w+)` \| (.*) \|$", text.partition("## Tables")[2], re.MULTILINE)
    assert {(of, name, kind, comment) for name, every, kind, comment in described for of in every.split(", ")} == {
        (DESCRIBED[view], name, kind.replace("timestamp with time zone", "timestamptz"), comment)
        for view, name, kind, comment in columns
        if view in DESCRIBED
    }
