"""Schema registries: a real one, which goes away and comes back, and answers that a real one gives only in bad times."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

import pytest

import schemas
from foldline.adapters.codec import BundledRegistry, Registry, UpsertCodec
from foldline.adapters.registry import ConfluentRegistry, ensure_schemas, registry_of
from foldline.domain.errors import FoldlineError, SchemaUnknown, Unreachable
from foldline.domain.records import Rejection
from foldline.embedded.processes import until
from foldline.settings import Settings
from tests.producers.test_outages import Proxy
from tests.registry import ask, register

TOPICS = ("items.upserts.v1", "users.upserts.v1", "items.state.v1", "users.state.v1")
Make = Callable[[str], ConfluentRegistry]


@pytest.fixture
def made(schema_registry: str, topic_prefix: str) -> Make:
    """Makes clients of the registry that know nothing yet, for subjects of this test's own."""
    return lambda url: ConfluentRegistry(url or schema_registry, topic_prefix, 5.0)


@contextmanager
def proxied(url: str) -> Iterator[tuple[str, Proxy]]:
    parts = urlsplit(url)
    assert parts.hostname is not None
    assert parts.port is not None
    proxy = Proxy(parts.hostname, parts.port)
    yield url.replace(f":{parts.port}", f":{proxy.port}"), proxy
    proxy.cut()


@pytest.fixture(params=["bundled", pytest.param("confluent", marks=pytest.mark.server)], scope="module")
def registry(request: pytest.FixtureRequest) -> Registry:
    if request.param == "bundled":
        return BundledRegistry()
    client = ConfluentRegistry(request.getfixturevalue("schema_registry"), "every.", 5.0)
    client.ensure()
    return client


class TestEveryRegistry:
    def test_knows_the_newest_schema_of_each_topic(self, registry: Registry) -> None:
        ids = [registry.id_of(topic) for topic in TOPICS]
        assert len(set(ids)) == 4
        assert [registry.schema_of(one) for one in ids] == [schemas.latest(topic).definition for topic in TOPICS]

    @pytest.mark.parametrize("schema_id", [0, 1_000_000, 2**31 - 1, 2**31, 2**32 - 1])
    def test_says_so_where_an_id_does_not_exist(self, registry: Registry, schema_id: int) -> None:
        for _ in range(2):
            with pytest.raises(SchemaUnknown, match=str(schema_id)):
                registry.schema_of(schema_id)
        found = UpsertCodec("items", registry).decode(b"\0" + schema_id.to_bytes(4, "big") + b"\2a")
        assert isinstance(found, Rejection)
        assert found.code == "unknown_schema"


class TestInit:
    def test_registers_each_version_once_at_full_transitive(
        self, made: Make, schema_registry: str, topic_prefix: str
    ) -> None:
        with pytest.raises(FoldlineError, match="run `foldline init`"):
            made("").id_of(TOPICS[0])
        names = [f"{schema.record}.v{schema.version}" for schema in schemas.bundle()]
        assert sorted(made("").ensure()) == sorted(names)
        assert made("").ensure() == []
        for topic in TOPICS:
            subject = f"{topic_prefix}{topic}-value"
            latest = ask(schema_registry, "GET", f"/subjects/{subject}/versions/latest")
            assert json.loads(latest["schema"]) == schemas.latest(topic).definition
            assert latest["id"] == made("").id_of(topic) > len(schemas.bundle())
            assert ask(schema_registry, "GET", f"/config/{subject}") == {"compatibilityLevel": "FULL_TRANSITIVE"}

    def test_mends_a_level_that_is_another(self, made: Make, schema_registry: str, topic_prefix: str) -> None:
        made("").ensure()
        path = f"/config/{topic_prefix}{TOPICS[0]}-value"
        ask(schema_registry, "PUT", path, {"compatibility": "BACKWARD"})
        assert made("").ensure() == []
        assert ask(schema_registry, "GET", path) == {"compatibilityLevel": "FULL_TRANSITIVE"}

    def test_says_which_schema_is_refused(self, made: Make, schema_registry: str, topic_prefix: str) -> None:
        subject = f"{topic_prefix}{TOPICS[2]}-value"
        definition = schemas.latest(TOPICS[2]).definition
        definition["fields"].append({"name": "colour", "type": "string"})
        register(schema_registry, subject, definition)
        with pytest.raises(FoldlineError, match=rf"^item_state\.v1 cannot be registered under {subject}: .* answers 409: "):
            made("").ensure()


class TestAnOutage:
    def test_what_is_known_is_known_and_the_rest_waits(self, made: Make, schema_registry: str, topic_prefix: str) -> None:
        made("").ensure()
        with proxied(schema_registry) as (url, proxy):
            client = made(url)
            known = client.id_of(TOPICS[0])
            other = register(schema_registry, f"{topic_prefix}other", {"type": "record", "name": "Late", "fields": []})
            proxy.cut()
            assert client.id_of(TOPICS[0]) == known
            assert client.schema_of(known) == schemas.latest(TOPICS[0]).definition
            for unanswered in (lambda: client.id_of(TOPICS[1]), lambda: client.schema_of(other)):
                with pytest.raises(Unreachable, match="does not answer: Connection refused"):
                    unanswered()
            proxy.mend()
            assert client.schema_of(other)["name"] == "Late"
            assert client.id_of(TOPICS[1]) != known

    def test_a_registry_that_hangs_is_not_waited_for(self, schema_registry: str, topic_prefix: str) -> None:
        with proxied(schema_registry) as (url, proxy):
            proxy.freeze()
            with pytest.raises(Unreachable, match="does not answer: timed out"):
                ConfluentRegistry(url, topic_prefix, 0.2).schema_of(1_000_000)
            proxy.thaw()

    def test_an_id_that_comes_to_exist_is_found(self, made: Make, schema_registry: str, topic_prefix: str) -> None:
        client = made("")
        definition = {"type": "record", "name": "Coming", "fields": []}
        unborn = register(schema_registry, f"{topic_prefix}other", definition) + 1
        with pytest.raises(SchemaUnknown):
            client.schema_of(unborn)
        assert register(schema_registry, f"{topic_prefix}next", definition | {"name": "Come"}) == unborn
        assert until(lambda: knows(client, unborn), 5)


def knows(client: Registry, schema_id: int) -> bool:
    try:
        client.schema_of(schema_id)
    except SchemaUnknown:
        return False
    return True


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({"schema": 'syntax = "proto3"; message A {}', "schemaType": "PROTOBUF"}, "is of type PROTOBUF, not Avro"),
        ({"schema": '"string"'}, "is not one of a record"),
        ({"schema": '{"type": "record", "name": "R", "fields": []}', "references": "others-1"}, "refers to other schemas"),
    ],
)
def test_schemas_of_others_are_the_records_fault(
    made: Make, schema_registry: str, topic_prefix: str, content: dict[str, Any], reason: str
) -> None:
    if other := content.get("references"):
        content = content | {"references": [{"name": "Other1", "subject": other, "version": 1}]}
    schema_id = ask(schema_registry, "POST", f"/subjects/{topic_prefix}other/versions", content)["id"]
    client = made("")
    client.ensure()
    found = UpsertCodec("items", client).decode(b"\0" + schema_id.to_bytes(4, "big") + b"\2a")
    assert isinstance(found, Rejection)
    assert found.code == "unknown_schema"
    assert reason in found.message


@contextmanager
def answering(answers: dict[str, tuple[int, object]]) -> Iterator[str]:
    """A server with one answer a method; what is no text becomes JSON."""

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            status, content = answers[self.command]
            body = content.encode() if isinstance(content, str) else json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_PUT = answer

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://me:secret@127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize(
    "answer",
    [
        (404, "<h1>Not Found</h1>"),
        (404, {"message": "no such route"}),
        (200, "<h1>Welcome</h1>"),
        (200, []),
        (200, {"id": 7}),
        (401, {"error_code": 40101, "message": "who are you"}),
        (403, {"error_code": 40301, "message": "not you"}),
        (429, "slower"),
        (500, {"error_code": 50001, "message": "the store is away"}),
        (503, ""),
    ],
)
def test_what_is_no_word_about_an_id_is_no_fault_of_a_record(answer: tuple[int, object]) -> None:
    with answering({"GET": answer}) as url, pytest.raises(Unreachable, match=r"registry at http://me:\*\*\*@127") as raised:
        ConfluentRegistry(url, "", 5.0).schema_of(7)
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    ("answers", "reason"),
    [
        (
            {"GET": (200, {"compatibilityLevel": "NONE"}), "PUT": (405, {"error_code": 40500, "message": "read only"})},
            "items.upserts.v1-value must be FULL_TRANSITIVE, and cannot be set: .* answers 405: read only",
        ),
        (
            {"GET": (200, {"compatibilityLevel": "NONE"}), "PUT": (200, {"compatibility": "FULL_TRANSITIVE"})},
            "items.upserts.v1-value must be FULL_TRANSITIVE: the schema registry at .* leaves it at NONE",
        ),
    ],
)
def test_a_level_that_cannot_be_set_is_said(answers: dict[str, tuple[int, object]], reason: str) -> None:
    with answering(answers) as url, pytest.raises(FoldlineError, match=reason):
        ConfluentRegistry(url, "", 5.0).ensure()


def test_settings_that_are_the_same_have_one_registry() -> None:
    settings = Settings(schema_registry_url="http://127.0.0.1:1/", topic_prefix="one.")
    assert registry_of(settings) is registry_of(Settings(schema_registry_url="http://127.0.0.1:1/", topic_prefix="one."))
    assert registry_of(settings) is not registry_of(settings.model_copy(update={"topic_prefix": "two."}))
    assert isinstance(registry_of(Settings(schema_registry_url=None)), BundledRegistry)
    assert ensure_schemas(Settings(schema_registry_url=None)) == []
