"""The load that every contender of the fold gets: upserts over random keys, from a seed."""

from __future__ import annotations

import random
import time
from collections.abc import Iterable, Iterator

import orjson
import psycopg
from confluent_kafka import Producer

from foldline.adapters.codec import UPSERTS_TOPIC, BundledRegistry, UpsertCodec
from foldline.adapters.seals import DataKey, MasterKeys, new_data_key, sealed
from foldline.domain.keys import message_key
from foldline.domain.records import Kind, Upsert
from foldline.settings import Settings
from projections.keys import KEYRING_NAME

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


def sealed_upserts(settings: Settings, count: int, keys: int) -> Iterator[Upsert]:
    """The same of users, each sealed under a key of its own, which is in the database."""
    masters, own = MasterKeys(settings), dict[str, DataKey]()
    with psycopg.connect(settings.database_url) as connection:
        ((wrapped,),) = connection.execute("SELECT ids_secret FROM foldline_control.keyring").fetchall()
        ids_secret = masters.unwrap(KEYRING_NAME, wrapped)
        copy_keys = "COPY foldline_control.user_keys (key_id, org_id, user_id, wrapped) FROM STDIN"
        with connection.cursor().copy(copy_keys) as copy:
            for key in range(keys):
                user_id = f"PROD-{key:07d}"
                own[user_id] = made = new_data_key(ids_secret, ORG_ID, user_id)
                copy.write_row((made.key_id, ORG_ID, user_id, masters.current.wrap(*made)))
    for event in upserts(count, keys):
        yield sealed(event._replace(detail=None), own[event.entity_id])


def write(settings: Settings, count: int, keys: int, kind: Kind = "items") -> float:
    """Appends the load to the log; returns the seconds that took."""
    return append(settings, upserts(count, keys) if kind == "items" else sealed_upserts(settings, count, keys), kind)


def append(settings: Settings, events: Iterable[Upsert], kind: Kind = "items") -> float:
    """Appends events to the log; returns the seconds that took."""
    codec = UpsertCodec(kind, BundledRegistry())
    topic = settings.topic_prefix + UPSERTS_TOPIC[kind]
    producer = Producer(
        {
            "bootstrap.servers": settings.kafka_bootstrap,
            "enable.idempotence": True,
            "linger.ms": 20,
            "batch.size": 1_000_000,
            "compression.type": "lz4",
            "queue.buffering.max.messages": 1_000_000,
            "partitioner": "murmur2_random",
            "log_level": 0,
        }
    )
    began = time.monotonic()
    for event in events:
        while True:
            try:
                producer.produce(topic, codec.encode(event), message_key(event.org_id, event.entity_id))
                break
            except BufferError:
                producer.poll(0.1)
    producer.flush()
    return time.monotonic() - began
