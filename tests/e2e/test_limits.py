"""The rate limit, and how soon changes to keys and organisations hold."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.e2e.outside import Organisation, Stack, client, eventually

pytestmark = pytest.mark.server

LIMIT, WINDOW_SECONDS = 1000, 900
HOLDS_SECONDS = 2.0


def test_the_window_of_an_organisation(stack: Stack) -> None:
    org, other = stack.organisation(rate_limit=None), stack.organisation("Other", rate_limit=None)
    made = stack.foldline("keys", "create", org.org_id, "--json")
    second = client(stack.url, json.loads(made.stdout)["key"])

    # Its keys share the window; every request counts, whatever the answer.
    answers = [org.client.post("/v1/ingest/items/upsert", json={"item_id": "a", "item_type": "p"})]
    answers += [
        (org.client if number % 3 else second).get(f"/v1/items/{'a' if number % 2 else 'missing'}")
        for number in range(1, LIMIT)
    ]
    assert {answer.status_code for answer in answers} <= {200, 202, 404}
    for number, answer in enumerate(answers):
        assert answer.headers["ratelimit-limit"] == str(LIMIT)
        assert answer.headers["ratelimit-remaining"] == str(LIMIT - 1 - number)
        assert 0 < int(answer.headers["ratelimit-reset"]) <= WINDOW_SECONDS

    # The next one is refused, by either key, for whatever route; nothing is written.
    for asking in (org.client, second):
        for answer in (
            asking.post("/v1/ingest/items/upsert", json={"item_id": "b", "item_type": "p"}),
            asking.get("/v1/users"),
        ):
            assert answer.status_code == 429
            assert answer.json()["success"] is False
            reset = int(answer.headers["ratelimit-reset"])
            assert 0 < int(answer.headers["retry-after"]) <= WINDOW_SECONDS
            assert abs(int(answer.headers["retry-after"]) - reset) <= 1
            assert (answer.headers["ratelimit-limit"], answer.headers["ratelimit-remaining"]) == (str(LIMIT), "0")
    assert stack.sql("SELECT count(*) FROM foldline.known_items WHERE org_id = %s AND item_id = 'b'", org.org_id) == [(0,)]

    # Nobody else notices.
    answer = other.client.get("/v1/items")
    assert (answer.status_code, answer.headers["ratelimit-remaining"]) == (200, str(LIMIT - 1))
    assert client(stack.url, "lehnz_sk_no").get("/v1/items").status_code == 401

    # A higher limit opens the window again, within 2 s.
    assert stack.foldline("orgs", "set", org.org_id, "--rate-limit", str(LIMIT + 500)).returncode == 0
    assert eventually(lambda: org.client.get("/v1/items").status_code == 200, HOLDS_SECONDS)


def test_changes_of_keys_and_organisations_hold_within_two_seconds(stack: Stack, org: Organisation) -> None:
    def status() -> int:
        return org.client.get("/v1/items").status_code

    def holds(*command: str, then: Callable[[], bool]) -> None:
        assert stack.foldline(*command).returncode == 0
        began = time.monotonic()
        assert eventually(then, HOLDS_SECONDS, pause_seconds=0.02), command
        assert time.monotonic() - began < HOLDS_SECONDS

    assert status() == 200
    holds("orgs", "suspend", org.org_id, then=lambda: status() == 403)
    assert org.client.post("/v1/ingest/items/upsert", json={"item_id": "a", "item_type": "p"}).status_code == 403
    holds("orgs", "resume", org.org_id, then=lambda: status() == 200)

    rotated = stack.foldline("keys", "rotate", org.secret_key, "--json")
    assert rotated.returncode == 0
    new_key = json.loads(rotated.stdout)["key"]
    with client(stack.url, new_key) as new:
        assert new.get("/v1/items").status_code == 200
        assert eventually(lambda: status() == 401, HOLDS_SECONDS, pause_seconds=0.02)
        assert stack.foldline("keys", "revoke", new_key).returncode == 0
        assert eventually(lambda: new.get("/v1/items").status_code == 401, HOLDS_SECONDS, pause_seconds=0.02)


def test_the_limit_is_exact_however_many_ask_at_once(stack: Stack) -> None:
    org = stack.organisation(rate_limit=200)
    with org.client, ThreadPoolExecutor(20) as threads:
        statuses = Counter(threads.map(lambda _: org.client.get("/v1/items").status_code, range(300)))
    assert statuses == {200: 200, 429: 100}
