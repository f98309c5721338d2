"""Settings that each may be right, and do not go together."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from foldline.cli.doctor.deployment import Deployment
from foldline.cli.doctor.findings import Finding, Findings, fault, unless, warning
from foldline.settings import Settings

# What the contract lets a record's attributes have, and what a topic has to take beside them.
ATTRIBUTES_BYTES = 1024 * 1024
ENVELOPE_BYTES = 64 * 1024
POLL_INTERVAL_SECONDS = 300  # librdkafka's max.poll.interval.ms
REQUEST_BYTES = 16 * 1024  # what a request counts for beside its body


class Rule(NamedTuple):
    """`broken` says whether settings contradict each other, `message` how, `remedy` what to change."""

    broken: Callable[[Settings], bool]
    finding: Callable[[str, str], Finding]
    message: str
    remedy: str


RULES = (
    Rule(
        lambda s: s.min_insync_replicas > s.replication_factor,
        fault,
        "FOLDLINE_MIN_INSYNC_REPLICAS is more than FOLDLINE_REPLICATION_FACTOR: no write can ever be acknowledged",
        "lower it below the replication factor: 2 of 3 for a cluster",
    ),
    Rule(
        lambda s: s.min_insync_replicas == s.replication_factor > 1,
        warning,
        "FOLDLINE_MIN_INSYNC_REPLICAS is as much as FOLDLINE_REPLICATION_FACTOR: one broker that is away stops all writes",
        "lower it by one: 2 of 3 for a cluster",
    ),
    Rule(
        lambda s: s.message_max_bytes < ATTRIBUTES_BYTES + ENVELOPE_BYTES,
        fault,
        "FOLDLINE_MESSAGE_MAX_BYTES is less than a record may have, 1 MiB of attributes and what goes with them",
        f"raise it to {ATTRIBUTES_BYTES + ENVELOPE_BYTES} or more, and alter the topics",
    ),
    Rule(
        lambda s: s.message_max_bytes < s.max_body_bytes + ENVELOPE_BYTES,
        fault,
        "FOLDLINE_MAX_BODY_BYTES lets in records that are larger than FOLDLINE_MESSAGE_MAX_BYTES",
        "lower the first, or raise the second and alter the topics",
    ),
    Rule(
        lambda s: s.max_pending_kilobytes * 1024 < s.max_body_bytes + REQUEST_BYTES,
        fault,
        "FOLDLINE_MAX_PENDING_KILOBYTES has no room for one body of FOLDLINE_MAX_BODY_BYTES: it would be 503 for ever",
        "raise the first",
    ),
    Rule(
        lambda s: s.producer_queue_kilobytes * 1024 < s.max_body_bytes + ENVELOPE_BYTES,
        fault,
        "FOLDLINE_PRODUCER_QUEUE_KILOBYTES has no room for one body of FOLDLINE_MAX_BODY_BYTES: it would be 503 for ever",
        "raise the first",
    ),
    Rule(
        lambda s: s.producer_queue_messages < s.max_records,
        fault,
        "FOLDLINE_PRODUCER_QUEUE_MESSAGES has no room for a request of FOLDLINE_MAX_RECORDS: it would be 503 for ever",
        "raise the first",
    ),
    Rule(
        lambda s: s.import_pending_records < s.import_chunk_records,
        warning,
        "FOLDLINE_IMPORT_PENDING_RECORDS is less than FOLDLINE_IMPORT_CHUNK_RECORDS: every chunk waits for the one before",
        "raise the first to a few chunks",
    ),
    Rule(
        lambda s: s.transaction_timeout_seconds >= POLL_INTERVAL_SECONDS,
        warning,
        "FOLDLINE_TRANSACTION_TIMEOUT_SECONDS is longer than the 300 s that Kafka waits for partitions to be given back",
        "lower it",
    ),
    Rule(
        lambda s: s.kafka_security_protocol.startswith("SASL") and not (s.kafka_sasl_username and s.kafka_sasl_password),
        fault,
        "FOLDLINE_KAFKA_SECURITY_PROTOCOL wants a user, and there is none",
        "set FOLDLINE_KAFKA_SASL_USERNAME and FOLDLINE_KAFKA_SASL_PASSWORD",
    ),
    Rule(
        lambda s: s.kafka_sasl_username is not None and not s.kafka_security_protocol.startswith("SASL"),
        warning,
        "FOLDLINE_KAFKA_SASL_USERNAME is not used: FOLDLINE_KAFKA_SECURITY_PROTOCOL has no SASL",
        "set the protocol to SASL_SSL, or leave the user out",
    ),
    Rule(
        lambda s: s.kafka_ssl_ca_file is not None and not s.kafka_security_protocol.endswith("SSL"),
        warning,
        "FOLDLINE_KAFKA_SSL_CA_FILE is not used: FOLDLINE_KAFKA_SECURITY_PROTOCOL does not encrypt",
        "set the protocol to SSL or SASL_SSL, or leave the file out",
    ),
    Rule(
        lambda s: (s.kafka_ssl_certificate_file is None) != (s.kafka_ssl_key_file is None),
        fault,
        "of FOLDLINE_KAFKA_SSL_CERTIFICATE_FILE and FOLDLINE_KAFKA_SSL_KEY_FILE only one is set",
        "set both, or neither",
    ),
    Rule(
        lambda s: s.master_key is not None and s.master_key_file is not None,
        warning,
        "FOLDLINE_MASTER_KEY_FILE is not looked at: FOLDLINE_MASTER_KEY is set, too",
        "set one of the two",
    ),
)


def contradictions(deployment: Deployment) -> Findings:
    """Every rule that the settings break, and files that they name and are not there."""
    return unless(_found(deployment.settings), "no setting contradicts another one")


def _found(settings: Settings) -> Iterator[Finding]:
    for rule in RULES:
        if rule.broken(settings):
            yield rule.finding(rule.message, rule.remedy)
    for name in ("kafka_ssl_ca_file", "kafka_ssl_certificate_file", "kafka_ssl_key_file"):
        path = getattr(settings, name)
        if path is not None and not Path(path).is_file():
            yield fault(f"FOLDLINE_{name.upper()} names {path}, which is no file", "name the file as it is on this machine")
