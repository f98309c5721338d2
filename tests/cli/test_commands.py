"""The commands against a running stack, from outside: what they print, where, and how they exit."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from confluent_kafka.admin import AdminClient

from tests.e2e.outside import LOG, Json, Organisation, Stack, data, eventually

pytestmark = pytest.mark.server


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    started = Stack(tmp_path_factory.mktemp("commands") / "data")
    started.start()
    yield started
    started.close()


@pytest.fixture(scope="module")
def org(stack: Stack) -> Iterator[Organisation]:
    """An organisation with three items and a user, of which one item and the user are deleted."""
    made = stack.organisation()
    with made.client:
        made.upsert("items", [{"item_id": i, "item_type": "p", "attributes": {"n": 1}} for i in ("a", "b/ü 😀", "-x")])
        made.upsert("items", {"item_id": "a", "status": "deleted"})
        made.upsert("users", {"user_id": "u", "created_at": "2025-01-12T10:00:00+01:00", "status": "deleted"})
        yield made


def lines(done: subprocess.CompletedProcess[str]) -> list[Any]:
    """What a listing printed, after it has ended well."""
    assert (done.returncode, done.stderr) == (0, "")
    return [json.loads(line) for line in done.stdout.splitlines()]


def document(done: subprocess.CompletedProcess[str]) -> Any:
    (found,) = lines(done)
    return found


def assert_ends(done: subprocess.CompletedProcess[str], code: int, *words: str) -> None:
    """Nothing on stdout, and one clear line on stderr."""
    assert (done.returncode, done.stdout) == (code, ""), done
    assert done.stderr.startswith("foldline: ")
    assert done.stderr.count("\n") == 1
    for word in words:
        assert word in done.stderr


def without_stack(tmp_path: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """A command that knows the servers by its environment alone."""
    command = [sys.executable, "-m", "foldline", *arguments]
    return subprocess.run(command, cwd=tmp_path, env=variables, capture_output=True, text=True, check=False, timeout=60)


def test_organisations(stack: Stack) -> None:
    made = document(stack.foldline("orgs", "create", " Acme & Söhne ", "--json"))
    assert list(made) == ["org_id", "publishable_key", "secret_key"]
    assert made["secret_key"].startswith("lehnz_sk_")
    assert made["publishable_key"].startswith("lehnz_pk_")
    shown = stack.foldline("orgs", "create", "Acme & Söhne")
    assert [line.partition(": ")[0] for line in shown.stdout.splitlines()] == list(made)
    assert shown.stderr == "The keys are shown this once: keep them.\n"

    def listed() -> Json:
        (found,) = [row for row in lines(stack.foldline("orgs", "list", "--json")) if row["org_id"] == made["org_id"]]
        assert list(found) == ["org_id", "name", "rate_limit", "suspended_at", "created_at"]
        return dict(found)

    assert (listed()["name"], listed()["rate_limit"], listed()["suspended_at"]) == ("Acme & Söhne", 1000, None)
    assert document(stack.foldline("orgs", "set", made["org_id"], "--rate-limit", "0", "--json"))["rate_limit"] == 0
    assert listed()["rate_limit"] == 0
    assert document(stack.foldline("orgs", "suspend", made["org_id"], "--json"))["suspended"] is True
    assert listed()["suspended_at"]
    assert document(stack.foldline("orgs", "resume", made["org_id"], "--json"))["suspended"] is False
    assert listed()["suspended_at"] is None
    assert made["org_id"] in stack.foldline("orgs", "list").stdout

    for command in (["set", "--rate-limit", "1"], ["suspend"], ["resume"]):
        assert_ends(stack.foldline("orgs", *command, "org_nobody"), 1, "org_nobody")
    assert_ends(stack.foldline("orgs", "suspend", "\x1b[31m'; --"), 1)
    assert_ends(stack.foldline("orgs", "create", "  "), 1, "name")
    assert stack.foldline("orgs", "set", made["org_id"], "--rate-limit", "-1").returncode == 2
    assert stack.foldline("orgs", "create").returncode == 2


def test_keys(stack: Stack) -> None:
    org = stack.organisation("Keys")
    made = document(stack.foldline("keys", "create", org.org_id, "--role", "publishable", "--json"))
    assert (list(made), made["role"]) == (["key_id", "org_id", "role", "key"], "publishable")
    listed = lines(stack.foldline("keys", "list", org.org_id, "--json"))
    assert sorted(key["role"] for key in listed) == ["publishable", "publishable", "secret"]
    shown = {"key_id", "org_id", "role", "hint", "created_at", "revoked_at"}
    assert shown | {"created_by", "last_used_at", "expires_at", "usable"} == set(listed[0])
    everything = stack.foldline("keys", "list", "--json").stdout + stack.foldline("keys", "list").stdout
    assert org.org_id in everything
    for secret in (org.secret_key, org.publishable_key, made["key"]):
        assert secret not in everything

    rotated = document(stack.foldline("keys", "rotate", made["key_id"], "--json"))
    assert (rotated["revoked"], rotated["role"]) == (made["key_id"], "publishable")
    assert document(stack.foldline("keys", "revoke", rotated["key"], "--json"))["revoked"] is True
    assert_ends(stack.foldline("keys", "revoke", rotated["key"]), 1, "revoked already")
    assert_ends(stack.foldline("keys", "rotate", "key_nothing"), 1, "key_nothing")
    assert_ends(stack.foldline("keys", "create", "org_nobody"), 1, "org_nobody")
    assert stack.foldline("keys", "create", org.org_id, "--role", "admin").returncode == 2


def test_get_is_the_state_deleted_included(stack: Stack, org: Organisation) -> None:
    for kind, entity_id in (("items", "a"), ("items", "b/ü 😀"), ("users", "u")):
        found = stack.foldline("get", kind[:-1], org.org_id, entity_id, "--json")
        assert document(found) == data(org.state(kind, entity_id))
        assert json.loads(stack.foldline("get", kind[:-1], org.org_id, entity_id).stdout) == document(found)
    user = document(stack.foldline("get", "user", org.org_id, "u", "--json"))
    assert (user["status"], user["created_at"]) == ("deleted", "2025-01-12T09:00:00Z")
    command = [*stack.program("get", "item", "--json"), "--", org.org_id, "-x"]
    assert json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)["item_id"] == "-x"

    assert_ends(stack.foldline("get", "item", org.org_id, "u"), 1, org.org_id, "item", "'u'")
    assert_ends(stack.foldline("get", "user", "org_nobody", "u"), 1, "org_nobody")
    assert_ends(stack.foldline("get", "user", org.org_id, "x" * 257), 1)
    assert stack.foldline("get", "order", org.org_id, "1").returncode == 2
    assert stack.foldline("get", "item", org.org_id).returncode == 2


def test_status(stack: Stack, org: Organisation) -> None:
    stack.wait_published()
    ends = stack.ends(*LOG.values())
    found = document(stack.foldline("status", "--json"))
    assert list(found) == ["generation", "partitions", "metrics"]
    assert found["generation"] == 1
    assert found["partitions"] == [
        {
            "topic": topic, "partition": partition, "end": end, "applied": end, "published": end, "lag_records": 0,
            "lag_seconds": 0,
        }
        for (topic, partition), end in sorted(ends.items())
    ]  # fmt: skip
    shown = stack.foldline("status")
    assert shown.returncode == 0
    assert all(topic in shown.stdout for topic in LOG.values())

    # What is acknowledged and not yet applied is lag, in records and in seconds.
    (processor,) = stack.processes("process")
    processor.suspend()
    try:
        for number in range(3):
            org.upsert("items", {"item_id": "a", "attributes": {"late": number}}, wait=False)
        assert eventually(lambda: lag(stack)[1] >= 1, 20)
        assert lag(stack)[0] == 3
    finally:
        processor.resume()
    assert eventually(lambda: lag(stack) == (0, 0), 30)


def lag(stack: Stack) -> tuple[int, float]:
    """The records not applied, and the age of the oldest in seconds."""
    partitions = document(stack.foldline("status", "--json"))["partitions"]
    for partition in partitions:
        assert partition["lag_records"] == partition["end"] - partition["applied"] >= 0
        assert (partition["lag_seconds"] > 0) <= (partition["lag_records"] > 0)
        assert 0 <= partition["lag_seconds"] < 60
    return sum(partition["lag_records"] for partition in partitions), max(p["lag_seconds"] for p in partitions)


@contextmanager
def tailing(stack: Stack, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """`foldline tail` once it follows."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(stack.program("tail", *arguments), text=True, **pipes) as tail:  # type: ignore[call-overload]
        try:
            assert tail.stderr.readline() == f"following {arguments[0]}.state.v1\n"
            yield tail
        finally:
            tail.kill()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_tail_follows(stack: Stack, org: Organisation, number: signal.Signals) -> None:
    other = stack.organisation("Other")
    with tailing(stack, "items", "--org", org.org_id, "--json") as tail:
        other.upsert("items", {"item_id": "not shown", "item_type": "p"})
        for price in (1, 2):
            org.upsert("items", {"item_id": f"new {number}", "item_type": "p", "attributes": {"price": price}})
            state = json.loads(tail.stdout.readline())  # type: ignore[union-attr]
            assert state["attributes"] == {"price": price}
        tail.send_signal(number)
        assert tail.communicate(timeout=20) == ("", "")
        assert tail.returncode == 0
    assert list(state) == [
        "org_id", "item_id", "item_type", "status", "attributes", "version", "first_seen_at", "updated_at", "generation",
        "partition", "offset",
    ]  # fmt: skip
    assert {name: state[name] for name in list(state)[1:8]} == data(org.state("items", f"new {number}"))
    assert (state["org_id"], state["generation"], state["partition"] in range(4)) == (org.org_id, 1, True)


def test_tail_from_the_start(stack: Stack, org: Organisation) -> None:
    with tailing(stack, "users", "--from-start", "--json") as tail:
        state = json.loads(tail.stdout.readline())  # type: ignore[union-attr]
    assert (state["user_id"], state["created_at"], state["attributes"]) == ("u", "2025-01-12T09:00:00Z", {})
    with tailing(stack, "users", "--from-start") as tail:
        line = tail.stdout.readline()  # type: ignore[union-attr]
        assert org.org_id in line
        assert "deleted" in line

    # Whoever reads it may have seen enough.
    with tailing(stack, "items", "--from-start") as tail:
        tail.stdout.close()  # type: ignore[union-attr]
        org.upsert("items", {"item_id": "a"})
        assert tail.wait(20) == 1
        assert "Traceback" not in tail.stderr.read()  # type: ignore[union-attr]
    assert stack.foldline("tail", "orders").returncode == 2


def test_where_the_servers_are(stack: Stack) -> None:
    url = stack.foldline("db-url")
    assert (url.returncode, url.stderr) == (0, "")
    with psycopg.connect(url.stdout.strip()) as connection:
        assert connection.execute("SELECT count(*) FROM foldline.positions").fetchone() == (8,)
    assert document(stack.foldline("db-url", "--json")) == {"database_url": url.stdout.strip()}
    kafka = stack.foldline("kafka-url")
    assert (kafka.returncode, kafka.stdout, kafka.stderr) == (0, f"{stack.kafka}\n", "")
    assert set(LOG.values()) <= set(AdminClient({"bootstrap.servers": kafka.stdout.strip()}).list_topics(timeout=10).topics)

    password = url.stdout.partition("://")[2].partition("@")[0].partition(":")[2]
    for found in (stack.foldline("settings"), stack.foldline("settings", "--json")):
        assert (found.returncode, password in found.stdout, stack.kafka in found.stdout) == (0, False, True)
    assert stack.foldline("init").returncode == 0


def test_the_doctor_of_a_stack(stack: Stack, org: Organisation, tmp_path: Path) -> None:
    stack.wait_published()
    done = stack.foldline("doctor", "--json")
    found = document(done)
    assert {one["status"] for one in found["checks"] if "disk" not in one["check"]} == {"ok"}
    assert "gateway, kafka, postgres, processor-1" in found["checks"][0]["message"]
    assert str(stack.directory) in next(one["message"] for one in found["checks"] if one["check"] == "disk")
    (gateway,) = stack.processes("gateway")
    gateway.suspend()
    try:
        done = stack.foldline("doctor", "--json")
    finally:
        gateway.resume()
    (fault,) = [one for one in json.loads(done.stdout)["checks"] if one["status"] == "fault"]
    assert (done.returncode, fault["message"]) == (1, f"the gateway at {stack.url} is not ready")
    assert f"{stack.directory}/logs/gateway.log" in fault["remedy"]

    with psycopg.connect(stack.database_url, autocommit=True) as connection:
        password = connection.info.password
        connection.execute("ALTER ROLE foldline PASSWORD 'another'")
        try:
            done = stack.foldline("doctor", "--json")
        finally:
            connection.execute(f"ALTER ROLE foldline PASSWORD '{password}'".encode())
    (fault,) = [one for one in json.loads(done.stdout)["checks"] if one["check"] == "database"]
    assert (done.returncode, fault["status"]) == (1, "fault")
    assert f"{stack.directory}/postgres.password" in fault["remedy"]

    nothing = subprocess.run(
        [sys.executable, "-m", "foldline", "doctor", "--data-dir", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (nothing.returncode, nothing.stderr) == (1, "")
    assert f"no stack is running on {tmp_path}" in nothing.stdout
    assert f"→ start it: foldline up --data-dir {tmp_path}" in nothing.stdout


def at_once(
    run: Callable[[list[str]], subprocess.CompletedProcess[str]], commands: Iterable[list[str]]
) -> Iterator[tuple[list[str], subprocess.CompletedProcess[str]]]:
    """Commands that do not mind each other, and what came of them."""
    with ThreadPoolExecutor() as threads:
        yield from threads.map(lambda command: (command, run(command)), commands)


def test_a_component_that_cannot_be_reached_is_named(stack: Stack, org: Organisation, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        nobody = f"127.0.0.1:{free.getsockname()[1]}"
    nowhere = f"postgresql://foldline:a-secret@{nobody}/foldline"
    known = {"FOLDLINE_DATABASE_URL": stack.database_url, "FOLDLINE_KAFKA_BOOTSTRAP": stack.kafka}

    no_database = [["get", "item", org.org_id, "a"], ["orgs", "list"], ["keys", "list"], ["status"]]
    variables = known | {"FOLDLINE_DATABASE_URL": nowhere}
    for _, done in at_once(lambda command: without_stack(tmp_path, *command, **variables), no_database):
        assert_ends(done, 2, "PostgreSQL", nobody)
        assert "a-secret" not in done.stderr
    no_kafka = known | {"FOLDLINE_KAFKA_BOOTSTRAP": nobody}
    for _, done in at_once(lambda command: without_stack(tmp_path, *command, **no_kafka), [["status"], ["tail", "items"]]):
        assert_ends(done, 2, "Kafka", nobody)

    # The environment does instead of a data directory, where it is right.
    assert without_stack(tmp_path, "status", **known).returncode == 0
    assert without_stack(tmp_path, "get", "item", org.org_id, "a", **known).returncode == 0
    no_topics = without_stack(tmp_path, "tail", "items", **known, FOLDLINE_TOPIC_PREFIX="other.")
    assert_ends(no_topics, 1, "other.items.state.v1", "foldline init")


def test_every_command_has_help(tmp_path: Path) -> None:
    printing = (["get"], ["status"], ["tail"], ["orgs", "create"], ["orgs", "list"], ["keys", "create"], ["keys", "list"])
    for command, shown in at_once(lambda command: without_stack(tmp_path, *command, "--help"), printing):
        assert (shown.returncode, "--json" in shown.stdout, "--data-dir" in shown.stdout) == (0, True, True), command
