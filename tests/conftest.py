"""Fixtures that every test may use. A test that uses a server is marked `server` by that alone."""

from __future__ import annotations

import os
import secrets
import signal
from collections.abc import Iterator
from contextlib import suppress
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
from confluent_kafka.admin import AdminClient
from hypothesis import settings

pytest.register_assert_rewrite("tests.e2e.outside", "tests.pipeline", "tests.processors.dead_letters")

from tests.keys import MASTER_KEY_FILE  # noqa: E402
from tests.stack import Servers, servers  # noqa: E402

os.environ["FOLDLINE_MASTER_KEY_FILE"] = MASTER_KEY_FILE
os.environ.pop("FOLDLINE_MASTER_KEY", None)

# A test's Kafka lives for seconds: not long enough for what Java compiles most carefully to pay.
os.environ.setdefault("JDK_JAVA_OPTIONS", "-XX:TieredStopAtLevel=1")

# A shell's background job ignores SIGINT, and so would all that it starts.
signal.signal(signal.SIGINT, signal.default_int_handler)

# How properties are tried; with CI in the environment always on the same examples.
settings.register_profile("foldline", max_examples=40, deadline=None, derandomize="CI" in os.environ)
settings.load_profile("foldline")

SERVERS = frozenset({"kafka", "postgres"})
SERVER_FIXTURES = SERVERS | {"schema_registry"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if SERVER_FIXTURES.intersection(_fixtures(item)):
            item.add_marker(pytest.mark.server)


def _fixtures(item: pytest.Item) -> list[str]:
    return getattr(item, "fixturenames", [])


@pytest.fixture(scope="session")
def _servers() -> Iterator[Servers]:
    with servers(set(SERVERS)) as started:
        yield started


@pytest.fixture(scope="session")
def kafka(_servers: Servers) -> str:
    """The bootstrap address of the session's Kafka."""
    return _servers.kafka()


@pytest.fixture(scope="session")
def postgres(_servers: Servers) -> str:
    """The URL of the session's PostgreSQL, as a superuser."""
    return _servers.postgres()


@pytest.fixture(scope="session")
def schema_registry(_servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of the session's schema registry, as Confluent's clients take it."""
    with _servers.registry(tmp_path_factory.mktemp("registry")) as url:
        yield url


@pytest.fixture
def topic_prefix(kafka: str) -> Iterator[str]:
    """A prefix for this test's topics, which are deleted afterwards."""
    prefix = f"test-{secrets.token_hex(4)}."
    yield prefix
    admin = AdminClient({"bootstrap.servers": kafka})
    topics = [topic for topic in admin.list_topics(timeout=10).topics if topic.startswith(prefix)]
    for deleted in admin.delete_topics(topics).values() if topics else ():
        with suppress(Exception):  # a test may have deleted it itself
            deleted.result(10)


@pytest.fixture
def database(postgres: str) -> Iterator[str]:
    """The URL of an empty database that is this test's own."""
    name = f"test_{secrets.token_hex(4)}"
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
        yield urlunsplit(urlsplit(postgres)._replace(path=f"/{name}"))
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
