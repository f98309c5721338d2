"""Quix Streams: a stateful apply, and a sink to PostgreSQL; the option is `sink` for its own, `copy` for one that copies.

Both sinks write what came since the last checkpoint, which comes every second or 10,000 events.
"""

from __future__ import annotations

import tempfile
import time
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import orjson
import psycopg
from quixstreams import Application, message_context
from quixstreams.sinks import BatchingSink, SinkBatch
from quixstreams.sinks.community.postgresql import PostgreSQLSink

from benchmarks.peers.items import STAGE, State, Work, commit, decode, encode, fold, report, row

COMMIT_SECONDS, COMMIT_EVENTS = 1.0, 10_000
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class CopySink(BatchingSink):
    """Upserts a batch by COPY, the newest state of each item."""

    def __init__(self, work: Work) -> None:
        super().__init__()
        self._work = work

    def setup(self) -> None:
        self._connection = psycopg.connect(self._work.database, autocommit=True)
        self._connection.execute(STAGE)

    def write(self, batch: SinkBatch) -> None:
        newest = {item.key: item.value for item in batch}
        rows = "".join([row(state, orjson.dumps(state["attributes"]).decode()) for state in newest.values()])
        commit(self._connection, rows)


def own_sink(work: Work) -> PostgreSQLSink:
    """The sink that comes with Quix Streams."""
    database = urlsplit(work.database)
    return PostgreSQLSink(
        database.hostname or "",
        database.port or 5432,
        database.path[1:],
        database.username or "",
        database.password or "",
        "items",
        schema_name="peer",
        schema_auto_update=False,
        primary_key_columns=("org_id", "item_id"),
        upsert_on_primary_key=True,
        include_metadata=False,
    )


def columns(state: State) -> dict[str, Any]:
    """A state as the sink that comes with Quix Streams takes it: a value for each column."""
    times = {name: EPOCH + timedelta(microseconds=state[name]) for name in ("first_seen_at", "updated_at")}
    return {name: value for name, value in (state | times).items() if name != "generation"}


def run(work: Work, state_directory: str) -> None:
    application = Application(
        broker_address=work.kafka,
        consumer_group=work.states_topic,
        auto_offset_reset="earliest",
        state_dir=state_directory,
        commit_interval=COMMIT_SECONDS,
        commit_every=COMMIT_EVENTS,
        processing_guarantee="at-least-once",
        producer_extra_config={"linger.ms": 20, "compression.type": "lz4", "queue.buffering.max.messages": 1_000_000},
        consumer_extra_config={"queued.min.messages": 100_000},
        loglevel="WARNING",
    )
    upserts = application.topic(work.upserts_topic, key_deserializer="bytes", value_deserializer="bytes")
    states = application.topic(work.states_topic, key_serializer="bytes", value_serializer="bytes")
    began, folded = 0.0, 0

    def apply(value: bytes, stored: Any) -> State:
        nonlocal began, folded
        if not folded:
            began = time.monotonic()
        folded += 1
        at = message_context()
        state = fold(decode(value), stored.get("state"), at.partition, at.offset)
        stored.set("state", state)
        if folded == work.events:
            application.stop()
        return state

    changes = application.dataframe(upserts).apply(apply, stateful=True)
    changes.apply(lambda state: encode({**state, "attributes": orjson.dumps(state["attributes"]).decode()})).to_topic(states)
    if work.option == "copy":
        changes.sink(CopySink(work))
    else:
        changes.apply(columns).sink(own_sink(work))
    application.run()  # the checkpoint at its end commits what is left
    report(time.monotonic() - began, folded)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as directory:
        run(Work.given(), directory)
