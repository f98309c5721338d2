"""The bound of the fold: consume, decode, fold, COPY and produce in a bare loop, with nothing checked and nothing promised.

One process, the commit of a batch overlapped with the next, as fast as these libraries go. It takes its work as the
peers do; the option is the records of a batch.
"""

from __future__ import annotations

import os
import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import orjson
import psycopg
from confluent_kafka import Consumer, Producer, TopicPartition

from benchmarks.peers.items import LOAD, PRODUCER, STAGE, Work, commit, decode, encode, fold, report, row


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

    def commit_rows(rows: str, ends: dict[int, int]) -> None:
        with committing.transaction():
            commit(committing, rows)
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
            decoded.append((message.key(), decode(message.value()), message))
            ends[message.partition()] = message.offset() + 1
        missing = list({key for key, _, _ in decoded if key not in states})
        if missing:
            pairs = [key.decode().split(":", 1) for key in missing]
            for found in loading.execute(LOAD, ([pair[0] for pair in pairs], [pair[1] for pair in pairs])):
                names = ("org_id", "item_id", "item_type", "status", "attributes", "version", "first_seen_at")
                states[f"{found[0]}:{found[1]}".encode()] = dict(zip(names, found, strict=True)) | {
                    "attributes": orjson.loads(found[4])
                }
        dirty: dict[bytes, dict[str, Any]] = {}
        for key, event, message in decoded:
            states[key] = dirty[key] = fold(event, states.get(key), message.partition(), message.offset())
        lines = []
        for key, state in dirty.items():
            text = orjson.dumps(state["attributes"]).decode()
            lines.append(row(state, text))
            producer.produce(work.states_topic, encode({**state, "attributes": text}), key, state["partition"])
        producer.poll(0)
        if pending is not None:
            pending.result()
        pending = threads.submit(commit_rows, "".join(lines), ends)
        done, published = done + len(messages), published + len(dirty)
    if pending is not None:
        pending.result()
    producer.flush()
    report(time.monotonic() - began, published)


if __name__ == "__main__":
    run(Work.given())
    os._exit(0)
