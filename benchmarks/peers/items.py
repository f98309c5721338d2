"""What the Python peers share: the work that they are given, Avro by fastavro, the fold of dictionaries, rows for COPY."""

from __future__ import annotations

import io
import json
import os
import sys
from pathlib import Path
from typing import Any, NamedTuple

import fastavro
import orjson
import psycopg

import schemas

ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})
STAGE = (
    "CREATE TEMPORARY TABLE stage (org_id text, item_id text, item_type text, status text, attributes jsonb, version bigint,"
    ' first_seen_at bigint, updated_at bigint, partition integer, "offset" bigint) ON COMMIT DELETE ROWS'
)
UPSERT = (
    "INSERT INTO peer.items SELECT org_id, item_id, item_type, status, attributes, version,"
    " timestamptz 'epoch' + first_seen_at * interval '1 microsecond',"
    " timestamptz 'epoch' + updated_at * interval '1 microsecond', partition, \"offset\" FROM stage"
    " ON CONFLICT (org_id, item_id) DO UPDATE SET item_type = excluded.item_type, status = excluded.status,"
    " attributes = excluded.attributes, version = excluded.version, updated_at = excluded.updated_at,"
    ' partition = excluded.partition, "offset" = excluded."offset"'
)
LOAD = (
    "SELECT t.org_id, t.item_id, item_type, status, attributes::text, version,"
    " (extract(epoch FROM first_seen_at) * 1000000)::bigint"
    " FROM unnest(%s::text[], %s::text[]) k (org_id, item_id) JOIN peer.items t USING (org_id, item_id)"
)
PRODUCER = {
    "enable.idempotence": True,
    "linger.ms": 20,
    "batch.size": 1_000_000,
    "compression.type": "lz4",
    "queue.buffering.max.messages": 1_000_000,
    "queue.buffering.max.kbytes": 2_000_000,
}

State = dict[str, Any]


class Work(NamedTuple):
    """What a contender is to do: fold so many upserts of a topic into the table peer.items and onto a topic."""

    events: int
    upserts_topic: str
    states_topic: str
    option: str
    kafka: str
    database: str

    @classmethod
    def given(cls) -> Work:
        """From the command line, and the environment."""
        events, upserts_topic, states_topic, option = sys.argv[1:]
        kafka, database = os.environ["KAFKA_BOOTSTRAP"], os.environ["DATABASE_URL"]
        return cls(int(events), upserts_topic, states_topic, option, kafka, database)


def _schema(topic: str) -> Any:
    """The schema without logical types: times stay integers."""
    definition = schemas.latest(topic).definition
    for field in definition["fields"]:
        if isinstance(field["type"], dict):
            field["type"] = field["type"]["type"]
    return fastavro.parse_schema(definition)


UPSERT_SCHEMA, STATE_SCHEMA = _schema("items.upserts.v1"), _schema("items.state.v1")
STATE_PREFIX = b"\x00" + schemas.latest("items.state.v1").id.to_bytes(4, "big")


def decode(value: bytes) -> Any:
    """The upsert of a value in Confluent's wire format."""
    buffer = io.BytesIO(value)
    buffer.seek(5)
    return fastavro.schemaless_reader(buffer, UPSERT_SCHEMA, None)


def encode(state: State) -> bytes:
    """The value of a state, whose attributes are text."""
    buffer = io.BytesIO()
    buffer.write(STATE_PREFIX)
    fastavro.schemaless_writer(buffer, STATE_SCHEMA, state)
    return buffer.getvalue()


def fold(upsert: Any, state: State | None, partition: int, offset: int) -> State:
    """The state after an upsert; its attributes are an object."""
    text = upsert["attributes"]
    carried = orjson.loads(text) if text is not None else {}
    return {
        "org_id": upsert["org_id"],
        "item_id": upsert["item_id"],
        "item_type": upsert["item_type"] or (state and state["item_type"]),
        "status": upsert["status"] or (state["status"] if state else "active"),
        "attributes": {**state["attributes"], **carried} if state else carried,
        "version": state["version"] + 1 if state else 1,
        "first_seen_at": state["first_seen_at"] if state else upsert["received_at"],
        "updated_at": upsert["received_at"],
        "generation": 0,
        "partition": partition,
        "offset": offset,
    }


def row(state: State, text: str) -> str:
    """A line of COPY's text format; `text` is the attributes' JSON."""
    escaped = text.translate(ESCAPES) if "\\" in text else text
    return (
        f"{state['org_id']}\t{state['item_id']}\t{state['item_type']}\t{state['status']}\t{escaped}\t{state['version']}"
        f"\t{state['first_seen_at']}\t{state['updated_at']}\t{state['partition']}\t{state['offset']}\n"
    )


def commit(connection: psycopg.Connection[Any], rows: str) -> None:
    """Puts rows in place of those that the table has of the same items; `connection` has a STAGE."""
    with connection.transaction():
        with connection.cursor().copy("COPY stage FROM STDIN") as copy:
            copy.write(rows)
        connection.execute(UPSERT)


def report(seconds: float, states: int) -> None:
    """Prints what the harness reads: with the process's largest resident memory in bytes."""
    status = Path("/proc/self/status").read_text()
    memory = 1024 * int(status.partition("VmHWM:")[2].split()[0])
    print(json.dumps({"seconds": seconds, "states": states, "memory": memory}), flush=True)
