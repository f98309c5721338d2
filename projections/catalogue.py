"""Listings and searches of an organisation's records, for people: by key, in bounded time however many there are.

1. A listing reads the rows that it shows, from an index that has them in their order: one for each status, merged.
2. A search looks at a stretch of records, as long as its time lasts, and says how far it came.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

import orjson

from foldline.adapters.postgres import Connection, translated
from foldline.domain.records import ID_FIELD, ID_MAX_CHARACTERS, Kind
from projections.reader import Found
from projections.sql import queries

# How long a statement reads attributes, which may be large.
NAMES_MILLISECONDS: Final = 30
SEARCH_MILLISECONDS: Final = 40
STRETCH_RECORDS: Final = 50_000
MAX_TYPES: Final = 100
LAST_CODE_POINT: Final = 0x10FFFF
# It comes after every id.
END: Final = chr(LAST_CODE_POINT) * (ID_MAX_CHARACTERS + 1)

_SQL = queries("catalogue")
_BRANCH: Final[dict[Kind, str]] = {kind: _SQL[f"of_{kind}"].partition("\n")[2] for kind in ID_FIELD}


class Row(NamedTuple):
    """A record in a listing. `detail` is an item's type or a user's `created_at`. `match` is the attribute that a search
    found, by its name and what of its value is around."""

    entity_id: str
    detail: str | datetime
    status: str
    name: str | None
    version: int
    updated_at: datetime
    match: tuple[str, str] | None = None


class Wanted(NamedTuple):
    """What a listing is narrowed to: some statuses, a type or any, ids that begin so."""

    statuses: Sequence[str]
    item_type: str | None = None
    prefix: str = ""


class Page(NamedTuple):
    """Records in the order of their ids by code point. `more` says whether others follow in the direction of reading."""

    rows: list[Row]
    more: bool


class Stretch(NamedTuple):
    """What a search found. `reached` is the id up to which it looked; None where it came to the end."""

    rows: list[Row]
    reached: str | None


class Record(NamedTuple):
    """A record, and where its last event lies in the log."""

    state: Found
    partition: int
    offset: int


def page(
    connection: Connection,
    kind: Kind,
    org_id: str,
    wanted: Wanted,
    limit: int,
    after: str | None = None,
    before: str | None = None,
) -> Page:
    """At most `limit` records after an id, or the last ones before one (`END`: of all); else from the first on.

    Raises `Unreachable`, and `BadData` for a NUL, which no record has; so do the others.
    """
    bounds = {"after": after, "before": before}
    query, parameters = _narrowed(_SQL["page"], kind, wanted, bounds, "limit", "ASC" if before is None else "DESC")
    parameters |= {"org_id": org_id, "limit": limit + 1, "milliseconds": NAMES_MILLISECONDS}
    rows = [Row(*row) for row in _in_order(connection, query, parameters)]
    shown = rows[:limit]
    return Page(shown if before is None else shown[::-1], len(rows) > limit)


def search(
    connection: Connection, kind: Kind, org_id: str, wanted: Wanted, text: str, limit: int, after: str | None
) -> Stretch:
    """At most `limit` records whose attributes contain every word of the text, from an id on."""
    query, parameters = _narrowed(_SQL["search"], kind, wanted, {"after": after, "before": None}, "stretch", "ASC")
    words = sorted(text.split(), key=len, reverse=True)
    in_json = [_pattern(orjson.dumps(word).decode()[1:-1]) for word in words]
    parameters |= {"org_id": org_id, "limit": limit + 1, "stretch": STRETCH_RECORDS, "milliseconds": SEARCH_MILLISECONDS}
    parameters |= {"patterns": in_json, "pattern": _pattern(words[0]), "text": words[0]}
    return _stretch(_in_order(connection, query, parameters), limit)


def types(connection: Connection, org_id: str) -> list[str]:
    """The types of items that there are, by code point; of more than `MAX_TYPES` the first, and one."""
    with translated():
        rows = connection.execute(_SQL["types"].encode(), {"org_id": org_id, "limit": MAX_TYPES + 1}).fetchall()
    return [item_type for (item_type,) in rows]


def record(connection: Connection, kind: Kind, org_id: str, entity_id: str) -> Record | None:
    """One record, deleted or not; None for one that the organisation does not have."""
    with translated():
        row = connection.execute(_SQL[kind[:-1]].encode(), {"org_id": org_id, "entity_id": entity_id}).fetchone()
    if row is None:
        return None
    found_id, detail, status, attributes, *rest, partition, offset = row
    return Record(Found(found_id, detail, status, orjson.loads(attributes), *rest), partition, offset)


def _in_order(connection: Connection, query: str, parameters: dict[str, Any]) -> list[tuple[Any, ...]]:
    with translated(), connection.transaction():
        connection.execute(_SQL["in_order"].encode())
        return connection.execute(query.encode(), parameters).fetchall()


def _narrowed(
    query: str, kind: Kind, wanted: Wanted, bounds: dict[str, str | None], most: str, direction: str
) -> tuple[str, dict[str, Any]]:
    field = ID_FIELD[kind]
    conditions = {
        "after": f"{field} > %(after)s",
        "before": f"{field} < %(before)s",
        "item_type": "item_type = (SELECT %(item_type)s::text) AND item_type >= (SELECT %(item_type)s::text)",
        "prefix": f"{field} >= %(prefix)s",
        "end": f"{field} < %(end)s",
    }
    values = bounds | {"item_type": wanted.item_type, "prefix": wanted.prefix or None, "end": after_prefix(wanted.prefix)}
    parameters: dict[str, Any] = {name: value for name, value in values.items() if value is not None}
    branch = _BRANCH[kind].replace("{narrowed}", "".join(f" AND {conditions[name]}" for name in parameters))
    parameters |= {f"status_{place}": status for place, status in enumerate(wanted.statuses)}
    branches = [branch.replace("{status}", f"%(status_{place})s") for place in range(len(wanted.statuses))]
    query = query.replace("{branches}", "\nUNION ALL\n".join(branches)).replace("{most}", f"%({most})s")
    return query.replace("{direction}", direction), parameters


def after_prefix(prefix: str) -> str | None:
    """The first text, by code point, that comes after all texts with this prefix; None where there is none."""
    kept = prefix.rstrip(chr(LAST_CODE_POINT))
    if not kept:
        return None
    following = ord(kept[-1]) + 1
    return kept[:-1] + chr(0xE000 if following == 0xD800 else following)


def _pattern(text: str) -> str:
    """The text anywhere, for LIKE."""
    return "%" + text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "%"


def _stretch(rows: Sequence[Sequence[Any]], limit: int) -> Stretch:
    found: list[Row] = []
    for *row, place, before, hit, name, value in rows:
        if hit is None:
            return Stretch(found, before)
        if hit and len(found) == limit:
            return Stretch(found, found[-1].entity_id)
        if hit:
            found.append(Row._make((*row, None if name is None else (name, value))))
        if place == STRETCH_RECORDS:
            return Stretch(found, row[0])
    return Stretch(found, None)
