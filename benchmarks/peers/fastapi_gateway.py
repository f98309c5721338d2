"""The peer of the gateway: a FastAPI application as FastAPI's documentation would write it, on uvicorn with httptools.

Models check what is sent, a dependency knows the key, `response_model` shapes the answer, fastavro encodes. Its events are
ours with their keys and headers, the Kafka client and its settings are the bound's; it answers 202 once all are delivered.
"""

from __future__ import annotations

import os
import threading
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from io import BytesIO
from typing import Annotated, Any, Literal

import fastavro
import orjson
import uvicorn
from fastapi import Depends, FastAPI, HTTPException, Security
from fastapi.security import APIKeyHeader
from pydantic import BaseModel, ConfigDict, Field

import schemas
from benchmarks.bare_gateway import Delivery, poll, producer, settings, topic
from benchmarks.load import ORG_ID
from foldline.adapters.codec import without_logical_types

ORGANISATIONS = {os.environ["BENCHMARK_KEY"]: ORG_ID}
SCHEMA = schemas.latest("items.upserts.v1")
PARSED = fastavro.parse_schema(without_logical_types(SCHEMA.definition))
PREFIX = b"\x00" + SCHEMA.id.to_bytes(4, "big")


class Item(BaseModel):
    model_config = ConfigDict(extra="forbid")

    item_id: Annotated[str, Field(min_length=1, max_length=256)]
    item_type: Annotated[str | None, Field(min_length=1, max_length=128)] = None
    status: Literal["active", "inactive", "deleted"] | None = None
    attributes: dict[str, Any] | None = None


class Accepted(BaseModel):
    accepted: int
    operation_id: str


class Answer(BaseModel):
    success: bool
    message: str
    data: Accepted


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    threading.Thread(target=poll, daemon=True).start()
    yield
    producer.flush()


app = FastAPI(lifespan=lifespan, telemetry={"tracing": False, "metrics": False, "logs": False})
api_key = APIKeyHeader(name="X-API-KEY")


async def organisation(key: Annotated[str, Security(api_key)]) -> str:
    if key not in ORGANISATIONS:
        raise HTTPException(401, "Unknown key")
    return ORGANISATIONS[key]


@app.post("/v1/ingest/items/upsert", status_code=202, response_model=Answer)
async def upsert(
    body: Item | Annotated[list[Item], Field(min_length=1, max_length=10_000)],
    org_id: Annotated[str, Depends(organisation)],
) -> Any:
    items = body if isinstance(body, list) else [body]
    request_id, now = uuid.uuid4().hex, time.time_ns()
    common: list[tuple[str, str | bytes | None]] = [
        ("ce_specversion", "1.0"),
        ("ce_type", "foldline.item.upserted.v1"),
        ("ce_source", "/foldline/gateway"),
        ("ce_time", datetime.now(UTC).isoformat()),
        ("traceparent", f"00-{uuid.uuid4().hex}-{uuid.uuid4().hex[:16]}-00"),
    ]
    delivery = Delivery(len(items))
    for index, item in enumerate(items):
        event = {
            "org_id": org_id,
            "item_id": item.item_id,
            "item_type": item.item_type,
            "status": item.status,
            "attributes": orjson.dumps(item.attributes).decode() if item.attributes is not None else None,
            "received_at": now // 1000,
            "request_id": request_id,
            "record_index": index,
        }
        value = BytesIO()
        value.write(PREFIX)
        fastavro.schemaless_writer(value, PARSED, event)
        headers = [*common, ("ce_id", f"{request_id}-{index}"), ("ce_subject", item.item_id)]
        key = f"{org_id}:{item.item_id}"
        producer.produce(topic, value.getvalue(), key, on_delivery=delivery, headers=headers)
    await delivery.done
    return Answer(success=True, message="Queued", data=Accepted(accepted=len(items), operation_id=f"op_{request_id}"))


if __name__ == "__main__":
    uvicorn.run(
        app,
        host=settings.gateway_host,
        port=settings.gateway_port,
        loop="uvloop",
        http="httptools",
        log_level="error",
        access_log=False,
    )
