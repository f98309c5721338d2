"""The topics: all there, each as `foldline init` makes it, and the log the one that was folded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from confluent_kafka import KafkaException, TopicCollection
from confluent_kafka.admin import ConfigResource, ResourceType  # type: ignore[attr-defined]

from foldline.adapters.codec import UPSERTS_TOPIC
from foldline.adapters.consumer import Claim, KafkaLogReader
from foldline.adapters.topics import TIMEOUT_SECONDS, admin_client, lacks_topic, topic_configs
from foldline.cli.doctor.deployment import Deployment
from foldline.cli.doctor.findings import Finding, Findings, fault, ok, unless, warning
from foldline.domain.errors import LogReplaced
from foldline.settings import Settings

ALTER = "kafka-configs.sh --alter --entity-type topics --entity-name {topic} --add-config {name}={value}"


class Topic(NamedTuple):
    """What Kafka has: of each partition how many replicas, and how many of them are in sync (0 without a leader)."""

    config: Mapping[str, str | None]
    replicas: list[tuple[int, int]]


def present(deployment: Deployment) -> Findings:
    """Every topic and its settings."""
    wanted = topic_configs(deployment.settings)
    found = _described(deployment.settings, list(wanted))
    findings = list(judged_topics(deployment.settings, wanted, found))
    if {deployment.settings.topic_prefix + topic for topic in UPSERTS_TOPIC.values()} <= found.keys():
        deployment.reached.add("log")
    return findings or [ok(f"{len(wanted)} topics, each with {deployment.settings.partitions} partitions, as they must be")]


def _described(settings: Settings, names: list[str]) -> dict[str, Topic]:
    """Those of the topics that there are."""
    admin = admin_client(settings)
    described = {}
    for name, future in admin.describe_topics(TopicCollection(names), request_timeout=TIMEOUT_SECONDS).items():
        try:
            described[name] = future.result(TIMEOUT_SECONDS)
        except KafkaException as error:
            if not lacks_topic(error):
                raise
    resources = [ConfigResource(ResourceType.TOPIC, name) for name in described]
    configs = admin.describe_configs(resources) if resources else {}
    found = {}
    for resource, future in configs.items():
        partitions = described[resource.name].partitions
        replicas = [(len(one.replicas), len(one.isr) if one.leader is not None else 0) for one in partitions]
        config = {name: entry.value for name, entry in future.result(TIMEOUT_SECONDS).items()}
        found[resource.name] = Topic(config, replicas)
    return found


def judged_topics(
    settings: Settings, wanted: Mapping[str, Mapping[str, str]], found: Mapping[str, Topic]
) -> Iterator[Finding]:
    """What is wrong with the topics that there are, and which are missing."""
    if missing := [name for name in wanted if name not in found]:
        yield fault(
            f"there is no topic {', '.join(missing)}",
            "run `foldline init`, which makes it; where it was deleted, its records are gone: restore the log first",
        )
    counts = {len(topic.replicas) for topic in found.values()}
    for name, topic in sorted(found.items()):
        if len(topic.replicas) != settings.partitions:
            yield _partitions(settings, name, len(topic.replicas), alike=len(counts) == 1)
        for key, value in wanted[name].items():
            if topic.config.get(key) != value:
                alter = ALTER.format(topic=name, name=key, value=value)
                yield fault(f"{name} has {key}={topic.config.get(key)}, it must be {value}", f"alter it: {alter}")
        yield from _replicas(name, topic)


def _partitions(settings: Settings, name: str, count: int, *, alike: bool) -> Finding:
    message = f"{name} has {count} partitions, FOLDLINE_PARTITIONS says {settings.partitions}"
    if alike:
        return fault(message, f"set FOLDLINE_PARTITIONS={count}: the number never changes once there are data")
    return fault(
        message,
        f"it decides where a key lives, and cannot be lowered again: stop gateways and processors, and restore {name} with "
        f"{settings.partitions} partitions",
    )


def _replicas(name: str, topic: Topic) -> Iterator[Finding]:
    least = int(topic.config.get("min.insync.replicas") or 1)
    short = [number for number, (replicas, _) in enumerate(topic.replicas) if replicas < least]
    stopped = [number for number, (_, in_sync) in enumerate(topic.replicas) if in_sync < least and number not in short]
    behind = [n for n, (replicas, in_sync) in enumerate(topic.replicas) if least <= in_sync < replicas]
    if short:
        yield fault(
            f"{name} has fewer replicas than its min.insync.replicas of {least}: nothing can be written to it",
            "give it more replicas (kafka-reassign-partitions.sh), or lower min.insync.replicas",
        )
    if stopped:
        yield fault(
            f"{name} has too few replicas in sync in partitions {stopped}: nothing can be written to them",
            "bring the brokers that are away back",
        )
    if behind:
        yield warning(
            f"{name} has replicas that are not in sync in partitions {behind}", "see which broker is away or too slow"
        )


def the_same_log(deployment: Deployment) -> Findings:
    """Whether the log is the one that was folded, as a processor looks at it before it folds."""
    kinds = {deployment.settings.topic_prefix + topic: kind for kind, topic in UPSERTS_TOPIC.items()}
    claims = [Claim(kinds[topic], *rest) for topic, *rest in deployment.rows("claims") if topic in kinds]
    return unless(_replaced(deployment.settings, claims), f"the log is the one that was folded, in {len(claims)} partitions")


def _replaced(settings: Settings, claims: list[Claim]) -> Iterator[Finding]:
    if not claims:
        yield fault("no partition of the log has a position", "run `foldline init`")
    try:
        KafkaLogReader(settings).verify(claims)
    except LogReplaced as error:
        yield fault(
            str(error),
            "no processor starts until then: let the two name a log and its database, or restore the one that is lost",
        )
