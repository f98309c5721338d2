"""The bound of the fold: consume, decode, fold, COPY and produce in a bare loop, with nothing checked and nothing promised.

One process, the commit of a batch overlapped with the next, as fast as these libraries go. It reads its settings from the
environment as a processor does, folds the items' log from its beginning into tables of its own, and prints seconds.
"""

from __future__ import annotations

import io
import os
import sys
import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import fastavro
import orjson
import psycopg
from confluent_kafka import Consumer, Producer, TopicPartition

import schemas
from foldline.adapters.codec import without_logical_types
from foldline.settings import Settings

ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})
TABLE = (
    "org_id text, item_id text, item_type text, status text, attributes jsonb, version bigint, first_seen_at bigint,"
    ' updated_at bigint, partition int, "offset" bigint'
)


def run(settings: Settings, events: int, batch: int) -> float:
    """Folds `events` records of the items' topic; returns seconds from the first poll to the last acknowledgement."""
    upsert_schema, state_schema = (
        fastavro.parse_schema(without_logical_types(schemas.latest(topic).definition))
        for topic in ("items.upserts.v1", "items.state.v1")
    )
    loading, committing = (psycopg.connect(settings.database_url, autocommit=True) for _ in range(2))
    loading.execute("DROP SCHEMA IF EXISTS bare CASCADE; CREATE SCHEMA bare")
    loading.execute(f"CREATE TABLE bare.items ({TABLE}, PRIMARY KEY (org_id, item_id)) WITH (fillfactor = 70)")
    loading.execute("CREATE TABLE bare.positions (partition int PRIMARY KEY, applied bigint)")
    committing.execute(f"CREATE TEMPORARY TABLE stage ({TABLE}) ON COMMIT DELETE ROWS")
    consumer = Consumer(
        {
            "bootstrap.servers": settings.kafka_bootstrap,
            "group.id": "bare",
            "enable.auto.commit": False,
            "queued.min.messages": 2 * batch,
        }
    )
    producer = Producer(
        {
            "bootstrap.servers": settings.kafka_bootstrap,
            "enable.idempotence": True,
            "linger.ms": 5,
            "batch.size": 1_000_000,
            "compression.type": "lz4",
            "queue.buffering.max.messages": 1_000_000,
        }
    )
    threads = ThreadPoolExecutor(1)
    pending: Future[None] | None = None
    states: dict[bytes, dict[str, Any]] = {}
    done = 0

    def commit(text: str, ends: dict[int, int]) -> None:
        with committing.transaction():
            with committing.cursor().copy("COPY stage FROM STDIN") as copy:
                copy.write(text)
            committing.execute(
                "INSERT INTO bare.items SELECT * FROM stage ON CONFLICT (org_id, item_id) DO UPDATE SET item_type ="
                " excluded.item_type, status = excluded.status, attributes = excluded.attributes,"
                ' version = excluded.version, updated_at = excluded.updated_at, "offset" = excluded."offset"'
            )
            for partition, end in ends.items():
                committing.execute(
                    "INSERT INTO bare.positions VALUES (%s, %s) ON CONFLICT (partition) DO UPDATE SET applied = %s",
                    (partition, end, end),
                )

    consumer.assign([TopicPartition(settings.topic_prefix + "items.upserts.v1", p, 0) for p in range(settings.partitions)])
    began = time.monotonic()
    while done < events:
        messages = consumer.consume(batch, 0.5)
        decoded = []
        ends: dict[int, int] = {}
        for message in messages:
            buffer = io.BytesIO(message.value())
            buffer.seek(5)
            decoded.append((message.key(), fastavro.schemaless_reader(buffer, upsert_schema, None), message))
            ends[message.partition()] = message.offset() + 1
        missing = list({key for key, _, _ in decoded if key not in states})
        if missing:
            pairs = [key.decode().split(":", 1) for key in missing]
            for row in loading.execute(
                "SELECT i.org_id, i.item_id, item_type, status, attributes::text, version, first_seen_at"
                " FROM unnest(%s::text[], %s::text[]) k (o, i2) JOIN bare.items i ON i.org_id = k.o AND i.item_id = k.i2",
                ([pair[0] for pair in pairs], [pair[1] for pair in pairs]),
            ):
                names = ("org_id", "item_id", "item_type", "status", "attributes", "version", "first_seen_at")
                states[f"{row[0]}:{row[1]}".encode()] = dict(zip(names, row, strict=True)) | {
                    "attributes": orjson.loads(row[4])
                }
        dirty: dict[bytes, dict[str, Any]] = {}
        for key, event, message in decoded:
            state = states.get(key)
            text = event["attributes"]
            carried = orjson.loads(text) if text is not None else {}
            state = {
                "org_id": event["org_id"],
                "item_id": event["item_id"],
                "item_type": event["item_type"] or (state and state["item_type"]),
                "status": event["status"] or (state["status"] if state else "active"),
                "attributes": {**state["attributes"], **carried} if state else carried,
                "version": state["version"] + 1 if state else 1,
                "first_seen_at": state["first_seen_at"] if state else event["received_at"],
                "updated_at": event["received_at"],
                "generation": 0,
                "partition": message.partition(),
                "offset": message.offset(),
            }
            states[key] = dirty[key] = state
        lines = []
        for key, state in dirty.items():
            text = orjson.dumps(state["attributes"]).decode()
            escaped = text.translate(ESCAPES) if "\\" in text else text
            lines.append(
                f"{state['org_id']}\t{state['item_id']}\t{state['item_type']}\t{state['status']}\t{escaped}\t{state['version']}"
                f"\t{state['first_seen_at']}\t{state['updated_at']}\t{state['partition']}\t{state['offset']}\n"
            )
            buffer = io.BytesIO()
            buffer.write(b"\x00\x00\x00\x00\x03")
            fastavro.schemaless_writer(buffer, state_schema, {**state, "attributes": text})
            producer.produce("bare.items.state", buffer.getvalue(), key, state["partition"])
        producer.poll(0)
        if pending is not None:
            pending.result()
        pending = threads.submit(commit, "".join(lines), ends)
        done += len(messages)
    if pending is not None:
        pending.result()
    producer.flush()
    return time.monotonic() - began


if __name__ == "__main__":
    print(run(Settings(), int(sys.argv[1]), int(sys.argv[2])), flush=True)
    os._exit(0)
