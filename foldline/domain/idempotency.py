"""The idempotency ids that a record has folded lately, as one value, in the order of the log: for each the id, of 16 bytes,
and the time of its event, 8 bytes big-endian.

Law 9 says how long an id counts, in event time. No more than `MAX_IDS` are kept, as many as a request may have records: if a
record is written more often within `KEPT_MICROS`, a repetition of its first write is not known any more.
"""

from __future__ import annotations

from typing import Final

ID_BYTES: Final = 16
KEPT_MICROS: Final = 25 * 3600 * 1_000_000  # a day, and an hour by which gateways' clocks may differ
MAX_IDS: Final = 10_000

_ENTRY_BYTES: Final = ID_BYTES + 8


def is_among(ids: bytes, idempotency_id: bytes, at: int) -> bool:
    """Whether an event of this time that carries this id repeats one that was folded."""
    place = ids.find(idempotency_id)
    while place >= 0:
        if place % _ENTRY_BYTES == 0 and _time(ids, place) >= at - KEPT_MICROS:
            return True
        place = ids.find(idempotency_id, place + 1)
    return False


def kept(ids: bytes, at: int) -> bytes:
    """The ids without those at the beginning that an event of this time need not be compared with any more."""
    place = 0
    while place < len(ids) and _time(ids, place) < at - KEPT_MICROS:
        place += _ENTRY_BYTES
    return ids[place:] if place else ids


def with_id(ids: bytes, idempotency_id: bytes, at: int) -> bytes:
    """The ids with that of an event that is folded now."""
    return ids[max(0, len(ids) - (MAX_IDS - 1) * _ENTRY_BYTES) :] + idempotency_id + at.to_bytes(8, "big", signed=True)


def _time(ids: bytes, place: int) -> int:
    return int.from_bytes(ids[place + ID_BYTES : place + _ENTRY_BYTES], "big", signed=True)
