"""Every schema that a database was ever left with, as it was dumped then, with data in it: it migrates up while
services of its time go on, ends as a new database begins, and is then served.

`releases/NNNN.sql` are dumps of databases that the program of that time made; they are never edited.
"""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest

from foldline.adapters.codec import UPSERTS_TOPIC
from foldline.adapters.consumer import KafkaLogReader, digest
from foldline.adapters.postgres import Connection, connect
from foldline.adapters.topics import admin_client, describe_topics, ensure_topics
from foldline.domain.keys import message_key, partition_of
from foldline.domain.records import ID_FIELD, KINDS
from foldline.embedded.postgres import _installation
from foldline.settings import Settings
from producers.tenants import create_key
from projections.generations import migrate
from projections.keys import ensure_keyring
from projections.sql import migrations
from projections.tables import ensure_positions
from tests.keys import MASTERS
from tests.pipeline import append_raw, running, wait_applied
from tests.producers.conftest import gateway_of

pytestmark = pytest.mark.server

RELEASES = Path(__file__).with_name("releases")
LEVELS = [migration.name.partition("_")[0] for migration in migrations()]
LONGEST_SECONDS = 5.0

# What services of any of these versions do again and again, as they have always written it.
ASK = "SELECT key_id, org_id, role, revoked_at FROM foldline_control.api_keys WHERE key_hash = sha256('lehnz_sk_OLD'::bytea)"
READ = "SELECT item_id, status, attributes, version FROM foldline.items WHERE org_id = 'org_old' ORDER BY item_id LIMIT 10"
SPEND = (
    "INSERT INTO foldline_control.rate_windows AS w (org_id, started_at, used) VALUES ('org_old', now(), 1)"
    " ON CONFLICT (org_id) DO UPDATE SET used = w.used + 1"
)
FOLD = (
    "SELECT foldline_control.advance(1, ARRAY['items.upserts.v1'], ARRAY[{partition}], ARRAY[{number}]::bigint[],"
    " ARRAY[{number} + 1]::bigint[], ARRAY[{number}]::bigint[], ARRAY['\\x00'::bytea]);"
    "INSERT INTO gen_1.items VALUES ('org_old', 'folded-{partition}-{number}', 'product', 'active', '{{}}', 1, now(), now(),"
    " {partition}, {number});"
    "INSERT INTO gen_1.users (org_id, user_id, created_at, status, attributes, version, first_seen_at, updated_at,"
    ' partition, "offset")'
    " VALUES ('org_old', 'folded-{partition}-{number}', now(), 'active', '{{}}', 1, now(), now(), 0, {number})"
)


class Service(threading.Thread):
    """Does the same thing until it is told to stop. `slowest` is in seconds."""

    def __init__(self, url: str, statement: Callable[[int], str]) -> None:
        super().__init__(daemon=True)
        self._url, self._statement = url, statement
        self.stopped, self.done, self.slowest = threading.Event(), 0, 0.0
        self.failure: Exception | None = None

    def run(self) -> None:
        try:
            with psycopg.connect(self._url) as connection:
                while not self.stopped.is_set():
                    began = time.monotonic()
                    connection.execute(self._statement(self.done).encode())
                    connection.commit()
                    self.slowest = max(self.slowest, time.monotonic() - began)
                    self.done += 1
        except psycopg.Error as error:
            self.failure = error


@contextmanager
def services(url: str) -> Iterator[list[Service]]:
    """Services of the time of the dump, at work."""
    folding: list[Callable[[int], str]] = [
        lambda number, partition=partition: FOLD.format(partition=partition, number=number)  # type: ignore[misc]
        for partition in range(3)
    ]
    started = [Service(url, what) for what in (lambda _: ASK, lambda _: READ, lambda _: SPEND, *folding)]
    for service in started:
        service.start()
    try:
        yield started
    finally:
        for service in started:
            service.stopped.set()
        for service in started:
            service.join(30)


def restore(url: str, level: str) -> None:
    command = [str(_installation() / "bin" / "psql"), "-X", "-q", "-v", "ON_ERROR_STOP=1", url]
    with connect(url, "test") as connection:  # whom the dump grants something to
        for role in ("foldline_reader", "foldline_gateway", "foldline_processor"):
            if not connection.execute("SELECT FROM pg_roles WHERE rolname = %s", (role,)).fetchall():
                connection.execute(f"CREATE ROLE {role} NOLOGIN".encode())
    subprocess.run([*command, "-f", str(RELEASES / f"{level}.sql")], check=True, capture_output=True)


def rows(connection: Connection, query: str) -> list[tuple[Any, ...]]:
    return connection.execute(query.encode()).fetchall()


def schema(url: str) -> list[str]:
    """The definitions of everything in a database, in whatever order."""
    command = [str(_installation() / "bin" / "pg_dump"), "--schema-only", "--no-owner", url]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    statements = "\n".join(line for line in text.splitlines() if not line.startswith(("--", "\\"))).split(";\n")
    return sorted("\n".join(sorted(line.strip(" ,") for line in one.splitlines() if line.strip())) for one in statements)


def test_every_level_has_its_dump() -> None:
    assert sorted(file.stem for file in RELEASES.glob("*.sql")) == LEVELS


@pytest.mark.parametrize("level", LEVELS)
def test_it_migrates_while_services_of_its_time_go_on(level: str, database: str) -> None:
    restore(database, level)
    with connect(database, "test") as connection, services(database) as at_work:
        known = "SELECT * FROM foldline.known_{} ORDER BY 1, 2"
        before = {kind: rows(connection, known.format(kind)) for kind in KINDS}
        assert _all_go_on(at_work, 20)
        ran = migrate(connection)
        assert [name.partition("_")[0] for name in ran] == LEVELS[LEVELS.index(level) + 1 :]
        assert _all_go_on(at_work, 20)
        for service in at_work:
            service.stopped.set()
            service.join(30)
        assert max(service.slowest for service in at_work) < LONGEST_SECONDS

        # What was there is there, and what came meanwhile.
        folded = {partition: service.done for partition, service in enumerate(at_work[-3:])}
        for kind in KINDS:
            old = [row for row in before[kind] if not row[1].startswith("folded-")]
            found = rows(connection, known.format(kind))
            assert [row for row in found if not row[1].startswith("folded-")] == old
            assert len(found) == len(old) + sum(folded.values())
        query = "SELECT partition, applied FROM foldline_control.positions WHERE topic LIKE 'items%' AND generation = 1"
        assert dict(rows(connection, query)) == folded
        assert rows(connection, "SELECT code, message FROM foldline_control.dead_letters")[0][0] == "item_type_required"
        assert migrate(connection) == []


def _all_go_on(at_work: list[Service], times: int) -> bool:
    """Waits until every service has done its work so many times more. Raises what one of them failed by."""
    wanted = [service.done + times for service in at_work]
    deadline = time.monotonic() + 30
    while any(service.done < number for service, number in zip(at_work, wanted, strict=True)):
        for service in at_work:
            if service.failure is not None:
                raise service.failure
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


@pytest.mark.parametrize("level", LEVELS)
def test_it_ends_as_a_new_database_begins(level: str, database: str, postgres: str) -> None:
    restore(database, level)
    name = f"{urlsplit(database).path[1:]}_new"
    with psycopg.connect(postgres, autocommit=True) as server:
        server.execute(f"CREATE DATABASE {name}".encode())
        new = urlunsplit(urlsplit(database)._replace(path=f"/{name}"))
        try:
            for url in (database, new):
                with connect(url, "test") as connection:
                    migrate(connection)
            assert schema(database) == schema(new)
        finally:
            server.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


def stand_at_the_end(connection: Connection, settings: Settings) -> None:
    """A log whose one record of every partition was folded into what the dump has."""
    reader = KafkaLogReader(settings)
    for kind in KINDS:
        for (entity_id,) in rows(connection, f"SELECT {ID_FIELD[kind]} FROM gen_1.{kind}"):  # noqa: S608
            partition = partition_of(message_key("org_old", entity_id), settings.partitions)
            query = f"UPDATE gen_1.{kind} SET partition = %s WHERE {ID_FIELD[kind]} = %s"  # noqa: S608
            connection.execute(query.encode(), (partition, entity_id))
        for partition in range(settings.partitions):
            append_raw(settings, kind, [(b"before", b"the dump")], partition)
            (record,) = reader.read(kind, partition, 0, 1)
            connection.execute(
                "UPDATE foldline_control.positions SET applied = 1, published = 1, last_offset = 0, last_digest = %s"
                " WHERE topic = %s AND partition = %s",
                (digest(record), settings.topic_prefix + UPSERTS_TOPIC[kind], partition),
            )


@pytest.mark.parametrize("level", LEVELS)
def test_it_is_served_afterwards(level: str, database: str, kafka: str, topic_prefix: str) -> None:
    """Its keys, records and people, and new ones, users' attributes sealed."""
    restore(database, level)
    settings = Settings(
        kafka_bootstrap=kafka, database_url=database, topic_prefix=topic_prefix, partitions=3, retry_seconds=0.2
    )
    ensure_topics(settings)
    topics = [topic_prefix + topic for topic in UPSERTS_TOPIC.values()]
    with connect(database, "test") as connection:
        # The dump's log is these topics.
        for topic, state in describe_topics(admin_client(settings), topics).items():
            for table in ("positions", "dead_letters", *(("pending_publications",) if level >= "0003" else ())):
                own = ", topic_id = %(id)s" if table == "positions" else ""
                query = f"UPDATE foldline_control.{table} SET topic = %(new)s{own} WHERE topic = %(old)s"  # noqa: S608
                connection.execute(
                    query.encode(), {"new": topic, "id": state.topic_id, "old": topic.removeprefix(topic_prefix)}
                )
        migrate(connection)
        stand_at_the_end(connection, settings)
        ensure_keyring(connection, MASTERS)
        ensure_positions(connection, settings)
        key = create_key(connection, "org_old", "secret", settings.key_prefix).key
    with running(settings), gateway_of(settings) as gateway, gateway.client(key) as client:
        old = client.get("/v1/items/item-3").json()["data"]
        assert (old["status"], old["version"], old["attributes"]) == ("active", 3, {"n": 3, "name": "Item 3"})
        assert client.get("/v1/users/user-3").json()["data"]["attributes"] == {"n": 3}
        for kind, record in (
            ("items", {"item_id": "item-3", "attributes": {"n": 4}}),
            ("users", {"user_id": "user-3", "attributes": {"n": 4}}),
            ("users", {"user_id": "user-1", "status": "deleted"}),
        ):
            answer = client.post(f"/v1/ingest/{kind}/upsert", json=record, headers={"Prefer": "wait=30"})
            assert answer.json()["data"]["status"] == "applied", answer.text
        assert client.get("/v1/items/item-3").json()["data"]["attributes"] == {"n": 4, "name": "Item 3"}
        assert client.get("/v1/users/user-3").json()["data"]["attributes"] == {"n": 4}
        assert client.get("/v1/users/user-1").status_code == 404
        if level >= "0002":
            cookies = {"foldline_session": "old-session"}
            page = gateway.client(cookies=cookies).get("/account", headers={"Accept": "text/html"})
            assert (page.status_code, "Ada" in page.text) == (200, True)
        wait_applied(settings)
