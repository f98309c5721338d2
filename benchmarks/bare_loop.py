"""The bound of the fold: consume, decode, fold, COPY and produce in a bare loop, with nothing checked and nothing promised.

One process, the commit of a batch overlapped with the next, as fast as these libraries go. It takes its work as the
peers do; the option is the records of a batch.
"""

from __future__ import annotations

import io
import os
import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import fastavro
import orjson
import psycopg
from confluent_kafka import Consumer, Producer, TopicPartition

from benchmarks.peers.items import (
    ESCAPES,
    LOAD,
    PRODUCER,
    STAGE,
    STATE_PREFIX,
    STATE_SCHEMA,
    UPSERT,
    UPSERT_SCHEMA,
    Work,
    report,
)


def run(work: Work) -> None:
    """Folds, and reports seconds from the first poll to the last acknowledgement."""
    batch = int(work.option)
    loading, committing = (psycopg.connect(work.database, autocommit=True) for _ in range(2))
    loading.execute("CREATE TABLE peer.positions (partition int PRIMARY KEY, applied bigint)")
    committing.execute(STAGE)
    consumer = Consumer(
        {
            "bootstrap.servers": work.kafka,
            "group.id": "bare",
            "enable.auto.commit": False,
            "queued.min.messages": 2 * batch,
        }
    )
    producer = Producer({"bootstrap.servers": work.kafka, **PRODUCER})
    partitions = consumer.list_topics(work.upserts_topic).topics[work.upserts_topic].partitions
    threads = ThreadPoolExecutor(1)
    pending: Future[None] | None = None
    states: dict[bytes, dict[str, Any]] = {}
    done = published = 0

    def commit(text: str, ends: dict[int, int]) -> None:
        with committing.transaction():
            with committing.cursor().copy("COPY stage FROM STDIN") as copy:
                copy.write(text)
            committing.execute(UPSERT)
            for partition, end in ends.items():
                moved = "INSERT INTO peer.positions VALUES (%s, %s) ON CONFLICT (partition) DO UPDATE SET applied = %s"
                committing.execute(moved, (partition, end, end))

    consumer.assign([TopicPartition(work.upserts_topic, partition, 0) for partition in partitions])
    began = time.monotonic()
    while done < work.events:
        messages = consumer.consume(batch, 0.5)
        decoded = []
        ends: dict[int, int] = {}
        for message in messages:
            buffer = io.BytesIO(message.value())
            buffer.seek(5)
            decoded.append((message.key(), fastavro.schemaless_reader(buffer, UPSERT_SCHEMA, None), message))
            ends[message.partition()] = message.offset() + 1
        missing = list({key for key, _, _ in decoded if key not in states})
        if missing:
            pairs = [key.decode().split(":", 1) for key in missing]
            for row in loading.execute(LOAD, ([pair[0] for pair in pairs], [pair[1] for pair in pairs])):
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
            buffer.write(STATE_PREFIX)
            fastavro.schemaless_writer(buffer, STATE_SCHEMA, {**state, "attributes": text})
            producer.produce(work.states_topic, buffer.getvalue(), key, state["partition"])
        producer.poll(0)
        if pending is not None:
            pending.result()
        pending = threads.submit(commit, "".join(lines), ends)
        done, published = done + len(messages), published + len(dirty)
    if pending is not None:
        pending.result()
    producer.flush()
    report(time.monotonic() - began, published)


if __name__ == "__main__":
    run(Work.given())
    os._exit(0)
