"""Small readings of request headers."""

from __future__ import annotations

import re

import pytest

from producers.gateway.envelope import Refusal
from producers.gateway.ingest import check_type, wait_seconds
from producers.gateway.trace import new_request_id, traceparent

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.mark.parametrize(
    ("prefer", "seconds"),
    [
        ([], None),
        ([b"wait=5"], 5),
        ([b"wait=0"], 0),
        ([b"Wait = 7"], 7),
        ([b'wait="7"'], 7),
        ([b"wait=31"], 30),
        ([b"wait=999999999"], 30),
        ([b"wait=99999999999999999999"], None),
        ([b"respond-async, wait=10; foo=bar"], 10),
        ([b"respond-async", b"wait=10"], 10),
        ([b"wait=2, wait=9"], 2),
        ([b"wait=-1"], None),
        ([b"wait=1.5"], None),
        ([b"wait"], None),
        ([b"wait=x"], None),
        ([b"await=3"], None),
        ([b"wait=\xb2"], None),
    ],
)
def test_prefer_wait(prefer: list[bytes], seconds: float | None) -> None:
    assert wait_seconds({"headers": [(b"prefer", value) for value in prefer]}, 30.0) == seconds


@pytest.mark.parametrize(
    "content_type",
    [
        None,
        "",
        "application/json",
        "Application/JSON",
        "application/json; charset=utf-8",
        'application/json;charset="UTF-8"',
        "application/json; charset=utf8",
        "application/vnd.shop.v1+json",
        "text/json",
    ],
)
def test_types_that_are_json(content_type: str | None) -> None:
    check_type(content_type)


@pytest.mark.parametrize(
    "content_type",
    [
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/jsonp",
        "application/json-seq",
        "application/x-ndjson",
        "application/json; charset=latin-1",
        "application/json; charset=utf-16",
        "multipart/form-data; boundary=x",
        "json",
        "*/*",
    ],
)
def test_types_that_are_not(content_type: str) -> None:
    with pytest.raises(Refusal) as refused:
        check_type(content_type)
    assert refused.value.status == 415


def test_a_valid_trace_goes_on_and_another_is_begun() -> None:
    assert traceparent(TRACE) == TRACE
    for sent in (None, "", "x", TRACE.upper(), TRACE[:-1], "01" + TRACE[2:], f"00-{'0' * 32}-00f067aa0ba902b7-01"):
        assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-00", traceparent(sent))
    assert traceparent(None) != traceparent(None)


def test_request_ids_are_hexadecimal_and_differ() -> None:
    ids = {new_request_id() for _ in range(1000)}
    assert len(ids) == 1000
    assert all(re.fullmatch(r"[0-9a-f]{32}", name) for name in ids)
