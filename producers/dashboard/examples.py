"""Requests to try in a shell, filled in as far as is known."""

from __future__ import annotations

import shlex
from typing import Final

ITEM: Final = """{"item_id": "PROD-001", "item_type": "product",
       "attributes": {"name": "Wireless Headphones", "price": 149.99}}"""
UNKNOWN_KEY: Final = "$FOLDLINE_KEY"


def upsert_by_curl(url: str, key: str = UNKNOWN_KEY) -> str:
    """A command that upserts one item and waits until it is applied."""
    return " \\\n  ".join(
        (
            f"curl {shlex.quote(f'{url}/v1/ingest/items/upsert')}",
            f'-H "X-API-KEY: {key}"',
            "-H 'Content-Type: application/json' -H 'Prefer: wait=10'",
            f"-d '{ITEM}'",
        )
    )
