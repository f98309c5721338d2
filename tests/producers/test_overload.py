"""More than the gateway can hold: what it cannot take it refuses, and what it has taken is kept."""

from __future__ import annotations

import asyncio
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import psycopg

from foldline.settings import Settings
from tests.pipeline import wait_applied
from tests.producers.conftest import NewOrg, gateway_of
from tests.producers.test_idempotency import process, until_accepted
from tests.producers.test_ingest import refused

PATH = "/v1/ingest/items/upsert"
RECORDS = 200


def records(number: int) -> list[dict[str, Any]]:
    """A request of about 30 kB."""
    return [
        {"item_id": f"{number}-{place}", "item_type": "t", "attributes": {"text": "x" * 100}} for place in range(RECORDS)
    ]


def versions(settings: Settings, org_id: str) -> Counter[int]:
    """How many items have how many upserts."""
    wait_applied(settings, published=False)
    with psycopg.connect(settings.database_url) as connection:
        query = "SELECT version, count(*) FROM foldline.known_items WHERE org_id = %s GROUP BY version"
        return Counter(dict(connection.execute(query, (org_id,)).fetchall()))


def test_what_there_is_no_room_for_is_refused_and_comes_again(stage: Settings, new_org: NewOrg) -> None:
    org = new_org()
    settings = stage.model_copy(update={"max_pending_kilobytes": 300})
    answers: list[httpx.Response] = []

    async def sent(client: httpx.AsyncClient, number: int) -> None:
        while True:
            answer = await client.post(PATH, json=records(number), headers={"Idempotency-Key": str(number)})
            answers.append(answer)
            if answer.status_code == 202:
                return
            await asyncio.sleep(float(answer.headers["Retry-After"]) / 10)

    async def all_sent(url: str) -> None:
        limits = httpx.Limits(max_connections=60, max_keepalive_connections=60)
        headers = {"X-API-KEY": org.secret_key}
        async with httpx.AsyncClient(base_url=url, headers=headers, limits=limits, timeout=60, trust_env=False) as client:
            await asyncio.gather(*(sent(client, number) for number in range(60)))

    with gateway_of(settings) as gateway:
        asyncio.run(all_sent(gateway.url))
        assert gateway.parts.room.free == 300 * 1024
    statuses = Counter(answer.status_code for answer in answers)
    assert statuses.keys() == {202, 503}
    assert statuses[202] == 60
    for answer in answers:
        if answer.status_code == 503:
            assert "as much to do as it can hold" in refused(answer, 503)
    assert versions(stage, org.org_id) == {1: 60 * RECORDS}


def test_who_is_slow_to_send_takes_no_more_than_was_said(stage: Settings, new_org: NewOrg) -> None:
    key = new_org().secret_key
    head = f"POST {PATH} HTTP/1.1\r\nHost: g\r\nX-API-KEY: {key}\r\nContent-Length: 150000\r\n\r\n".encode()
    settings = stage.model_copy(update={"max_pending_kilobytes": 200})
    with gateway_of(settings) as gateway, gateway.client(key) as client:
        with socket.create_connection(("127.0.0.1", gateway.port)) as slow:
            slow.sendall(head + b"[")
            deadline = time.monotonic() + 10
            while gateway.parts.room.free > 50_000:
                assert time.monotonic() < deadline
                time.sleep(0.01)
            refused(client.post(PATH, json=records(0) * 2), 503)
            assert client.post(PATH, json={"item_id": "A", "item_type": "t"}).status_code == 202
        until_accepted(client, records(0) * 2, key=None)


def test_sigterm_under_load_answers_what_was_begun_and_ends_in_time(stage: Settings, new_org: NewOrg) -> None:
    org, stop, accepted = new_org(), threading.Event(), Counter[int]()

    def write(url: str, number: int) -> None:
        with httpx.Client(base_url=url, headers={"X-API-KEY": org.secret_key}, timeout=30, trust_env=False) as client:
            while not stop.is_set():
                try:
                    answer = client.post(PATH, json={"item_id": f"W-{number}", "item_type": "t"})
                except httpx.TransportError:
                    return
                assert answer.status_code == 202
                accepted[number] += 1

    with process(stage) as (gateway, url), ThreadPoolExecutor(8) as pool:
        writers = [pool.submit(write, url, number) for number in range(8)]
        assert _reaches(lambda: min(accepted[number] for number in range(8)), 20)
        began = time.monotonic()
        gateway.send_signal(signal.SIGTERM)
        assert gateway.wait(15) == 0
        took = time.monotonic() - began
        stop.set()
        for writer in writers:
            writer.result()
    assert took < 15
    wait_applied(stage, published=False)
    with psycopg.connect(stage.database_url) as connection:
        query = "SELECT item_id, version FROM foldline.known_items WHERE org_id = %s"
        found = dict(connection.execute(query, (org.org_id,)).fetchall())
    for number, count in accepted.items():  # of each writer's last request nobody knows, unless it was answered
        assert count <= found[f"W-{number}"] <= count + 1


def _reaches(count: Callable[[], int], wanted: int) -> bool:
    deadline = time.monotonic() + 30
    while count() < wanted and time.monotonic() < deadline:
        time.sleep(0.01)
    return count() >= wanted
