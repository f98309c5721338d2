"""What needs no key: health, metrics, documentation, the registry."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import fastavro
import httpx
import pytest

import schemas
from tests.producers.conftest import Gateway, NewOrg
from tests.producers.test_ingest import refused


@pytest.fixture
def anyone(gateway: Gateway) -> Iterator[httpx.Client]:
    with gateway.client() as client:
        yield client


def test_health(anyone: httpx.Client) -> None:
    for path in ("/healthz", "/readyz"):
        answer = anyone.get(path)
        assert (answer.status_code, answer.json()["success"]) == (200, True)


@pytest.mark.parametrize(
    "path",
    ["/sign-in", "/healthz", "/readyz", "/openapi.json", "/docs", "/docs/assets/swagger-ui.css", "/registry/subjects"],
)
def test_head_answers_as_get_does_without_a_body(anyone: httpx.Client, path: str) -> None:
    got, head = anyone.get(path), anyone.head(path)
    assert (head.status_code, head.content) == (200, b"")
    assert (head.headers["Content-Type"], head.headers["Content-Length"]) == (
        got.headers["Content-Type"],
        str(len(got.content)),
    )
    # What follows on the connection is not taken for the body.
    assert anyone.get("/healthz").json()["success"] is True


def test_the_first_page_leads_to_one_that_needs_nothing_from_elsewhere(anyone: httpx.Client) -> None:
    first = anyone.get("/")
    assert (first.status_code, first.headers["Location"]) == (303, "/sign-in")
    answer = anyone.get("/sign-in")
    assert answer.headers["content-type"].startswith("text/html")
    assert re.findall(r"https?:", answer.text) == []
    for link in re.findall(r'(?:href|src)="(/[^"]+)"', answer.text):
        assert anyone.get(link).status_code == 200


def test_the_documentation_needs_nothing_from_elsewhere(anyone: httpx.Client) -> None:
    page = anyone.get("/docs")
    assert page.status_code == 200
    assert "//" not in re.sub(r"<!doctype html>", "", page.text)
    for asset in re.findall(r'(?:src|href)="([^"]+)"', page.text):
        assert anyone.get("/" + asset).status_code == 200


def test_the_document_tells_of_every_route(anyone: httpx.Client) -> None:
    document = anyone.get("/openapi.json").json()
    assert document["openapi"] == "3.0.3"
    assert set(document["paths"]) == {
        "/v1/ingest/items/upsert",
        "/v1/ingest/users/upsert",
        "/v1/ingest/operations/{operation_id}",
        "/v1/items",
        "/v1/items/{item_id}",
        "/v1/users",
        "/v1/users/{user_id}",
        "/healthz",
        "/readyz",
    }
    assert document["components"]["schemas"]["ItemUpsert"]["required"] == ["item_id"]
    assert document["components"]["schemas"]["ItemUpsert"]["additionalProperties"] is False
    assert {method for path in document["paths"].values() for method in path} == {"get", "post"}
    listing = document["paths"]["/v1/items"]["get"]
    assert {parameter["name"] for parameter in listing["parameters"]} == {
        "status", "item_type", "ids", "limit", "cursor", "include_deleted", "min_operation",
    }  # fmt: skip
    assert set(listing["responses"]) == {"200", "400", "401", "403", "404", "408", "429", "431", "503"}
    assert listing["security"] == [{"ApiKey": []}]
    text = json.dumps(document)
    assert '"null"' not in text, "OpenAPI 3.0 has no type null"
    names = set(re.findall(r'"#/components/schemas/([^"]+)"', text))
    assert names <= set(document["components"]["schemas"])


def test_metrics_count_requests_by_route_and_status(anyone: httpx.Client, gateway: Gateway, new_org: NewOrg) -> None:
    with gateway.client(new_org().secret_key) as client:
        client.post("/v1/ingest/items/upsert", json=[{"item_id": "A", "item_type": "t"}] * 3)
        client.post("/v1/ingest/items/upsert", json={"item_id": "A", "status": "x"})
        client.get("/v1/items/some-private-id")
        client.get("/nowhere/some-private-id")
        client.request("PROPFIND", "/v1/items")
    text = anyone.get("/metrics").text
    for line in (
        r'foldline_http_requests_total\{method="POST",route="/v1/ingest/items/upsert",status="202"\} \d+',
        r'foldline_http_requests_total\{method="GET",route="/v1/items/\{item_id\}",status="404"\} \d+',
        r'foldline_http_requests_total\{method="GET",route="unknown",status="404"\} \d+',
        r'foldline_http_requests_total\{method="other",route="/v1/items",status="405"\} \d+',
        r'foldline_http_request_seconds_count\{route="/v1/ingest/items/upsert"\} \d+',
        r'foldline_records_accepted_total\{kind="items"\} \d+',
        r'foldline_field_errors_total\{code="invalid_status"\} \d+',
        r"foldline_producer_queue_records 0",
    ):
        assert re.search(line, text), line
    assert "some-private-id" not in text


@pytest.mark.parametrize(
    ("method", "path", "status", "allow"),
    [
        ("GET", "/v1/ingest/items/upsert", 405, "POST"),
        ("HEAD", "/v1/ingest/items/upsert", 405, "POST"),
        ("DELETE", "/v1/items", 405, "GET, HEAD"),
        ("PUT", "/v1/items/a/b", 405, "GET, HEAD"),
        ("POST", "/v1/ingest/operations/op_x", 405, "GET, HEAD"),
        ("POST", "/healthz", 405, "GET, HEAD"),
        ("POST", "/", 405, "GET, HEAD"),
        ("POST", "/registry/subjects", 405, "GET, HEAD"),
        ("POST", "/docs/assets/swagger-ui.css", 405, "GET, HEAD"),
        ("HEAD", "/v1/nowhere", 404, None),
        ("POST", "/v1/nowhere", 404, None),
        ("GET", "/v1/ingest/items/upsert/", 404, None),
        ("GET", "/healthz/", 404, None),
        ("GET", "/docs/assets/nope.js", 404, None),
        ("GET", "/docs/assets/../../../../etc/passwd", 404, None),
    ],
)
def test_what_is_not_there(anyone: httpx.Client, method: str, path: str, status: int, allow: str | None) -> None:
    answer = anyone.request(method, path)
    if method == "HEAD":
        assert (answer.status_code, answer.content) == (status, b"")
    else:
        refused(answer, status)
    assert answer.headers.get("Allow") == allow


def test_a_failure_inside_is_an_envelope_and_a_log_line_without_what_was_sent(
    gateway: Gateway, new_org: NewOrg, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def fail(*_: Any) -> None:
        raise ValueError("secret text")

    monkeypatch.setattr(gateway.parts.log, "append", fail)
    with gateway.client(new_org().secret_key) as client:
        answer = client.post("/v1/ingest/items/upsert", json={"item_id": "A", "attributes": {"x": "secret text"}})
    refused(answer, 500)
    assert "RateLimit-Limit" in answer.headers
    captured = capsys.readouterr()
    assert "ValueError" in captured.out + captured.err
    assert "secret text" not in captured.out + captured.err


def registry(client: httpx.Client, path: str, status: int = 200) -> Any:
    answer = client.get(f"/registry{path}")
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/vnd.schemaregistry.v1+json"
    return answer.json()


def test_the_registry_has_the_bundled_schemas(anyone: httpx.Client, gateway: Gateway) -> None:
    prefix = gateway.parts.settings.topic_prefix
    subjects = registry(anyone, "/subjects")
    assert subjects == sorted({f"{prefix}{schema.topic}-value" for schema in schemas.bundle()})
    for schema in schemas.bundle():
        subject = f"{prefix}{schema.topic}-value"
        versions = [other.version for other in schemas.bundle() if other.topic == schema.topic]
        assert registry(anyone, f"/subjects/{subject}/versions") == versions
        for version in (str(schema.version), *(("latest", "-1") if schema.version == versions[-1] else ())):
            assert registry(anyone, f"/subjects/{subject}/versions/{version}") == {
                "subject": subject,
                "version": schema.version,
                "id": schema.id,
                "schema": schema.text,
            }
        by_id = registry(anyone, f"/schemas/ids/{schema.id}")
        fastavro.parse_schema(json.loads(by_id["schema"]))
        known = [{"subject": subject, "version": schema.version}]
        assert registry(anyone, f"/schemas/ids/{schema.id}/versions") == known
    assert registry(anyone, "/schemas/types") == ["AVRO"]
    assert registry(anyone, "/config") == {"compatibilityLevel": "FULL_TRANSITIVE"}
    assert registry(anyone, f"/config/{subjects[0]}") == {"compatibilityLevel": "FULL_TRANSITIVE"}


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/schemas/ids/0", 404, 40403),
        ("/schemas/ids/99", 404, 40403),
        ("/schemas/ids/x", 404, 40403),
        ("/schemas/ids/99999999999999999999", 404, 40403),
        ("/subjects/nope/versions", 404, 40401),
        ("/subjects/nope/versions/1", 404, 40401),
        ("/subjects/{subject}/versions/99", 404, 40402),
        ("/subjects/{subject}/versions/0", 422, 42202),
        ("/subjects/{subject}/versions/x", 422, 42202),
        ("/config/nope", 404, 40401),
    ],
)
def test_what_the_registry_does_not_have(anyone: httpx.Client, gateway: Gateway, path: str, status: int, code: int) -> None:
    subject = f"{gateway.parts.settings.topic_prefix}items.upserts.v1-value"
    assert registry(anyone, path.format(subject=subject), status)["error_code"] == code
