"""Reads of the live generation for a service: states, and how far a request has been folded.

Every read is one statement, so it sees one moment. Deleted records are there unless a caller leaves them out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import orjson

from foldline.adapters.codec import UPSERTS_TOPIC
from foldline.adapters.pool import Database
from foldline.adapters.postgres import Connection, translated
from foldline.adapters.producer import Appended
from foldline.domain.records import DETAIL_FIELD, ID_FIELD, Kind, State
from foldline.domain.times import format_rfc3339
from projections.sql import queries

PAGE_BYTES = 8 * 1024 * 1024
MAX_LISTED = 100

_SQL = queries("reads")
_ONE: dict[Kind, str] = {"items": _SQL["item"], "users": _SQL["user"]}


class Found(NamedTuple):
    """A state as it is kept. `detail` is an item's type or a user's `created_at`; times are in microseconds."""

    entity_id: str
    detail: str | int
    status: str
    attributes: dict[str, Any]
    version: int
    first_seen_at: int
    updated_at: int


class Filter(NamedTuple):
    """What a listing is narrowed to. None: not at all."""

    status: str | None = None
    item_type: str | None = None
    ids: Sequence[str] | None = None
    include_deleted: bool = False


class Page(NamedTuple):
    """States in the order of their ids, by code point. `more` says whether others follow the last."""

    states: list[Found]
    more: bool


class FoldedTo(NamedTuple):
    """How far one partition of the log is folded: `applied` is the offset of the next record."""

    topic_id: str
    applied: int


class Rejected(NamedTuple):
    """A record of a request that the fold rejected."""

    record_index: int
    entity_id: str
    field: str
    code: str
    message: str


class Progress(NamedTuple):
    """What has become of a request so far. `first_rejected` lists at most 100, in the request's order."""

    done: bool
    applied: int
    rejected: int
    first_rejected: list[Rejected]


class Reader:
    """The reads. Each raises `Unreachable`."""

    def __init__(self, database: Database, topic_prefix: str) -> None:
        self._database = database
        self._topics = {kind: topic_prefix + topic for kind, topic in UPSERTS_TOPIC.items()}
        self._kinds = {topic: kind for kind, topic in self._topics.items()}

    async def state(self, kind: Kind, org_id: str, entity_id: str) -> Found | None:
        """The state of one record, or None for one that the organisation does not have."""
        rows = await self._database.fetch(_ONE[kind], {"org_id": org_id, "entity_id": entity_id})
        return _found(rows[0]) if rows else None

    async def page(self, kind: Kind, org_id: str, wanted: Filter, after: str, limit: int) -> Page:
        """At most `limit` states whose ids come after `after` ("" begins), fewer where they are large."""
        filters = {
            "filter_not_deleted": not wanted.include_deleted and wanted.status is None,
            "filter_status": wanted.status is not None,
            "filter_item_type": wanted.item_type is not None,
            f"filter_{kind}_ids": wanted.ids is not None,
        }
        query = _SQL[kind].replace(
            "{filters}", " ".join(_SQL[name].partition("\n")[2] for name, chosen in filters.items() if chosen)
        )
        parameters = {"org_id": org_id, "after": after, "limit": limit, "page_bytes": PAGE_BYTES}
        parameters |= {"status": wanted.status, "item_type": wanted.item_type, "ids": list(wanted.ids or ())}
        rows = await self._database.fetch(query, parameters)
        return Page([_found(row[:7]) for row in rows], bool(rows) and len(rows) < rows[0][7])

    async def positions(self) -> dict[tuple[Kind, int], FoldedTo]:
        """How far each partition of the log is folded."""
        rows = await self._database.fetch(_SQL["positions"])
        return {
            (self._kinds[topic], partition): FoldedTo(*folded) for topic, partition, *folded in rows if topic in self._kinds
        }

    async def progress(self, org_id: str, kind: Kind, request_id: str, appended: Appended) -> Progress:
        """What has become of a request that was appended there."""
        ends = appended.ends
        ((partitions_done, records_done, rejected_done, rejected, first),) = await self._database.fetch(
            _SQL["operation"],
            {
                "org_id": org_id,
                "topic": self._topics[kind],
                "topic_id": appended.topic_id,
                "request_id": request_id,
                "partitions": [end.partition for end in ends],
                "records": [end.records for end in ends],
                "last_offsets": [end.last_offset for end in ends],
                "max_listed": MAX_LISTED,
            },
        )
        listed = [Rejected(*row) for row in orjson.loads(first)] if first else []
        return Progress(partitions_done == len(ends), records_done - rejected_done, rejected, listed)

    async def secret(self, name: str) -> bytes | None:
        """A value that all services share, or None before `foldline init` has run."""
        rows = await self._database.fetch(_SQL["secret"], {"name": name})
        return bytes(rows[0][0]) if rows else None


def state_now(connection: Connection, kind: Kind, org_id: str, entity_id: str) -> Found | None:
    """The state of one record for a command, or None for one that the organisation does not have."""
    with translated():
        row = connection.execute(_ONE[kind].encode(), {"org_id": org_id, "entity_id": entity_id}).fetchone()
    return _found(row) if row else None


def import_of(connection: Connection, org_id: str, request_id: str) -> str | None:
    """The import whose rows carry that request id, if it was one."""
    with translated():
        row = connection.execute(_SQL["import_of"].encode(), {"org_id": org_id, "request_id": request_id}).fetchone()
    return None if row is None else str(row[0])


def found_of(state: State) -> Found:
    """A state of the fold as it would be kept."""
    return Found(*state[1:8])


def state_json(kind: Kind, state: Found) -> dict[str, Any]:
    """The State of the contract, as a person or a program is shown it: times as RFC 3339 with `Z`."""
    detail = format_rfc3339(state.detail) if isinstance(state.detail, int) else state.detail
    return {
        ID_FIELD[kind]: state.entity_id,
        DETAIL_FIELD[kind]: detail,
        "status": state.status,
        "attributes": state.attributes,
        "version": state.version,
        "first_seen_at": format_rfc3339(state.first_seen_at),
        "updated_at": format_rfc3339(state.updated_at),
    }


def _found(row: Sequence[Any]) -> Found:
    entity_id, detail, status, attributes, version, first_seen_at, updated_at = row
    return Found(entity_id, detail, status, orjson.loads(attributes), version, first_seen_at, updated_at)
