"""The dashboard's pages with a million items: `python -m benchmarks.pages` prints how long each took, in milliseconds.

One organisation has a million items and 200,000 users, a hundred others a thousand items each. Of the one, the first 100,000
items are deleted, two are inactive, and three are of a rare type; they lie in the table in no order. It has sent without a
break for 30 days.
"""

from __future__ import annotations

import statistics
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import psycopg

from benchmarks.servers import PYTHON, environment, servers
from foldline.embedded.processes import until
from foldline.settings import Settings

REQUESTS = 60
FILL = """
INSERT INTO foldline_control.organisations (org_id, name) SELECT 'other' || n, 'Other' FROM generate_series(1, 100) n;
INSERT INTO gen_1.items
SELECT %(org)s, 'PROD-' || lpad(n::text, 7, '0'),
    CASE WHEN n IN (500001, 700007, 999990) THEN 'rare' WHEN n %% 100 < 95 THEN 'product' ELSE 'type-' || n %% 23 END,
    CASE WHEN n <= 100000 THEN 'deleted' WHEN n IN (444444, 999000) THEN 'inactive' ELSE 'active' END,
    jsonb_build_object('name', 'Thing ' || n, 'price', n %% 30000 / 100.0, 'category', 'Category ' || n %% 40,
        'brand', 'Brand ' || n %% 700, 'stock', n %% 250, 'tags', jsonb_build_array('new', 'tag-' || n %% 50),
        'description', 'What people like for its weight and price; ' || md5(n::text) || '; thirty days to return it.'),
    1, now(), now(), n %% 4, n
FROM generate_series(1, 1000000) n ORDER BY md5(n::text);
INSERT INTO gen_1.items
SELECT 'other' || n %% 100 + 1, 'SKU-' || n, 'product', 'active', '{"name": "x"}', 1, now(), now(), 0, n
FROM generate_series(1, 100000) n;
INSERT INTO gen_1.users
SELECT %(org)s, 'user-' || n, now(), 'active', jsonb_build_object('name', 'Person ' || n), 1, now(), now(), 0, n
FROM generate_series(1, 200000) n;
INSERT INTO foldline_control.activity
SELECT %(org)s, at, kind, 100, 20 + random() * 60
FROM generate_series(date_trunc('minute', now()) - interval '30 days', now(), '10 s') at,
    unnest(ARRAY['items', 'users']) kind
WHERE at > now() - interval '1 day' OR at = date_trunc('minute', at) ON CONFLICT DO NOTHING;
ANALYZE;
"""
PAGES = {
    "overview": "/",
    "overview, tiles": "/overview/live",
    "chart, 30 days of events": "/overview/events.json?range=30d",
    "chart, 30 days of freshness": "/overview/freshness.json?range=30d",
    "chart, 24 hours of records": "/overview/items.json?range=24h",
    "catalogue": "/catalogue",
    "catalogue, middle": "/catalogue?after=PROD-0500000",
    "catalogue, last page": "/catalogue?last=1",
    "catalogue, rare status": "/catalogue?status=inactive",
    "catalogue, deleted": "/catalogue?status=deleted",
    "catalogue, rare type": "/catalogue?type=rare",
    "catalogue, rare type and status": "/catalogue?type=type-3&status=inactive",
    "catalogue, type, last page": "/catalogue?type=product&status=all&last=1",
    "search, an id": "/catalogue?q=PROD-0999",
    "search, many hits": "/catalogue?q=brand+12",
    "search, no hit": "/catalogue?q=zzqqxx",
    "search, no hit, a type": "/catalogue?q=zzqqxx&type=type-3",
    "search, no hit, goes on": "/catalogue?q=zzqqxx&after=PROD-0700000",
    "item": "/catalogue/PROD-0700000",
    "users": "/users?last=1",
}


def main() -> None:
    """Fills a database, starts a gateway on it and measures."""
    with servers() as started:
        settings = started.fresh()
        with _gateway(settings), httpx.Client(base_url=f"http://127.0.0.1:{settings.gateway_port}", timeout=60) as client:
            _sign_up(client)
            with psycopg.connect(settings.database_url, autocommit=True) as connection:
                (org_id,) = connection.execute("SELECT org_id FROM foldline_control.organisations").fetchone() or ("",)
                for statement in FILL.split(";\n"):
                    connection.execute(statement.encode(), {"org": org_id})
                connection.execute("VACUUM ANALYZE")
                counted = "SELECT FROM foldline_control.record_counts WHERE active > 100000"
                assert until(lambda: connection.execute(counted).fetchone() is not None, 120)
            print(f"{'page':36}{'median':>9}{'p99':>9}{'first':>9}")
            for name, path in PAGES.items():
                times = [_milliseconds(client, path) for _ in range(REQUESTS)]
                print(f"{name:36}{statistics.median(times):9.1f}{sorted(times)[-1 - REQUESTS // 100]:9.1f}{times[0]:9.1f}")


def _sign_up(client: httpx.Client) -> None:
    form = {"organisation": "Benchmark", "email": "bench@mail.example", "password": "a long enough password"}
    client.post("/sign-up", data=form, headers={"Sec-Fetch-Site": "same-origin"})
    assert client.get("/catalogue").status_code == 200


def _milliseconds(client: httpx.Client, path: str) -> float:
    began = time.perf_counter()
    answer = client.get(path)
    assert answer.status_code == 200, (path, answer.status_code)
    return (time.perf_counter() - began) * 1000


@contextmanager
def _gateway(settings: Settings) -> Iterator[None]:
    process = subprocess.Popen([PYTHON, "-m", "foldline", "gateway"], env=environment(settings), stderr=subprocess.DEVNULL)
    try:
        assert until(lambda: _answers(settings), 60)
        yield
    finally:
        process.terminate()
        process.wait()


def _answers(settings: Settings) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{settings.gateway_port}/readyz").status_code == 200
    except httpx.TransportError:
        return False


if __name__ == "__main__":
    main()
