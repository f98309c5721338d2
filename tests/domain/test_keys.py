"""Where a record lives: keys, ids and Kafka's hash."""

from __future__ import annotations

import random

import pytest
from confluent_kafka import Message, Producer
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]
from hypothesis import given
from hypothesis import strategies as st

from foldline.domain.keys import id_fault, message_key, murmur2, partition_of, split_key


@pytest.mark.parametrize(
    ("data", "signed"),
    [  # from Kafka's own UtilsTest
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"a-little-bit-long-string", -985981536),
        (b"a-little-bit-longer-string", -1486304829),
        (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        (b"abc", 479470107),
    ],
)
def test_murmur2(data: bytes, signed: int) -> None:
    assert murmur2(data) == signed % 2**32


def test_keys_go_where_producers_send_them(kafka: str, topic_prefix: str) -> None:
    topic, partitions = f"{topic_prefix}keys", 12
    admin = AdminClient({"bootstrap.servers": kafka})
    admin.create_topics([NewTopic(topic, partitions, 1)])[topic].result(10)
    chosen = random.Random(1)
    keys = [chosen.randbytes(length) for length in range(1, 64)] + [message_key("org_1", f"é😀{n}") for n in range(100)]
    sent: list[tuple[bytes | None, int | None]] = []
    producer = Producer({"bootstrap.servers": kafka, "partitioner": "murmur2_random"})

    def delivered(error: object, message: Message) -> None:
        assert error is None
        sent.append((message.key(), message.partition()))

    for key in keys:
        producer.produce(topic, b"", key, on_delivery=delivered)
    assert producer.flush(30) == 0
    assert sorted(sent) == sorted((key, partition_of(key, partitions)) for key in keys)


def test_a_key_is_its_organisation_and_its_id() -> None:
    assert message_key("org_1", "a:b é") == "org_1:a:b é".encode()
    assert split_key(b"org_1:a:b") == ("org_1", "a:b")
    assert split_key(b"org_1:") == ("org_1", "")


@pytest.mark.parametrize("key", [b"", b"org_1", b"org_1:\xff", b"org_1:\x00", b"\x00:a"])
def test_what_cannot_be_a_key(key: bytes) -> None:
    assert split_key(key) is None


ENTITY_IDS = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=5)


@given(st.text("abc-_", max_size=4), ENTITY_IDS)
def test_keys_there_and_back(org_id: str, entity_id: str) -> None:
    assert split_key(message_key(org_id, entity_id)) == (org_id, entity_id)


@pytest.mark.parametrize(
    "entity_id",
    ["a", " ", " a ", "i" * 256, "😀" * 256, "a:b", "/", "%00", "\\", "\u2028", "\u200b", "\xa0", "\ufeff", "\ue000"],
)
def test_an_id_that_holds(entity_id: str) -> None:
    assert id_fault(entity_id) is None


@pytest.mark.parametrize(
    ("entity_id", "code"),
    [
        ("", "invalid_id"), ("\x00", "invalid_id"), ("a\nb", "invalid_id"), ("\t", "invalid_id"), ("a\x7f", "invalid_id"),
        ("é\x85", "invalid_id"), ("\x9f", "invalid_id"), ("i" * 257, "too_long"), ("😀" * 257, "too_long"),
        ("\ud800", "invalid_string"),
    ],
)  # fmt: skip
def test_an_id_that_does_not(entity_id: str, code: str) -> None:
    fault = id_fault(entity_id)
    assert fault is not None
    assert fault[0] == code
    assert fault[1].isprintable()
