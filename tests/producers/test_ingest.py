"""Upserts through HTTP, to the state that comes of them."""

from __future__ import annotations

import gzip
import http.client
import json
import socket
from typing import Any

import httpx
import pytest

from foldline.domain.keys import partition_of
from tests.producers.conftest import Gateway, NewOrg

WAIT = {"Prefer": "wait=20"}
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def upsert(api: httpx.Client, kind: str, body: Any, **headers: str) -> httpx.Response:
    return api.post(f"/v1/ingest/{kind}/upsert", json=body, headers=headers)


def applied(api: httpx.Client, kind: str, body: Any) -> dict[str, Any]:
    answer = upsert(api, kind, body, **WAIT)
    assert answer.status_code == 200, answer.text
    data: dict[str, Any] = answer.json()["data"]
    return data


def refused(answer: httpx.Response, status: int) -> Any:
    assert answer.status_code == status, answer.text
    body = answer.json()
    assert body["success"] is False
    assert body["data"] is None
    assert body["message"]
    assert body["error_count"] >= 1
    assert set(body) == {"success", "message", "data", "error", "error_count"}
    return body["error"]


def test_an_upsert_is_queued_and_then_applied(api: httpx.Client) -> None:
    answer = upsert(api, "items", {"item_id": "A", "item_type": "product", "attributes": {"price": 1}})
    assert answer.status_code == 202
    body = answer.json()
    operation_id = body["data"].pop("operation_id")
    assert body == {"success": True, "message": "Queued", "data": {"accepted": 1}}
    read = api.get("/v1/items/A", params={"min_operation": operation_id})
    assert read.status_code == 200
    state = read.json()["data"]
    assert {name: state[name] for name in ("item_id", "item_type", "status", "attributes", "version")} == {
        "item_id": "A",
        "item_type": "product",
        "status": "active",
        "attributes": {"price": 1},
        "version": 1,
    }
    assert state["first_seen_at"] == state["updated_at"]
    assert state["updated_at"].endswith("Z")
    operation = api.get(f"/v1/ingest/operations/{operation_id}").json()["data"]
    assert operation == {
        "operation_id": operation_id,
        "status": "applied",
        "accepted": 1,
        "applied": 1,
        "rejected": 0,
        "errors": [],
    }


def test_what_the_fold_rejects_is_told_by_the_operation(api: httpx.Client) -> None:
    data = applied(api, "items", [{"item_id": "ok", "item_type": "t"}, {"item_id": "new"}, {"item_id": "ok"}])
    assert (data["status"], data["accepted"], data["applied"], data["rejected"]) == ("applied_with_errors", 3, 2, 1)
    assert data["errors"] == [
        {
            "index": 1,
            "id": "new",
            "field": "item_type",
            "code": "item_type_required",
            "message": "a new item needs an item_type: send it once",
        }
    ]


def test_no_more_than_100_rejections_are_listed(api: httpx.Client) -> None:
    data = applied(api, "items", [{"item_id": f"i{n}"} for n in range(250)])
    assert (data["applied"], data["rejected"], len(data["errors"])) == (0, 250, 100)
    assert [error["index"] for error in data["errors"]] == list(range(100))


def test_prefer_wait_tells_that_it_was_applied_or_that_it_takes_longer(api: httpx.Client) -> None:
    answer = upsert(api, "users", {"user_id": "U"}, Prefer="respond-async, wait=99")
    assert (answer.status_code, answer.headers["Preference-Applied"]) == (200, "wait=30")
    answer = upsert(api, "users", {"user_id": "U"}, Prefer="wait=0")
    assert (answer.status_code, answer.headers["Preference-Applied"]) == (202, "wait=0")
    answer = upsert(api, "users", {"user_id": "U"}, Prefer="wait=soon")
    assert answer.status_code == 202
    assert "Preference-Applied" not in answer.headers


def test_the_same_id_twice_is_applied_in_order(api: httpx.Client) -> None:
    applied(api, "items", [{"item_id": "A", "item_type": "t", "attributes": {"n": n}} for n in range(50)])
    state = api.get("/v1/items/A").json()["data"]
    assert (state["attributes"], state["version"]) == ({"n": 49}, 50)


def test_ten_thousand_records_are_a_request_and_one_more_is_not(api: httpx.Client) -> None:
    records = [{"item_id": f"i{n}", "item_type": "t"} for n in range(10_000)]
    assert applied(api, "items", records)["applied"] == 10_000
    assert "bulk import" in refused(upsert(api, "items", [*records, records[0]]), 413)


def test_a_body_of_a_mebibyte_is_one_and_a_byte_more_is_not(api: httpx.Client) -> None:
    head, tail = b'{"item_id":"A","item_type":"t","attributes":{"x":"', b'"}}'
    for size, status in ((1024 * 1024, 202), (1024 * 1024 + 1, 413)):
        body = head + b"x" * (size - len(head) - len(tail)) + tail
        assert api.post("/v1/ingest/items/upsert", content=body).status_code == status
        chunks = iter([body[:700_000], body[700_000:]])
        assert api.post("/v1/ingest/items/upsert", content=chunks).status_code == status
        packed = gzip.compress(body)
        assert (
            api.post("/v1/ingest/items/upsert", content=packed, headers={"Content-Encoding": "gzip"}).status_code == status
        )


def test_gzip_that_is_none_is_refused(api: httpx.Client) -> None:
    answer = api.post("/v1/ingest/items/upsert", content=b"{}", headers={"Content-Encoding": "gzip"})
    assert "gzip" in refused(answer, 400)
    answer = api.post("/v1/ingest/items/upsert", content=b"{}", headers={"Content-Encoding": "br"})
    refused(answer, 415)
    answer = api.post("/v1/ingest/items/upsert", content=b"{}", headers={"Content-Type": "text/plain"})
    refused(answer, 415)


def test_nothing_of_a_refused_request_is_queued(api: httpx.Client) -> None:
    errors = refused(upsert(api, "items", [{"item_id": "good", "item_type": "t"}, {"item_id": "bad", "price": 1}]), 400)
    assert errors == [
        {
            "index": 1,
            "id": "bad",
            "field": "price",
            "code": "unknown_field",
            "message": "price is not a field of a record: put it inside `attributes`",
        }
    ]
    applied(api, "items", {"item_id": "later", "item_type": "t"})
    assert api.get("/v1/items/good").status_code == 404


def test_errors_are_listed_to_100_and_counted_to_the_last(api: httpx.Client) -> None:
    answer = upsert(api, "items", [{"item_id": f"i{n}", "status": "x"} for n in range(1000)])
    assert len(refused(answer, 400)) == 100
    assert answer.json()["error_count"] == 1000


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"null"])
def test_bodies_that_are_none(api: httpx.Client, body: bytes) -> None:
    refused(api.post("/v1/ingest/users/upsert", content=body), 400)


def test_operation_ids_are_their_organisations_own(gateway: Gateway, api: httpx.Client, new_org: NewOrg) -> None:
    operation_id = upsert(api, "items", {"item_id": "A", "item_type": "t"}).json()["data"]["operation_id"]
    with gateway.client(new_org().secret_key) as other:
        refused(other.get(f"/v1/ingest/operations/{operation_id}"), 404)
        refused(other.get("/v1/items/A", params={"min_operation": operation_id}), 404)
    for wrong in (operation_id[:-1], "op_x", "nope", operation_id + "%00", "%ff"):
        refused(api.get(f"/v1/ingest/operations/{wrong}"), 404)


def raw(gateway: Gateway, head: str, body: bytes = b"", read_first: bool = False) -> http.client.HTTPResponse:
    """One request written by hand; the body is sent after the head without looking for an answer."""
    connection = socket.create_connection(("127.0.0.1", gateway.port), timeout=20)
    connection.sendall((head.replace("\n", "\r\n") + "\r\n\r\n").encode("latin-1"))
    if read_first:
        assert connection.recv(25, socket.MSG_WAITALL).startswith(b"HTTP/1.1 100 Continue")
    connection.sendall(body)
    response = http.client.HTTPResponse(connection)
    response.begin()
    return response


UPSERT_HEAD = "POST /v1/ingest/items/upsert HTTP/1.1\nHost: x\nX-API-KEY: {key}\nContent-Type: application/json"


@pytest.mark.parametrize(
    ("path", "key", "status"),
    [
        ("/v1/ingest/items/upsert", "none", 401),
        ("/v1/ingest/items/upsert", "publishable", 403),
        ("/v1/ingest/items/upsert", "secret", 413),
        ("/v1/items", "secret", 405),
        ("/nowhere", "secret", 404),
    ],
)
def test_the_answer_arrives_while_eight_megabytes_are_still_sent(
    gateway: Gateway, new_org: NewOrg, path: str, key: str, status: int
) -> None:
    org = new_org()
    keys = {"none": "nope", "publishable": org.publishable_key, "secret": org.secret_key}
    head = f"POST {path} HTTP/1.1\nHost: x\nX-API-KEY: {keys[key]}\nContent-Length: 8388608"
    response = raw(gateway, head, b"x" * 8_388_608)
    assert response.status == status
    assert json.loads(response.read())["success"] is False


def test_expect_100_continue(gateway: Gateway, new_org: NewOrg) -> None:
    head = UPSERT_HEAD.format(key=new_org().secret_key) + "\nExpect: 100-continue\nContent-Length: {length}"
    body = b'{"item_id":"A","item_type":"t"}'
    assert raw(gateway, head.format(length=len(body)), body, read_first=True).status == 202
    assert raw(gateway, head.format(length=100_000_000)).status == 413


def test_a_client_that_leaves_in_the_middle_harms_nobody(gateway: Gateway, api: httpx.Client, new_org: NewOrg) -> None:
    head = UPSERT_HEAD.format(key=new_org().secret_key) + "\nContent-Length: 1000"
    connection = socket.create_connection(("127.0.0.1", gateway.port))
    connection.sendall((head.replace("\n", "\r\n") + "\r\n\r\n{").encode())
    connection.close()
    assert upsert(api, "items", {"item_id": "A", "item_type": "t"}).status_code == 202


def test_what_is_not_http_is_answered_in_the_envelope(gateway: Gateway) -> None:
    for head in ("NOT HTTP", "GET /é HTTP/1.1\nHost: x"):
        response = raw(gateway, head)
        assert response.status in (400, 404)
        assert json.loads(response.read())["success"] is False


def test_events_lie_where_java_would_put_them(gateway: Gateway, api: httpx.Client, new_org: NewOrg) -> None:
    ids = [f"é {n}" for n in range(40)]
    applied(api, "items", [{"item_id": item_id, "item_type": "t"} for item_id in ids])
    settings = gateway.parts.settings
    from tests.pipeline import table  # what is in the table has the partition that its event came from

    placed = {key[2]: row["partition"] for key, row in table(settings).items() if key[2] in ids}
    assert set(placed) == set(ids)
    org_ids = {key[1] for key in table(settings) if key[2] in ids}
    assert all(
        placed[item_id] == partition_of(f"{org_id}:{item_id}".encode(), settings.partitions)
        for item_id in ids
        for org_id in org_ids
    )
