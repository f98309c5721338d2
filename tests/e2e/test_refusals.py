"""What the gateway refuses: the status, the envelope, nothing written, and no harm to who comes after."""

from __future__ import annotations

import gzip
import json
import socket
import statistics
import time
import zlib
from collections.abc import Iterator
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import httpx
import pytest

from tests.e2e.outside import DEAD_LETTERS, LOG, Organisation, Stack, data, path_of

pytestmark = pytest.mark.server

ITEMS, USERS = "/v1/ingest/items/upsert", "/v1/ingest/users/upsert"
MIB = 1024 * 1024
GOOD = b'{"item_id": "a", "item_type": "product"}'


def item(attributes: str) -> bytes:
    return b'{"item_id": "a", "item_type": "product", "attributes": %s}' % attributes.encode("utf-8", "surrogatepass")


def padded(size: int) -> bytes:
    """A good item of exactly so many bytes."""
    empty = item('{"x": ""}')
    return item('{"x": "%s"}' % ("x" * (size - len(empty))))


def bomb(inflated_mib: int) -> bytes:
    """A gzip body of a thousandth of what it inflates to: blanks, which JSON allows anywhere."""
    deflate = zlib.compressobj(9, zlib.DEFLATED, zlib.MAX_WBITS | 16)
    head = deflate.compress(b" " * MIB) + deflate.flush(zlib.Z_FULL_FLUSH)
    block = deflate.compress(b" " * MIB) + deflate.flush(zlib.Z_FULL_FLUSH)
    return head + block * (inflated_mib - 1)


def chunks(size: int) -> Iterator[bytes]:
    for _ in range(size // 65536):
        yield b" " * 65536


class Case(NamedTuple):
    """A request that is refused. `code` is that of the first field error; "" where the error is a sentence."""

    status: int
    code: str = ""
    body: Any = None
    path: str = ITEMS
    method: str = "POST"
    headers: dict[str, str] | None = None
    field: str | None = None


def bad(code: str, body: str | bytes, field: str | None = None, path: str = ITEMS) -> Case:
    return Case(400, code, body, path, field=field)


def get(status: int, path: str, code: str = "", field: str | None = None) -> Case:
    return Case(status, code, None, path, "GET", field=field)


SHAPES = {
    "nothing": bad("empty_batch", b""),
    "blanks": bad("empty_batch", b" \r\n\t"),
    "an empty array": bad("empty_batch", b"[]"),
    "an empty object": bad("required", b"{}", "item_id"),
    "null": bad("invalid_type", b"null", ""),
    "a number": bad("invalid_type", b"1", ""),
    "a string": bad("invalid_type", b'"x"', ""),
    "an array of an array": bad("invalid_type", b"[[]]", ""),
    "an array with null": bad("invalid_type", b'[{"item_id": "a"}, null]', ""),
    "an array cut short": bad("invalid_json", b'[{"item_id": "a"}'),
    "a comma too many": bad("invalid_json", b'[{"item_id": "a"},]'),
    "single quotes": bad("invalid_json", b"{'item_id': 'a'}"),
    "two documents": bad("invalid_json", GOOD + GOOD),
    "JSON lines": bad("invalid_json", GOOD + b"\n" + GOOD),
    "a comment": bad("invalid_json", GOOD + b"// x"),
    "a form": bad("invalid_json", b"item_id=a&item_type=product"),
    "UTF-16": bad("invalid_json", GOOD.decode().encode("utf-16")),
    "Latin-1": bad("invalid_json", '{"item_id": "é", "item_type": "p"}'.encode("latin-1")),
    "a byte order mark": bad("invalid_json", b"\xef\xbb\xbf" + GOOD),
    "a raw line end in a string": bad("invalid_json", item('{"a": "\n"}')),
    "100,000 opening brackets": bad("too_deep", b"[" * 100_000),
    "100,000 opening braces": bad("too_deep", b'{"a":' * 100_000),
    "500 brackets that close": bad("invalid_type", b"[" * 500 + b"]" * 500),
}
VALUES = {
    "NaN": bad("invalid_number", item('{"a": NaN}'), "attributes.a"),
    "-Infinity": bad("invalid_number", item('{"a": [-Infinity]}'), "attributes.a[0]"),
    "1e999": bad("invalid_number", item('{"a": {"b": 1e999}}'), "attributes.a.b"),
    "1e61": bad("invalid_number", item('{"a": 1e61}'), "attributes.a"),
    "1e-61": bad("invalid_number", item('{"a": 1e-61}'), "attributes.a"),
    "1e-999": bad("invalid_number", item('{"a": 1e-999}'), "attributes.a"),
    "2^63": bad("invalid_number", item('{"a": 9223372036854775808}'), "attributes.a"),
    "-2^63 - 1": bad("invalid_number", item('{"a": -9223372036854775809}'), "attributes.a"),
    "an integer of 5,000 digits": bad("invalid_number", item('{"a": %s}' % ("9" * 5000)), "attributes.a"),
    "a fraction of 5,000 digits and an exponent": bad("invalid_number", item('{"a": 1.%s9e99}' % ("9" * 5000))),
    "a leading zero": bad("invalid_json", item('{"a": 01}')),
    "an escaped lone surrogate": bad("invalid_string", item(r'{"a": "\ud800"}'), "attributes.a"),
    "a lone surrogate in a name": bad("invalid_string", item(r'{"\udfff": 1}')),
    "a raw lone surrogate": bad("invalid_json", item('{"a": "\ud800"}')),
    "U+0000": bad("invalid_string", item(r'{"a": ["\u0000"]}'), "attributes.a[0]"),
    "U+0000 in a name": bad("invalid_string", item(r'{"a\u0000": 1}')),
    "33 deep": bad("too_deep", item('{"a":' + "[" * 32 + "]" * 32 + "}")),
    "attributes null": bad("invalid_type", item("null"), "attributes"),
    "attributes an array": bad("invalid_type", item("[]"), "attributes"),
    "attributes a string": bad("invalid_type", item('"{}"'), "attributes"),
}
FIELDS = {
    "an unknown field": bad("unknown_field", b'{"item_id": "a", "price": 1}', "price"),
    "an unknown field that is null": bad("unknown_field", b'{"item_id": "a", "price": null}', "price"),
    "another kind's field": bad("unknown_field", b'{"item_id": "a", "created_at": "2025-01-01T00:00:00Z"}', "created_at"),
    "no id": bad("required", b'{"item_type": "product"}', "item_id"),
    "another kind's id": bad("required", b'{"item_id": "a"}', "user_id", USERS),
    "an id that is null": bad("invalid_type", b'{"item_id": null}', "item_id"),
    "an id that is a number": bad("invalid_type", b'{"item_id": 1}', "item_id"),
    "an empty id": bad("invalid_id", b'{"item_id": ""}', "item_id"),
    "an id of 257 characters": bad("too_long", b'{"item_id": "%s"}' % (b"x" * 257), "item_id"),
    "a line end in an id": bad("invalid_id", rb'{"item_id": "a\nb"}', "item_id"),
    "U+0000 in an id": bad("invalid_id", rb'{"item_id": "a\u0000"}', "item_id"),
    "U+0085 in an id": bad("invalid_id", rb'{"item_id": "a\u0085"}', "item_id"),
    "a lone surrogate in an id": bad("invalid_string", rb'{"item_id": "a\ud800"}', "item_id"),
    "item_type null": bad("invalid_type", b'{"item_id": "a", "item_type": null}', "item_type"),
    "item_type empty": bad("invalid_string", b'{"item_id": "a", "item_type": ""}', "item_type"),
    "item_type of 129 characters": bad("too_long", b'{"item_id": "a", "item_type": "%s"}' % (b"x" * 129), "item_type"),
    "an unknown status": bad("invalid_status", b'{"item_id": "a", "status": "archived"}', "status"),
    "a status in capitals": bad("invalid_status", b'{"item_id": "a", "status": "Active"}', "status"),
    "a status that is null": bad("invalid_type", b'{"item_id": "a", "status": null}', "status"),
    "a status that is a list": bad("invalid_type", b'{"item_id": "a", "status": ["active"]}', "status"),
    "created_at a word": bad("invalid_timestamp", b'{"user_id": "a", "created_at": "yesterday"}', "created_at", USERS),
    "created_at a date": bad("invalid_timestamp", b'{"user_id": "a", "created_at": "2025-01-01"}', "created_at", USERS),
    "created_at without a zone": bad(
        "invalid_timestamp", b'{"user_id": "a", "created_at": "2025-01-01T00:00:00"}', "created_at", USERS
    ),
    "created_at on 30 February": bad(
        "invalid_timestamp", b'{"user_id": "a", "created_at": "2025-02-30T00:00:00Z"}', "created_at", USERS
    ),
    "created_at in year 0": bad(
        "invalid_timestamp", b'{"user_id": "a", "created_at": "0000-01-01T00:00:00Z"}', "created_at", USERS
    ),
    "created_at a number": bad("invalid_type", b'{"user_id": "a", "created_at": 1735689600}', "created_at", USERS),
    "created_at null": bad("invalid_type", b'{"user_id": "a", "created_at": null}', "created_at", USERS),
    "the last of a hundred": bad("required", b"[" + (GOOD + b",") * 99 + b"{}]", "item_id"),
}
BODIES = {
    "a gzip bomb": Case(413, body=bomb(950), headers={"Content-Encoding": "gzip"}),
    "a small gzip bomb": Case(413, body=gzip.compress(b" " * (MIB + 1)), headers={"Content-Encoding": "gzip"}),
    "truncated gzip": Case(400, body=gzip.compress(GOOD)[:-9], headers={"Content-Encoding": "gzip"}),
    "gzip with a wrong checksum": Case(400, body=gzip.compress(GOOD)[:-8] + b"\0" * 8, headers={"Content-Encoding": "gzip"}),
    "gzip in name only": Case(400, body=GOOD, headers={"Content-Encoding": "gzip"}),
    "gzip of nothing": Case(400, body=b"", headers={"Content-Encoding": "gzip"}),
    "gzip, and garbage after it": Case(400, body=gzip.compress(GOOD) + b"x", headers={"Content-Encoding": "gzip"}),
    "brotli": Case(415, body=GOOD, headers={"Content-Encoding": "br"}),
    "deflate": Case(415, body=zlib.compress(GOOD), headers={"Content-Encoding": "deflate"}),
    "gzip twice": Case(415, body=GOOD, headers={"Content-Encoding": "gzip, gzip"}),
    "plain text": Case(415, body=GOOD, headers={"Content-Type": "text/plain"}),
    "a form's type": Case(415, body=GOOD, headers={"Content-Type": "application/x-www-form-urlencoded"}),
    "another charset": Case(415, body=GOOD, headers={"Content-Type": "application/json; charset=utf-16"}),
    "1 MiB + 1": Case(413, body=padded(MIB + 1)),
    "8 MiB": Case(413, body=b" " * (8 * MIB)),
    "a chunked body of 2 MiB": Case(413, body=lambda: chunks(2 * MIB)),
    "10,001 records": Case(413, body=b"[" + b",".join([b'{"item_id":"a"}'] * 10_001) + b"]"),
}
KEYS = {
    "no key": Case(401, body=GOOD, headers={"X-API-KEY": ""}),
    "no key, to read": Case(401, path="/v1/items", method="GET", headers={"X-API-KEY": ""}),
    "no key, and a wrong query": Case(401, path="/v1/items?x=1", method="GET", headers={"X-API-KEY": ""}),
    "not a key": Case(401, body=GOOD, headers={"X-API-KEY": "x"}),
    "a long key": Case(401, body=GOOD, headers={"X-API-KEY": "lehnz_sk_" + "x" * 5000}),
    "a key that is quoted": Case(401, body=GOOD, headers={"X-API-KEY": '"{secret}"'}),
    "a key with a letter changed": Case(401, body=GOOD, headers={"X-API-KEY": "{secret}x"}),
    "a key as SQL": Case(401, body=GOOD, headers={"X-API-KEY": "' OR 1=1 --"}),
    "the key as a bearer token": Case(401, body=GOOD, headers={"X-API-KEY": "", "Authorization": "Bearer {secret}"}),
    "a publishable key": Case(403, body=GOOD, headers={"X-API-KEY": "{publishable}"}),
    "a publishable key, to read": Case(403, path="/v1/items", method="GET", headers={"X-API-KEY": "{publishable}"}),
    "a large body without a key": Case(401, body=b" " * (4 * MIB), headers={"X-API-KEY": ""}),
}
PATHS = {
    "a GET of an upsert": Case(405, path=ITEMS, method="GET"),
    "a PUT of an upsert": Case(405, body=GOOD, method="PUT"),
    "a POST of a listing": Case(405, body=GOOD, path="/v1/items"),
    "a DELETE of an item": Case(405, path="/v1/items/a", method="DELETE"),
    "a method of another protocol": Case(405, path="/v1/items", method="PROPFIND"),
    "no such path": get(404, "/v1/nothing"),
    "no such kind": Case(404, body=GOOD, path="/v1/ingest/orders/upsert"),
    "an upsert with a slash": Case(404, body=GOOD, path=ITEMS + "/"),
    "no such item": get(404, "/v1/items/nobody%20knows"),
    "an item whose id is not UTF-8": get(404, "/v1/items/%FF"),
    "an item whose id has U+0000": get(404, "/v1/items/%00"),
    "an item whose id is too long": get(404, "/v1/items/" + "x" * 257),
    "no such user": get(404, "/v1/users/a%2Fb"),
}
QUERIES = {
    "limit 0": get(400, "/v1/items?limit=0", "invalid_number", "limit"),
    "limit 1001": get(400, "/v1/items?limit=1001", "invalid_number", "limit"),
    "limit a word": get(400, "/v1/items?limit=many", field="limit", code="invalid_type"),
    "limit 1e2": get(400, "/v1/items?limit=1e2", field="limit", code="invalid_type"),
    "an unknown status in a query": get(400, "/v1/items?status=archived", "invalid_status", "status"),
    "an unknown parameter": get(400, "/v1/items?stauts=active", "unknown_field", "stauts"),
    "another kind's parameter": get(400, "/v1/users?item_type=product", "unknown_field", "item_type"),
    "a cursor that is none": get(400, "/v1/items?cursor=abc", "invalid_cursor", "cursor"),
    "a cursor of the other kind": get(400, "/v1/users?cursor={cursor}", "invalid_cursor", "cursor"),
    "another organisation's cursor": get(400, "/v1/items?cursor={other_cursor}", "invalid_cursor", "cursor"),
    "include_deleted a word": get(400, "/v1/items?include_deleted=maybe", field="include_deleted", code="invalid_type"),
    "101 ids": get(400, "/v1/items?" + "&".join(["ids=a"] * 101), "too_long", "ids"),
    "an id in a query that is none": get(400, "/v1/items?ids=%00", "invalid_id", "ids[0]"),
    "an unknown parameter of a record": get(400, "/v1/items/a?deleted=1", "unknown_field", "deleted"),
    "a query that is not UTF-8": get(400, "/v1/items?%FF=%FE"),
    "an operation that is none": get(404, "/v1/ingest/operations/op_x"),
    "an operation of 10,000 characters": get(404, "/v1/ingest/operations/op_" + "A" * 10_000),
    "an operation without its prefix": get(404, "/v1/ingest/operations/{bare}"),
    "a forged operation": get(404, "/v1/ingest/operations/{forged}"),
    "an operation spelt otherwise": get(404, "/v1/ingest/operations/{operation}="),
    "another organisation's operation": get(404, "/v1/ingest/operations/{other_operation}"),
    "waiting for a forged operation": get(404, "/v1/items?min_operation={forged}"),
    "waiting for another organisation's": get(404, "/v1/items/a?min_operation={other_operation}"),
}
CASES = SHAPES | VALUES | FIELDS | BODIES | KEYS | PATHS | QUERIES


def ask(org: Organisation, case: Case, known: dict[str, str]) -> httpx.Response:
    def filled(text: str) -> str:
        for name, value in known.items():
            text = text.replace(f"{{{name}}}", value)
        return text

    headers = {"Content-Type": "application/json"} | {name: filled(value) for name, value in (case.headers or {}).items()}
    content = case.body() if callable(case.body) else case.body
    return org.client.request(case.method, filled(case.path), content=content, headers=headers)


def assert_refused(answer: httpx.Response, case: Case) -> None:
    assert answer.status_code == case.status, answer.text
    assert answer.headers["content-type"] == "application/json"
    body = answer.json()
    assert list(body) == ["success", "message", "data", "error", "error_count"]
    assert (body["success"], body["data"]) == (False, None)
    assert body["message"]
    assert body["error_count"] >= 1
    authenticated = case.status != 401 and "ratelimit-limit" in answer.headers
    assert authenticated == (case.status not in (401, 405) and case.path.startswith("/v1/") and not is_nowhere(case))
    if case.status == 405:
        assert answer.headers["allow"]
    if case.code:
        error = body["error"][0]
        assert error["code"] == case.code
        assert {"index", "field", "code", "message"} <= error.keys() <= {"index", "id", "field", "code", "message"}
        assert case.field is None or error["field"] == case.field


def is_nowhere(case: Case) -> bool:
    """Whether no route takes the request, so that nobody asks for a key."""
    return case.status == 404 and (case.path.startswith(("/v1/nothing", "/v1/ingest/orders", ITEMS + "/", "/v1/items/%FF")))


def median_seconds(org: Organisation) -> float:
    """How long a good request takes."""
    taken = []
    for number in range(100):
        began = time.perf_counter()
        org.upsert("items", {"item_id": f"timed {number}", "item_type": "product"}, wait=False)
        taken.append(time.perf_counter() - began)
    return statistics.median(taken)


@pytest.fixture(scope="module")
def refused_by(stack: Stack) -> Iterator[tuple[Organisation, dict[str, str]]]:
    """An organisation, and what the requests name: keys, tokens of its own and of another, forged ones."""
    org, other = stack.organisation(), stack.organisation("Other")
    with org.client, other.client:
        known = {"secret": org.secret_key, "publishable": org.publishable_key}
        for prefix, asking in (("", org), ("other_", other)):
            known[f"{prefix}operation"] = asking.upsert("items", [{"item_id": i, "item_type": "p"} for i in "ab"])[
                "operation_id"
            ]
            known[f"{prefix}cursor"] = data(asking.client.get("/v1/items?limit=1"))["next_cursor"]
        operation = known["operation"]
        known |= {"bare": operation.removeprefix("op_"), "forged": operation[:10] + _other(operation[10]) + operation[11:]}
        yield org, known


def _other(letter: str) -> str:
    return "B" if letter == "A" else "A"


def test_what_is_wrong_is_refused_and_leaves_no_trace(
    stack: Stack, refused_by: tuple[Organisation, dict[str, str]], capsys: pytest.CaptureFixture[str]
) -> None:
    org, known = refused_by
    before = median_seconds(org)
    topics = (*LOG.values(), DEAD_LETTERS)
    ends = stack.ends(*topics)
    failures = []
    for name, case in CASES.items():
        began = time.perf_counter()
        try:
            assert_refused(ask(org, case, known), case)
        except Exception as error:
            failures.append(f"{name}: {type(error).__name__}: {str(error).partition(chr(10))[0][:300]}")
        if (seconds := time.perf_counter() - began) > 2:
            failures.append(f"{name}: took {seconds:.1f} s")
    assert not failures, "\n".join(failures)
    assert stack.ends(*topics) == ends
    after = median_seconds(org)
    with capsys.disabled():
        print(f"\n{len(CASES)} refusals; a good request takes {before * 1000:.1f} ms before, {after * 1000:.1f} ms after")
    assert after < 3 * before + 0.02


def test_errors_are_listed_to_a_hundred_and_counted_to_the_end(org: Organisation) -> None:
    records = [{"item_id": f"i{number}", "status": "archived", "price": 1} for number in range(200)]
    answer = org.client.post(ITEMS, json=records)
    body = answer.json()
    assert (answer.status_code, len(body["error"]), body["error_count"]) == (400, 100, 400)
    assert [(error["index"], error["id"], error["field"]) for error in body["error"][:4]] == [
        (0, "i0", "status"), (0, "i0", "price"), (1, "i1", "status"), (1, "i1", "price"),
    ]  # fmt: skip


def test_the_limits_themselves_are_allowed(org: Organisation) -> None:
    key = {"Content-Type": "application/json"}
    most = [{"item_id": f"{number % 5000}", "item_type": "p"} for number in range(10_000)]
    for content, headers in (
        (padded(MIB), {}),
        (gzip.compress(padded(MIB)), {"Content-Encoding": "gzip"}),
        (gzip.compress(GOOD[:9]) + gzip.compress(GOOD[9:]), {"Content-Encoding": "gzip"}),
        (json.dumps(most, separators=(",", ":")).encode(), {}),
        (item('{"a":' + "[" * 31 + "]" * 31 + "}"), {}),
        (item('{"x": [9223372036854775807, -9223372036854775808, 1e60, -1e-60, 0.0, 1e0]}'), {}),
        (item('{"a": 1, "a": 2}'), {"Content-Type": "application/json; charset=UTF-8"}),
        (b'{"item_id": "%s", "item_type": "%s"}' % ("😀".encode() * 256, b"t" * 128), {}),
        (b" \n" + GOOD + b" \n", {"Expect": "100-continue"}),
    ):
        answer = org.client.post(ITEMS, content=content, headers=key | headers)
        assert answer.status_code == 202, answer.text
    answer = org.client.post(ITEMS, content=iter([GOOD[:5], GOOD[5:]]), headers=key | {"Prefer": "wait=30"})
    assert (answer.status_code, answer.headers["preference-applied"]) == (200, "wait=30")
    attributes = data(org.state("items", "a"))["attributes"]
    assert attributes["a"] == 2
    assert data(org.state("items", "0"))["version"] == 2
    assert org.client.get(path_of("items", "😀" * 256)).status_code == 200


@pytest.mark.parametrize(
    "request_text",
    [
        b"nonsense\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /v1/items HTTP/1.1\r\nHost: x\r\nContent-Length: minus one\r\n\r\n",
        b"POST " + ITEMS.encode() + b" HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET /" + b"x" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    ],
    ids=["no request", "another version", "a length that is none", "a chunk that is none", "a long path"],
)
def test_what_is_not_http_is_answered_too(stack: Stack, request_text: bytes) -> None:
    url = urlsplit(stack.url)
    with socket.create_connection((url.hostname, url.port), timeout=10) as connection:
        connection.sendall(request_text)
        received = connection.makefile("rb").read()
    head, _, body = received.partition(b"\r\n\r\n")
    assert head.split()[1] in (b"400", b"401", b"404", b"414"), received[:300]
    assert json.loads(body)["success"] is False


def test_a_body_beyond_what_is_drained_ends_the_connection(stack: Stack, org: Organisation) -> None:
    url = urlsplit(stack.url)
    head = (
        f"POST {ITEMS} HTTP/1.1\r\nHost: x\r\nX-API-KEY: {org.secret_key}\r\nContent-Type: application/json\r\n"
        f"Expect: 100-continue\r\nContent-Length: {64 * MIB}\r\n\r\n"
    )
    with socket.create_connection((url.hostname, url.port), timeout=10) as connection:
        connection.sendall(head.encode())
        answer = connection.makefile("rb").read()
    assert answer.startswith(b"HTTP/1.1 413 "), answer[:200]


def test_a_client_that_leaves_in_the_middle_does_no_harm(stack: Stack, org: Organisation) -> None:
    url = urlsplit(stack.url)
    ends = stack.ends(*LOG.values())
    head = (
        f"POST {ITEMS} HTTP/1.1\r\nHost: x\r\nX-API-KEY: {org.secret_key}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(GOOD)}\r\n\r\n"
    )
    for _ in range(50):
        with socket.create_connection((url.hostname, url.port), timeout=10) as connection:
            connection.sendall(head.encode() + GOOD[:-1])
    assert data(org.client.get("/v1/items"))["items"] == []
    assert stack.ends(*LOG.values()) == ends
