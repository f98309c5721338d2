"""What imports keep of users to be looked at: no values among what is wrong, and no rows once a user is erased."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import pytest

from foldline.adapters.codec import BundledRegistry
from foldline.adapters.pool import Database
from foldline.adapters.producer import Appended, KafkaLog, NotAppended
from foldline.domain.records import Kind, Upsert
from foldline.embedded.processes import until
from foldline.settings import Settings
from producers.imports import jobs
from producers.imports.jobs import Job
from producers.imports.queue import Queue
from producers.sealing import SealedLog
from tests.pipeline import append, table, wait_applied
from tests.producers.imports.conftest import Desk, importing

AT = 1_736_672_400_000_000
HEADER = b"user_id,status,created_at,email,age\n"
GOOD = HEADER + b"ada,active,2025-01-12T09:00:00Z,ada@example.com,30\n"
WRONG = GOOD + b"bob,active,2025-01-12T09:00:00Z,bob@example.com,30,cells-too-many\neve,eve@example.com,yesterday,x,y\n"


def erase(desk: Desk, user_id: str) -> None:
    """Deletes a user, as another program would, and returns once that is folded."""
    append(desk.settings, "users", [Upsert(desk.org_id, user_id, None, "deleted", None, AT, "c" * 32, 0)])
    wait_applied(desk.settings)


def shown(job: Job) -> list[Any]:
    assert job.report is not None
    found: list[Any] = job.report["preview"]
    return found


FILES = {
    "csv": WRONG,
    "a line for each": b'{"user_id":"ada","attributes":{"email":"ada@example.com"}}\n'
    b'{"user_id":"eve","status":"eve@example.com","created_at":"bob@example.com","attributes":{"age":1e99}}\n'
    b'{"user_id":"eve","attributes":{"email":"eve@example.com"\n',
    "no header": b"ada@example.com,active,2025-01-12T09:00:00Z,bob@example.com,1\n",
}


@pytest.mark.parametrize("data", FILES.values(), ids=FILES)
def test_what_is_wrong_with_a_user_is_kept_without_its_values(busy_desk: Desk, data: bytes) -> None:
    import_id = busy_desk.upload(data, "users")
    rejected = busy_desk.wait(import_id, "rejected")
    assert rejected.report is not None
    codes = rejected.report["codes"]
    kept = [
        problem
        for code in codes
        for block in range(code["blocks"])
        for problem in jobs.problems(busy_desk.connection, import_id, code["severity"], code["code"], block)
    ]
    assert len(kept) == rejected.errors + rejected.warnings > 0
    told = kept + [code["example"] for code in codes] + [rejected.report["problem"] or {}]
    for problem in told:
        assert problem.get("value", "") in ("", problem.get("id")), problem
        assert "example.com" not in str({**problem, "column": ""}), problem


def test_an_items_problem_keeps_its_value(busy_desk: Desk) -> None:
    import_id = busy_desk.upload(b"item_id,item_type,status\nA,p,sold\n")
    busy_desk.wait(import_id, "rejected")
    (problem,) = jobs.problems(busy_desk.connection, import_id, "error", "invalid_status", 0)
    assert problem["value"] == "sold"


def test_an_erasure_removes_the_rows_that_are_kept_of_checked_imports(busy_desk: Desk) -> None:
    rejected, live, items = (
        busy_desk.upload(WRONG, "users"),
        busy_desk.imported(GOOD, "users").import_id,
        busy_desk.upload(b"item_id,item_type,status\nA,p,active\nB,p,sold\n"),
    )
    busy_desk.wait(rejected, "rejected")
    busy_desk.wait(items, "rejected")
    assert len(shown(busy_desk.job(rejected))) == len(shown(busy_desk.job(live))) == 1
    assert jobs.failed_rows(busy_desk.connection, rejected, 0) is not None

    erase(busy_desk, "somebody")
    for import_id in (rejected, live):
        scrubbed = busy_desk.job(import_id)
        assert scrubbed.scrubbed_at is not None
        assert "ada@example.com" not in json.dumps(scrubbed.report)
        assert jobs.failed_rows(busy_desk.connection, import_id, 0) is None
    assert shown(busy_desk.job(items)) != []
    assert jobs.failed_rows(busy_desk.connection, items, 0) is not None
    assert busy_desk.job(items).scrubbed_at is None

    # The rows that were good can still be imported; and who has them checked again sees them again.
    jobs.retype(busy_desk.connection, busy_desk.org_id, rejected, {"email": "omit"}, "ada@example.com")
    again = busy_desk.wait(rejected, "rejected")
    assert again.scrubbed_at is None
    assert shown(again)[0]["attributes"] == [["age", '"30"']]
    busy_desk.submit(rejected, only_good=True)
    assert busy_desk.wait(rejected, "live").queued == 1
    erase(busy_desk, "somebody else")
    assert jobs.failed_rows(busy_desk.connection, rejected, 0) is None


def test_an_import_of_another_organisation_keeps_its_rows(busy_desk: Desk) -> None:
    mine = busy_desk.upload(WRONG, "users")
    busy_desk.wait(mine, "rejected")
    other = Upsert("org_other", "ada", None, "deleted", None, AT, "d" * 32, 0)
    append(busy_desk.settings, "users", [other])
    wait_applied(busy_desk.settings)
    assert busy_desk.job(mine).scrubbed_at is None
    assert jobs.failed_rows(busy_desk.connection, mine, 0) is not None


def test_an_import_that_is_queueing_goes_on_after_an_erasure(desk: Desk) -> None:
    with importing(desk.settings):
        import_id = desk.upload(
            HEADER + b"".join(b"u-%d,active,2025-01-12T09:00:00Z,x,1\n" % n for n in range(500)), "users"
        )
        desk.wait(import_id, "ready")
    desk.submit(import_id)
    erase(desk, "somebody")
    waiting = desk.job(import_id)
    assert (waiting.status, waiting.scrubbed_at is not None, shown(waiting)) == ("queueing", True, [])
    with importing(desk.settings):
        live = desk.wait(import_id, "live")
    assert (live.queued, live.refused) == (500, 0)
    assert until(lambda: jobs.read_block(desk.connection, import_id, jobs.FILE, 0) is None, 20)


class Overtaken(KafkaLog):
    """Appends what it is given just after somebody else's deletion of a user, which began when it was sealed already."""

    def __init__(self, settings: Settings, database: Database, deletion: Upsert) -> None:
        super().__init__(settings, BundledRegistry(), lambda *_: None)
        self._other = KafkaLog(settings, BundledRegistry(), lambda *_: None)
        self._sealed = SealedLog(self._other, database.fetch, settings)
        self._deletions = [deletion]

    async def append(self, kind: Kind, events: Sequence[Upsert], traceparent: str) -> Appended:
        while self._deletions:
            await self._sealed.open()
            await self._sealed.append("users", [self._deletions.pop()], traceparent)
            await self._sealed.close(5)
        return await super().append(kind, events, traceparent)


def test_a_row_that_a_deletion_has_overtaken_is_appended_again(desk: Desk) -> None:
    with importing(desk.settings):
        desk.imported(GOOD, "users")  # so that there is a key which the deletion retires
        import_id = desk.upload(GOOD, "users")
        desk.wait(import_id, "ready")
    desk.submit(import_id)
    deletion = Upsert(desk.org_id, "ada", None, "deleted", None, AT, import_id[-32:][::-1], 0)

    async def overtaken() -> None:
        database = Database(desk.settings, "test")
        await database.open()
        try:
            log = SealedLog(Overtaken(desk.settings, database, deletion), database.fetch, desk.settings)
            await log.open()
            with pytest.raises(NotAppended, match="was being deleted"):
                await Queue(desk.settings, desk.connection, log, lambda _: None).run(desk.job(import_id))
            await log.close(5)
        finally:
            await database.close()

    asyncio.run(overtaken())
    with importing(desk.settings):
        live = desk.wait(import_id, "live")
    assert (live.queued, live.refused) == (1, 0)
    wait_applied(desk.settings)
    state = table(desk.settings)["users", desk.org_id, "ada"]
    assert (state["status"], state["attributes"]) == ("active", {"email": "ada@example.com", "age": 30})
