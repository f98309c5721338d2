"""Services of two versions on one Kafka and one PostgreSQL, in the order in which an update replaces them, and in the other.

The older version is this program as it was before events had ids (`Idempotency-Key`): with other schemas of events, and a
migration less.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from foldline.embedded.processes import spawn, until
from foldline.settings import Settings
from producers.gateway.server import bound
from tests.e2e.older import NEW, OLDER, Version, older
from tests.pipeline import table, topic_states, wait_applied
from tests.schemas.test_evolution import PROGRAM, Processor, environment, foldline, processor

READY_SECONDS = 60.0


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Version:
    return older(OLDER, tmp_path_factory.mktemp("older"))


@contextmanager
def gateway(settings: Settings, version: Version, directory: Path, name: str, secret_key: str) -> Iterator[httpx.Client]:
    """A client of a gateway of one version."""
    with bound("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
    log = directory / f"{name}.log"
    variables = environment(settings, version) | {"FOLDLINE_GATEWAY_PORT": str(port)}
    process = spawn([*PROGRAM, "gateway"], log=log, environment=variables, directory=directory)
    url, headers = f"http://127.0.0.1:{port}", {"X-API-KEY": secret_key}
    try:
        with httpx.Client(base_url=url, headers=headers, timeout=30, trust_env=False) as client:
            assert until(lambda: ready(client), READY_SECONDS), log.read_text()
            yield client
    finally:
        process.terminate()
        code = process.wait(30)
    assert code == 0, log.read_text()


def ready(client: httpx.Client) -> bool:
    try:
        return client.get("/readyz").status_code == 200
    except httpx.TransportError:
        return False


def organisation(settings: Settings, version: Version, directory: Path) -> str:
    """The secret key of a new one."""
    done = foldline(settings, version, directory, "orgs", "create", "Test", "--json")
    assert done.returncode == 0, done.stderr
    key: str = json.loads(done.stdout)["secret_key"]
    return key


def write(client: httpx.Client, kind: str, records: Any, key: str | None = None) -> None:
    headers = {} if key is None else {"Idempotency-Key": key}
    answer = client.post(f"/v1/ingest/{kind}/upsert", json=records, headers=headers)
    assert answer.status_code == 202, answer.text


def state(client: httpx.Client, path: str) -> tuple[int, str, Any]:
    data = client.get(path, params={"include_deleted": "true"}).json()["data"]
    return data["version"], data["status"], data["attributes"]


def step(client: httpx.Client, number: int, keys: bool = False) -> None:
    """Adds an attribute to an item and to a user; makes a user and deletes it. With keys the first two are sent twice."""
    attributes = {f"step{number}": number}
    for _ in range(2 if keys else 1):
        write(
            client, "items", [{"item_id": "I", "item_type": "t", "attributes": attributes}], f"{number}i" if keys else None
        )
        write(client, "users", {"user_id": "U", "attributes": attributes}, f"{number}u" if keys else None)
    write(client, "users", [{"user_id": f"gone{number}", "attributes": attributes}])
    write(client, "users", [{"user_id": f"gone{number}", "status": "deleted"}])


def assert_after(number: int, settings: Settings, *readers: httpx.Client) -> None:
    """Each of so many steps was folded once, whoever is asked."""
    wait_applied(settings)
    expected = {f"step{n}": n for n in range(1, number + 1)}
    for reader in readers:
        for path in ("/v1/items/I", "/v1/users/U"):
            assert state(reader, path) == (number, "active", expected)
        assert state(reader, f"/v1/users/gone{number}") == (2, "deleted", {})


def assert_whole(settings: Settings, directory: Path) -> None:
    """Nothing was refused; tables, topics and a replay by the newer version are the same."""
    assert letters(settings) == []
    assert until(lambda: table(settings) == topic_states(settings), READY_SECONDS)
    done = foldline(settings, NEW, directory, "verify")
    assert done.returncode == 0, done.stdout + done.stderr


def shared(one: Processor, other: Processor) -> bool:
    """Whether both have partitions, and each of the six is one's."""
    parts = one.assigned(), other.assigned()
    return all(parts) and len(parts[0]) + len(parts[1]) == len(parts[0] | parts[1]) == 6


def letters(settings: Settings) -> list[str]:
    """Why each dead letter of the live generation is one."""
    live = "SELECT code FROM foldline_control.dead_letters JOIN foldline_control.generations USING (generation) WHERE live"
    with psycopg.connect(settings.database_url) as connection:
        return [code for (code,) in connection.execute(live)]


def settings_of(kafka: str, database: str, topic_prefix: str) -> Settings:
    return Settings(
        kafka_bootstrap=kafka, database_url=database, topic_prefix=topic_prefix, partitions=3, session_timeout_seconds=6
    )


def initialised(settings: Settings, version: Version, directory: Path) -> None:
    done = foldline(settings, version, directory, "init")
    assert done.returncode == 0, done.stderr


def test_an_update_in_its_order(kafka: str, database: str, topic_prefix: str, old: Version, tmp_path: Path) -> None:
    settings = settings_of(kafka, database, topic_prefix)
    initialised(settings, old, tmp_path)
    secret_key = organisation(settings, old, tmp_path)
    with gateway(settings, old, tmp_path, "old-gateway", secret_key) as old_gateway:
        with processor(settings, old, tmp_path / "old.log") as old_processor:
            step(old_gateway, 1)
            assert_after(1, settings, old_gateway)
            initialised(settings, NEW, tmp_path)
            step(old_gateway, 2)
            assert_after(2, settings, old_gateway)
            with processor(settings, NEW, tmp_path / "beside.log") as new_processor:
                assert until(lambda: shared(old_processor, new_processor), READY_SECONDS)
                step(old_gateway, 3)
                assert_after(3, settings, old_gateway)
        with (
            processor(settings, NEW, tmp_path / "new.log"),
            gateway(settings, NEW, tmp_path, "new-gateway", secret_key) as new_gateway,
        ):
            for number, writer in enumerate((old_gateway, new_gateway, old_gateway, new_gateway), 4):
                step(writer, number, keys=writer is new_gateway)
                assert_after(number, settings, old_gateway, new_gateway)
            assert_whole(settings, tmp_path)


def test_gateways_first_is_the_wrong_order_and_a_rebuild_sets_it_right(
    kafka: str, database: str, topic_prefix: str, old: Version, tmp_path: Path
) -> None:
    settings = settings_of(kafka, database, topic_prefix)
    initialised(settings, NEW, tmp_path)
    secret_key = organisation(settings, NEW, tmp_path)
    with gateway(settings, NEW, tmp_path, "new-gateway", secret_key) as new_gateway:
        with processor(settings, old, tmp_path / "old.log"):
            step(new_gateway, 1, keys=True)
            wait_applied(settings)
            assert new_gateway.get("/v1/items/I").status_code == 404
            assert letters(settings) == ["unknown_schema"] * 4
        with processor(settings, NEW, tmp_path / "new.log"):
            refused = foldline(settings, NEW, tmp_path, "dead-letters", "redrive", "--reason", "unknown_schema")
            assert (refused.returncode, refused.stdout.count("(readable_now)")) == (1, 4), refused
            done = foldline(settings, NEW, tmp_path, "rebuild", "--swap")
            assert done.returncode == 0, done.stdout + done.stderr
            assert_after(1, settings, new_gateway)
            step(new_gateway, 2, keys=True)
            assert_after(2, settings, new_gateway)
            assert_whole(settings, tmp_path)
