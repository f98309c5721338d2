"""The trace that a request belongs to, as W3C Trace Context writes it. Source: https://www.w3.org/TR/trace-context/"""

from __future__ import annotations

import re
import secrets

_TRACEPARENT = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")


def traceparent(sent: str | None) -> str:
    """The caller's trace if it sent a valid one, else a new one that nobody samples."""
    if sent and _TRACEPARENT.fullmatch(sent):
        return sent
    return f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-00"
