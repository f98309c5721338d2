"""The trace that a request belongs to, as W3C Trace Context writes it. Source: https://www.w3.org/TR/trace-context/"""

from __future__ import annotations

import re
from random import Random

_random = Random()  # ids must differ, and may be guessed
_NOT_ZERO = 1 << 64 | 1  # neither the trace's id nor the span's
_TRACEPARENT = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")


def traceparent(sent: str | None) -> str:
    """The caller's trace if it sent a valid one, else a new one that nobody samples."""
    return valid(sent) or unsampled()


def valid(sent: str | None) -> str | None:
    """What was sent, if it names a trace."""
    return sent if sent and _TRACEPARENT.fullmatch(sent) else None


def unsampled() -> str:
    """A new trace that nobody samples."""
    ids = (_random.getrandbits(192) | _NOT_ZERO).to_bytes(24).hex()
    return f"00-{ids[:32]}-{ids[32:]}-00"


def new_request_id() -> str:
    """A name for a request and its events: 32 hexadecimal digits."""
    return _random.randbytes(16).hex()
