"""`foldline doctor` on deployments in which something is wrong: what it says, what to do about it, and that it goes on.

Everything that is wrong is really so, on the session's servers, in a database and under topics of the test's own.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import chdir, closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit, urlunsplit

import psycopg
import pytest
from confluent_kafka import KafkaException
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    ResourceType,
)
from typer.testing import CliRunner

import schemas
from foldline.adapters.postgres import connect
from foldline.adapters.seals import new_master_key
from foldline.adapters.topics import describe_topics, ensure_topics
from foldline.cli import app
from foldline.cli.doctor import CHECKS
from foldline.domain.records import Upsert
from foldline.embedded.processes import until
from foldline.settings import Settings
from producers.tenants import create_organisation, keys, revoke_key
from projections import generations
from tests.adapters.test_registry import proxied
from tests.clock import OwnClock
from tests.keys import MASTER_KEY_FILE
from tests.pipeline import append, append_raw, prepared, running, wait_applied
from tests.registry import ask, register


class Found(NamedTuple):
    """What the command printed and how it ended."""

    code: int
    document: dict[str, Any]

    def of(self, check: str) -> list[dict[str, Any]]:
        return [finding for finding in self.document["checks"] if finding["check"] == check]

    def statuses(self) -> dict[str, str]:
        """Of each check the worst."""
        order = ["ok", "warning", "fault"]
        names = {finding["check"] for finding in self.document["checks"]}
        return {name: max((finding["status"] for finding in self.of(name)), key=order.index) for name in names}

    def assert_names(self, check: str, status: str, *words: str, remedy: str) -> None:
        """There is one finding of the check that is not well, and it says these words and this remedy."""
        (finding,) = [finding for finding in self.of(check) if finding["status"] != "ok"]
        assert finding["status"] == status, finding
        assert [word for word in words if word not in finding["message"]] == [], finding
        assert remedy in finding["remedy"], finding
        assert self.document["status"] == self.worst()
        assert self.code == (1 if self.document["status"] == "fault" else 0)

    def worst(self) -> str:
        statuses = set(self.statuses().values())
        return next(status for status in ("fault", "warning", "ok") if status in statuses)


def variables_of(settings: Settings) -> dict[str, str]:
    """The environment that names a deployment, and nothing else of ours."""
    return {name: value for name, value in os.environ.items() if not name.startswith("FOLDLINE_")} | {
        "FOLDLINE_KAFKA_BOOTSTRAP": settings.kafka_bootstrap,
        "FOLDLINE_DATABASE_URL": settings.database_url,
        "FOLDLINE_TOPIC_PREFIX": settings.topic_prefix,
        "FOLDLINE_PARTITIONS": str(settings.partitions),
        "FOLDLINE_MASTER_KEY_FILE": MASTER_KEY_FILE,
        "FOLDLINE_DOCTOR_DISK_FREE_PERCENT": "0",  # this machine's disk is not what is looked at
    }


DOCTOR = (sys.executable, "-m", "foldline", "doctor")


def run(directory: Path, environment: dict[str, str], *arguments: str, program: Sequence[str] = DOCTOR) -> Any:
    """The program, from outside."""
    command = [*program, *arguments]
    return subprocess.run(command, cwd=directory, env=environment, capture_output=True, text=True, check=False, timeout=120)


def examined(settings: Settings, directory: Path, *arguments: str, **variables: str) -> Found:
    """What `foldline doctor --json` finds, called in this process, which is quicker."""
    ours: dict[str, str | None] = dict.fromkeys(name for name in os.environ if name.startswith("FOLDLINE_"))
    with chdir(directory):
        done = CliRunner().invoke(app, ["doctor", "--json", *arguments], env=ours | variables_of(settings) | variables)
    return found_in(done.exit_code, done.stdout, done.stderr)


def found_in(code: int, stdout: str, stderr: str) -> Found:
    """Every check has said something, in order, and nothing went wrong on the way."""
    assert stderr == ""
    found = Found(code, json.loads(stdout))
    assert list(dict.fromkeys(finding["check"] for finding in found.document["checks"])) == [one.name for one in CHECKS]
    assert all((finding["remedy"] is None) == (finding["status"] == "ok") for finding in found.document["checks"])
    return found


@pytest.fixture
def settings(kafka: str, database: str, topic_prefix: str) -> Settings:
    made = prepared(kafka, database, topic_prefix)
    with connect(database, "test") as connection:
        create_organisation(connection, "Test", made.key_prefix)
    return made


@pytest.fixture
def nobody() -> str:
    """An address where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return f"127.0.0.1:{free.getsockname()[1]}"


def item(number: int, received_at: int | None = None, item_type: str | None = "p") -> Upsert:
    received_at = received_at or round(time.time() * 1_000_000)
    return Upsert("org_1", f"item {number}", item_type, None, None, received_at, f"{number:032x}", 0)


def test_all_is_well(settings: Settings, tmp_path: Path) -> None:
    append(settings, "items", [item(number) for number in range(20)])
    with running(settings):
        wait_applied(settings)
        found = examined(settings, tmp_path)
        shown = run(tmp_path, variables_of(settings))
    assert found.statuses() == {check.name: "ok" for check in CHECKS}
    assert (found.code, found.document["status"]) == (0, "ok")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert [line.split()[:2] for line in shown.stdout.splitlines()] == [["ok", check.name] for check in CHECKS]


# The ten that are promised, each with its remedy.


def test_a_wrong_password(settings: Settings, tmp_path: Path) -> None:
    place = urlsplit(settings.database_url)
    wrong = place._replace(netloc=f"{place.username}:not-the-password@{place.hostname}:{place.port}")
    found = examined(settings, tmp_path, FOLDLINE_DATABASE_URL=urlunsplit(wrong))
    found.assert_names(
        "database", "fault", "password authentication failed", remedy="user and password in FOLDLINE_DATABASE_URL"
    )
    assert "not-the-password" not in json.dumps(found.document)
    # The other checks go on where they can, and say so where they cannot.
    assert (found.statuses()["kafka"], found.statuses()["topics"], found.statuses()["schemas"]) == ("ok", "ok", "ok")
    found.assert_names("database.migrations", "warning", "not checked: PostgreSQL cannot be reached", remedy="that first")
    found.assert_names("dead-letters", "warning", "not checked: the database is not initialised", remedy="that first")


def test_a_missing_topic(settings: Settings, tmp_path: Path) -> None:
    name = f"{settings.topic_prefix}items.state.v1"
    admin = AdminClient({"bootstrap.servers": settings.kafka_bootstrap})
    admin.delete_topics([name])[name].result(10)
    assert until(lambda: name not in admin.list_topics(timeout=10).topics, 10)
    found = examined(settings, tmp_path)
    found.assert_names("topics", "fault", f"there is no topic {name}", remedy="foldline init")
    assert (found.statuses()["log"], found.statuses()["generations"]) == ("ok", "ok")

    name = f"{settings.topic_prefix}items.upserts.v1"
    admin.delete_topics([name])[name].result(10)
    assert until(lambda: name not in admin.list_topics(timeout=10).topics, 10)
    found = examined(settings, tmp_path)
    found.assert_names("topics", "fault", f"{name}, {settings.topic_prefix}items.state.v1", remedy="restore the log first")
    found.assert_names("log", "warning", "not checked: a topic of the log is missing", remedy="that first")


def test_a_wrong_partition_count(settings: Settings, tmp_path: Path) -> None:
    found = examined(settings, tmp_path, FOLDLINE_PARTITIONS="12")
    faults = [finding for finding in found.of("topics") if finding["status"] == "fault"]
    assert len(faults) == 5
    assert all("has 3 partitions, FOLDLINE_PARTITIONS says 12" in fault["message"] for fault in faults)
    assert all("set FOLDLINE_PARTITIONS=3" in fault["remedy"] for fault in faults)

    name = f"{settings.topic_prefix}items.upserts.v1"
    admin = AdminClient({"bootstrap.servers": settings.kafka_bootstrap})
    admin.create_partitions([NewPartitions(name, 5)])[name].result(10)
    assert until(lambda: describe_topics(admin, [name])[name].partitions == 5, 10)
    found = examined(settings, tmp_path)
    found.assert_names("topics", "fault", name, "has 5 partitions", remedy=f"restore {name} with 3 partitions")


def test_an_old_schema(settings: Settings, tmp_path: Path, schema_registry: str) -> None:
    for schema in schemas.bundle():
        subject = f"{settings.topic_prefix}{schema.topic}-value"
        if schema is not schemas.latest("users.upserts.v1"):
            register(schema_registry, subject, schema.definition)
            ask(schema_registry, "PUT", f"/config/{subject}", {"compatibility": "FULL_TRANSITIVE"})
    found = examined(settings, tmp_path, FOLDLINE_SCHEMA_REGISTRY_URL=schema_registry)
    subject = f"{settings.topic_prefix}users.upserts.v1-value"
    found.assert_names("schemas", "fault", "does not have user_upserted.v3", subject, remedy="run `foldline init`")

    register(schema_registry, subject, schemas.latest("users.upserts.v1").definition)
    assert examined(settings, tmp_path, FOLDLINE_SCHEMA_REGISTRY_URL=schema_registry).statuses()["schemas"] == "ok"
    ask(schema_registry, "PUT", f"/config/{subject}", {"compatibility": "BACKWARD"})
    found = examined(settings, tmp_path, FOLDLINE_SCHEMA_REGISTRY_URL=schema_registry)
    found.assert_names("schemas", "fault", subject, "is BACKWARD, it must be FULL_TRANSITIVE", remedy="run `foldline init`")


def test_a_disk_that_is_too_full(settings: Settings, tmp_path: Path) -> None:
    found = examined(settings, tmp_path, FOLDLINE_DOCTOR_DISK_FREE_PERCENT="100")
    for finding in found.of("kafka.disks"):
        assert (finding["status"], "of broker" in finding["message"]) == ("fault", True)
        assert "free some or enlarge it, now" in finding["remedy"]
    assert found.code == 1


def test_a_disk_that_fills(tmp_path: Path) -> None:
    """A stack that does not run any more, on a small disk."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("nothing may be mounted here")
    try:
        nowhere = Settings(kafka_bootstrap="127.0.0.1:1", database_url="postgresql://127.0.0.1:1/none")
        variables = {"FOLDLINE_DOCTOR_DISK_FREE_PERCENT": "5"}
        (disk / "data").mkdir()
        arguments = ("--data-dir", str(disk / "data"))
        assert examined(nowhere, tmp_path, *arguments, **variables).statuses()["disk"] == "ok"
        (disk / "filler").write_bytes(bytes(7_700_000))
        found = examined(nowhere, tmp_path, *arguments, **variables)
        found.assert_names("disk", "warning", str(disk), "0.0 GiB of 0.0 GiB are free", remedy="enlarge the disk")
        (disk / "filler").write_bytes(bytes(8_200_000))
        found = examined(nowhere, tmp_path, *arguments, **variables)
        found.assert_names("disk", "fault", str(disk), remedy="free some or enlarge it, now")
        found.assert_names("stack", "fault", f"no stack is running on {disk}/data", remedy="foldline up --data-dir")
        found.assert_names("kafka", "warning", "not checked: no stack is running", remedy="that first")
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_clock_that_a_record_tells_of(settings: Settings, tmp_path: Path) -> None:
    """A gateway two minutes ahead of the others has written last."""
    append(settings, "items", [item(1)])
    assert examined(settings, tmp_path).statuses()["kafka.clock"] == "ok"
    append(settings, "items", [item(1, received_at=round((time.time() + 120) * 1_000_000))])
    found = examined(settings, tmp_path)
    place = f"{settings.topic_prefix}items.upserts.v1:"
    found.assert_names("kafka.clock", "fault", "a gateway's clock", "ahead of Kafka's", place, remedy="NTP")
    (message,) = [finding["message"] for finding in found.of("kafka.clock")]
    assert 115 < float(message.partition("at least ")[2].partition(" s")[0]) <= 120


@pytest.mark.parametrize(("ahead", "side"), [(90, "behind"), (-90, "ahead of")])
def test_a_clock_of_this_machine(settings: Settings, tmp_path: Path, ahead: int, side: str) -> None:
    clock = OwnClock(tmp_path, "python")
    clock.set(ahead)
    environment = variables_of(settings) | {"PYTHONPATH": str(Path(__file__).parents[2])}
    done = run(tmp_path, environment, "--json", program=clock.command("doctor"))
    found = found_in(done.returncode, done.stdout, done.stderr)
    found.assert_names("database.clock", "fault", f"PostgreSQL's clock is 90.0 s {side} this machine's", remedy="NTP")


def test_a_registry_that_is_away(settings: Settings, tmp_path: Path, nobody: str) -> None:
    found = examined(settings, tmp_path, FOLDLINE_SCHEMA_REGISTRY_URL=f"http://{nobody}")
    found.assert_names("schemas", "fault", nobody, "Connection refused", remedy="mend FOLDLINE_SCHEMA_REGISTRY_URL")
    assert (found.statuses()["topics"], found.statuses()["dead-letters"]) == ("ok", "ok")


def test_a_registry_that_hangs(settings: Settings, tmp_path: Path, schema_registry: str) -> None:
    variables = {"FOLDLINE_SCHEMA_REGISTRY_TIMEOUT_SECONDS": "0.5"}
    with proxied(schema_registry) as (url, proxy):
        proxy.freeze()
        found = examined(settings, tmp_path, FOLDLINE_SCHEMA_REGISTRY_URL=url, **variables)
        proxy.thaw()
    found.assert_names("schemas", "fault", "does not answer: timed out", remedy="bring it back")


def test_no_processor(settings: Settings, tmp_path: Path) -> None:
    append(settings, "items", [item(number) for number in range(30)])
    found = examined(settings, tmp_path)
    group = f"{settings.topic_prefix}foldline-processors"
    found.assert_names("processors", "fault", group, "30 records wait to be folded", remedy="foldline process")


@contextmanager
def positions_held(settings: Settings) -> Iterator[None]:
    """Somebody holds what every commit of a processor needs."""
    with psycopg.connect(settings.database_url) as connection:
        connection.execute("SELECT FROM foldline_control.positions FOR UPDATE")
        yield


def test_lag(settings: Settings, tmp_path: Path) -> None:
    with running(settings):
        append(settings, "items", [item(1)])
        wait_applied(settings)
        with positions_held(settings):
            append(settings, "items", [item(number) for number in range(30)])
            found = examined(settings, tmp_path)
            found.assert_names("processors", "fault", "do not get on: 30 records wait", "[0]", remedy="their logs say")
        wait_applied(settings)
        assert examined(settings, tmp_path).statuses()["processors"] == "ok"


def test_dead_letters(settings: Settings, tmp_path: Path) -> None:
    append(settings, "items", [item(number, item_type=None) for number in range(3)])
    append_raw(settings, "users", [(b"org_1:u", b"not Avro")])
    with running(settings):
        wait_applied(settings)
        found = examined(settings, tmp_path)
    faults = {finding["message"].partition(", the last at")[0]: finding["remedy"] for finding in found.of("dead-letters")}
    assert faults.keys() == {"3 dead letters: item_type_required", "1 dead letters: undecodable"}
    for code in ("item_type_required", "undecodable"):
        (remedy,) = [remedy for message, remedy in faults.items() if code in message]
        assert f"foldline dead-letters redrive --reason {code} --since 20" in remedy
    assert found.code == 1
    # The remedy works as it is written, and letters of long ago are none of it.
    (remedy,) = [remedy for message, remedy in faults.items() if "undecodable" in message]
    command = remedy.partition("foldline ")[2].partition(" shows")[0].split()
    program = [sys.executable, "-m", "foldline", *command, "--json"]
    listed = subprocess.run(program, env=variables_of(settings), capture_output=True, text=True, check=True)
    assert [json.loads(line)["code"] for line in listed.stdout.splitlines()] == ["undecodable"]
    with psycopg.connect(settings.database_url) as connection:
        connection.execute("UPDATE foldline_control.dead_letters SET logged_at = logged_at - interval '25 hours'")
    assert examined(settings, tmp_path).statuses()["dead-letters"] == "ok"


def test_a_wrong_master_key_or_none(settings: Settings, tmp_path: Path) -> None:
    other = new_master_key()
    for variables, word in (
        ({"FOLDLINE_MASTER_KEY": other}, "the database's keys are wrapped by the master key"),
        ({"FOLDLINE_MASTER_KEY": "hunter2"}, "32 bytes in base64"),
        ({"FOLDLINE_MASTER_KEY_FILE": str(tmp_path / "none")}, "cannot be read"),
        ({"FOLDLINE_MASTER_KEY_FILE": ""}, "cannot be read"),
    ):
        found = examined(settings, tmp_path, **variables)
        found.assert_names("master-key", "fault", word, remedy="the key that this database was made with")
        assert other not in json.dumps(found.document)


# What else may be wrong.


def test_an_organisation_that_cannot_write(settings: Settings, tmp_path: Path) -> None:
    with connect(settings.database_url, "test") as connection:
        keyless = create_organisation(connection, "Keyless", settings.key_prefix).org_id
        for key in keys(connection, keyless):
            revoke_key(connection, key.key_id)
    found = examined(settings, tmp_path)
    found.assert_names("api-keys", "warning", keyless, remedy="foldline keys create ORG")


def test_nothing_was_initialised(kafka: str, database: str, topic_prefix: str, tmp_path: Path) -> None:
    new = Settings(kafka_bootstrap=kafka, database_url=database, topic_prefix=topic_prefix, partitions=3)
    found = examined(new, tmp_path)
    found.assert_names("database.migrations", "fault", "not initialised", remedy="foldline init")
    found.assert_names("topics", "fault", "there is no topic", "items.upserts.v1", remedy="foldline init")
    assert found.statuses()["master-key"] == "ok"
    ensure_topics(new)
    assert examined(new, tmp_path).statuses()["kafka.clock"] == "ok"


def test_another_versions_database(settings: Settings, tmp_path: Path) -> None:
    with psycopg.connect(settings.database_url, autocommit=True) as connection:
        connection.execute("DELETE FROM public.foldline_migrations WHERE name = '0005_idempotency'")
        found = examined(settings, tmp_path)
        found.assert_names("database.migrations", "fault", "lacks 0005_idempotency", remedy="foldline init")
        connection.execute("INSERT INTO public.foldline_migrations VALUES ('0005_idempotency', 'other'), ('9999_later', '')")
        found = examined(settings, tmp_path)
    faults = [finding["message"] for finding in found.of("database.migrations")]
    assert faults == [
        "the database has 9999_later, of a newer version",
        "migration 0005_idempotency of the database is another one than this version's",
    ]


@contextmanager
def user(settings: Settings, *roles: str) -> Iterator[str]:
    """The URL of the same database for a user who has these roles and nothing else."""
    name = f"user_{os.urandom(4).hex()}"
    place = urlsplit(settings.database_url)
    with psycopg.connect(settings.database_url, autocommit=True) as connection:
        connection.execute(
            f"CREATE ROLE {name} LOGIN PASSWORD 'p' {'IN ROLE ' + ', '.join(roles) if roles else ''}".encode()
        )
        try:
            yield urlunsplit(place._replace(netloc=f"{quote(name)}:p@{place.hostname}:{place.port}"))
        finally:
            connection.execute(f"DROP ROLE {name}".encode())


def test_a_user_who_may_not_look(settings: Settings, tmp_path: Path) -> None:
    with user(settings) as url:
        found = examined(settings, tmp_path, FOLDLINE_DATABASE_URL=url)
    found.assert_names("database.privileges", "fault", "may neither migrate", remedy="GRANT foldline_gateway")
    found.assert_names("database.migrations", "warning", "permission denied", remedy="FOLDLINE_DATABASE_URL of the user")


@pytest.mark.parametrize(("role", "unseen"), [("foldline_gateway", set()), ("foldline_processor", {"api-keys"})])
def test_a_services_user(settings: Settings, tmp_path: Path, role: str, unseen: set[str]) -> None:
    with user(settings, role) as url:
        found = examined(settings, tmp_path, FOLDLINE_DATABASE_URL=url)
    (finding,) = found.of("database.privileges")
    assert (finding["status"], role in finding["message"]) == ("ok", True)
    assert {name for name, status in found.statuses().items() if status == "warning"} == unseen
    for name in unseen:
        found.assert_names(name, "warning", "permission denied", remedy="FOLDLINE_DATABASE_URL of the user")


def test_a_standby(settings: Settings, tmp_path: Path) -> None:
    name = urlsplit(settings.database_url).path.lstrip("/")
    with psycopg.connect(settings.database_url, autocommit=True) as connection:
        connection.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on".encode())
    found = examined(settings, tmp_path)
    found.assert_names("database", "fault", "read-only", remedy="the primary server")


@pytest.mark.parametrize(
    ("path", "host", "words", "remedy"),
    [
        ("/not_there", None, "does not exist", "mend the name in FOLDLINE_DATABASE_URL"),
        ("", "no-host.invalid:5432", "failed to resolve", "mend the host in FOLDLINE_DATABASE_URL"),
        ("", "nobody", "Connection refused", "see that it runs there"),
    ],
)
def test_a_database_that_is_not_there(
    settings: Settings, tmp_path: Path, nobody: str, path: str, host: str | None, words: str, remedy: str
) -> None:
    place = urlsplit(settings.database_url)
    user_, _, real = place.netloc.rpartition("@")
    netloc = f"{user_}@{nobody if host == 'nobody' else host or real}"
    url = urlunsplit(place._replace(netloc=netloc, path=path or place.path))
    examined(settings, tmp_path, FOLDLINE_DATABASE_URL=url).assert_names("database", "fault", words, remedy=remedy)


def test_kafka_is_not_there(settings: Settings, tmp_path: Path, nobody: str) -> None:
    found = examined(settings, tmp_path, FOLDLINE_KAFKA_BOOTSTRAP=nobody)
    found.assert_names("kafka", "fault", nobody, remedy="see that it runs there")
    found.assert_names("topics", "warning", "not checked: Kafka cannot be reached", remedy="that first")
    assert (found.statuses()["database.migrations"], found.statuses()["generations"]) == ("ok", "ok")


def alter(settings: Settings, topic: str, name: str, value: str) -> None:
    admin = AdminClient({"bootstrap.servers": settings.kafka_bootstrap})
    entry = ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
    admin.incremental_alter_configs([resource])[resource].result(10)
    described = ConfigResource(ResourceType.TOPIC, topic)
    assert until(lambda: admin.describe_configs([described])[described].result(10)[name].value == value, 10)


@pytest.mark.parametrize(
    ("topic", "name", "value", "must"),
    [
        ("items.upserts.v1", "retention.ms", "604800000", "-1"),
        ("users.upserts.v1", "message.timestamp.type", "CreateTime", "LogAppendTime"),
        ("items.state.v1", "cleanup.policy", "delete", "compact"),
        ("upserts.dead-letters.v1", "max.message.bytes", "1000000", "4194304"),
        ("items.upserts.v1", "min.insync.replicas", "2", "1"),
    ],
)
def test_a_topic_with_another_setting(
    settings: Settings, tmp_path: Path, topic: str, name: str, value: str, must: str
) -> None:
    topic = settings.topic_prefix + topic
    alter(settings, topic, name, value)
    found = examined(settings, tmp_path)
    faults = [finding for finding in found.of("topics") if finding["status"] == "fault"]
    assert faults[0]["message"] == f"{topic} has {name}={value}, it must be {must}"
    assert faults[0]["remedy"].endswith(f"--entity-name {topic} --add-config {name}={must}")
    # With one replica a second one that must be in sync can never be.
    assert [name == "min.insync.replicas"] * len(faults[1:]) == [
        "has fewer replicas than its min.insync.replicas of 2" in finding["message"] for finding in faults[1:]
    ]


def test_a_log_that_was_made_anew(settings: Settings, tmp_path: Path) -> None:
    name = f"{settings.topic_prefix}items.upserts.v1"
    admin = AdminClient({"bootstrap.servers": settings.kafka_bootstrap})
    admin.delete_topics([name])[name].result(10)
    assert until(lambda: name not in admin.list_topics(timeout=10).topics, 10)

    def made() -> bool:
        try:
            ensure_topics(settings)
        except KafkaException:
            return False
        return True

    assert until(made, 10)
    found = examined(settings, tmp_path)
    found.assert_names("log", "fault", name, "deleted and made anew", remedy="no processor starts until then")


def test_what_the_brokers_do_not_allow(settings: Settings, tmp_path: Path) -> None:
    found = examined(
        settings,
        tmp_path,
        FOLDLINE_TRANSACTION_TIMEOUT_SECONDS="1000",
        FOLDLINE_SESSION_TIMEOUT_SECONDS="0.5",
        FOLDLINE_REPLICATION_FACTOR="3",
        FOLDLINE_MIN_INSYNC_REPLICAS="4",
    )
    assert [finding["message"].partition(" is ")[0] for finding in found.of("kafka.limits")] == [
        "FOLDLINE_REPLICATION_FACTOR",
        "FOLDLINE_TRANSACTION_TIMEOUT_SECONDS",
        "FOLDLINE_SESSION_TIMEOUT_SECONDS",
    ]
    assert [finding["remedy"] for finding in found.of("settings")] == [
        "lower it below the replication factor: 2 of 3 for a cluster",
        "lower it",
    ]


def test_a_rebuild_that_was_left(settings: Settings, tmp_path: Path) -> None:
    with connect(settings.database_url, "test") as connection:
        generations.begin(connection, "rebuild")
    found = examined(settings, tmp_path)
    found.assert_names("generations", "warning", "generation 2 was left half-way", remedy="foldline generations drop 2")
    with closing(connect(settings.database_url, "test")) as connection:
        generations.hold(connection)
        assert examined(settings, tmp_path).statuses()["generations"] == "ok"
    with psycopg.connect(settings.database_url) as plain:
        plain.execute(
            "UPDATE foldline_control.generations SET status = 'old', retired_at = now() - interval '25 hours'"
            " WHERE generation = 2"
        )
    found = examined(settings, tmp_path)
    found.assert_names("generations", "warning", "generation 2 is old", remedy="foldline generations drop 2")


def test_a_table_that_somebody_holds(settings: Settings, tmp_path: Path) -> None:
    with psycopg.connect(settings.database_url) as holder:
        holder.execute("LOCK TABLE foldline_control.organisations IN ACCESS EXCLUSIVE MODE")
        found = examined(settings, tmp_path, FOLDLINE_DATABASE_TIMEOUT_SECONDS="0.5")
    found.assert_names("api-keys", "fault", "lock timeout", remedy="run `foldline doctor` again")
    assert found.statuses()["generations"] == "ok"


def test_publications_that_are_due(settings: Settings, tmp_path: Path) -> None:
    with psycopg.connect(settings.database_url) as connection:
        connection.execute(
            "INSERT INTO foldline_control.pending_publications VALUES (1, %s, 0, 'org_1', 'a', now() - interval '1 hour')",
            (f"{settings.topic_prefix}items.upserts.v1",),
        )
    found = examined(settings, tmp_path)
    found.assert_names("publications", "warning", "1 states are to be published", remedy="a processor runs")


def test_wrong_use(settings: Settings, tmp_path: Path) -> None:
    variables = variables_of(settings) | {"FOLDLINE_PARTITIONS": "many"}
    for done in (run(tmp_path, variables), run(tmp_path, variables_of(settings), "--no-such-option")):
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
