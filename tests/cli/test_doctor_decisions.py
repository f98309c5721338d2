"""What `foldline doctor` makes of what it has gathered, where no server of a test can be brought to it."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from confluent_kafka import KafkaError
from pydantic import SecretStr

from foldline.cli.doctor.clock import Written, judged_database, judged_records
from foldline.cli.doctor.contradictions import RULES
from foldline.cli.doctor.database import judged_server, judged_user, remedy
from foldline.cli.doctor.disk import judged_disk
from foldline.cli.doctor.findings import Finding
from foldline.cli.doctor.generations import judged_generations
from foldline.cli.doctor.kafka import NOT_THERE, judged_limits, judged_refusal
from foldline.cli.doctor.progress import Progress, judged_progress
from foldline.cli.doctor.topics import Topic, judged_topics
from foldline.settings import Settings
from projections.generations import Generation
from projections.lag import Lag

GIB = 2**30
NOW = 1_800_000_000.0
DEFAULTS = Settings(master_key=None, master_key_file=None)


def statuses(found: Iterable[Finding]) -> list[str]:
    return [finding.status for finding in found]


def words(found: Iterable[Finding]) -> list[str]:
    return [finding.message for finding in found]


@pytest.mark.parametrize(
    ("free", "size", "expected"),
    [
        (10 * GIB, 100 * GIB, []),
        (10 * GIB - 1, 100 * GIB, ["warning"]),
        (5 * GIB, 100 * GIB, ["warning"]),
        (5 * GIB - 1, 100 * GIB, ["fault"]),
        (0, 100 * GIB, ["fault"]),
        (0, 0, ["fault"]),
    ],
)
def test_a_disk(free: int, size: int, expected: list[str]) -> None:
    assert statuses(judged_disk("/data", free, size, 5.0)) == expected


@pytest.mark.parametrize(
    ("skew", "doubt", "expected"),
    [(0.9, 0.0, []), (1.5, 0.5, []), (1.6, 0.5, ["ahead of"]), (-1.6, 0.5, ["behind"]), (-0.9, 0.0, [])],
)
def test_postgresqls_clock_is_wrong_only_where_that_is_sure(skew: float, doubt: float, expected: list[str]) -> None:
    found = words(judged_database(skew, doubt, 1.0))
    assert [side for side in ("ahead of", "behind") for message in found if side in message] == expected


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ([], []),
        ([Written("a", NOW - 5, NOW - 5.1)], []),
        ([Written("a", NOW + 0.9, NOW)], []),
        ([Written("a", NOW - 9, None), Written("b", NOW + 30, NOW + 29)], ["Kafka's clock is at least 30.0 s ahead"]),
        ([Written("a", NOW - 60, NOW), Written("b", NOW - 60, NOW - 61)], ["a gateway's clock is at least 60.0 s ahead"]),
        # What was redriven has the time of long ago, and what was appended long ago says nothing of today's clocks.
        ([Written("a", NOW - 1, NOW - 9_000_000), Written("b", NOW - 90_000, NOW - 80_000)], []),
    ],
)
def test_clocks_by_the_newest_records(written: list[Written], expected: list[str]) -> None:
    found = words(judged_records(written, NOW, 1.0, 86_400))
    assert [message[: len(start)] for message, start in zip(found, expected, strict=True)] == expected


@pytest.mark.parametrize(
    ("progress", "expected"),
    [
        (Progress(1, Lag(0, 0.0), [], []), []),
        (Progress(2, Lag(5_000, 3.0), [], []), []),
        (Progress(2, Lag(5_000, 61.0), [], []), [("warning", "are behind, and get on: 5000 records wait")]),
        (Progress(2, Lag(5_000, 3.0), [("items", 1)], []), [("fault", "do not get on: 5000 records wait")]),
        (Progress(0, Lag(0, 0.0), [], []), [("fault", "no processor is running: nobody is in the group g")]),
        (
            Progress(0, Lag(7, 9.0), [("items", 1)], [("items", 1)]),
            [("fault", "7 records wait to be folded")],
        ),
        (Progress(1, Lag(0, 0.0), [], [("items", 1)]), [("fault", "folded and not published, in items[1]")]),
    ],
)
def test_processors(progress: Progress, expected: list[tuple[str, str]]) -> None:
    found = list(judged_progress(progress, "g", 60.0, "start one"))
    assert [(one.status, words in one.message) for one, (_, words) in zip(found, expected, strict=True)] == [
        (status, True) for status, _ in expected
    ]


@pytest.mark.parametrize(
    ("major", "durable", "used", "expected"),
    [
        (18, True, 89, []),
        (19, True, 1, []),
        (17, True, 1, ["warning"]),
        (13, True, 1, ["fault"]),
        (18, False, 1, ["fault"]),
        (18, True, 90, ["warning"]),
    ],
)
def test_postgresql(major: int, durable: bool, used: int, expected: list[str]) -> None:
    assert statuses(judged_server(major, durable, used, 100)) == expected


@pytest.mark.parametrize(
    ("said", "what"),
    [
        ('connection failed: … FATAL:  password authentication failed for user "a"', "user and password"),
        ('FATAL:  database "a" does not exist', "create the database"),
        ("server does not support SSL, but SSL was required", "sslmode"),
        ("FATAL:  sorry, too many clients already", "max_connections"),
        ("FATAL:  the database system is starting up", "wait"),
        ('FATAL:  no pg_hba.conf entry for host "1.2.3.4"', "pg_hba.conf"),
        ("connection timeout expired", "see that it runs there"),
    ],
)
def test_what_to_do_where_postgresql_is_not_reached(said: str, what: str) -> None:
    assert what in remedy(said)


def test_a_user_of_postgresql() -> None:
    assert statuses(judged_user("a", True, [])) == ["ok"]
    assert statuses(judged_user("a", False, ["foldline_gateway"])) == ["ok"]
    assert statuses(judged_user("a", False, [])) == ["fault"]


@pytest.mark.parametrize(
    ("said", "what"),
    [
        ([KafkaError(KafkaError._ALL_BROKERS_DOWN), KafkaError(KafkaError._AUTHENTICATION)], "FOLDLINE_KAFKA_SASL_PASSWORD"),
        ([KafkaError(KafkaError._TRANSPORT), KafkaError(KafkaError._SSL)], "FOLDLINE_KAFKA_SSL_CA_FILE"),
        ([KafkaError(KafkaError._TRANSPORT, "incorrect security.protocol configuration")], "SECURITY_PROTOCOL"),
        ([KafkaError(KafkaError._TRANSPORT, "SSL routines::tlsv13 alert certificate required")], "SSL_CERTIFICATE_FILE"),
        ([KafkaError(KafkaError._SSL, "Disconnected: connecting to a PLAINTEXT broker listener?")], "SECURITY_PROTOCOL"),
        ([KafkaError(KafkaError._RESOLVE)], "the host in FOLDLINE_KAFKA_BOOTSTRAP"),
        ([KafkaError(KafkaError._TRANSPORT)], "see that it runs there"),
    ],
)
def test_what_to_do_where_kafka_is_not_reached(said: list[KafkaError], what: str) -> None:
    finding = judged_refusal(DEFAULTS, said, NOT_THERE)
    assert (finding.status, what in str(finding.remedy)) == ("fault", True)


@pytest.mark.parametrize(
    ("changes", "brokers", "config", "expected"),
    [
        ({}, 1, {}, []),
        ({"replication_factor": 3, "min_insync_replicas": 2}, 3, {"unclean.leader.election.enable": "false"}, []),
        ({"replication_factor": 3}, 2, {}, ["fault"]),
        ({}, 3, {}, ["warning"]),
        ({"transaction_timeout_seconds": 15}, 1, {"transaction.max.timeout.ms": "15000"}, []),
        ({"transaction_timeout_seconds": 16}, 1, {"transaction.max.timeout.ms": "15000"}, ["fault"]),
        ({"session_timeout_seconds": 6}, 1, {"group.min.session.timeout.ms": "6000"}, []),
        ({"session_timeout_seconds": 5.9}, 1, {"group.min.session.timeout.ms": "6000"}, ["fault"]),
        ({"session_timeout_seconds": 61}, 1, {"group.max.session.timeout.ms": "60000"}, ["fault"]),
        ({}, 1, {"unclean.leader.election.enable": "true"}, ["warning"]),
    ],
)
def test_what_the_brokers_allow(
    changes: dict[str, Any], brokers: int, config: dict[str, str | None], expected: list[str]
) -> None:
    assert statuses(judged_limits(DEFAULTS.model_copy(update=changes), brokers, config)) == expected


@pytest.mark.parametrize(
    ("replicas", "expected"),
    [
        ([(3, 3), (3, 3)], []),
        ([(3, 2), (3, 3)], ["warning"]),
        ([(3, 1), (3, 3)], ["fault"]),
        ([(3, 0), (3, 3)], ["fault"]),
        ([(1, 1), (3, 3)], ["fault"]),
        ([(3, 3)], ["fault"]),
    ],
)
def test_replicas(replicas: list[tuple[int, int]], expected: list[str]) -> None:
    wanted = {"t": {"min.insync.replicas": "2"}}
    settings = DEFAULTS.model_copy(update={"partitions": 2})
    assert statuses(judged_topics(settings, wanted, {"t": Topic({"min.insync.replicas": "2"}, replicas)})) == expected


BROKEN: list[dict[str, Any]] = [
    {"min_insync_replicas": 2},
    {"replication_factor": 2, "min_insync_replicas": 2},
    {"message_max_bytes": 1_000_000, "max_body_bytes": 100_000},
    {"max_body_bytes": 5_000_000},
    {"max_pending_kilobytes": 1024},
    {"producer_queue_kilobytes": 1024},
    {"producer_queue_messages": 9_999},
    {"import_pending_records": 999},
    {"transaction_timeout_seconds": 300.0},
    {"kafka_security_protocol": "SASL_SSL", "kafka_sasl_username": "me"},
    {"kafka_sasl_username": "me", "kafka_sasl_password": SecretStr("p")},
    {"kafka_ssl_ca_file": "/ca.pem"},
    {"kafka_security_protocol": "SSL", "kafka_ssl_certificate_file": "/me.pem"},
    {"master_key": SecretStr("k"), "master_key_file": "/key"},
]


def test_settings_that_contradict_each_other_break_one_rule_each() -> None:
    broken = [[rule for rule in RULES if rule.broken(DEFAULTS.model_copy(update=changes))] for changes in BROKEN]
    assert broken == [[rule] for rule in RULES]
    assert not any(rule.broken(DEFAULTS) for rule in RULES)


def test_generations_that_are_left() -> None:
    now = datetime(2026, 1, 3, tzinfo=UTC)

    def generation(number: int, status: str, hours: int | None = None) -> Generation:
        return Generation(number, status, "rebuild", now, None, None if hours is None else now - timedelta(hours=hours), 0)

    found = [generation(1, "old", 25), generation(2, "old", 23), generation(3, "live"), generation(4, "built")]
    assert words(judged_generations(found, now, held=False)) == ["generation 1 is old, and takes up room"]
    found = [generation(3, "live"), generation(4, "building")]
    assert words(judged_generations(found, now, held=True)) == []
    assert words(judged_generations(found, now, held=False)) == ["the rebuild into generation 4 was left half-way"]
