"""A client of Foldline's HTTP interface: `Client`, and `AsyncClient` for asyncio. It imports nothing of the rest.

    with Client("http://127.0.0.1:8080", "lehnz_sk_…") as foldline:
        foldline.upsert_items([{"item_id": "PROD-001", "item_type": "product", "attributes": {"price": 149.99}}])

The how and why is in docs/clients.md. Needs `httpx`, which `pip install 'foldline[client]'` brings.
"""

from foldline.client.asynchronous import AsyncClient
from foldline.client.batches import Limits
from foldline.client.errors import (
    BadRecord,
    ClientError,
    Forbidden,
    NegativeAnswer,
    NotApplied,
    NotFound,
    RateLimited,
    Refused,
    Unanswered,
    Unauthorised,
    Unavailable,
    UnexpectedAnswer,
)
from foldline.client.exchange import Retry
from foldline.client.records import FieldError, Item, ItemUpsert, Operation, Status, Upserted, User, UserUpsert
from foldline.client.sync import Client

__all__ = [
    "AsyncClient",
    "BadRecord",
    "Client",
    "ClientError",
    "FieldError",
    "Forbidden",
    "Item",
    "ItemUpsert",
    "Limits",
    "NegativeAnswer",
    "NotApplied",
    "NotFound",
    "Operation",
    "RateLimited",
    "Refused",
    "Retry",
    "Status",
    "Unanswered",
    "Unauthorised",
    "Unavailable",
    "UnexpectedAnswer",
    "Upserted",
    "User",
    "UserUpsert",
]
