"""RFC 3339 timestamps to microseconds since the epoch, and back. Digits beyond the microsecond are cut."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone
from functools import lru_cache

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
EARLIEST = (datetime.min.replace(tzinfo=UTC) - EPOCH) // MICROSECOND
LATEST = (datetime.max.replace(tzinfo=UTC) - EPOCH) // MICROSECOND

_RFC_3339 = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})[Tt]([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]{1,30}))?(?:[Zz]|([+-])([0-9]{2}):([0-9]{2}))",
)


def parse_rfc3339(text: str) -> int | None:
    """Microseconds since the epoch, or None for anything but RFC 3339 with `Z` or an offset, UTC years 1 to 9999."""
    match = _RFC_3339.fullmatch(text)
    if match is None:
        return None
    year, month, day, hour, minute, second, fraction, sign, offset_hours, offset_minutes = match.groups()
    try:
        offset = timedelta(0)
        if sign is not None:
            if int(offset_hours) > 23 or int(offset_minutes) > 59:
                return None
            offset = timedelta(hours=int(offset_hours), minutes=int(offset_minutes))
            offset = -offset if sign == "-" else offset
        local = datetime(
            int(year), int(month), int(day), int(hour), int(minute), int(second),
            int(((fraction or "") + "000000")[:6]), timezone(offset),
        )  # fmt: skip
    except ValueError:
        return None
    micros = (local - EPOCH) // MICROSECOND
    return micros if EARLIEST <= micros <= LATEST else None


def format_rfc3339(micros: int) -> str:
    """`2025-01-12T09:00:00Z`, with as many digits of a fraction as are needed."""
    seconds, fraction = divmod(micros, 1_000_000)
    return f"{_format(seconds)}.{fraction:06d}".rstrip("0") + "Z" if fraction else _format(seconds) + "Z"


@lru_cache(16)
def _format(seconds: int) -> str:
    return (EPOCH + timedelta(seconds=seconds)).replace(tzinfo=None).isoformat()
