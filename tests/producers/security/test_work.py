"""What costs the sender little and must not cost us much: many names that collide, deep nesting, huge numbers, bombs."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
import time
from collections.abc import Callable

import httpx
import pytest

MOST_SECONDS = 1.0

BODIES: dict[str, Callable[[], bytes]] = {
    "names": lambda: b'{"item_id":"a","attributes":{' + b",".join(b'"k%d":0' % n for n in range(90_000)) + b"}}",
    "one name": lambda: b'{"item_id":"a","attributes":{' + b",".join([b'"k":0'] * 150_000) + b"}}",
    "digits": lambda: b'{"item_id":"a","attributes":{"n":' + b"9" * 1_000_000 + b"}}",
    "exponent": lambda: b'{"item_id":"a","attributes":{"n":1e' + b"9" * 1_000_000 + b"}}",
    "numbers": lambda: b'{"item_id":"a","attributes":{"n":[' + b",".join([b"9223372036854775808"] * 50_000) + b"]}}",
    "depth": lambda: b'{"item_id":"a","attributes":{"n":' + b"[" * 500_000 + b"]" * 500_000 + b"}}",
    "unclosed": lambda: b"[" * 1_000_000,
    "escapes": lambda: b'{"item_id":"' + b"\\u00e9" * 170_000 + b'"}',
    "empty records": lambda: b"[" + b",".join([b"{}"] * 10_000) + b"]",
}


@pytest.mark.parametrize("name", BODIES)
def test_a_mebibyte_of_anything_takes_no_second(name: str, api: httpx.Client) -> None:
    body = BODIES[name]()
    assert len(body) <= 1024 * 1024
    began = time.monotonic()
    answer = api.post("/v1/ingest/items/upsert", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code in (202, 400), answer.text[:200]
    assert time.monotonic() - began < MOST_SECONDS
    assert len(answer.content) < 1024 * 1024


@pytest.mark.parametrize("path", ["/v1/ingest/items/upsert", "/ingestion/upload", "/sign-in"])
def test_a_bomb_is_inflated_no_further_than_its_limit(path: str, api: httpx.Client) -> None:
    bomb = gzip.compress(b" " * 200_000_000)
    began = time.monotonic()
    headers = {"Content-Encoding": "gzip", "Content-Type": "application/json", "Sec-Fetch-Site": "same-origin"}
    answer = api.post(path, content=bomb, headers=headers)
    assert 300 <= answer.status_code < 500
    assert time.monotonic() - began < MOST_SECONDS


def test_names_are_hashed_with_a_secret_of_the_process() -> None:
    """Who knows Python's hash function cannot make names that collide: it is keyed, anew in each process."""
    assert sys.hash_info.algorithm.startswith("siphash")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONHASHSEED"}
    command = [sys.executable, "-c", "print(hash('a name'))"]
    made = {subprocess.run(command, env=environment, capture_output=True, check=True).stdout for _ in range(3)}
    assert len(made) == 3
