"""How values are shown: what the templates' filters make of them. Times are UTC; a value that is not there is a dash."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final, TypeAlias
from urllib.parse import quote

import orjson
from markupsafe import Markup

Moment: TypeAlias = datetime | int | None

DASH: Final = "–"
_UNITS: Final = ("bytes", "kB", "MB", "GB", "TB")
_STEPS: Final = ((60, 1, "second"), (3600, 60, "minute"), (86_400, 3600, "hour"), (30 * 86_400, 86_400, "day"))


def number(value: float | None) -> str:
    """`12,345`, and `1,234.5` for what is not whole."""
    if value is None:
        return DASH
    return f"{value:,}" if isinstance(value, int) else f"{value:,.2f}".rstrip("0").rstrip(".")


def size(value: int | None) -> str:
    """Bytes as a person reads them: `812 bytes`, `1.2 kB`, `50 MB`."""
    if value is None:
        return DASH
    if value < 1000:
        return f"{value} byte{'' if value == 1 else 's'}"
    amount, unit = float(value), 0
    while amount >= 999.5 and unit < len(_UNITS) - 1:
        amount, unit = amount / 1000, unit + 1
    return f"{amount:.3g} {_UNITS[unit]}"


def count(value: int, one: str, many: str = "") -> str:
    """`1 row`, `1,234 rows`; `many` where it is not `one` with an s."""
    return f"{value:,} {one if value == 1 else many or one + 's'}"


def time(value: Moment) -> Markup | str:
    """`23 Nov 2026, 14:10:05 UTC` as a <time>. A number is in microseconds."""
    return _element(value, _absolute(moment(value)), "") if value is not None else DASH


def ago(value: Moment, now: datetime | None = None) -> Markup | str:
    """`3 minutes ago` as a <time> that a script keeps up to date, its title the time itself."""
    if value is None:
        return DASH
    found = moment(value)
    return _element(value, _relative(((now or datetime.now(UTC)) - found).total_seconds(), found), _absolute(found))


def moment(value: datetime | int) -> datetime:
    """The time in UTC. A number is in microseconds since 1970."""
    if isinstance(value, int):
        return datetime.fromtimestamp(value // 1_000_000, UTC).replace(microsecond=value % 1_000_000)
    return value.astimezone(UTC)


def pretty(value: Any) -> str:
    """JSON with an indent of two, for a <pre>; the template escapes it."""
    return orjson.dumps(value, option=orjson.OPT_INDENT_2, default=str).decode()


def segment(value: str) -> str:
    """A text as one segment of a path: `a/b` is `a%2Fb`."""
    return quote(value, safe="")


def attributes(given: Mapping[str, Any]) -> Markup:
    """HTML attributes of keyword arguments: `hx_get="/x"` is `hx-get`, True stands alone, None and False are left out."""
    shown = Markup("")
    for name, value in given.items():
        if value is not None and value is not False:
            shown += Markup(" {}" if value is True else ' {}="{}"').format(name.rstrip("_").replace("_", "-"), value)
    return shown


def _element(value: Moment, shown: str, title: str) -> Markup:
    assert value is not None
    datetime_text = moment(value).isoformat(timespec="seconds").replace("+00:00", "Z")
    if not title:
        return Markup('<time datetime="{}">{}</time>').format(datetime_text, shown)
    return Markup('<time datetime="{}" title="{}" data-ago>{}</time>').format(datetime_text, title, shown)


def _absolute(found: datetime) -> str:
    return f"{found.day} {found:%b %Y, %H:%M:%S} UTC"


def _relative(seconds: float, found: datetime) -> str:
    if -60 < seconds < 5:
        return "just now"
    size_of_it = abs(seconds)
    for below, unit, name in _STEPS:
        if size_of_it < below:
            text = count(int(size_of_it // unit), name)
            return f"{text} ago" if seconds > 0 else f"in {text}"
    return f"{found.day} {found:%b %Y}"


FILTERS: Final = {
    "number": number,
    "bytes": size,
    "count": count,
    "time": time,
    "ago": ago,
    "pretty": pretty,
    "segment": segment,
    "attributes": attributes,
}
