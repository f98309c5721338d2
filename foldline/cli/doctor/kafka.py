"""Kafka: reached, new enough, and able to do what the settings ask."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping, Sequence

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType  # type: ignore[attr-defined]

from foldline.adapters.brokers import metadata_levels
from foldline.adapters.security import client_config
from foldline.adapters.topics import TIMEOUT_SECONDS, admin_client
from foldline.cli.doctor.deployment import Deployment
from foldline.cli.doctor.findings import Finding, Findings, fault, ok, unless, warning
from foldline.settings import Settings

REACHED_SECONDS = 5.0
CONNECT_SECONDS = 1.0
KAFKA_4_LEVEL = 25  # of metadata.version

NOT_THERE = "see that it runs there and that nothing between you and it drops connections, or mend FOLDLINE_KAFKA_BOOTSTRAP"
CREDENTIALS = "mend FOLDLINE_KAFKA_SASL_MECHANISM, FOLDLINE_KAFKA_SASL_USERNAME and FOLDLINE_KAFKA_SASL_PASSWORD"
CERTIFICATES = "mend FOLDLINE_KAFKA_SSL_CA_FILE, and FOLDLINE_KAFKA_SSL_CERTIFICATE_FILE where Kafka asks for a certificate"
PROTOCOL = "it accepts connections and does not answer: mend FOLDLINE_KAFKA_SECURITY_PROTOCOL, or see whether Kafka is well"
# What librdkafka says, by its code or a piece of its words, and what to do. The most telling first: who is refused for
# one of these is away for it, too.
REFUSALS: Sequence[tuple[int | str, str]] = (
    (KafkaError._AUTHENTICATION, CREDENTIALS),
    (KafkaError.SASL_AUTHENTICATION_FAILED, CREDENTIALS),
    ("security.protocol", PROTOCOL),
    ("PLAINTEXT broker listener", PROTOCOL),
    (KafkaError._SSL, CERTIFICATES),
    ("SSL routines", CERTIFICATES),
    (KafkaError._RESOLVE, "mend the host in FOLDLINE_KAFKA_BOOTSTRAP"),
)


def reach(deployment: Deployment) -> Findings:
    """Asks for the brokers, and listens to what librdkafka says while it tries."""
    settings = deployment.settings
    said: list[KafkaError] = []
    try:
        admin = AdminClient(client_config(settings) | {"log_level": 0, "error_cb": said.append})
    except KafkaException as error:
        return [fault(f"no connection to Kafka can be made: {error.args[0].str()}", CERTIFICATES)]
    listens = _connects(settings.kafka_bootstrap)
    try:
        brokers = _brokers(admin, said, patient=listens)
    except KafkaException as error:
        otherwise = deployment.log_or("kafka", PROTOCOL if listens else NOT_THERE)
        return [judged_refusal(settings, [*said, error.args[0]], otherwise)]
    deployment.reached.add("kafka")
    return [ok(f"{brokers} broker{'s' if brokers > 1 else ''} at {settings.kafka_bootstrap}")]


def _brokers(admin: AdminClient, said: Sequence[KafkaError], *, patient: bool) -> int:
    """How many brokers there are. Who is busy is asked again, unless it has said already why it does not answer."""
    try:
        return len(admin.list_topics(timeout=REACHED_SECONDS).brokers)
    except KafkaException:
        admin.poll(0)
        if not patient or _telling(said):
            raise
    try:
        return len(admin.list_topics(timeout=TIMEOUT_SECONDS).brokers)
    finally:
        admin.poll(0)


def judged_refusal(settings: Settings, said: Sequence[KafkaError], otherwise: str) -> Finding:
    """Why Kafka was not reached, by everything that was said of it; `otherwise` is what to do where nothing tells."""
    if (found := _telling(said)) is not None:
        return _refused(settings, *found)
    first = next((error for error in said if error.code() == KafkaError._TRANSPORT), said[0])
    return _refused(settings, first, otherwise)


def _telling(said: Sequence[KafkaError]) -> tuple[KafkaError, str] | None:
    """What of all that was said tells most, and what to do about it."""
    for sign, what in REFUSALS:
        for error in said:
            if sign == error.code() or (isinstance(sign, str) and sign in error.str()):
                return error, what
    return None


def _refused(settings: Settings, error: KafkaError, what: str) -> Finding:
    return fault(f"Kafka at {settings.kafka_bootstrap} cannot be reached: {' '.join(error.str().split())}", what)


def _connects(bootstrap: str) -> bool:
    """Whether anybody listens at one of the addresses."""
    for address in bootstrap.split(","):
        host, _, port = address.strip().rpartition(":")
        try:
            with socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS):
                return True
        except (OSError, ValueError):
            continue
    return False


def version(deployment: Deployment) -> Findings:
    """The brokers' versions, by the newest level of their metadata."""
    levels = metadata_levels(deployment.settings, TIMEOUT_SECONDS)
    old = sorted(broker for broker, level in levels.items() if level < KAFKA_4_LEVEL)
    if old:
        return [
            warning(
                f"brokers {old} are older than Kafka 4.0, or another program",
                "use Kafka 4.1 or newer, which Foldline is tested with",
            )
        ]
    return [ok("every broker is Kafka 4.0 or newer")]


def limits(deployment: Deployment) -> Findings:
    """Whether the brokers let processors and topics be what the settings ask."""
    admin = admin_client(deployment.settings)
    brokers = sorted(admin.list_topics(timeout=TIMEOUT_SECONDS).brokers)
    resource = ConfigResource(ResourceType.BROKER, str(brokers[0]))
    entries = admin.describe_configs([resource])[resource].result(TIMEOUT_SECONDS)
    config = {name: entry.value for name, entry in entries.items()}
    return unless(judged_limits(deployment.settings, len(brokers), config), "the brokers allow what the settings ask")


def judged_limits(settings: Settings, brokers: int, config: Mapping[str, str | None]) -> Iterator[Finding]:
    """Where the settings ask more than so many brokers with this configuration allow."""
    if settings.replication_factor > brokers:
        yield fault(
            f"FOLDLINE_REPLICATION_FACTOR is {settings.replication_factor}, and there are {brokers} brokers",
            "lower it, or add brokers",
        )
    if settings.replication_factor == 1 < brokers:
        yield warning(
            f"FOLDLINE_REPLICATION_FACTOR is 1 on {brokers} brokers: the loss of one loses a part of the log",
            "set it to 3, FOLDLINE_MIN_INSYNC_REPLICAS to 2, and reassign the topics (kafka-reassign-partitions.sh)",
        )
    transaction = _number(config, "transaction.max.timeout.ms")
    if transaction is not None and settings.transaction_timeout_seconds * 1000 > transaction:
        yield fault(
            f"FOLDLINE_TRANSACTION_TIMEOUT_SECONDS is {settings.transaction_timeout_seconds:g}, more than Kafka's "
            f"transaction.max.timeout.ms of {transaction:g}: nothing can be published",
            "lower the first, or raise the second",
        )
    least, most = (_number(config, f"group.{end}.session.timeout.ms") for end in ("min", "max"))
    session = settings.session_timeout_seconds * 1000
    if (least is not None and session < least) or (most is not None and session > most):
        yield fault(
            f"FOLDLINE_SESSION_TIMEOUT_SECONDS is {settings.session_timeout_seconds:g}, outside of what Kafka allows "
            "(group.min.session.timeout.ms to group.max.session.timeout.ms): no processor can join the group",
            "change the first, or the others",
        )
    if config.get("unclean.leader.election.enable") == "true":
        yield warning("unclean.leader.election.enable is on: Kafka may lose records that it has acknowledged", "turn it off")


def _number(config: Mapping[str, str | None], name: str) -> float | None:
    """A value of the broker's; None where it does not tell it."""
    value = config.get(name)
    return None if value is None else float(value)
