"""The topics: their names, their settings, how they are made and asserted.

1. The log (`*.upserts.v1`) and the dead letters are kept for ever; the log's timestamps are the broker's append times.
2. The projection topics (`*.state.v1`) are compacted and hold no tombstones.
3. The number of partitions never changes once there are data: it decides where a key lives.
"""

from __future__ import annotations

import time
from typing import NamedTuple

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic, ResourceType  # type: ignore[attr-defined]

from foldline.adapters.codec import STATE_TOPIC, UPSERTS_TOPIC
from foldline.adapters.security import client_config
from foldline.domain.errors import FoldlineError, Unreachable
from foldline.settings import Settings

DEAD_LETTERS_TOPIC = "upserts.dead-letters.v1"
TIMEOUT_SECONDS = 15.0
KNOWN_POLL_SECONDS = 0.1
UNKNOWN_TOPIC = (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC, KafkaError._UNKNOWN_PARTITION)


class TopicState(NamedTuple):
    """What identifies a topic's log: the broker's id of it, which a topic made anew does not share, and its partitions."""

    topic_id: str
    partitions: int


def topic_configs(settings: Settings) -> dict[str, dict[str, str]]:
    """The settings that every topic must have, by its name with prefix."""
    common = {
        "max.message.bytes": str(settings.message_max_bytes),
        "min.insync.replicas": str(settings.min_insync_replicas),
    }
    kept = {"cleanup.policy": "delete", "retention.ms": "-1", "retention.bytes": "-1"} | common
    compacted = {"cleanup.policy": "compact", "max.compaction.lag.ms": str(settings.state_compaction_lag_seconds * 1000)}
    configs = {topic: kept | {"message.timestamp.type": "LogAppendTime"} for topic in UPSERTS_TOPIC.values()}
    configs |= dict.fromkeys(STATE_TOPIC.values(), compacted | common)
    configs[DEAD_LETTERS_TOPIC] = kept
    return {settings.topic_prefix + topic: config for topic, config in configs.items()}


def admin_client(settings: Settings) -> AdminClient:
    """An admin client. It connects when it is first used, and never logs to stderr."""
    return AdminClient(client_config(settings) | {"log_level": 0})


def ensure_topics(settings: Settings) -> None:
    """Makes the topics that are missing and asserts the settings of all. Safe to repeat.

    Raises `Unreachable`, and `FoldlineError` where a topic has other partitions or settings than it must have.
    """
    admin = admin_client(settings)
    wanted = topic_configs(settings)
    try:
        present = set(admin.list_topics(timeout=TIMEOUT_SECONDS).topics)
        missing = [
            NewTopic(name, settings.partitions, settings.replication_factor, config=config)
            for name, config in wanted.items()
            if name not in present
        ]
        if missing:
            for made in admin.create_topics(missing, operation_timeout=TIMEOUT_SECONDS).values():
                made.result()
        described = _described_when_known(admin, list(wanted))
        resources = [ConfigResource(ResourceType.TOPIC, name) for name in wanted]
        actual = {resource.name: future.result() for resource, future in admin.describe_configs(resources).items()}
    except KafkaException as error:
        raise unreachable(settings, error) from error
    for name, config in wanted.items():
        if described[name].partitions != settings.partitions:
            raise FoldlineError(
                f"topic {name} has {described[name].partitions} partitions, FOLDLINE_PARTITIONS says {settings.partitions}: "
                "the number never changes once there are data, so mend the setting"
            )
        for key, value in config.items():
            if actual[name][key].value != value:
                raise FoldlineError(f"topic {name} has {key}={actual[name][key].value}, it must be {value}: alter the topic")


def _described_when_known(admin: AdminClient, names: list[str]) -> dict[str, TopicState]:
    """A topic that has just been made is not at once known to the broker that is asked."""
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while True:
        try:
            return describe_topics(admin, names)
        except KafkaException as error:
            if not lacks_topic(error) or time.monotonic() > deadline:
                raise
        time.sleep(KNOWN_POLL_SECONDS)


def describe_topics(admin: AdminClient, names: list[str], timeout_seconds: float = TIMEOUT_SECONDS) -> dict[str, TopicState]:
    """Ids and partitions of topics. Raises `KafkaException` for one that does not exist."""
    described = admin.describe_topics(TopicCollection(names), request_timeout=timeout_seconds)
    return {
        name: TopicState(str(topic.topic_id), len(topic.partitions))
        for name, topic in ((name, future.result()) for name, future in described.items())
    }


def described(settings: Settings, topic: str) -> TopicState:
    """A topic's id and partitions. Raises `Unreachable`, and `FoldlineError` before `foldline init` has run."""
    try:
        return describe_topics(admin_client(settings), [topic])[topic]
    except KafkaException as error:
        raise unreachable(settings, error) from error


def lacks_topic(error: KafkaException) -> bool:
    """Whether Kafka answered, and said that there is no such topic or partition."""
    return error.args[0].code() in UNKNOWN_TOPIC


def unreachable(settings: Settings, error: KafkaException) -> FoldlineError:
    """Our error for one of Kafka's: `Unreachable`, or `FoldlineError` before `foldline init` has run."""
    if lacks_topic(error):
        return FoldlineError(f"Kafka at {settings.kafka_bootstrap} lacks a topic: run `foldline init`")
    return Unreachable(f"Kafka at {settings.kafka_bootstrap} did not do what it was asked: {error.args[0].str()}")
