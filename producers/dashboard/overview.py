"""The overview: how many records there are, what is sent, how soon it is readable, and all of it over time."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from foldline.domain.records import Kind
from producers.dashboard import start
from producers.dashboard.pages import HEADERS, fragment, page, wants_fragment
from producers.dashboard.people import Member, Refused, member
from producers.gateway.envelope import Json
from producers.gateway.parts import parts_of
from projections.overview import MAX_REFUSED, SPANS, Figure, Overview

RECENT: Final = 5
DEFAULT_SPAN: Final = "1h"
SPAN_LABELS: Final = {"1h": "1 hour", "24h": "24 hours", "7d": "7 days", "30d": "30 days"}
# How often a chart is asked for anew: as often as it can change, but not every few seconds for what lasted a month.
REFRESH_SECONDS: Final = {"1h": 10, "24h": 60, "7d": 600, "30d": 1800}


class Line(NamedTuple):
    """A series of a chart, as `chart.js` draws it."""

    label: str
    kind: str = "area"
    colour: str | None = None


class Chart(NamedTuple):
    """A chart of the page: which columns of a figure it shows, and how."""

    title: str
    figure: Figure
    unit: str
    series: Sequence[Line]
    first: int = 0
    kind: Kind = "items"
    stacked: bool = False


_STATUSES: Final = (Line("Active", colour="green"), Line("Inactive", colour="amber"), Line("Deleted", colour="grey"))
CHARTS: Final = {
    "items": Chart("Items by status", "records", "", _STATUSES, kind="items", stacked=True),
    "users": Chart("Users by status", "records", "", _STATUSES, kind="users", stacked=True),
    "events": Chart("Events per second", "events", "/s", (Line("Items"), Line("Users"))),
    "freshness": Chart("Time until readable", "freshness", "ms", (Line("Median", "line"), Line("99th percentile", "line"))),
    "lag-records": Chart("Records not yet applied", "lag", "", (Line("Records"),)),
    "lag-seconds": Chart("Age of the oldest not applied", "lag", "s", (Line("Age"),), first=1),
}


async def overview(request: Request) -> Response:
    """The whole page; for htmx, what is below its heading."""
    who = await member(request)
    context = await _context(request, who)
    if wants_fragment(request):
        return fragment(request, "overview.html", "body", who, **context)
    return page(request, "overview.html", who, **context)


async def live(request: Request) -> Response:
    """The tiles and what is new, as they are now."""
    who = await member(request)
    return fragment(request, "overview.html", "live", who, **await _context(request, who))


async def chart(request: Request) -> Response:
    """The data of a chart as JSON; for htmx, as a table."""
    who = await member(request)
    name = request.path_params["chart"]
    found = CHARTS.get(name)
    span = request.query_params.get("range", DEFAULT_SPAN)
    if found is None or span not in SPANS:
        raise Refused(404, "There is no such chart", "Go back to the overview and choose one of its charts.")
    times, *columns = await _reads(request).series(found.figure, who.org_id, SPANS[span], found.kind)
    columns = columns[found.first : found.first + len(found.series)]
    if wants_fragment(request):
        labels = [(line.label, "number") for line in found.series]
        rows = _rows(times, columns)
        return fragment(
            request, "overview_table.html", "table", who, title=found.title, unit=found.unit, columns=labels, rows=rows
        )
    series = [line._asdict() | {"values": values} for line, values in zip(found.series, columns, strict=True)]
    return Json({"times": times, "unit": found.unit, "stacked": found.stacked, "series": series}, headers=HEADERS)


def _rows(times: Sequence[int], columns: Sequence[Sequence[Any]]) -> list[tuple[datetime, Sequence[Any]]]:
    """The rows of a table, newest first, without those that have no value."""
    rows = reversed(list(zip(times, *columns, strict=True)))
    return [(datetime.fromtimestamp(at, UTC), values) for at, *values in rows if set(values) != {None}]


async def _context(request: Request, who: Member) -> dict[str, Any]:
    reads = _reads(request)
    (items, users, pace), (refused_count, refused, imports, progress) = await asyncio.gather(
        asyncio.gather(reads.counts("items", who.org_id), reads.counts("users", who.org_id), reads.pace(who.org_id)),
        asyncio.gather(
            reads.refused_count(who.org_id),
            reads.refused(who.org_id, RECENT),
            reads.recent_imports(who.org_id, RECENT),
            start.progress(request, who),
        ),
    )
    span = request.query_params.get("range", DEFAULT_SPAN)
    span = span if span in SPANS else DEFAULT_SPAN
    return {
        "items": items,
        "users": users,
        "pace": pace,
        "refused": refused,
        "refused_count": refused_count,
        "max_refused": MAX_REFUSED,
        "imports": imports,
        "progress": progress,
        "empty": not (any(items[:3]) or any(users[:3]) or imports or refused_count),
        "charts": CHARTS,
        "span": span,
        "spans": [(SPAN_LABELS[name], f"/?range={name}") for name in SPANS],
        "refresh": REFRESH_SECONDS[span],
    }


def _reads(request: Request) -> Overview:
    parts = parts_of(request)
    return Overview(parts.database, parts.settings.topic_prefix)


ROUTES: Final[list[BaseRoute]] = [
    Route("/", overview, methods=["GET"]),
    Route("/overview/live", live, methods=["GET"]),
    Route("/overview/{chart}.json", chart, methods=["GET"]),
]
