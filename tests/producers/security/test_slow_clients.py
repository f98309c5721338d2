"""Clients that are slow on purpose, and what is no request at all: nobody is waited for without end, nobody else notices."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from foldline.settings import Settings
from tests.producers.conftest import Gateway, NewOrg, gateway_of

HEAD_SECONDS, BODY_SECONDS, LEAST = 1.0, 1.0, 1000
LATEST = 4.0  # a connection is looked at once a second


@pytest.fixture(scope="module")
def hurried(stage: Settings) -> Iterator[Gateway]:
    limits = {"head_timeout_seconds": HEAD_SECONDS, "body_timeout_seconds": BODY_SECONDS, "min_body_bytes_per_second": LEAST}
    with gateway_of(stage.model_copy(update=limits)) as running:
        yield running


def opened(gateway: Gateway) -> socket.socket:
    return socket.create_connection(("127.0.0.1", gateway.port), 10)


def answer(connection: socket.socket) -> bytes:
    """All that comes until the other side ends the connection."""
    found = b""
    while chunk := connection.recv(65536):
        found += chunk
    return found


def alive(connection: socket.socket) -> None:
    """One request, and its whole answer."""
    connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
    found = b""
    while not found.endswith(b'{"status":"ok"}}'):
        chunk = connection.recv(4096)
        assert chunk, found
        found += chunk
    assert found.startswith(b"HTTP/1.1 200 ")


def upsert_head(key: str, length: int) -> bytes:
    return (
        f"POST /v1/ingest/items/upsert HTTP/1.1\r\nHost: x\r\nX-API-KEY: {key}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {length}\r\n\r\n"
    ).encode()


@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\nX-A: b\r\n"])
def test_a_head_that_does_not_come_is_408(hurried: Gateway, sent: bytes) -> None:
    with opened(hurried) as connection:
        began = time.monotonic()
        connection.sendall(sent)
        found = answer(connection)
    assert HEAD_SECONDS <= time.monotonic() - began < LATEST
    assert found.count(b"HTTP/1.1 408 Request Timeout\r\n") == 1
    assert b'"success":false' in found


def test_a_head_that_trickles_is_408(hurried: Gateway) -> None:
    with opened(hurried) as connection:
        began = time.monotonic()
        connection.sendall(b"GET /healthz HTTP/1.1\r\n")
        connection.settimeout(0.2)
        found = b""
        while not found and time.monotonic() - began < LATEST:
            connection.sendall(b"X-A: b\r\n")
            try:
                found = connection.recv(4096)
            except TimeoutError:
                continue
    assert found.startswith(b"HTTP/1.1 408 ")


@pytest.mark.parametrize("path", ["/v1/ingest/items/upsert", "/sign-in"])
def test_a_body_that_trickles_is_408_and_nothing_of_it_is_queued(hurried: Gateway, new_org: NewOrg, path: str) -> None:
    org = new_org()
    with opened(hurried) as connection:
        began = time.monotonic()
        connection.sendall(upsert_head(org.secret_key, 5000).replace(b"/v1/ingest/items/upsert", path.encode()))
        connection.settimeout(0.2)
        found = b""
        while not found and time.monotonic() - began < LATEST:
            connection.sendall(b" ")
            try:
                found = connection.recv(4096)
            except TimeoutError:
                continue
    assert found.startswith(b"HTTP/1.1 40")
    if path != "/sign-in":
        assert found.startswith(b"HTTP/1.1 408 ")
        with hurried.client(org.secret_key) as client:
            assert client.get("/v1/items").json()["data"]["items"] == []


def test_a_body_that_is_slow_and_steady_is_taken(hurried: Gateway, new_org: NewOrg) -> None:
    body = b'{"item_id": "slow", "item_type": "p"}'.ljust(8 * LEAST)
    with opened(hurried) as connection:
        connection.sendall(upsert_head(new_org().secret_key, len(body)))
        began = time.monotonic()
        for at in range(0, len(body), 400):
            connection.sendall(body[at : at + 400])
            time.sleep(max(0.0, began + (at + 400) / (2 * LEAST) - time.monotonic()))  # twice the least rate
        assert time.monotonic() - began > 2 * BODY_SECONDS
        assert connection.recv(4096).startswith(b"HTTP/1.1 202 ")


def test_a_connection_that_waits_for_its_next_request_is_left_alone(hurried: Gateway) -> None:
    with opened(hurried) as connection:
        alive(connection)
        connection.settimeout(HEAD_SECONDS + 2)
        with pytest.raises(TimeoutError):
            connection.recv(1)
        alive(connection)
        connection.sendall(b"GET")  # but not once that has begun
        connection.settimeout(LATEST)
        assert answer(connection).startswith(b"HTTP/1.1 408 ")


def test_an_answer_that_takes_long_is_not_the_clients_slowness(hurried: Gateway, new_org: NewOrg) -> None:
    """The request is all there; the gateway waits for an operation that never comes."""
    with hurried.client(new_org().secret_key) as client:
        sent = client.post("/v1/ingest/items/upsert", json={"item_id": "a", "item_type": "p"}, headers={"Prefer": "wait=20"})
        assert sent.status_code == 200


@pytest.mark.parametrize(
    "sent",
    [
        b"GET /" + b"a" * 1_000_000,
        b"GET / HTTP/1.1\r\nX-A: " + b"a" * 1_000_000,
        b"GET / HTTP/1.1\r\n" + b"X-A: b\r\n" * 100_000,
        b"POST /sign-in HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n" + b"X-A: b\r\n" * 100_000,
        b"POST /sign-in HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1;" + b"a" * 1_000_000,
    ],
    ids=["path", "header", "headers", "trailers", "chunk extension"],
)
def test_what_is_no_body_is_bounded(hurried: Gateway, sent: bytes) -> None:
    with opened(hurried) as connection:
        try:
            for at in range(0, len(sent), 8192):
                connection.sendall(sent[at : at + 8192])
            found = answer(connection)
        except (ConnectionResetError, BrokenPipeError):
            found = b""  # it ended while we were still sending
    assert found == b"" or b"HTTP/1.1 431 " in found or found.startswith(b"HTTP/1.1 40"), found[:200]


def test_who_only_opens_connections_keeps_nobody_out(hurried: Gateway) -> None:
    with ExitStack() as stack:
        for _ in range(400):
            stack.enter_context(opened(hurried)).sendall(b"GET / HTTP/1.1\r\n")
        with hurried.client() as client:
            began = time.monotonic()
            assert client.get("/healthz").status_code == 200
            assert time.monotonic() - began < 1.0
