"""Faust: an agent that takes batches, folds them over a cache of the table's states, and copies them in a thread.

States are produced by librdkafka, which costs a fraction of Faust's own producer. The option is the records of a batch.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import faust
import orjson
import psycopg
from confluent_kafka import Producer

from benchmarks.peers.items import LOAD, PRODUCER, STAGE, State, Work, commit, decode, encode, fold, report, row

TAKE_SECONDS = 0.2
FIELDS = ("org_id", "item_id", "item_type", "status", "attributes", "version", "first_seen_at")


def application(work: Work, directory: str) -> faust.App:
    app = faust.App(
        work.states_topic,
        broker=f"kafka://{work.kafka}",
        store="memory://",
        datadir=directory,
        value_serializer="raw",
        web_enabled=False,
        consumer_auto_offset_reset="earliest",
        stream_buffer_maxsize=65_536,
        consumer_max_fetch_size=8 * 1024 * 1024,
        broker_max_poll_records=5000,
    )
    upserts = app.topic(work.upserts_topic, key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw")
    producer = Producer({"bootstrap.servers": work.kafka, **PRODUCER})
    connection = psycopg.connect(work.database, autocommit=True)
    connection.execute(STAGE)
    thread = ThreadPoolExecutor(1)
    cache: dict[bytes, State] = {}

    def load(keys: list[bytes]) -> None:
        pairs = [key.decode().split(":", 1) for key in keys]
        for found in connection.execute(LOAD, ([pair[0] for pair in pairs], [pair[1] for pair in pairs])):
            state = dict(zip(FIELDS, found, strict=True))
            cache[f"{found[0]}:{found[1]}".encode()] = state | {"attributes": orjson.loads(state["attributes"])}

    @app.agent(upserts)
    async def items(stream: Any) -> None:
        loop, began, folded, published = asyncio.get_running_loop(), 0.0, 0, 0
        async for events in stream.take_events(int(work.option), within=TAKE_SECONDS):
            began = began or time.monotonic()
            missing = list({event.key for event in events if event.key not in cache})
            if missing:
                await loop.run_in_executor(thread, load, missing)
            changed: dict[bytes, State] = {}
            for event in events:
                message = event.message
                key = message.key
                cache[key] = changed[key] = fold(decode(message.value), cache.get(key), message.partition, message.offset)
            texts = {key: orjson.dumps(state["attributes"]).decode() for key, state in changed.items()}
            rows = "".join([row(state, texts[key]) for key, state in changed.items()])
            await loop.run_in_executor(thread, commit, connection, rows)
            for key, state in changed.items():
                producer.produce(work.states_topic, encode({**state, "attributes": texts[key]}), key, state["partition"])
            producer.poll(0)
            folded, published = folded + len(events), published + len(changed)
            if folded >= work.events:
                producer.flush()
                report(time.monotonic() - began, published)
                os._exit(0)  # Faust takes seconds to leave

    return app


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as directory:
        faust.Worker(
            application(Work.given(), directory), loglevel="ERROR", redirect_stdouts=False
        ).execute_from_commandline()
