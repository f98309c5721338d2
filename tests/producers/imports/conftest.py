"""Files on their way in, with an importer in a thread of this process."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest

from foldline.adapters.postgres import Connection, connect
from foldline.domain.records import Kind
from foldline.embedded.processes import until
from foldline.settings import Settings
from producers.imports import importer, jobs
from producers.imports.jobs import Job
from producers.imports.positions import log_ends
from tests.producers.conftest import NewOrg

ACTOR = "ada@example.com"


@dataclass
class Desk:
    """One organisation's imports, as the dashboard does them."""

    settings: Settings
    connection: Connection
    org_id: str

    def upload(self, data: bytes, kind: Kind = "items", series_id: str | None = None) -> str:
        ends = log_ends(self.settings, kind)
        import_id = jobs.create(self.connection, self.org_id, kind, "file.csv", ACTOR, ends, series_id)
        blocks = [data[at : at + 100_000] for at in range(0, len(data), 100_000)]
        for number, block in enumerate(blocks):
            jobs.write_block(self.connection, import_id, jobs.FILE, number, block)
        jobs.uploaded(self.connection, import_id, len(data))
        return import_id

    def submit(self, import_id: str, **choices: Any) -> None:
        jobs.submit(self.connection, self.org_id, import_id, ACTOR, absent_share=0.2, **choices)

    def job(self, import_id: str) -> Job:
        found = jobs.job(self.connection, self.org_id, import_id)
        assert found is not None
        return found

    def wait(self, import_id: str, *statuses: str, seconds: float = 30) -> Job:
        assert until(lambda: self.job(import_id).status in statuses, seconds), self.job(import_id)
        return self.job(import_id)

    def imported(self, data: bytes, kind: Kind = "items", **choices: Any) -> Job:
        """Uploads, submits and waits until it is live."""
        import_id = self.upload(data, kind)
        self.wait(import_id, "ready", "rejected")
        self.submit(import_id, **choices)
        return self.wait(import_id, "live")

    def items(self) -> dict[str, tuple[str, int, dict[str, Any]]]:
        """Status, version and attributes of every item, deleted ones too."""
        with psycopg.connect(self.settings.database_url) as connection:
            query = "SELECT item_id, status, version, attributes FROM foldline.known_items WHERE org_id = %s"
            return {row[0]: (row[1], row[2], row[3]) for row in connection.execute(query, (self.org_id,)).fetchall()}


@contextmanager
def importing(settings: Settings) -> Iterator[None]:
    """An importer, stopped at the end."""
    stop = threading.Event()
    thread = threading.Thread(target=importer.run, args=(settings, stop), kwargs={"niceness": 0}, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(20)
        assert not thread.is_alive()


@pytest.fixture
def desk(stage: Settings, new_org: NewOrg) -> Iterator[Desk]:
    """A desk without an importer."""
    with connect(stage.database_url, "test") as connection:
        yield Desk(stage, connection, new_org().org_id)


@pytest.fixture
def busy_desk(desk: Desk) -> Iterator[Desk]:
    """A desk with an importer."""
    with importing(desk.settings):
        yield desk


NewDesk = Callable[[], Desk]
