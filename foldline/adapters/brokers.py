"""What Kafka's brokers say of themselves that librdkafka does not ask: their version, and how full their disks are.

Asked over aiokafka's connections. Sources: KIP-584 (features), KIP-827 (sizes of log directories), `MetadataVersion.java` of
Kafka (levels).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from io import BytesIO
from typing import Any, NamedTuple, TypeAlias, TypeVar

import aiokafka.errors
from aiokafka.client import AIOKafkaClient
from aiokafka.protocol.api import Request, RequestStruct, Response, ResponseHeader_v0
from aiokafka.protocol.types import Boolean, CompactArray, CompactString, Int16, Int32, Int64, Schema, TaggedFields

from foldline.adapters.security import aiokafka_config
from foldline.domain.errors import Unreachable
from foldline.settings import Settings

METADATA_VERSION = "metadata.version"
NAME = CompactString("utf-8")

_PARTITION = ("index", Int32), ("size", Int64), ("lag", Int64), ("is_future", Boolean), ("tags", TaggedFields)

T = TypeVar("T")
Ask: TypeAlias = Callable[[int, Request[Any]], Awaitable[Any]]


class LogDirectory(NamedTuple):
    """A directory in which a broker keeps partitions, and its file system in bytes; -1 where the broker does not say."""

    broker: int
    path: str
    total_bytes: int
    usable_bytes: int
    failed: bool


class _Features(Response):  # type: ignore[misc]
    API_KEY = 18
    API_VERSION = 3
    SCHEMA = Schema(
        ("error_code", Int16),
        ("api_keys", CompactArray(("api_key", Int16), ("min", Int16), ("max", Int16), ("tags", TaggedFields))),
        ("throttle_time_ms", Int32),
        ("tags", TaggedFields),
    )


class _FeaturesAsked(RequestStruct):  # type: ignore[misc]
    FLEXIBLE_VERSION = True
    API_KEY = 18
    API_VERSION = 3
    RESPONSE_TYPE = _Features
    SCHEMA = Schema(("client_software_name", NAME), ("client_software_version", NAME), ("tags", TaggedFields))

    def parse_response_header(self, read_buffer: BytesIO | bytes) -> ResponseHeader_v0:
        """Of this response alone the header is never the flexible one."""
        return ResponseHeader_v0.decode(read_buffer)


class _FeaturesRequest(Request[_FeaturesAsked]):  # type: ignore[misc]
    API_KEY = 18

    def build(self, request_struct_class: type[_FeaturesAsked]) -> _FeaturesAsked:
        return request_struct_class("foldline", "0", {})


class _LogDirs(Response):  # type: ignore[misc]
    API_KEY = 35
    API_VERSION = 4
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        ("error_code", Int16),
        (
            "results",
            CompactArray(
                ("error_code", Int16),
                ("log_dir", NAME),
                ("topics", CompactArray(("name", NAME), ("partitions", CompactArray(*_PARTITION)), ("tags", TaggedFields))),
                ("total_bytes", Int64),
                ("usable_bytes", Int64),
                ("tags", TaggedFields),
            ),
        ),
        ("tags", TaggedFields),
    )


class _LogDirsAsked(RequestStruct):  # type: ignore[misc]
    FLEXIBLE_VERSION = True
    API_KEY = 35
    API_VERSION = 4
    RESPONSE_TYPE = _LogDirs
    SCHEMA = Schema(
        ("topics", CompactArray(("name", NAME), ("partitions", CompactArray(Int32)), ("tags", TaggedFields))),
        ("tags", TaggedFields),
    )


class _LogDirsRequest(Request[_LogDirsAsked]):  # type: ignore[misc]
    API_KEY = 35

    def build(self, request_struct_class: type[_LogDirsAsked]) -> _LogDirsAsked:
        return request_struct_class([], {})  # sizes of no topic: the directories alone


def metadata_levels(settings: Settings, timeout_seconds: float) -> dict[int, int]:
    """By broker, the newest level of `metadata.version` that it knows, by which its version is told: 25 is Kafka 4.0.

    Raises `Unreachable`.
    """

    async def level(ask: Ask, broker: int) -> int:
        answer = await ask(broker, _FeaturesRequest())
        return _level(answer.tags.get(0, b"\x01"))

    return _of_each(settings, timeout_seconds, level)


def log_directories(settings: Settings, timeout_seconds: float) -> list[LogDirectory]:
    """The log directories of all brokers. Raises `Unreachable`, also where Kafka does not let us look."""

    async def directories(ask: Ask, broker: int) -> list[LogDirectory]:
        answer = await ask(broker, _LogDirsRequest())
        if answer.error_code:
            raise aiokafka.errors.for_code(answer.error_code)
        return [
            LogDirectory(broker, path, total, usable, failed=bool(code))
            for code, path, _, total, usable, _ in answer.results
        ]

    return [one for found in _of_each(settings, timeout_seconds, directories).values() for one in found]


def _level(features: bytes) -> int:
    """Of the features that a broker supports, each with its least and its newest level, the newest of the metadata's."""
    supported = CompactArray(("name", NAME), ("min", Int16), ("max", Int16), ("tags", TaggedFields))
    found = {name: newest for name, _, newest, _ in supported.decode(BytesIO(features)) or ()}
    return int(found.get(METADATA_VERSION, 0))


def _of_each(settings: Settings, timeout_seconds: float, what: Callable[[Ask, int], Awaitable[T]]) -> dict[int, T]:
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    try:
        return asyncio.run(asyncio.wait_for(_gathered(settings, timeout_seconds, what), timeout_seconds))
    except (TimeoutError, aiokafka.errors.KafkaError, NotImplementedError, OSError, ValueError) as error:
        said = str(error) or type(error).__name__
        raise Unreachable(f"Kafka at {settings.kafka_bootstrap} did not say what its brokers are: {said}") from error


async def _gathered(settings: Settings, timeout_seconds: float, what: Callable[[Ask, int], Awaitable[T]]) -> dict[int, T]:
    client = AIOKafkaClient(
        bootstrap_servers=settings.kafka_bootstrap,
        request_timeout_ms=round(timeout_seconds * 1000),
        **aiokafka_config(settings),
    )
    try:
        await client.bootstrap()
        return {broker.nodeId: await what(client.send, broker.nodeId) for broker in client.cluster.brokers()}
    finally:
        await client.close()
