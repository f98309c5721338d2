"""Imports from the upload to the state, on real servers."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from foldline.adapters.codec import BundledRegistry
from foldline.adapters.producer import Appended, KafkaLog, NotAppended
from foldline.domain.errors import FoldlineError
from foldline.domain.records import Kind, Upsert
from foldline.embedded.processes import until
from foldline.settings import Settings
from producers.imports import jobs
from producers.imports.queue import Queue
from projections import generations
from tests.pipeline import append, wait_applied
from tests.producers.conftest import NewOrg
from tests.producers.imports.conftest import ACTOR, Desk, importing

HEADER = b"item_id,item_type,name,price,status\n"


def rows(*ids: str, status: str = "active", name: str = "N") -> bytes:
    return HEADER + b"".join(f"{item_id},product,{name},1.50,{status}\n".encode() for item_id in ids)


def many(count: int) -> bytes:
    return rows(*(f"P-{number:06}" for number in range(count)))


def test_a_file_goes_live(busy_desk: Desk) -> None:
    import_id = busy_desk.upload(rows("A", "B") + b"C,product,,,inactive\n")
    ready = busy_desk.wait(import_id, "ready")
    assert (ready.rows, ready.errors, ready.warnings) == (3, 0, 0)
    assert ready.report is not None
    assert ready.report["preview"][0] == {
        "item_id": "A", "item_type": "product", "status": "active", "attributes": [["name", '"N"'], ["price", "1.5"]],
        "besides": 0,
    }  # fmt: skip
    assert busy_desk.items() == {}
    busy_desk.submit(import_id)
    live = busy_desk.wait(import_id, "live")
    assert (live.queued, live.deleted, live.refused, live.has_file) == (3, 0, 0, False)
    assert busy_desk.items() == {
        "A": ("active", 1, {"name": "N", "price": 1.5}),
        "B": ("active", 1, {"name": "N", "price": 1.5}),
        "C": ("inactive", 1, {}),
    }
    assert jobs.read_block(busy_desk.connection, import_id, jobs.FILE, 0) is None


def test_a_file_with_wrong_rows_writes_nothing_unless_its_good_rows_are_asked_for(busy_desk: Desk) -> None:
    import_id = busy_desk.upload(rows("A") + b"B,product,N,1,sold\n,product,N,1,active\n")
    rejected = busy_desk.wait(import_id, "rejected")
    assert (rejected.rows, rejected.wrong_rows, rejected.errors, rejected.wrong_without_id) == (3, 2, 2, 1)
    found = jobs.problems(busy_desk.connection, import_id, "error", "invalid_status", 0)
    assert [(p["line"], p["row"], p["column"], p["value"], p["id"]) for p in found] == [(3, 2, "status", "sold", "B")]
    failed = jobs.failed_rows(busy_desk.connection, import_id, 0)
    assert failed is not None
    assert failed.decode().splitlines()[0] == "item_id,item_type,name,price,status,error"
    with pytest.raises(FoldlineError, match="2 rows are wrong: nothing is imported while that is so"):
        busy_desk.submit(import_id)
    assert busy_desk.items() == {}
    busy_desk.submit(import_id, only_good=True)
    assert busy_desk.wait(import_id, "live").queued == 1
    assert set(busy_desk.items()) == {"A"}


def test_a_file_that_cannot_be_read_is_rejected_with_one_sentence(busy_desk: Desk) -> None:
    import_id = busy_desk.upload(b"item_id,name\nA,B\n")
    rejected = busy_desk.wait(import_id, "rejected")
    assert rejected.report is not None
    assert rejected.report["problem"]["line"] == 1
    with pytest.raises(FoldlineError, match="no row of the file holds"):
        busy_desk.submit(import_id, only_good=True)


def test_columns_may_be_given_other_types(busy_desk: Desk) -> None:
    import_id = busy_desk.upload(rows("A"))
    busy_desk.wait(import_id, "ready")
    jobs.retype(busy_desk.connection, busy_desk.org_id, import_id, {"price": "text", "name": "omit"}, ACTOR)
    assert busy_desk.wait(import_id, "ready").types == {"price": "text", "name": "omit"}
    busy_desk.submit(import_id)
    busy_desk.wait(import_id, "live")
    assert busy_desk.items() == {"A": ("active", 1, {"price": "1.50"})}


def test_what_the_fold_refuses_is_counted(busy_desk: Desk) -> None:
    large = '"' + "x" * 700_000 + '"'
    first = HEADER + f"A,product,{large},1,active\n".encode()
    second = b"item_id,item_type,other,status\n" + f"A,product,{large},active\n".encode()
    assert busy_desk.imported(first).refused == 0
    live = busy_desk.imported(second)
    assert (live.queued, live.refused) == (1, 1)


class Torn(KafkaLog):
    """Takes a part of a stretch, and then the process is as good as dead."""

    def __init__(self, settings: Settings, after: int, takes: int) -> None:
        super().__init__(settings, BundledRegistry(), lambda *_: None)
        self._after, self._takes = after, takes

    async def append(self, kind: Kind, events: Sequence[Upsert], traceparent: str) -> Appended:
        self._after -= 1
        if self._after >= 0:
            return await super().append(kind, events, traceparent)
        if self._takes:
            await super().append(kind, events[: self._takes], traceparent)
        raise NotAppended("torn", may_appear=True)


@pytest.mark.parametrize(("after", "takes"), [(0, 0), (0, 70), (2, 70), (2, 100)])
def test_a_run_that_broke_off_is_carried_on_at_the_row_that_it_had_reached(desk: Desk, after: int, takes: int) -> None:
    settings = desk.settings.model_copy(update={"import_chunk_records": 100, "delivery_timeout_seconds": 0.5})
    with importing(settings):
        import_id = desk.upload(many(450))
        desk.wait(import_id, "ready")
    desk.submit(import_id)

    async def broken() -> None:
        log = Torn(desk.settings, after, takes)
        await log.open()
        with pytest.raises(NotAppended):
            await Queue(settings, desk.connection, log, lambda _: None).run(desk.job(import_id))
        await log.close(1)

    asyncio.run(broken())
    assert desk.job(import_id).status == "queueing"
    with importing(settings):
        live = desk.wait(import_id, "live")
    assert (live.queued, live.refused) == (450, 0)
    assert sum(records for _, records, _ in live.appended) == 450
    assert {version for _, version, _ in desk.items().values()} == {1}
    assert len(desk.items()) == 450


def test_a_run_of_which_all_landed_and_nothing_was_acknowledged_goes_live(desk: Desk) -> None:
    settings = desk.settings.model_copy(update={"delivery_timeout_seconds": 0.5})
    with importing(settings):
        import_id = desk.upload(many(20))
        desk.wait(import_id, "ready")
    desk.submit(import_id)

    async def broken() -> None:
        log = Torn(desk.settings, 0, 20)
        await log.open()
        with pytest.raises(NotAppended):
            await Queue(settings, desk.connection, log, lambda _: None).run(desk.job(import_id))
        await log.close(1)

    asyncio.run(broken())
    with importing(settings):
        assert desk.wait(import_id, "live").queued == 20
    assert {version for _, version, _ in desk.items().values()} == {1}


def test_two_importers_never_run_one_import_twice(desk: Desk) -> None:
    settings = desk.settings.model_copy(update={"import_chunk_records": 50})
    with importing(settings), importing(settings):
        ids = [desk.upload(many(500)) for _ in range(4)]
        for import_id in ids:
            desk.wait(import_id, "ready")
            desk.submit(import_id)
        for import_id in ids:
            assert desk.wait(import_id, "live").queued == 500
    assert {version for _, version, _ in desk.items().values()} == {4}


def test_a_running_import_can_be_cancelled_and_says_how_far_it_came(desk: Desk) -> None:
    with importing(desk.settings):
        import_id = desk.upload(many(450))
        desk.wait(import_id, "ready")
    desk.submit(import_id)

    class Cancelling(KafkaLog):
        async def append(self, kind: Kind, events: Sequence[Upsert], traceparent: str) -> Appended:
            jobs.cancel(desk.connection, desk.org_id, import_id, ACTOR)
            return await super().append(kind, events, traceparent)

    async def cancelled() -> None:
        log = Cancelling(desk.settings, BundledRegistry(), lambda *_: None)
        await log.open()
        settings = desk.settings.model_copy(update={"import_chunk_records": 100})
        await Queue(settings, desk.connection, log, lambda _: None).run(desk.job(import_id))
        await log.close(1)

    asyncio.run(cancelled())
    ended = desk.job(import_id)
    assert (ended.status, ended.has_file) == ("cancelled", False)
    assert ended.failure is not None
    wait_applied(desk.settings, published=False)
    assert len(desk.items()) == ended.queued
    assert f"after {ended.queued} records" in ended.failure
    with pytest.raises(FoldlineError, match="over already"):
        jobs.cancel(desk.connection, desk.org_id, import_id, ACTOR)


def test_an_import_that_waits_can_be_cancelled(busy_desk: Desk) -> None:
    import_id = busy_desk.upload(rows("A"))
    busy_desk.wait(import_id, "ready")
    jobs.cancel(busy_desk.connection, busy_desk.org_id, import_id, ACTOR)
    assert busy_desk.job(import_id).status == "cancelled"
    with pytest.raises(FoldlineError, match="not waiting for a decision"):
        busy_desk.submit(import_id)


def test_what_nobody_wants_any_more_is_swept_away(desk: Desk) -> None:
    import_id = desk.upload(rows("A"))
    with importing(desk.settings):
        desk.wait(import_id, "ready")
    generation, _ = generations.begin(desk.connection, "test", resume=False)
    for age, table, where in (
        ("validated_at = now() - interval '1 year'", "imports", f"import_id = '{import_id}'"),
        ("status = 'old', retired_at = now() - interval '25 hours'", "generations", f"generation = {generation}"),
    ):
        desk.connection.execute(f"UPDATE foldline_control.{table} SET {age} WHERE {where}".encode())  # noqa: S608
    with importing(desk.settings):
        desk.wait(import_id, "cancelled")
        assert until(lambda: generation not in [one.generation for one in generations.generations(desk.connection)], 30)
        assert until(lambda: jobs.read_block(desk.connection, import_id, jobs.FILE, 0) is None, 30)


class TestTheWholeCatalogue:
    def test_what_a_file_lacks_becomes_deleted(self, busy_desk: Desk) -> None:
        busy_desk.imported(rows(*"ABCDEFGHIJ"))
        import_id = busy_desk.upload(rows(*"ABCDEFGHI"))
        ready = busy_desk.wait(import_id, "ready")
        assert ready.report is not None
        assert ready.report["absences"] == {
            "absent": 1, "live": 10, "share": 0.1, "sample": [{"item_id": "J", "name": "N"}],
        }  # fmt: skip
        busy_desk.submit(import_id, whole=True)
        live = busy_desk.wait(import_id, "live")
        assert (live.queued, live.deleted) == (10, 1)
        assert busy_desk.items()["J"] == ("deleted", 2, {"name": "N", "price": 1.5})
        assert {busy_desk.items()[item_id][:2] for item_id in "ABCDEFGHI"} == {("active", 2)}

    def test_only_merging_deletes_nothing(self, busy_desk: Desk) -> None:
        busy_desk.imported(rows(*"AB"))
        busy_desk.imported(rows("A"))
        assert busy_desk.items()["B"][0] == "active"

    def test_a_large_share_has_to_be_confirmed_by_typing_it(self, busy_desk: Desk) -> None:
        busy_desk.imported(rows(*"ABCDE"))
        import_id = busy_desk.upload(rows(*"ABC"))
        busy_desk.wait(import_id, "ready")
        for typed in ("", "3", "yes"):
            with pytest.raises(FoldlineError, match="2 of 5 items would become deleted: type 2 to confirm it"):
                busy_desk.submit(import_id, whole=True, typed=typed)
        busy_desk.submit(import_id, whole=True, typed=" 2 ")
        assert busy_desk.wait(import_id, "live").deleted == 2

    def test_what_was_changed_since_the_file_came_stays(self, busy_desk: Desk) -> None:
        busy_desk.imported(rows(*"ABCDEF"))
        import_id = busy_desk.upload(rows(*"ABCDE"))
        busy_desk.wait(import_id, "ready")
        event = Upsert(busy_desk.org_id, "F", None, None, '{"name": "changed"}', 0, "0" * 32, 0)
        append(busy_desk.settings, "items", [event])
        wait_applied(busy_desk.settings, published=False)
        busy_desk.submit(import_id, whole=True)
        assert busy_desk.wait(import_id, "live").deleted == 0
        assert busy_desk.items()["F"][0] == "active"

    def test_the_items_of_others_stay(self, busy_desk: Desk, new_org: NewOrg) -> None:
        other = Desk(busy_desk.settings, busy_desk.connection, new_org().org_id)
        other.imported(rows("Z"))
        busy_desk.imported(rows("A"), whole=True)
        assert other.items()["Z"][0] == "active"

    def test_several_files_are_one_catalogue(self, busy_desk: Desk) -> None:
        busy_desk.imported(rows(*"ABCDEFGHIJ"))
        first = busy_desk.upload(rows(*"ABCDE"))
        busy_desk.wait(first, "ready")
        busy_desk.submit(first, whole=True, last_part=False)
        assert busy_desk.wait(first, "live").deleted == 0
        second = busy_desk.upload(rows(*"FGHI"), series_id=first)
        ready = busy_desk.wait(second, "ready")
        assert (ready.part, ready.series_id) == (2, first)
        assert ready.report is not None
        assert [absent["item_id"] for absent in ready.report["absences"]["sample"]] == ["J"]
        busy_desk.submit(second, last_part=True)
        assert busy_desk.wait(second, "live").deleted == 1
        assert {item_id for item_id, (status, _, _) in busy_desk.items().items() if status == "active"} == set("ABCDEFGHI")
        with pytest.raises(FoldlineError, match="takes no further part"):
            busy_desk.upload(rows("K"), series_id=first)

    def test_a_wrong_row_is_not_taken_for_an_absent_item(self, busy_desk: Desk) -> None:
        busy_desk.imported(rows(*"ABCDEFGHIJ"))
        import_id = busy_desk.upload(rows(*"ABCDEFGH") + b"I,product,N,1,sold\n")
        rejected = busy_desk.wait(import_id, "rejected")
        assert rejected.report is not None
        assert rejected.report["absences"]["absent"] == 1
        busy_desk.submit(import_id, only_good=True, whole=True)
        assert busy_desk.wait(import_id, "live").deleted == 1
        assert (busy_desk.items()["I"][0], busy_desk.items()["J"][0]) == ("active", "deleted")

    def test_nobody_knows_what_a_row_without_an_id_stood_for(self, busy_desk: Desk) -> None:
        import_id = busy_desk.upload(rows(*"AB") + b",product,N,1,active\n")
        busy_desk.wait(import_id, "rejected")
        with pytest.raises(FoldlineError, match="1 wrong rows name no item"):
            busy_desk.submit(import_id, only_good=True, whole=True)

    def test_users_are_never_absent(self, busy_desk: Desk) -> None:
        import_id = busy_desk.upload(b"user_id,status,created_at\nU,active,2025-01-01T00:00:00Z\n", "users")
        busy_desk.wait(import_id, "ready")
        with pytest.raises(FoldlineError, match="only a file of items"):
            busy_desk.submit(import_id, whole=True)
