"""`foldline gateway`, `orgs`, `keys` and `get`, as a shell runs them."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from foldline.embedded.processes import until
from foldline.settings import Settings
from producers.imports.child import GRACE_SECONDS
from tests.producers.test_ingest import applied

PROGRAM = str(Path(sys.executable).with_name("foldline"))


def environment(settings: Settings, **others: Any) -> dict[str, str]:
    own = {f"FOLDLINE_{name.upper()}": str(value) for name, value in settings.model_dump().items() if value is not None}
    return {**os.environ, **own, **{f"FOLDLINE_{name.upper()}": str(value) for name, value in others.items()}}


def foldline(settings: Settings, *arguments: str, code: int = 0, **others: Any) -> subprocess.CompletedProcess[str]:
    command = [PROGRAM, *arguments]
    done = subprocess.run(command, env=environment(settings, **others), capture_output=True, text=True, timeout=60)
    assert done.returncode == code, done.stderr
    if code:
        assert done.stdout == ""
        assert done.stderr.startswith("foldline: ")
        assert done.stderr.count("\n") == 1
    return done


def printed(settings: Settings, *arguments: str) -> Any:
    return json.loads(foldline(settings, *arguments, "--json").stdout)


@contextmanager
def gateway_process(settings: Settings, *options: str, **others: Any) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`foldline gateway` on a free port, and its URL."""
    env = environment(settings, **{"gateway_port": 0} | others)
    process = subprocess.Popen([PROGRAM, "gateway", *options], env=env, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    line = json.loads(process.stderr.readline())
    assert line["event"] == "gateway listens"
    try:
        yield process, f"http://{line['host']}:{line['port']}"
    finally:
        process.kill()
        process.wait()


def client_of(url: str, key: str) -> httpx.Client:
    return httpx.Client(base_url=url, headers={"X-API-KEY": key}, timeout=40, trust_env=False)


def accepts(url: str) -> bool:
    """Whether the gateway takes new connections."""
    try:
        return httpx.get(f"{url}/healthz", trust_env=False).status_code == 200
    except (httpx.NetworkError, httpx.RemoteProtocolError):
        return False


def test_an_organisation_from_its_making_to_its_suspension(stage: Settings) -> None:
    made = printed(stage, "orgs", "create", "Acme & Söhne")
    assert set(made) == {"org_id", "publishable_key", "secret_key"}
    org_id = made["org_id"]
    assert re.fullmatch(r"lehnz_sk_[0-9A-Za-z]{38}", made["secret_key"])
    assert re.fullmatch(r"lehnz_pk_[0-9A-Za-z]{38}", made["publishable_key"])
    assert printed(stage, "orgs", "set", org_id, "--rate-limit", "7") == {"org_id": org_id, "rate_limit": 7}
    assert printed(stage, "orgs", "suspend", org_id) == {"org_id": org_id, "suspended": True}
    listed = [json.loads(line) for line in foldline(stage, "orgs", "list", "--json").stdout.splitlines()]
    (own,) = [row for row in listed if row["org_id"] == org_id]
    assert (own["name"], own["rate_limit"], own["suspended_at"] is None) == ("Acme & Söhne", 7, False)
    assert printed(stage, "orgs", "resume", org_id) == {"org_id": org_id, "suspended": False}
    assert org_id in foldline(stage, "orgs", "list").stdout


def test_what_people_read_names_the_same(stage: Settings) -> None:
    out = foldline(stage, "orgs", "create", "Acme").stdout
    assert re.search(r"^org_id: org_\w+\npublishable_key: lehnz_pk_\w+\nsecret_key: lehnz_sk_\w+$", out, re.MULTILINE)


def test_an_owner_is_given_a_link_to_sign_in_and_one_to_come_back(stage: Settings) -> None:
    done = foldline(stage, "orgs", "create", "Acme", "--owner", "Owner@Example.com", "--json")
    assert done.stderr == ""
    made = json.loads(done.stdout)
    assert list(made) == ["org_id", "publishable_key", "secret_key", "sign_in_link"]
    assert re.fullmatch(rf"http://127\.0\.0\.1:{stage.gateway_port}/link/[\w-]{{43}}", made["sign_in_link"])
    reset = printed(stage, "accounts", "reset", "OWNER@example.com")
    assert reset["email"] == "owner@example.com"
    assert re.fullmatch(rf"http://127\.0\.0\.1:{stage.gateway_port}/link/[\w-]{{43}}", reset["reset_link"])
    public = {"public_url": "https://foldline.example.com"}
    said = foldline(stage, "accounts", "reset", "owner@example.com", **public).stdout
    assert re.search(r"^reset_link: https://foldline\.example\.com/link/[\w-]{43}$", said, re.MULTILINE)
    done = foldline(stage, "orgs", "create", "Second", "--owner", "owner@example.com", gateway_host="0.0.0.0")
    assert "owner@example.com had an account already" in done.stderr
    said = done.stdout
    assert re.search(r"^secret_key: lehnz_sk_\w+\nsign_in_link: http://127\.0\.0\.1:\d+/link/[\w-]{43}$", said, re.MULTILINE)


def test_a_refused_owner_leaves_no_organisation(stage: Settings) -> None:
    before = foldline(stage, "orgs", "list", "--json").stdout
    foldline(stage, "orgs", "create", "Acme", "--owner", "no address", code=1)
    assert foldline(stage, "orgs", "list", "--json").stdout == before


def test_a_key_is_replaced_with_a_grace(stage: Settings) -> None:
    made = printed(stage, "orgs", "create", "Acme")
    rotated = printed(stage, "keys", "rotate", made["secret_key"], "--grace", "3600")
    assert set(rotated) == {"key_id", "org_id", "role", "key", "replaced", "until"}
    rows = [json.loads(line) for line in foldline(stage, "keys", "list", made["org_id"], "--json").stdout.splitlines()]
    (old,) = [row for row in rows if row["key_id"] == rotated["replaced"]]
    assert (old["expires_at"], old["revoked_at"], old["usable"]) == (rotated["until"], None, True)
    assert "replaced already" in foldline(stage, "keys", "rotate", made["secret_key"], code=1).stderr
    foldline(stage, "keys", "rotate", rotated["key"], "--grace", "-1", code=2)
    printed(stage, "keys", "revoke", made["secret_key"])


def test_keys_are_made_listed_rotated_and_revoked(stage: Settings) -> None:
    made = printed(stage, "orgs", "create", "Acme")
    org_id = made["org_id"]
    key = printed(stage, "keys", "create", org_id, "--role", "publishable")
    assert key["key"].startswith("lehnz_pk_")
    rotated = printed(stage, "keys", "rotate", key["key_id"])
    assert rotated["revoked"] == key["key_id"]
    printed(stage, "keys", "revoke", rotated["key"])
    rows = [json.loads(line) for line in foldline(stage, "keys", "list", org_id, "--json").stdout.splitlines()]
    assert len(rows) == 4
    assert {row["key_id"] for row in rows if row["revoked_at"]} == {key["key_id"], rotated["key_id"]}
    assert rotated["key"] not in str(rows)


@pytest.mark.parametrize(
    "arguments",
    [
        ["orgs", "create", " "],
        ["orgs", "create", "Acme", "--owner", "no address"],
        ["accounts", "reset", "nobody@example.com"],
        ["orgs", "set", "org_nope", "--rate-limit", "1"],
        ["orgs", "suspend", "org_nope"],
        ["keys", "create", "org_nope"],
        ["keys", "list", "org_nope"],
        ["keys", "revoke", "key_nope"],
        ["keys", "rotate", "key_nope"],
        ["get", "item", "org_nope", "A"],
        ["get", "user", "org_nope", "a\nb"],
    ],
)
def test_negative_answers_are_one_line_and_1(stage: Settings, arguments: list[str]) -> None:
    foldline(stage, *arguments, code=1)


def test_what_cannot_be_done_is_one_line_and_2(stage: Settings) -> None:
    away = {"database_url": "postgresql://127.0.0.1:1/none", "database_timeout_seconds": 1}
    for arguments in (["orgs", "list"], ["keys", "list"], ["get", "item", "org_a", "A"]):
        assert "PostgreSQL" in foldline(stage, *arguments, code=2, **away).stderr


BEFORE_INIT = [
    ["status"], ["get", "item", "org_a", "A"], ["get", "user", "org_a", "u"], ["tail", "items"],
    ["orgs", "create", "Acme"], ["orgs", "list"], ["orgs", "set", "org_a", "--rate-limit", "1"],
    ["orgs", "suspend", "org_a"], ["orgs", "resume", "org_a"],
    ["keys", "create", "org_a"], ["keys", "list"], ["keys", "revoke", "key_a"], ["keys", "rotate", "key_a"],
    ["accounts", "reset", "a@example.com"],
    ["process"], ["gateway"],
]  # fmt: skip


@pytest.mark.parametrize("arguments", BEFORE_INIT, ids=" ".join)
def test_before_init_every_command_says_to_run_it(kafka: str, database: str, arguments: list[str]) -> None:
    nothing = Settings(kafka_bootstrap=kafka, database_url=database, topic_prefix="nothing.", gateway_port=0)
    said = foldline(nothing, *arguments, code=1).stderr
    assert "foldline init" in said
    assert not re.search("relation|schema|LINE|Unknown topic", said)


def test_services_name_what_has_no_positions(stage: Settings) -> None:
    for service in ("process", "gateway"):
        said = foldline(stage, service, code=1, topic_prefix="other.").stderr
        assert said == "foldline: the database has no positions of other.items.upserts.v1: run `foldline init`\n"


def test_get_shows_what_the_api_shows_and_the_deleted_too(stage: Settings) -> None:
    made = printed(stage, "orgs", "create", "Acme")
    with gateway_process(stage) as (_, url), client_of(url, made["secret_key"]) as client:
        applied(client, "items", {"item_id": "é/1", "item_type": "t", "attributes": {"x": "ü"}})
        state = client.get("/v1/items/%C3%A9%2F1").json()["data"]
        assert printed(stage, "get", "item", made["org_id"], "é/1") == state
        applied(client, "items", {"item_id": "é/1", "status": "deleted"})
    assert printed(stage, "get", "item", made["org_id"], "é/1")["status"] == "deleted"
    assert '"ü"' in foldline(stage, "get", "item", made["org_id"], "é/1").stdout


def test_a_gateway_drains_what_it_has_begun(stage: Settings) -> None:
    made = printed(stage, "orgs", "create", "Acme")
    slow = stage.model_copy(update={"key_cache_seconds": 2})
    with gateway_process(slow) as (process, url), client_of(url, made["secret_key"]) as client:
        client.get("/v1/items")

        def body() -> Iterator[bytes]:
            yield b'{"item_id":"A",'
            process.send_signal(signal.SIGTERM)
            assert until(lambda: not accepts(url), 10)
            yield b'"item_type":"t"}'

        answer = client.post("/v1/ingest/items/upsert", content=body())
        assert answer.status_code == 202
        assert answer.headers["connection"] == "close"
        began = time.monotonic()
        assert process.wait(10) == 0
        assert time.monotonic() - began < 5
        assert process.stderr is not None
        assert [json.loads(line)["event"] for line in process.stderr.read().splitlines()] == ["gateway is drained"]
        with pytest.raises(httpx.ConnectError):
            client.get("/healthz")


def test_a_gateway_that_drains_accepts_nobody_while_its_importer_takes_its_time(stage: Settings) -> None:
    with gateway_process(stage) as (process, url):
        children = psutil.Process(process.pid).children
        importers = lambda: [child for child in children() if "producers.imports" in child.cmdline()]  # noqa: E731
        assert until(lambda: bool(importers()), 10)
        importer = importers()[0]
        importer.suspend()
        try:
            process.send_signal(signal.SIGTERM)
            assert until(lambda: not accepts(url), GRACE_SECONDS / 2)
            assert process.poll() is None
            assert process.wait(GRACE_SECONDS + 5) == 0
        finally:
            with suppress(psutil.NoSuchProcess):
                importer.resume()


def test_who_is_not_answered_when_the_gateway_ends_is_told_to_retry(stage: Settings) -> None:
    made = printed(stage, "orgs", "create", "Acme")
    head = (
        f"POST /v1/ingest/items/upsert HTTP/1.1\r\nHost: x\r\nX-API-KEY: {made['secret_key']}\r\nContent-Length: 99\r\n\r\n["
    )
    with gateway_process(stage) as (process, url):
        with socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), timeout=30) as sender:
            sender.sendall(head.encode())
            metrics = lambda: httpx.get(f"{url}/metrics", trust_env=False).text  # noqa: E731
            assert until(lambda: "foldline_pending_bytes 0.0" not in metrics(), 10)
            process.send_signal(signal.SIGTERM)
            answer = b"".join(iter(lambda: sender.recv(65536), b"")).decode()
        assert answer.startswith("HTTP/1.1 503 "), answer
        assert "\r\nretry-after: " in answer.lower()
        assert json.loads(answer.partition("\r\n\r\n")[2])["success"] is False
        assert process.wait(10) == 0


def test_options_of_the_gateway_win_over_settings(stage: Settings) -> None:
    taken = {"gateway_host": "192.0.2.1", "gateway_port": 1}
    with gateway_process(stage, "--host", "127.0.0.1", "--port", "0", **taken) as (_, url):
        assert httpx.get(f"{url}/healthz", trust_env=False).status_code == 200


def test_a_taken_port_is_one_line_and_2(stage: Settings) -> None:
    with gateway_process(stage) as (_, url):
        port = url.rpartition(":")[2]
        refused = foldline(stage, "gateway", code=2, gateway_port=port).stderr
        assert (port in refused, "--port" in refused) == (True, True)
        assert port in foldline(stage, "gateway", "--port", port, code=2).stderr
    assert "cannot listen" in foldline(stage, "gateway", code=2, gateway_host="192.0.2.1").stderr
