"""The bound of the gateway: a bare ASGI application that parses, encodes, produces, and answers 202 once all is delivered.

No keys but one, no limits, no checks, no headers on events, no operations. On uvicorn as it comes, with the loop of ours.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any

import orjson
import uvicorn
from confluent_kafka import KafkaError, Message, Producer

from benchmarks.load import ORG_ID
from foldline.adapters.codec import BundledRegistry, UpsertCodec
from foldline.domain.records import Upsert
from foldline.settings import Settings

settings = Settings()
codec = UpsertCodec("items", BundledRegistry())
topic = settings.topic_prefix + "items.upserts.v1"
producer = Producer(
    {
        "bootstrap.servers": settings.kafka_bootstrap,
        "enable.idempotence": True,
        "linger.ms": 5,
        "batch.size": 1_000_000,
        "compression.type": "lz4",
        "queue.buffering.max.messages": 1_000_000,
        "partitioner": "murmur2_random",
    }
)


class Delivery:
    """Counts delivery reports and wakes the request at the last one."""

    def __init__(self, records: int) -> None:
        self.left = records
        self.loop = asyncio.get_running_loop()
        self.done: asyncio.Future[None] = self.loop.create_future()

    def __call__(self, error: KafkaError | None, message: Message) -> None:
        self.left -= 1
        if not self.left:
            self.loop.call_soon_threadsafe(self.done.set_result, None)


async def app(
    scope: dict[str, Any],
    receive: Callable[[], Awaitable[dict[str, Any]]],
    send: Callable[[dict[str, Any]], Awaitable[None]],
) -> None:
    """The application, for requests to any path."""
    message = await receive()
    parts = [message["body"]]
    while message.get("more_body"):
        message = await receive()
        parts.append(message["body"])
    records = orjson.loads(b"".join(parts))
    records = records if isinstance(records, list) else [records]
    delivery, now = Delivery(len(records)), time.time_ns() // 1000
    for index, record in enumerate(records):
        text = orjson.dumps(record["attributes"]).decode()
        event = Upsert(ORG_ID, record["item_id"], record["item_type"], record["status"], text, now, "req_bare", index)
        producer.produce(topic, codec.encode(event), f"{ORG_ID}:{event.entity_id}", on_delivery=delivery)
    await delivery.done
    body = b'{"accepted":%d}' % len(records)
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 202, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def poll() -> None:
    while True:
        producer.poll(0.1)


if __name__ == "__main__":
    threading.Thread(target=poll, daemon=True).start()
    uvicorn.run(
        app, host=settings.gateway_host, port=settings.gateway_port, log_level="error", lifespan="off", access_log=False
    )
