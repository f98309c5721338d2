"""Reads through HTTP: single records, listings, ids of every kind."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import quote

import httpx
import pytest

from foldline.settings import Settings
from tests.producers.conftest import Gateway, NewOrg, gateway_of
from tests.producers.test_ingest import applied, refused

IDS = [
    "a", "a/b", "/a", "a/", "//", "..", "../a", ".", "%2F", "%252F", "a%", "a?b", "a#b", "a b", " a ", "a:b", "é", "e\u0301",
    "😀", "a+b", "a&b=c", "\\", "'; --", "null", "x" * 256, "😀" * 256, "\u2028", "\ufeff", "A",
]  # fmt: skip


@pytest.fixture(scope="module")
def shop(gateway: Gateway) -> Iterator[httpx.Client]:
    """A client of an organisation with a few items and users."""
    from foldline.adapters.postgres import connect
    from producers.tenants import create_organisation, set_rate_limit

    settings = gateway.parts.settings
    with connect(settings.database_url, "test") as connection:
        org = create_organisation(connection, "Shop", settings.key_prefix)
        set_rate_limit(connection, org.org_id, 0)
    with gateway.client(org.secret_key) as client:
        applied(client, "items", [{"item_id": item_id, "item_type": "t", "attributes": {"id": item_id}} for item_id in IDS])
        numbered = [{"item_id": f"n{n:03}", "item_type": "even" if n % 2 == 0 else "odd"} for n in range(250)]
        applied(client, "items", numbered)
        applied(client, "items", [{"item_id": f"n{n:03}", "status": "deleted"} for n in range(10)])
        applied(client, "items", [{"item_id": f"n{n:03}", "status": "inactive"} for n in range(10, 30)])
        applied(client, "users", [{"user_id": "U", "created_at": "2025-01-12T10:00:00.5+01:00", "attributes": {"a": 1}}])
        applied(client, "users", [{"user_id": "gone", "attributes": {"a": 1}}, {"user_id": "gone", "status": "deleted"}])
        yield client


@pytest.mark.parametrize("item_id", IDS)
def test_an_id_in_a_path_is_decoded_once(shop: httpx.Client, item_id: str) -> None:
    answer = shop.get(f"/v1/items/{quote(item_id, safe='').replace('.', '%2E')}")
    assert answer.status_code == 200, answer.text
    assert answer.json()["data"]["item_id"] == item_id
    assert answer.json()["data"]["attributes"] == {"id": item_id}


def test_slashes_and_dots_need_no_escape(shop: httpx.Client) -> None:
    assert shop.get("/v1/items/a/b").json()["data"]["item_id"] == "a/b"
    assert shop.get("/v1/items/a/").json()["data"]["item_id"] == "a/"
    assert shop.get("/v1/items//a").json()["data"]["item_id"] == "/a"


@pytest.mark.parametrize(
    "path",
    ["nope", "", "%ff", "%00", "a%0A", "%C3", "x" * 257, "%F0%9F%98", "%ED%A0%80", "A%20", "b", "%c2%85"],
)
def test_ids_that_nobody_has(shop: httpx.Client, path: str) -> None:
    refused(shop.get(f"/v1/items/{path}"), 404)


def test_a_path_whose_fixed_part_is_spelt_otherwise_is_none(shop: httpx.Client) -> None:
    for path in ("/v1%2Fitems/a", "/v1/%69tems/a", "/V1/items/a", "/v1/items/"):
        refused(shop.get(path), 404)


def test_a_user(shop: httpx.Client) -> None:
    state = shop.get("/v1/users/U").json()["data"]
    assert list(state) == ["user_id", "created_at", "status", "attributes", "version", "first_seen_at", "updated_at"]
    assert state["created_at"] == "2025-01-12T09:00:00.5Z"
    assert (state["status"], state["attributes"], state["version"]) == ("active", {"a": 1}, 1)


def test_what_is_deleted_is_there_for_who_asks(shop: httpx.Client) -> None:
    refused(shop.get("/v1/users/gone"), 404)
    refused(shop.get("/v1/users/gone?include_deleted=false"), 404)
    state = shop.get("/v1/users/gone?include_deleted=true").json()["data"]
    assert (state["status"], state["attributes"], state["version"]) == ("deleted", {}, 2)


def test_numbers_come_back_as_they_are(shop: httpx.Client) -> None:
    sent = {
        "big": 2**63 - 1,
        "small": -(2**63),
        "tiny": 1e-60,
        "huge": 1e60,
        "e22": 1e22,
        "whole": 149.0,
        "zero": -0.0,
        "x": 0.1,
    }
    applied(shop, "items", {"item_id": "numbers", "item_type": "t", "attributes": sent})
    got = shop.get("/v1/items/numbers").json()["data"]["attributes"]
    assert got == sent
    assert (type(got["e22"]), type(got["whole"]), str(got["zero"])) == (float, int, "0")


def ids_of(answer: httpx.Response) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [state["item_id"] for state in answer.json()["data"]["items"]]


def test_pages_follow_one_another_without_gap_or_repetition(shop: httpx.Client) -> None:
    everything, cursor, pages = [], None, 0
    while True:
        answer = shop.get("/v1/items", params={"limit": 37, "item_type": "odd"} | ({"cursor": cursor} if cursor else {}))
        everything += ids_of(answer)
        pages += 1
        cursor = answer.json()["data"]["next_cursor"]
        if cursor is None:
            break
    assert everything == [f"n{n:03}" for n in range(1, 250, 2) if n >= 10]
    assert pages == 4


def test_the_last_page_may_be_full(shop: httpx.Client) -> None:
    answer = shop.get("/v1/items", params={"ids": ["n100", "n101"], "limit": 2})
    assert (ids_of(answer), answer.json()["data"]["next_cursor"]) == (["n100", "n101"], None)


def test_listings_are_in_the_order_of_code_points(shop: httpx.Client) -> None:
    listed = ids_of(shop.get("/v1/items", params={"item_type": "t", "limit": 1000}))
    assert [item_id for item_id in listed if item_id in IDS] == sorted(IDS)


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ("item_type=even", 120),
        ("item_type=even&include_deleted=true", 125),
        ("item_type=even&status=deleted", 5),
        ("item_type=even&status=inactive", 10),
        ("item_type=even&status=active&include_deleted=true", 110),
        ("item_type=nope", 0),
        ("ids=n000&ids=n010&ids=n011&ids=n011&ids=nope", 2),
        ("ids=n000&ids=n010&include_deleted=1", 2),
        ("ids=a%2Fb&ids=%25252F&ids=%25252f", 2),
    ],
)
def test_filters(shop: httpx.Client, query: str, count: int) -> None:
    assert len(ids_of(shop.get(f"/v1/items?limit=1000&{query}"))) == count


def test_a_hundred_is_the_default(shop: httpx.Client) -> None:
    answer = shop.get("/v1/items")
    assert len(ids_of(answer)) == 100
    assert answer.json()["data"]["next_cursor"]


@pytest.mark.parametrize(
    ("query", "field", "code"),
    [
        ("limit=0", "limit", "invalid_number"),
        ("limit=1001", "limit", "invalid_number"),
        ("limit=x", "limit", "invalid_type"),
        ("limit=", "limit", "invalid_type"),
        ("limit=1e999", "limit", "invalid_type"),
        ("status=gone", "status", "invalid_status"),
        ("status=", "status", "invalid_status"),
        ("item_type=", "item_type", "invalid_string"),
        ("item_type=%00", "item_type", "invalid_string"),
        ("item_type=" + "t" * 129, "item_type", "too_long"),
        ("include_deleted=maybe", "include_deleted", "invalid_type"),
        ("cursor=nope", "cursor", "invalid_cursor"),
        ("cursor=", "cursor", "invalid_cursor"),
        ("ids=", "ids[0]", "invalid_id"),
        ("ids=a&ids=%00", "ids[1]", "invalid_id"),
        ("ids=" + "x" * 257, "ids[0]", "too_long"),
        ("&".join(["ids=a"] * 101), "ids", "too_long"),
        ("stauts=active", "stauts", "unknown_field"),
        ("%00=1", "\\x00", "unknown_field"),
    ],
)
def test_parameters_that_do_not_hold(shop: httpx.Client, query: str, field: str, code: str) -> None:
    errors = refused(shop.get(f"/v1/items?{query}"), 400)
    assert [(error["index"], error["field"], error["code"]) for error in errors] == [(0, field, code)]


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("stauts=active", "1 error, the first: there is no query parameter stauts"),
        ("a=1&b=2", "2 errors, the first: there is no query parameter a"),
        ("cursor=nonsense", "1 error, the first: cursor is not one of this listing's"),
        ("limit=0", "1 error, the first: limit: Input should be greater than or equal to 1"),
    ],
)
def test_a_refused_read_does_not_speak_of_accepting(shop: httpx.Client, query: str, message: str) -> None:
    answer = shop.get(f"/v1/items?{query}")
    assert (answer.status_code, answer.json()["message"]) == (400, message)


@pytest.mark.parametrize(
    "path", ["/v1/items", "/v1/items/a", "/v1/items/nope", "/v1/users?x=1", "/v1/ingest/operations/op_x"]
)
def test_head_answers_as_get_does_without_a_body(shop: httpx.Client, path: str) -> None:
    got, head = shop.get(path), shop.head(path)
    assert (head.status_code, head.content) == (got.status_code, b"")
    assert head.headers["Content-Type"] == got.headers["Content-Type"]
    assert head.headers["Content-Length"] == str(len(got.content))
    assert "RateLimit-Limit" in head.headers


def test_users_have_no_item_type(shop: httpx.Client) -> None:
    assert refused(shop.get("/v1/users?item_type=t"), 400)[0]["code"] == "unknown_field"
    assert refused(shop.get("/v1/users/U?limit=1"), 400)[0]["code"] == "unknown_field"
    assert [user["user_id"] for user in shop.get("/v1/users").json()["data"]["users"]] == ["U"]


def test_a_cursor_is_of_its_listing(gateway: Gateway, shop: httpx.Client, new_org: NewOrg) -> None:
    cursor = shop.get("/v1/items").json()["data"]["next_cursor"]
    assert shop.get("/v1/users", params={"cursor": cursor}).status_code == 400
    with gateway.client(new_org().secret_key) as other:
        assert other.get("/v1/items", params={"cursor": cursor}).status_code == 400


def test_nobody_sees_what_is_anothers(gateway: Gateway, shop: httpx.Client, new_org: NewOrg) -> None:
    with gateway.client(new_org().secret_key) as other:
        assert ids_of(other.get("/v1/items", params={"include_deleted": "true"})) == []
        assert other.get("/v1/items/a").status_code == 404
        assert other.get("/v1/items", params={"ids": "a"}).json()["data"]["items"] == []


def test_a_page_of_large_records_ends_early_and_the_next_goes_on(shop: httpx.Client) -> None:
    ids = [f"z-large-{n:02}" for n in range(12)]
    for item_id in ids:
        applied(shop, "items", {"item_id": item_id, "item_type": "large", "attributes": {"x": "x" * 1_000_000}})
    first = shop.get("/v1/items", params={"item_type": "large"})
    assert ids_of(first) == ids[:8]
    rest = shop.get("/v1/items", params={"item_type": "large", "cursor": first.json()["data"]["next_cursor"]})
    assert ids_of(rest) == ids[8:]
    assert rest.json()["data"]["next_cursor"] is None


def test_an_operation_that_is_not_applied_in_time_is_503(stage: Settings, new_org: NewOrg) -> None:
    """The processor of the stage cannot be stopped, so the operation is one of a partition that has not come so far."""
    from foldline.adapters.producer import Appended, PartitionEnd
    from producers.gateway.tokens import Operation, operation_id

    org = new_org()
    with gateway_of(stage.model_copy(update={"max_wait_seconds": 0.5})) as gateway, gateway.client(org.secret_key) as client:
        client.post("/v1/ingest/items/upsert", json={"item_id": "A", "item_type": "t"})
        secret, own = gateway.parts.known_secret, Appended("another topic", (PartitionEnd(0, 1, 0),))
        assert secret is not None
        later = operation_id(secret, Operation(org.org_id, "items", "0" * 32, own))
        answer = client.get("/v1/items", params={"min_operation": later})
        refused(answer, 503)
        assert int(answer.headers["Retry-After"]) >= 1
        assert client.get(f"/v1/ingest/operations/{later}").json()["data"]["status"] == "queued"
