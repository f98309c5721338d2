"""Dead letters as tests look at them: in the table and on their topic."""

from __future__ import annotations

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, TopicPartition

from foldline.adapters.consumer import arrived, reader_config
from foldline.adapters.postgres import connect
from foldline.settings import Settings
from projections.letters import Wanted, every
from projections.state import DeadLetter


def dead_letters(settings: Settings) -> list[DeadLetter]:
    """Every dead letter of the live generation, newest first."""
    with connect(settings.database_url, "test") as connection:
        return [
            DeadLetter(
                one.org_id,
                one.entity_id,
                one.request_id,
                one.record_index,
                one.code,
                one.field,
                one.message,
                one.kind,
                one.place.partition,
                one.place.offset,
                one.key,
                one.value,
                one.logged_at,
            )
            for one in every(connection, settings, Wanted(), raw=True)
        ]


def dead_letters_on_topic(settings: Settings, topic: str) -> dict[tuple[int, int], tuple[bytes | None, bytes | None, str]]:
    """What the topic has, by the source's partition and offset: key, value, reason."""
    consumer = Consumer(reader_config(settings))
    consumer.assign([TopicPartition(topic, partition, OFFSET_BEGINNING) for partition in range(settings.partitions)])
    unread, found = set(range(settings.partitions)), {}
    while unread:
        for message in arrived(consumer, 1000, 10.0):
            if message.error() is not None:
                assert message.error().code() == KafkaError._PARTITION_EOF
                unread.discard(message.partition())
                continue
            headers = {name: value.decode() for name, value in message.headers()}
            place = (int(headers["source_partition"]), int(headers["source_offset"]))
            assert place not in found
            found[place] = message.key(), message.value(), headers["reason"]
    consumer.close()
    return found
