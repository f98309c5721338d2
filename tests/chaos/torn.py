"""A write to the log that was cut off: half a batch after the last whole one of a segment.

Only what nobody has acknowledged can be lost so. A single broker that loses what it had acknowledged, by a power cut before
the system wrote it out, breaks the promise of the 202; processors then stop (`docs/guarantees.md`), and no run does that.
"""

from __future__ import annotations

import random
import struct
from pathlib import Path

HEAD = struct.Struct(">qi")  # base offset, and the length of what follows
LAST_OFFSET_DELTA = struct.Struct(">i")
LAST_OFFSET_DELTA_AT = 23


def tear(data: Path, dice: random.Random) -> bool:
    """Appends a part of a batch to the newest segment of one partition of the log. False where none has a batch."""
    segments = [max(directory.glob("*.log")) for directory in sorted(data.glob("*.upserts.v1-*"))]
    dice.shuffle(segments)
    for segment in segments:
        whole = segment.read_bytes()
        last = _last_batch(whole)
        if last is None:
            continue
        start, length, next_offset = last
        again = struct.pack(">q", next_offset) + whole[start + 8 : start + length]
        with segment.open("ab") as file:
            file.write(again[: dice.randrange(1, length)])
        return True
    return False


def _last_batch(whole: bytes) -> tuple[int, int, int] | None:
    """Where the last batch begins, its length, and the offset after it."""
    at, found = 0, None
    while at + HEAD.size <= len(whole):
        offset, length = HEAD.unpack_from(whole, at)
        if length <= 0 or at + HEAD.size + length > len(whole):
            break
        (delta,) = LAST_OFFSET_DELTA.unpack_from(whole, at + LAST_OFFSET_DELTA_AT)
        found = at, HEAD.size + length, offset + delta + 1
        at += HEAD.size + length
    return found
