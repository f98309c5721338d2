"""A gateway with a processor behind it, for the tests of this folder; every test has organisations of its own."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import httpx
import psycopg
import pytest

from foldline.adapters.postgres import connect
from foldline.settings import Settings
from producers.gateway.parts import Parts, assemble
from producers.gateway.server import Server, bound
from producers.tenants import NewOrganisation, create_organisation, set_rate_limit
from tests.pipeline import prepared, running


@dataclass(frozen=True)
class Gateway:
    """A gateway that runs in a thread of this process."""

    url: str
    port: int
    parts: Parts
    server: Server

    def client(self, key: str | None = None, **others: Any) -> httpx.Client:
        headers = {} if key is None else {"X-API-KEY": key}
        return httpx.Client(base_url=self.url, headers=headers, timeout=40, trust_env=False, **others)


def as_role(settings: Settings, role: str) -> Settings:
    """The same settings for a new user of the database, who is a member of a role and nothing else."""
    user, password = f"{role}_{secrets.token_hex(4)}", secrets.token_hex(8)
    with psycopg.connect(settings.database_url, autocommit=True) as connection:
        connection.execute(f"CREATE USER {user} PASSWORD '{password}' IN ROLE {role}".encode())
    parts = urlsplit(settings.database_url)
    place = parts.netloc.rpartition("@")[2]
    url = urlunsplit(parts._replace(netloc=f"{user}:{password}@{place}"))
    return settings.model_copy(update={"database_url": url})


@contextmanager
def gateway_of(settings: Settings) -> Iterator[Gateway]:
    """A gateway on a port of its own, drained at the end."""
    listener = bound("127.0.0.1", 0)
    parts = assemble(settings)
    server = Server(parts)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.01)
    port = listener.getsockname()[1]
    try:
        yield Gateway(f"http://127.0.0.1:{port}", port, parts, server)
    finally:
        server.should_exit = True
        thread.join(20)
        assert not thread.is_alive()


@pytest.fixture(scope="package")
def stage(kafka: str, postgres: str) -> Iterator[Settings]:
    """Settings of an initialised pipeline on which a processor runs."""
    name = f"test_{secrets.token_hex(4)}"
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    url = urlunsplit(urlsplit(postgres)._replace(path=f"/{name}"))
    settings = prepared(
        kafka, url, f"test-{secrets.token_hex(4)}.", delivery_timeout_seconds=5, database_timeout_seconds=3, sign_ups=10_000
    )
    with running(as_role(settings, "foldline_processor")):
        yield settings


@pytest.fixture(scope="package")
def gateway(stage: Settings) -> Iterator[Gateway]:
    with gateway_of(as_role(stage, "foldline_gateway")) as running_gateway:
        yield running_gateway


NewOrg = Callable[..., NewOrganisation]


@pytest.fixture
def new_org(stage: Settings) -> NewOrg:
    """Makes an organisation, without a rate limit unless one is given."""

    def make(rate_limit: int | None = 0) -> NewOrganisation:
        with connect(stage.database_url, "test") as connection:
            made = create_organisation(connection, "Test", stage.key_prefix)
            set_rate_limit(connection, made.org_id, rate_limit)
        return made

    return make


@pytest.fixture
def api(gateway: Gateway, new_org: NewOrg) -> Iterator[httpx.Client]:
    """A client with the secret key of a new organisation."""
    with gateway.client(new_org().secret_key) as client:
        yield client
