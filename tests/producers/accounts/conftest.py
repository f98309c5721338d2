"""A database with organisations and people, for the tests of this folder; every test has people of its own."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest

from foldline.adapters.postgres import Connection, connect
from foldline.settings import Settings
from producers import tenants
from producers.accounts import directory, entry
from producers.accounts.roles import Role
from producers.accounts.sessions import Browser, digest_of
from projections.generations import migrate

PASSWORD = "correct horse battery"


@pytest.fixture(scope="session")
def settings(postgres: str) -> Settings:
    """Settings of a database that `foldline init` has seen."""
    name = f"test_{secrets.token_hex(4)}"
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    url = urlunsplit(urlsplit(postgres)._replace(path=f"/{name}"))
    with connect(url, "test") as connection:
        migrate(connection)
    return Settings(database_url=url, sign_in_failures=3)


@pytest.fixture
def connection(settings: Settings) -> Iterator[Connection]:
    with connect(settings.database_url, "test") as made:
        yield made


@dataclass(frozen=True)
class Person:
    """Somebody of an organisation, signed in from an address of their own."""

    org_id: str
    account_id: str
    email: str
    browser: Browser

    @property
    def session(self) -> bytes:
        assert self.browser.session is not None
        return self.browser.session


class People:
    """Makes people."""

    def __init__(self, settings: Settings, connection: Connection) -> None:
        self._settings = settings
        self._connection = connection

    def owner(self) -> Person:
        """The owner of a new organisation."""
        email, browser = self._new()
        token = entry.sign_up(self._connection, self._settings, "Acme", email, PASSWORD, browser)
        return self._person(email, browser, token)

    def joined(self, org_id: str, role: Role) -> Person:
        """A new person with that role."""
        email, browser = self._new()
        account_id = directory.insert_account(self._connection, email, "Some One", None)
        assert account_id is not None
        directory.insert_membership(self._connection, org_id, account_id, role)
        directory.insert_password(self._connection, account_id, PASSWORD)
        token = entry.sign_in(self._connection, self._settings, email, PASSWORD, browser)
        return self._person(email, browser, token)

    def organisation(self) -> str:
        with self._connection.transaction():
            return tenants.insert_organisation(self._connection, "Acme")

    def _new(self) -> tuple[str, Browser]:
        name = secrets.token_hex(6)
        return f"{name}@example.com", Browser(f"address-{name}", "Mozilla/5.0 (X11; Linux x86_64) Firefox/140.0")

    def _person(self, email: str, browser: Browser, token: str) -> Person:
        account = directory.account_of(self._connection, email)
        assert account is not None
        (first, *_) = directory.memberships(self._connection, account.account_id)
        return Person(first.org_id, account.account_id, email, browser._replace(session=digest_of(token)))


@pytest.fixture
def people(settings: Settings, connection: Connection) -> People:
    return People(settings, connection)


@pytest.fixture
def log(connection: Connection) -> Callable[[str], list[tuple[str, str, str]]]:
    """What an organisation's audit log has: actor, action and subject, oldest first."""

    def read(org_id: str) -> list[tuple[str, str, str]]:
        return connection.execute(
            "SELECT actor, action, subject FROM foldline_control.audit_log WHERE org_id = %s ORDER BY audit_id", (org_id,)
        ).fetchall()  # type: ignore[return-value]

    return read
