"""A reader of a projection topic, for whoever keeps a copy of the states: a search index, a feature store, an export.

1. The states of a key come in the order in which they were published. A state that is not newer than one that this reader
   gave before is dropped, as far as it remembers: the last `remember` keys. Whoever keeps states compares by `newer_than`.
2. `position` is where the topic is to be read on after the last event given. Kept in one transaction with what was made of
   the states, a reader that is killed at any moment goes on as if nothing had been.
3. What goes wrong is an event too: a value that is no state is given as `Undecodable`, a server that does not answer as
   `Waiting`. Both go on.

Delivery guarantee: at least once, in order per key; the last state given of a key is its newest.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from datetime import datetime, timedelta
from types import TracebackType
from typing import Any, Final, Generic, Literal, NamedTuple, TypeAlias, TypeVar, overload

import orjson
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from foldline.adapters.codec import STATE_TOPIC, Registry, decoder
from foldline.adapters.consumer import CHUNK_RECORDS, arrived, partition_watermarks, reader_config
from foldline.adapters.registry import registry_of
from foldline.adapters.topics import admin_client, describe_topics, unreachable
from foldline.domain.errors import FoldlineError, Unreachable
from foldline.domain.keys import message_key
from foldline.domain.records import ID_FIELD, Kind
from foldline.domain.times import EPOCH
from foldline.settings import Settings

REMEMBERED_KEYS: Final = 100_000
POLL_SECONDS: Final = 0.2
REASON_CHARACTERS: Final = 500
_GONE: Final = (KafkaError.OFFSET_OUT_OF_RANGE, KafkaError._AUTO_OFFSET_RESET)
_TIMES: Final = ("created_at", "first_seen_at", "updated_at")


class TopicReplaced(FoldlineError):
    """The topic is not the one that was followed, or lacks what comes next: begin again from its start."""


class ItemState(NamedTuple):
    """An item, as all upserts up to `offset` of its partition of the log have made it. Times are in UTC."""

    org_id: str
    item_id: str
    item_type: str
    status: str
    attributes: dict[str, Any]
    version: int
    first_seen_at: datetime
    updated_at: datetime
    generation: int
    partition: int
    offset: int

    def newer_than(self, generation: int, offset: int) -> bool:
        """Whether this state comes after the one of the same item that has this generation and offset."""
        return (self.generation, self.offset) > (generation, offset)


class UserState(NamedTuple):
    """A user, as all upserts up to `offset` of its partition of the log have made it. Times are in UTC."""

    org_id: str
    user_id: str
    created_at: datetime
    status: str
    attributes: dict[str, Any]
    version: int
    first_seen_at: datetime
    updated_at: datetime
    generation: int
    partition: int
    offset: int

    def newer_than(self, generation: int, offset: int) -> bool:
        """Whether this state comes after the one of the same user that has this generation and offset."""
        return (self.generation, self.offset) > (generation, offset)


class CaughtUp(NamedTuple):
    """All was given that the topic had when the reader began; later, that its end is reached again after new records.

    The topic has what readers of committed records see: Kafka may show a transaction some milliseconds after its commit.
    """


class Undecodable(NamedTuple):
    """A record of the topic that is no state. The reader goes on after it."""

    topic: str
    partition: int
    offset: int
    reason: str
    key: bytes | None
    value: bytes | None


class Waiting(NamedTuple):
    """A server does not answer. The reader tries again, and goes on where it was."""

    reason: str


class TopicPosition(NamedTuple):
    """Where a topic is to be read on: the offset of the next record of each partition. `topic_id` is Kafka's."""

    topic: str
    topic_id: str
    offsets: tuple[int, ...]

    def json(self) -> str:
        """As one line of JSON, to be kept."""
        return json.dumps(self._asdict())

    @classmethod
    def parse(cls, text: str) -> TopicPosition:
        """What `json` wrote. Raises `ValueError`."""
        match json.loads(text):
            case {"topic": str(topic), "topic_id": str(topic_id), "offsets": list(offsets)} if all(
                type(offset) is int and offset >= 0 for offset in offsets
            ):
                return cls(topic, topic_id, tuple(offsets))
        raise ValueError(f"not a position of a topic: {text[:REASON_CHARACTERS]!r}")


S = TypeVar("S", ItemState, UserState)
Event: TypeAlias = S | CaughtUp | Undecodable | Waiting
_STATE: Final[dict[Kind, type[ItemState] | type[UserState]]] = {"items": ItemState, "users": UserState}


class _Unfit(Exception):
    """Why a record of the topic is no state."""


class Following(Generic[S]):
    """The events of a topic, one after the other, for ever or until `stop` is set. Connects when the first is asked for.

    To be closed, or used by `with`. Iterating raises `TopicReplaced`, and `FoldlineError` where there is no such topic.
    """

    def __init__(
        self,
        kind: Kind,
        settings: Settings,
        *,
        from_start: bool,
        org_id: str | None,
        resume: TopicPosition | None,
        stop: threading.Event | None,
        registry: Registry,
        remember: int,
    ) -> None:
        self.dropped = 0
        """How many states were dropped because a newer one, or the same, had been given before."""
        self._settings, self._topic = settings, settings.topic_prefix + STATE_TOPIC[kind]
        self._from_start, self._position = from_start, resume
        self._org = None if org_id is None else message_key(org_id, "")
        self._stop = stop or threading.Event()
        self._state_of: Callable[[Message], S] = _reader_of(kind, registry)
        self._remember = remember
        self._given: dict[bytes, tuple[int, int]] = {}
        self._offsets: list[int] = list(resume.offsets) if resume else []
        self._lost = ""
        self._events: Generator[Event[S], None, None] = self._run()

    def __iter__(self) -> Iterator[Event[S]]:
        return self

    def __next__(self) -> Event[S]:
        return next(self._events)

    def __enter__(self) -> Following[S]:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Ends the connection."""
        self._events.close()

    @property
    def position(self) -> TopicPosition | None:
        """Where to read on after the last event that was given: the `resume` of another reader. None before the first."""
        return None if self._position is None else self._position._replace(offsets=tuple(self._offsets))

    def _run(self) -> Generator[Event[S], None, None]:
        while not self._stop.is_set():
            try:
                with closing(Consumer(reader_config(self._settings) | {"error_cb": self._disturbed})) as consumer:
                    yield from self._follow(consumer, self._open(consumer))
                return
            except Unreachable as error:
                yield Waiting(str(error))
            self._stop.wait(self._settings.retry_seconds)

    def _open(self, consumer: Consumer) -> list[int]:
        """Finds the topic, and assigns it from where it is to be read on; returns its ends. Raises `TopicReplaced`."""
        self._lost = ""
        try:
            found = describe_topics(admin_client(self._settings), [self._topic])[self._topic]
        except KafkaException as error:
            translated = unreachable(self._settings, error)
            if self._given:  # it was there: a broker that has just come up may not know it yet
                raise Unreachable(str(translated)) from error
            raise translated from error
        places = [partition_watermarks(self._settings, consumer, self._topic, p) for p in range(found.partitions)]
        if self._position is None:
            self._position = TopicPosition(self._topic, found.topic_id, ())
            self._offsets = [low if self._from_start else high for low, high in places]
        if self._position[:2] != (self._topic, found.topic_id) or len(self._offsets) != found.partitions:
            raise TopicReplaced(f"{self._topic} is not the topic that was followed to this position: begin from its start")
        for partition, ((low, high), offset) in enumerate(zip(places, self._offsets, strict=True)):
            if not low <= offset <= high:
                raise TopicReplaced(
                    f"{self._topic}[{partition}] goes from {low} to {high} and has no {offset}: begin from its start"
                )
        consumer.assign([TopicPartition(self._topic, p, offset) for p, offset in enumerate(self._offsets)])
        return [high for _, high in places]

    def _follow(self, consumer: Consumer, ends: list[int]) -> Iterator[Event[S]]:
        behind, owed, first = set(range(len(ends))), True, True
        while not self._stop.is_set():
            for message in arrived(consumer, CHUNK_RECORDS, POLL_SECONDS):
                partition, offset = _place(message)
                error = message.error()
                if error is not None:
                    if error.code() in _GONE:
                        raise TopicReplaced(f"{self._topic}[{partition}] lacks what comes next: begin from its start")
                    if error.code() == KafkaError._PARTITION_EOF:
                        self._offsets[partition] = max(self._offsets[partition], offset)
                        behind.discard(partition)
                    elif error.fatal() or not error.retriable():
                        raise Unreachable(str(unreachable(self._settings, KafkaException(error))))
                else:
                    event = self._event(message)
                    self._offsets[partition] = offset + 1
                    owed = True
                    (behind.discard if first and offset + 1 >= ends[partition] else behind.add)(partition)
                    if event is not None:
                        yield event
                if owed and not behind:
                    owed = first = False
                    yield CaughtUp()
                if self._stop.is_set():
                    return
            if self._lost:
                raise Unreachable(f"Kafka at {self._settings.kafka_bootstrap} does not answer: {self._lost}")

    def _event(self, message: Message) -> S | Undecodable | None:
        """What a record is to the caller; None for another organisation's and for what is stale."""
        key = message.key()
        assert key is None or isinstance(key, bytes)
        if self._org is not None and not (key or b"").startswith(self._org):
            return None
        try:
            state = self._state_of(message)
        except _Unfit as unfit:
            value = message.value()
            assert value is None or isinstance(value, bytes)
            return Undecodable(self._topic, *_place(message), str(unfit)[:REASON_CHARACTERS], key, value)
        assert key is not None
        before = self._given.pop(key, None)
        if before is not None and not state.newer_than(*before):
            self._given[key] = before
            self.dropped += 1
            return None
        self._given[key] = state.generation, state.offset
        if len(self._given) > self._remember:
            del self._given[next(iter(self._given))]
        return state

    def _disturbed(self, error: KafkaError) -> None:
        if error.fatal() or error.code() == KafkaError._ALL_BROKERS_DOWN:
            self._lost = error.str()


@overload
def follow(
    kind: Literal["items"],
    from_start: bool = ...,
    *,
    settings: Settings | None = ...,
    org_id: str | None = ...,
    resume: TopicPosition | str | None = ...,
    stop: threading.Event | None = ...,
    registry: Registry | None = ...,
    remember: int = ...,
) -> Following[ItemState]: ...


@overload
def follow(
    kind: Literal["users"],
    from_start: bool = ...,
    *,
    settings: Settings | None = ...,
    org_id: str | None = ...,
    resume: TopicPosition | str | None = ...,
    stop: threading.Event | None = ...,
    registry: Registry | None = ...,
    remember: int = ...,
) -> Following[UserState]: ...


def follow(
    kind: Kind,
    from_start: bool = False,
    *,
    settings: Settings | None = None,
    org_id: str | None = None,
    resume: TopicPosition | str | None = None,
    stop: threading.Event | None = None,
    registry: Registry | None = None,
    remember: int = REMEMBERED_KEYS,
) -> Following[ItemState] | Following[UserState]:
    """The states of the items, or of the users, as they are published: `ItemState` or `UserState`, and between them
    `CaughtUp`, `Undecodable` and `Waiting`.

    Begins at `resume`, a position or its JSON, else with what the topic holds already, else with what comes next.
    `org_id` narrows it to one organisation. `settings` are the environment's where none are given. `registry` knows the
    schemas; the one that the settings name where none is given. Raises `ValueError` for a `resume` that is no position.
    """
    settings = settings or Settings()
    begin = TopicPosition.parse(resume) if isinstance(resume, str) else resume
    options: dict[str, Any] = {"from_start": from_start, "org_id": org_id, "resume": begin, "stop": stop}
    options |= {"registry": registry or registry_of(settings), "remember": remember}
    if kind == "items":
        return Following[ItemState](kind, settings, **options)
    return Following[UserState](kind, settings, **options)


def _place(message: Message) -> tuple[int, int]:
    partition, offset = message.partition(), message.offset()
    assert partition is not None
    assert offset is not None
    return partition, offset


def _reader_of(kind: Kind, registry: Registry) -> Callable[[Message], Any]:
    """A function from a record to its state. Raises `_Unfit`, and `Unreachable` where the registry does not answer."""
    decode, of, id_field = decoder(registry), _STATE[kind], ID_FIELD[kind]

    def state_of(message: Message) -> ItemState | UserState:
        value = message.value()
        if not isinstance(value, bytes) or not value:
            raise _Unfit("the record has no value")
        if value[0] != 0 or len(value) < 5:
            raise _Unfit("the value does not begin as Confluent's wire format does: a zero byte and a schema id")
        try:
            record = decode(value)
            fields: dict[str, Any] = {name: record[name] for name in of._fields}
            fields |= {name: EPOCH + timedelta(microseconds=fields[name]) for name in _TIMES if name in fields}
            fields["attributes"] = orjson.loads(fields["attributes"])
            key = message_key(fields["org_id"], fields[id_field])
        except Unreachable:
            raise
        except FoldlineError as error:
            raise _Unfit(str(error)) from error
        except Exception as error:  # whatever bytes of a stranger do to the reader
            raise _Unfit(f"the value is no {of.__name__}: {type(error).__name__}: {error}") from error
        if type(fields["attributes"]) is not dict:
            raise _Unfit("the attributes are not a JSON object")
        if message.key() != key:
            raise _Unfit(f"the record's key is not its value's org_id:{id_field}")
        if message.partition() != fields["partition"]:
            raise _Unfit(f"the state belongs on partition {fields['partition']}")
        return of(**fields)

    return state_of
