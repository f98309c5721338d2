"""The servers that other tests are given."""

from __future__ import annotations

import psycopg
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]


def test_a_test_has_topics_of_its_own(kafka: str, topic_prefix: str) -> None:
    admin = AdminClient({"bootstrap.servers": kafka})
    admin.create_topics([NewTopic(f"{topic_prefix}a", 2)])[f"{topic_prefix}a"].result(10)
    assert f"{topic_prefix}a" in admin.list_topics(timeout=10).topics


def test_a_test_has_a_database_of_its_own(database: str) -> None:
    with psycopg.connect(database) as connection:
        connection.execute("CREATE TABLE a ()")
        assert connection.execute("SELECT count(*) FROM pg_stat_user_tables").fetchall() == [(1,)]
