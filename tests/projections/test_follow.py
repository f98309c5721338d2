"""The reader of the projection topics: what it gives, in which order, from where, and what it makes of what is no state."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import islice
from typing import Any

import orjson
import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient

import projections
from foldline.adapters.codec import STATE_TOPIC, BundledRegistry, StateCodec
from foldline.adapters.topics import ensure_topics
from foldline.domain.errors import FoldlineError, Unreachable
from foldline.domain.keys import message_key
from foldline.domain.records import Kind, State
from foldline.settings import Settings
from projections import CaughtUp, ItemState, TopicPosition, TopicReplaced, Undecodable, UserState, Waiting
from projections.rows import PlainRows, Row
from projections.topics import KafkaStateTopics, Publication
from tests.pipeline import wait_readable

PRODUCT = State("org_1", "A", "product", "active", {"name": "é😀", "n": [1, None]}, 3, 1, 2_500_000, 0, 7, 0)


@pytest.fixture
def settings(kafka: str, topic_prefix: str) -> Settings:
    found = Settings(kafka_bootstrap=kafka, topic_prefix=topic_prefix, partitions=2, retry_seconds=0.2)
    ensure_topics(found)
    return found


def item(item_id: str, offset: int, partition: int = 0, **fields: Any) -> State:
    return PRODUCT._replace(entity_id=item_id, offset=offset, partition=partition, **fields)


def publish(settings: Settings, *states: State, generation: int = 1, kind: Kind = "items") -> None:
    """As a processor does, in transactions."""
    topics = KafkaStateTopics(settings, BundledRegistry())
    numbers = sorted({state.partition for state in states})
    topics.open([(kind, number) for number in numbers])
    for state in states:  # one at a time: of a key, a publication has the newest only
        row = Row(message_key(state.org_id, state.entity_id), state, orjson.dumps(state.attributes).decode())
        topics.publish({(kind, state.partition): Publication(PlainRows(kind, [row]), [])}, generation)
    topics.close()
    wait_readable(settings)


def put(settings: Settings, key: bytes, value: bytes | None, partition: int = 0) -> None:
    """As a stranger does. (Kafka itself takes no record without a key for a compacted topic.)"""
    producer = Producer({"bootstrap.servers": settings.kafka_bootstrap})
    producer.produce(settings.topic_prefix + STATE_TOPIC["items"], value, key, partition)
    assert producer.flush(30) == 0


def after_waiting(following: Iterator[Any]) -> Iterator[Any]:
    """Kafka does not know at once who leads a partition that has just been made."""
    return (event for event in following if not isinstance(event, Waiting))


def until_caught_up(following: Iterator[Any]) -> list[Any]:
    events = []
    for event in after_waiting(following):
        if isinstance(event, CaughtUp):
            return events
        events.append(event)
    raise AssertionError("it ended")


def places(events: list[Any]) -> list[tuple[str, int, int]]:
    return [(event.item_id, event.generation, event.offset) for event in events]


def test_states_come_typed(settings: Settings) -> None:
    publish(settings, PRODUCT)
    publish(settings, State("org_1", "u", 5_000_001, "deleted", {}, 1, 1, 2, 1, 9, 0), kind="users", generation=4)
    with projections.follow("items", from_start=True, settings=settings) as items:
        assert until_caught_up(items) == [
            ItemState(
                "org_1", "A", "product", "active", {"name": "é😀", "n": [1, None]}, 3,
                datetime(1970, 1, 1, 0, 0, 0, 1, UTC), datetime(1970, 1, 1, 0, 0, 2, 500_000, UTC), 1, 0, 7,
            )
        ]  # fmt: skip
    with projections.follow("users", from_start=True, settings=settings) as users:
        (user,) = until_caught_up(users)
    assert isinstance(user, UserState)
    assert (user.user_id, user.created_at) == ("u", datetime(1970, 1, 1, 0, 0, 5, 1, UTC))
    assert user[8:] == (4, 1, 9)


def test_an_empty_topic_is_caught_up_with_at_once(settings: Settings) -> None:
    with projections.follow("items", from_start=True, settings=settings) as items:
        assert until_caught_up(items) == []
        assert items.position is not None
        assert items.position.offsets == (0, 0)


def test_without_from_start_it_begins_with_what_comes_next(settings: Settings) -> None:
    publish(settings, item("A", 1))
    with projections.follow("items", settings=settings) as items:
        assert until_caught_up(items) == []
        publish(settings, item("B", 2))
        assert places(until_caught_up(items)) == [("B", 1, 2)]


def test_it_says_again_and_again_that_it_has_caught_up(settings: Settings) -> None:
    with projections.follow("items", from_start=True, settings=settings) as items:
        for offset in range(4):
            assert places(until_caught_up(items)) == ([("A", 1, offset)] if offset else [])
            publish(settings, item("A", offset + 1))


def test_what_was_there_at_the_beginning_is_enough_to_have_caught_up(settings: Settings) -> None:
    """Where more and more comes, the end is never reached."""
    publish(settings, *(item(f"P-{n}", n, n % 2) for n in range(50)))
    over = threading.Event()

    def write() -> None:
        offset = 100
        while not over.is_set():
            publish(settings, item("more", offset), item("more too", offset + 1, 1))
            offset += 2

    writer = threading.Thread(target=write)
    writer.start()
    try:
        with projections.follow("items", from_start=True, settings=settings) as items:
            assert {f"P-{n}" for n in range(50)} <= {event.item_id for event in until_caught_up(items)}
    finally:
        over.set()
        writer.join()


@pytest.mark.parametrize("as_json", [False, True])
def test_resumes_after_the_last_event_given(settings: Settings, as_json: bool) -> None:
    """However far it is, each state comes once over all readers, and in the order of its key."""
    publish(settings, *(item(f"P-{n % 5}", n, n % 5 % 2) for n in range(40)))
    chosen, seen = random.Random(1), []
    resume: TopicPosition | str | None = None
    while CaughtUp() not in seen:
        with projections.follow("items", from_start=True, settings=settings, resume=resume) as items:
            for event in islice(after_waiting(items), chosen.randrange(1, 6)):
                seen.append(event)
                if isinstance(event, CaughtUp):
                    break
            assert items.position is not None
            resume = items.position.json() if as_json else items.position
    states = [event for event in seen if isinstance(event, ItemState)]
    assert sorted(state.offset for state in states) == list(range(40))
    for key in range(5):
        assert [state.offset for state in states if state.item_id == f"P-{key}"] == list(range(key, 40, 5))


def test_what_is_not_newer_than_what_was_given_is_dropped(settings: Settings) -> None:
    """A processor publishes again what it may have published; a database that is made again, what is old."""
    publish(settings, item("A", 5), item("B", 6), item("A", 8))
    publish(settings, item("A", 5), item("A", 8), item("B", 7))
    publish(settings, item("A", 2), item("B", 3), generation=2)  # another fold, of fewer events
    publish(settings, item("A", 9), item("B", 2), generation=1)
    with projections.follow("items", from_start=True, settings=settings) as items:
        events = until_caught_up(items)
        assert items.dropped == 4
    assert places(events) == [("A", 1, 5), ("B", 1, 6), ("A", 1, 8), ("B", 1, 7), ("A", 2, 2), ("B", 2, 3)]


def test_it_remembers_a_bounded_number_of_keys(settings: Settings) -> None:
    publish(settings, *(item(f"P-{n}", n) for n in range(4)), *(item(f"P-{n}", n) for n in range(4)))
    with projections.follow("items", from_start=True, settings=settings, remember=3) as items:
        assert len(until_caught_up(items)) == 8
    with projections.follow("items", from_start=True, settings=settings, remember=4) as items:
        assert len(until_caught_up(items)) == 4


@pytest.mark.parametrize(
    ("generation", "offset", "newer"), [(1, 9, True), (2, 4, True), (2, 5, False), (2, 6, False), (3, 0, False)]
)
def test_states_of_a_key_are_ordered_by_generation_then_offset(generation: int, offset: int, newer: bool) -> None:
    times = (datetime.now(UTC), datetime.now(UTC))
    assert ItemState("o", "i", "t", "active", {}, 1, *times, 2, 0, 5).newer_than(generation, offset) is newer
    assert UserState("o", "i", times[0], "active", {}, 1, *times, 2, 0, 5).newer_than(generation, offset) is newer


def test_one_organisation_alone(settings: Settings) -> None:
    publish(settings, item("A", 1), item("B", 2, org_id="org_2"), item("C", 3, org_id="org_10"), item("D", 4))
    with projections.follow("items", from_start=True, settings=settings, org_id="org_1") as items:
        assert places(until_caught_up(items)) == [("A", 1, 1), ("D", 1, 4)]
        assert items.position is not None
        assert items.position.offsets[0] >= 4


def value_of(state: State, **fields: Any) -> bytes:
    changed = state._replace(**fields)
    return StateCodec("items", BundledRegistry()).encode(changed, orjson.dumps(changed.attributes).decode(), 1)


GOOD = value_of(PRODUCT)
POISON = {
    "no value": (b"org_1:A", None, "the record has no value"),
    "an empty value": (b"org_1:A", b"", "the record has no value"),
    "another key": (b"org_1:B", GOOD, "the record's key is not its value's org_id:item_id"),
    "another format": (b"org_1:A", b"\x01" + GOOD[1:], "the value does not begin as Confluent's wire format does"),
    "too short": (b"org_1:A", GOOD[:3], "the value does not begin as Confluent's wire format does"),
    "an unknown schema": (b"org_1:A", b"\x00\x00\x00\x00\x63" + GOOD[5:], "no schema has the id 99"),
    "another record": (b"org_1:A", b"\x00\x00\x00\x00\x01" + GOOD[5:], "the value is no ItemState"),
    "cut": (b"org_1:A", GOOD[:-9], "the value is no ItemState"),
    "noise": (b"org_1:A", b"\x00\x00\x00\x00\x03" + random.Random(1).randbytes(70_000), "the value is no ItemState"),
    "attributes that are no object": (b"org_1:A", value_of(PRODUCT, attributes=[]), "the attributes are not a JSON object"),
    "another partition": (b"org_1:A", value_of(PRODUCT, partition=1), "the state belongs on partition 1"),
    "a time that no calendar has": (b"org_1:A", value_of(PRODUCT, updated_at=2**62), "the value is no ItemState"),
}


@pytest.mark.parametrize("name", POISON)
def test_what_is_no_state_is_told_and_the_next_one_comes(settings: Settings, name: str) -> None:
    key, value, reason = POISON[name]
    put(settings, key, value)
    publish(settings, PRODUCT)
    with projections.follow("items", from_start=True, settings=settings) as items:
        told, state = until_caught_up(items)
    assert isinstance(told, Undecodable)
    assert told[:3] == (settings.topic_prefix + "items.state.v1", 0, 0)
    assert told.reason.startswith(reason)
    assert (told.key, told.value) == (key, value)
    assert places([state]) == [("A", 1, 7)]


class Absent(BundledRegistry):
    """A registry that answers at the third time of asking."""

    asked = 0

    def schema_of(self, schema_id: int) -> dict[str, Any]:
        self.asked += 1
        if self.asked < 3:
            raise Unreachable("the registry does not answer")
        return super().schema_of(schema_id)


def test_a_registry_that_is_away_is_waited_for(settings: Settings) -> None:
    publish(settings, item("A", 1), item("B", 2))
    with projections.follow("items", from_start=True, settings=settings, registry=Absent()) as items:
        events = list(iter(items.__next__, CaughtUp()))
    waited = [event for event in events if isinstance(event, Waiting) and event.reason == "the registry does not answer"]
    assert len(waited) == 2
    assert places([event for event in events if isinstance(event, ItemState)]) == [("A", 1, 1), ("B", 1, 2)]


def test_a_topic_that_was_made_anew_is_not_resumed(settings: Settings) -> None:
    publish(settings, item("A", 1))
    with projections.follow("items", from_start=True, settings=settings) as items:
        until_caught_up(items)
        position = items.position
    assert position is not None
    behind = position._replace(offsets=(position.offsets[0] + 100, position.offsets[1]))
    with (
        projections.follow("items", settings=settings, resume=behind) as items,
        pytest.raises(TopicReplaced, match="has no"),
    ):
        next(after_waiting(items))
    with (
        projections.follow("users", settings=settings, resume=position) as users,
        pytest.raises(TopicReplaced, match="not the topic"),
    ):
        next(after_waiting(users))
    admin = AdminClient({"bootstrap.servers": settings.kafka_bootstrap})
    admin.delete_topics([position.topic])[position.topic].result(30)
    ensure_topics(settings)
    with (
        projections.follow("items", settings=settings, resume=position) as items,
        pytest.raises(TopicReplaced, match="not the topic"),
    ):
        next(after_waiting(items))


def test_a_topic_that_is_not_there_is_an_error(kafka: str, topic_prefix: str) -> None:
    following = projections.follow("items", settings=Settings(kafka_bootstrap=kafka, topic_prefix=topic_prefix))
    with following, pytest.raises(FoldlineError, match="foldline init"):
        next(following)


def test_it_ends_when_it_is_told_to(settings: Settings) -> None:
    publish(settings, *(item(f"P-{n}", n) for n in range(10)))
    stop = threading.Event()
    events = []
    for event in after_waiting(projections.follow("items", from_start=True, settings=settings, stop=stop)):
        events.append(event)
        if len(events) == 3:
            stop.set()
    assert places(events) == [("P-0", 1, 0), ("P-1", 1, 1), ("P-2", 1, 2)]


@pytest.mark.parametrize("text", ["{}", "[]", '{"topic": "t", "topic_id": "i", "offsets": [-1]}', '{"topic": 1}', "1"])
def test_what_is_no_position_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a position"):
        projections.follow("items", resume=text)


def test_a_position_survives_json() -> None:
    position = TopicPosition("p.items.state.v1", "abc", (1, 2, 3))
    assert position.json() == '{"topic": "p.items.state.v1", "topic_id": "abc", "offsets": [1, 2, 3]}'
    assert TopicPosition.parse(position.json()) == position
