"""`foldline tail`: follows a state topic, decoded."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from enum import StrEnum
from typing import Annotated, Any

import typer
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaException, Message, TopicPartition

from foldline.adapters.codec import STATE_TOPIC, decoder
from foldline.adapters.consumer import CHUNK_RECORDS, arrived, partition_watermarks, reader_config
from foldline.adapters.registry import registry_of
from foldline.adapters.topics import unreachable
from foldline.cli.context import DataDir, Json, settings_for
from foldline.cli.status import partitions_of
from foldline.domain.records import ID_FIELD, Kind
from foldline.domain.times import format_rfc3339
from foldline.domain.values import printable
from foldline.settings import Settings

POLL_SECONDS = 0.2
TIMES = ("created_at", "first_seen_at", "updated_at")


class Records(StrEnum):
    """What there are states of."""

    items = "items"
    users = "users"


KINDS: dict[Records, Kind] = {Records.items: "items", Records.users: "users"}


def tail(
    records: Annotated[Records, typer.Argument(help="Which states.")],
    from_start: Annotated[bool, typer.Option("--from-start", help="Begin with what the topic holds already.")] = False,
    org: Annotated[str | None, typer.Option(help="Only this organisation's.", metavar="ID")] = None,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Follow a state topic, decoded, until Ctrl-C or SIGTERM."""
    kind = KINDS[records]
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    line = _json_line if as_json else _readable_line
    for state in followed(settings_for(data_dir), kind, from_start, stop):
        if org is None or state["org_id"] == org:
            print(line(kind, state), flush=True)


def followed(settings: Settings, kind: Kind, from_start: bool, stop: threading.Event) -> Iterator[dict[str, Any]]:
    """The states on a topic as they are published, until `stop` is set; says on stderr when it begins to follow.

    Raises `Unreachable` where Kafka does not answer at first; later it waits until Kafka answers again.
    """
    topic, decode = settings.topic_prefix + STATE_TOPIC[kind], decoder(registry_of(settings))
    with closing(Consumer(reader_config(settings))) as consumer:
        consumer.assign(_starts(settings, consumer, topic, from_start))
        typer.echo(f"following {topic}", err=True)
        while not stop.is_set():
            for message in arrived(consumer, CHUNK_RECORDS, POLL_SECONDS):
                if _holds_state(settings, message):
                    yield _state(decode, message)


def _starts(settings: Settings, consumer: Consumer, topic: str, from_start: bool) -> list[TopicPartition]:
    starts = [
        OFFSET_BEGINNING if from_start else partition_watermarks(settings, consumer, topic, partition)[1]
        for partition in range(partitions_of(settings, consumer, topic))
    ]
    return [TopicPartition(topic, partition, start) for partition, start in enumerate(starts)]


def _holds_state(settings: Settings, message: Message) -> bool:
    error = message.error()
    if error is not None and (error.fatal() or not error.retriable()) and error.name() != "_PARTITION_EOF":
        raise unreachable(settings, KafkaException(error))
    return error is None and message.value() is not None


def _state(decode: Callable[[bytes], dict[str, Any]], message: Message) -> dict[str, Any]:
    value = message.value()
    assert isinstance(value, bytes)
    state = decode(value)
    times = {name: format_rfc3339(state[name]) for name in TIMES if name in state}
    return state | times | {"attributes": json.loads(state["attributes"])}


def _json_line(_: Kind, state: dict[str, Any]) -> str:
    return json.dumps(state, ensure_ascii=False)


def _readable_line(kind: Kind, state: dict[str, Any]) -> str:
    """Times, ids and what else a person looks for; nothing in it can move the cursor, and long attributes are cut."""
    detail = state.get("item_type") or f"since {state['created_at']}"
    attributes = json.dumps(state["attributes"], ensure_ascii=False)
    shown = (state["org_id"], state[ID_FIELD[kind]], detail, state["status"], f"version {state['version']}", attributes)
    place = f"generation {state['generation']} [{state['partition']}]@{state['offset']}"
    return "  ".join((state["updated_at"], *map(printable, shown), place))
