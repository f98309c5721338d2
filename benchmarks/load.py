"""The load that every contender of the fold gets: upserts over random keys, from a seed."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator

import orjson
from confluent_kafka import Producer

from foldline.adapters.codec import UPSERTS_TOPIC, BundledRegistry, UpsertCodec
from foldline.domain.keys import message_key
from foldline.domain.records import Upsert
from foldline.settings import Settings

CATEGORIES = ("Electronics", "Footwear", "Kitchen", "Fitness")
ORG_ID = "org_benchmark"


def upserts(count: int, keys: int, seed: int = 1) -> Iterator[Upsert]:
    """Item upserts of about 110 bytes of attributes, as a shop would send them."""
    chosen = random.Random(seed)
    for number in range(count):
        key = chosen.randrange(keys)
        attributes = {
            "name": f"Wireless Headphones {key}",
            "price": round(chosen.random() * 200, 2),
            "category": chosen.choice(CATEGORIES),
            "brand": "Acoustix",
            f"k{chosen.randrange(5)}": number,
        }
        yield Upsert(
            ORG_ID,
            f"PROD-{key:07d}",
            "product",
            chosen.choice((None, "active", "inactive")),
            orjson.dumps(attributes).decode(),
            1_700_000_000_000_000 + number,
            f"req_{number // 1000:016d}",
            number % 1000,
        )


def write(settings: Settings, count: int, keys: int) -> float:
    """Appends the load to the log of items; returns the seconds that took."""
    codec = UpsertCodec("items", BundledRegistry())
    topic = settings.topic_prefix + UPSERTS_TOPIC["items"]
    producer = Producer(
        {
            "bootstrap.servers": settings.kafka_bootstrap,
            "enable.idempotence": True,
            "linger.ms": 20,
            "batch.size": 1_000_000,
            "compression.type": "lz4",
            "queue.buffering.max.messages": 1_000_000,
            "partitioner": "murmur2_random",
        }
    )
    began = time.monotonic()
    for event in upserts(count, keys):
        while True:
            try:
                producer.produce(topic, codec.encode(event), message_key(event.org_id, event.entity_id))
                break
            except BufferError:
                producer.poll(0.1)
    producer.flush()
    return time.monotonic() - began
