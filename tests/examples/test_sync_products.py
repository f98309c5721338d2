"""The sync recipe: whatever changes in the table, however long its transactions take, and killed at random, the items end as
the table is."""

from __future__ import annotations

import json
import os
import random
import secrets
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit, urlunsplit

import httpx
import psycopg
import pytest

from examples.sync_products import ITEM_TYPE, STATUSES, TABLE
from foldline.adapters.postgres import connect
from foldline.client import Client
from foldline.embedded.processes import until
from producers.tenants import create_organisation, set_rate_limit
from tests.pipeline import prepared, running
from tests.producers.conftest import gateway_of

ROOT = Path(__file__).resolve().parents[2]
WRITERS, KILLS, ROWS_BEFORE = 4, 6, 1300
Shop = psycopg.Connection[tuple[Any, ...]]


class Mirror(NamedTuple):
    """A shop, the organisation that it is mirrored to, and where the program keeps its state."""

    database_url: str
    url: str
    key: str
    directory: Path
    foldline: Client

    def shop(self) -> Shop:
        return psycopg.connect(self.database_url, autocommit=True)

    def start(self, *options: str, database_url: str = "") -> subprocess.Popen[str]:
        command = [
            sys.executable, str(ROOT / "examples" / "sync_products.py"), "--database", database_url or self.database_url,
            "--state", str(self.directory / "state.sqlite"), *options,
        ]  # fmt: skip
        environment = os.environ | {"FOLDLINE_URL": self.url, "FOLDLINE_KEY": self.key, "NO_PROXY": "*"}
        with (self.directory / "stderr").open("a") as stderr:
            return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=stderr, text=True)

    def once(self, **options: str) -> int:
        return self.start("--once", **options).wait(120)

    def said(self) -> str:
        return (self.directory / "stderr").read_text()

    def items(self) -> dict[str, tuple[str, Any, int]]:
        """What Foldline has: status, attributes and version by id."""
        states = self.foldline.items(include_deleted=True)
        return {item.item_id: (item.status, item.attributes, item.version) for item in states}

    def assert_equal(self) -> None:
        """Every row is an item with just its values; every other item is deleted."""
        with self.shop() as shop:
            rows = shop.execute("SELECT id, title, price, status, metafields, deleted_at FROM products").fetchall()
        expected = {
            str(row_id): (
                "deleted" if deleted_at else STATUSES[status],
                {"title": title, "price": None if price is None else float(price), "metafields": metafields},
            )
            for row_id, title, price, status, metafields, deleted_at in rows
        }
        found = self.items()
        wrong = {
            item_id: (found.get(item_id), wanted)
            for item_id, wanted in expected.items()
            if found.get(item_id, ())[:2] != wanted
        }
        assert wrong == {}
        assert {found[item_id][0] for item_id in found.keys() - expected.keys()} <= {"deleted"}


@pytest.fixture
def mirror(kafka: str, postgres: str, database: str, topic_prefix: str, tmp_path: Path) -> Iterator[Mirror]:
    settings = prepared(kafka, database, topic_prefix)
    with shop_database(postgres) as shop, running(settings), gateway_of(settings) as gateway:
        with connect(database, "test") as connection:
            org = create_organisation(connection, "Shop", settings.key_prefix)
            set_rate_limit(connection, org.org_id, 0)
        with httpx.Client(trust_env=False) as http:
            yield Mirror(shop, gateway.url, org.secret_key, tmp_path, Client(gateway.url, org.secret_key, http=http))


@contextmanager
def shop_database(postgres: str) -> Iterator[str]:
    name = f"shop_{secrets.token_hex(4)}"
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
        url = urlunsplit(urlsplit(postgres)._replace(path=f"/{name}"))
        with psycopg.connect(url) as shop:
            shop.execute(TABLE.encode())
        yield url
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


INSERT = "INSERT INTO products (id, title, price, status, metafields) VALUES (%s, %s, %s, %s, %s)"
CHANGES = (
    "UPDATE products SET title = title || '!' WHERE id = %s",
    "UPDATE products SET price = 3.5 WHERE id = %s",
    "UPDATE products SET price = NULL WHERE id = %s",
    "UPDATE products SET status = 'draft' WHERE id = %s",
    "UPDATE products SET status = 'active' WHERE id = %s",
    "UPDATE products SET metafields = metafields - 'colour' || '{\"n\": [1, null]}' WHERE id = %s",
    "UPDATE products SET deleted_at = now() WHERE id = %s",
    "UPDATE products SET deleted_at = NULL WHERE id = %s",
    "DELETE FROM products WHERE id = %s",
)


def insert(shop: Shop, chosen: random.Random, product_id: int) -> None:
    metafields = {"colour": chosen.choice(("red", "größe")), "deep": {"x": chosen.random()}}
    values = (
        product_id,
        f"Product {product_id}",
        chosen.randrange(10_000) / 100,
        chosen.choice(list(STATUSES)),
        json.dumps(metafields),
    )
    shop.execute(INSERT, values)


def write(mirror: Mirror, number: int, over: threading.Event, committed: list[int]) -> None:
    """Transactions of every length. Each inserts a row; most of these are never touched again: what is lost is lost."""
    chosen = random.Random(number)
    with mirror.shop() as shop:
        transaction = 0
        while not over.is_set():
            with shop.transaction():
                transaction += 1
                insert(shop, chosen, 10_000 * (number + 1) + transaction)
                for _ in range(chosen.randrange(3)):
                    over.wait(chosen.choice((0.0, 0.01, chosen.random())))
                    shop.execute(
                        chosen.choice(CHANGES).encode(),
                        (chosen.choice((chosen.randrange(ROWS_BEFORE), 10_000 * (number + 1) + 7)),),
                    )
            committed.append(1)


def test_killed_at_random_while_everything_changes_the_items_end_as_the_table_is(mirror: Mirror) -> None:
    chosen, over, committed = random.Random(1), threading.Event(), list[int]()
    with mirror.shop() as shop, shop.transaction():
        for product_id in range(ROWS_BEFORE):
            insert(shop, chosen, product_id)
    writers = [threading.Thread(target=write, args=(mirror, number, over, committed)) for number in range(WRITERS)]
    for writer in writers:
        writer.start()
    try:
        for _ in range(KILLS):
            process = mirror.start("--poll-seconds", "0.05", "--compare-seconds", "0.5")
            before, rows = len(committed), len(mirror.items())
            assert until(lambda: len(committed) > before + 10 and len(mirror.items()) > rows, 60), mirror.said()  # noqa: B023
            over.wait(chosen.random())
            assert process.poll() is None, mirror.said()
            process.send_signal(signal.SIGKILL)
            process.wait()
    finally:
        over.set()
        for writer in writers:
            writer.join()
    assert mirror.once() == 0, mirror.said()
    mirror.assert_equal()
    assert mirror.said() == ""
    assert {status for status, *_ in mirror.items().values()} == {"active", "inactive", "deleted"}

    # All of it again changes nothing.
    items = mirror.items()
    assert mirror.once() == 0
    assert mirror.items() == items


def test_a_page_that_was_under_way_when_the_program_was_killed_is_written_once(mirror: Mirror) -> None:
    """It is killed as soon as anything of the page is there, which is before it has said that the page is done, or after."""
    for number in range(5):
        with mirror.shop() as shop, shop.transaction():
            for product_id in range(400):
                insert(shop, random.Random(product_id), 1000 * number + product_id)
        process = mirror.start("--once")
        assert until(lambda: len(mirror.items()) > 400 * number or process.poll() is not None, 60)  # noqa: B023
        process.kill()
        process.wait()
    assert mirror.once() == 0
    mirror.assert_equal()
    assert {version for *_, version in mirror.items().values()} == {1}


def test_what_commits_late_is_not_passed(mirror: Mirror) -> None:
    with mirror.shop() as early, mirror.shop() as late:
        with early.transaction():
            insert(early, random.Random(1), 1)
            insert(late, random.Random(2), 2)  # its stamp is newer, and it is committed
            assert mirror.once() == 0
            assert mirror.items() == {}
        assert until(lambda: mirror.once() == 0 and len(mirror.items()) == 2, 30)
    mirror.assert_equal()


def test_what_is_refused_is_said_and_the_rest_goes_on(mirror: Mirror) -> None:
    deep = "[" * 40 + "]" * 40
    with mirror.shop() as shop:
        for product_id, metafields in enumerate(
            ["{}", f'{{"deep": {deep}}}', '{"n": 1e400}', '{"n": 36893488147419103232}', "{}"]
        ):
            shop.execute(INSERT, (product_id, "t", 1, "active", metafields))
        shop.execute("UPDATE products SET price = 'NaN' WHERE id = 4")
        assert until(lambda: mirror.once() == 0 and len(mirror.items()) == 1, 30)
        assert mirror.items().keys() == {"0"}
        said = mirror.said()
        assert [f"product {number} is refused" in said for number in range(5)] == [False, True, True, True, True]
        assert "too_deep" in said
        shop.execute("UPDATE products SET metafields = '{}', price = 1 WHERE id > 0")
    assert until(lambda: mirror.once() == 0 and len(mirror.items()) == 5, 30)
    mirror.assert_equal()
    assert {item_id: version for item_id, (*_, version) in mirror.items().items()} == dict.fromkeys("01234", 1)


def test_items_of_another_type_are_left_alone(mirror: Mirror) -> None:
    mirror.foldline.upsert_items(
        [{"item_id": "post", "item_type": "article"}, {"item_id": "7", "item_type": ITEM_TYPE}], wait=30
    )
    assert mirror.once() == 0
    assert {item_id: status for item_id, (status, *_) in mirror.items().items()} == {"post": "active", "7": "deleted"}


def test_one_state_file_is_one_programs(mirror: Mirror) -> None:
    first = mirror.start("--poll-seconds", "0.05")
    try:
        assert until(
            lambda: (mirror.directory / "state.sqlite").exists() and (mirror.directory / "state.sqlite").stat().st_size > 0,
            30,
        )
        assert mirror.once() == 1
        assert "does this program run already?" in mirror.said()
        first.send_signal(signal.SIGTERM)
        assert first.wait(30) == 0
    finally:
        first.kill()
    assert mirror.once() == 0


def test_who_cannot_see_the_transactions_of_others_is_told(mirror: Mirror) -> None:
    name = f"reader_{secrets.token_hex(4)}"
    with mirror.shop() as shop:
        shop.execute(f"CREATE USER {name} PASSWORD 'x'; GRANT SELECT ON products TO {name}".encode())
        try:
            parts = urlsplit(mirror.database_url)
            place = f"{name}:x@{parts.netloc.rpartition('@')[2]}"
            url = urlunsplit(parts._replace(netloc=place))
            assert mirror.once(database_url=url) == 1
            assert "GRANT pg_read_all_stats" in mirror.said()
            shop.execute(f"GRANT pg_read_all_stats TO {name}".encode())
            assert mirror.once(database_url=url) == 0
        finally:
            shop.execute(f"DROP OWNED BY {name}; DROP USER {name}".encode())
