"""Servers that go away and come back."""

from __future__ import annotations

import secrets
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit, urlunsplit

import httpx
import pytest

from foldline.settings import Settings
from tests.producers.conftest import Gateway, NewOrg, gateway_of
from tests.producers.test_ingest import refused


class Proxy:
    """Stands between a client and a server; can be cut (connections refused) and frozen (nothing passes)."""

    def __init__(self, host: str, port: int) -> None:
        self._target = host, port
        self._connections: list[socket.socket] = []
        self._thawed = threading.Event()
        self._thawed.set()
        self._listener = self._listen(0)
        self.port = self._listener.getsockname()[1]

    def _listen(self, port: int) -> socket.socket:
        listener = socket.create_server(("127.0.0.1", port))
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()
        return listener

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                near, _ = listener.accept()
                far = socket.create_connection(self._target)
                self._connections += [near, far]
                for source, sink in ((near, far), (far, near)):
                    threading.Thread(target=self._pump, args=(source, sink), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                self._thawed.wait()
                sink.sendall(data)
        with suppress(OSError):
            sink.shutdown(socket.SHUT_RDWR)

    def cut(self) -> None:
        # To close alone would not end an accept() that is waiting.
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self._connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()
        self._connections.clear()

    def mend(self) -> None:
        self._listener = self._listen(self.port)

    def freeze(self) -> None:
        self._thawed.clear()

    def thaw(self) -> None:
        self._thawed.set()


@contextmanager
def behind_a_proxy(settings: Settings, **others: object) -> Iterator[tuple[Gateway, Proxy]]:
    """A gateway that reaches PostgreSQL by a proxy."""
    url = urlsplit(settings.database_url)
    assert url.hostname is not None
    assert url.port is not None
    proxy = Proxy(url.hostname, url.port)
    netloc = url.netloc.replace(f":{url.port}", f":{proxy.port}")
    changed = {"database_url": urlunsplit(url._replace(netloc=netloc)), "database_timeout_seconds": 1.0} | others
    with gateway_of(settings.model_copy(update=changed)) as gateway:
        yield gateway, proxy
        proxy.thaw()


def until_answered(client: httpx.Client, status: int, seconds: float, path: str = "/v1/items") -> httpx.Response:
    deadline = time.monotonic() + seconds
    while (answer := client.get(path)).status_code != status:
        assert time.monotonic() < deadline, answer.text
        time.sleep(0.1)
    return answer


def test_the_database_goes_away_and_comes_back(stage: Settings, new_org: NewOrg) -> None:
    with behind_a_proxy(stage) as (gateway, proxy), gateway.client(new_org().secret_key) as client:
        assert client.get("/v1/items").status_code == 200
        proxy.cut()
        began = time.monotonic()
        answer = client.get("/v1/items")
        refused(answer, 503)
        assert time.monotonic() - began < 3
        assert int(answer.headers["Retry-After"]) >= 1
        time.sleep(1.1)
        refused(client.post("/v1/ingest/items/upsert", json={"item_id": "A", "item_type": "t"}), 503)
        assert "PostgreSQL" in client.get("/readyz").json()["message"]
        assert client.get("/healthz").status_code == 200
        time.sleep(3)
        proxy.mend()
        until_answered(client, 200, 5)
        until_answered(client, 200, 5, "/readyz")
        assert client.post("/v1/ingest/items/upsert", json={"item_id": "A", "item_type": "t"}).status_code == 202


def test_a_database_that_hangs_is_not_waited_for(stage: Settings, new_org: NewOrg) -> None:
    with behind_a_proxy(stage) as (gateway, proxy), gateway.client(new_org().secret_key) as client:
        assert client.get("/v1/items").status_code == 200
        proxy.freeze()
        began = time.monotonic()
        for _ in range(3):
            refused(client.get("/v1/items"), 503)
        assert time.monotonic() - began < 5
        proxy.thaw()
        until_answered(client, 200, 5)


def test_a_restart_of_the_database_between_two_requests_is_not_noticed(stage: Settings, new_org: NewOrg) -> None:
    with behind_a_proxy(stage) as (gateway, proxy), gateway.client(new_org().secret_key) as client:
        assert client.get("/v1/items").status_code == 200
        proxy.cut()
        proxy.mend()
        assert client.get("/v1/items").status_code == 200


def test_without_kafka_there_is_no_upsert_but_everything_else(stage: Settings, new_org: NewOrg) -> None:
    away = stage.model_copy(update={"kafka_bootstrap": "127.0.0.1:1", "delivery_timeout_seconds": 1.0})
    with gateway_of(away) as gateway, gateway.client(new_org().secret_key) as client:
        began = time.monotonic()
        answer = client.post("/v1/ingest/items/upsert", json={"item_id": "A", "item_type": "t"})
        assert "Nothing of it will appear" in refused(answer, 503)
        assert "Retry-After" in answer.headers
        assert time.monotonic() - began < 4
        assert client.get("/v1/items").status_code == 200
        assert "Kafka" in client.get("/readyz").json()["message"]


def test_a_database_that_nobody_initialised_is_told_of(stage: Settings, database: str) -> None:
    with gateway_of(stage.model_copy(update={"database_url": database})) as gateway, gateway.client() as client:
        answer = client.get("/readyz")
        refused(answer, 503)
        assert "foldline init" in answer.json()["message"]


def test_missing_topics_are_told_of(stage: Settings, new_org: NewOrg) -> None:
    prefix, key = f"none-{secrets.token_hex(3)}.", new_org().secret_key
    with gateway_of(stage.model_copy(update={"topic_prefix": prefix})) as gateway, gateway.client(key) as client:
        assert "foldline init" in client.get("/readyz").json()["message"]
        answer = client.post("/v1/ingest/items/upsert", json={"item_id": "A", "item_type": "t"})
        assert "foldline init" in refused(answer, 503)


def test_draining_answers_who_waits(stage: Settings, new_org: NewOrg) -> None:
    from foldline.adapters.producer import Appended, PartitionEnd
    from producers.gateway.tokens import Operation, operation_id

    org = new_org()
    answers: list[httpx.Response] = []
    with gateway_of(stage) as gateway, gateway.client(org.secret_key) as client:
        client.post("/v1/ingest/items/upsert", json={"item_id": "A", "item_type": "t"})
        assert gateway.parts.known_secret is not None
        never = Operation(org.org_id, "items", "0" * 32, Appended("another", (PartitionEnd(0, 1, 0),)))
        path = f"/v1/items?min_operation={operation_id(gateway.parts.known_secret, never)}"
        waiting = threading.Thread(target=lambda: answers.append(client.get(path)))
        waiting.start()
        time.sleep(0.5)
        began = time.monotonic()
        gateway.server.should_exit = True
        waiting.join(10)
    assert time.monotonic() - began < 5
    assert [answer.status_code for answer in answers] == [503]


@pytest.mark.parametrize("port", ["taken"])
def test_a_taken_port_is_one_clear_line(gateway: Gateway, port: str) -> None:
    from foldline.domain.errors import Unreachable
    from producers.gateway.server import bound

    with pytest.raises(Unreachable, match="FOLDLINE_GATEWAY_PORT"):
        bound("127.0.0.1", gateway.port)
