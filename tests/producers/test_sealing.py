"""Deletes and upserts of the same user in every order that matters (ADR 0013), on a real Kafka and a real PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from itertools import count
from typing import Any

import psycopg
import pytest

from foldline.adapters.pool import Database
from foldline.adapters.producer import Appended, KafkaLog, Log, NotAppended
from foldline.adapters.registry import registry_of
from foldline.domain.records import Kind, Upsert
from foldline.settings import Settings
from producers.sealing import SealedLog
from tests.pipeline import prepared, running, table, wait_applied

SECRET = "ada@example.com"
_requests = count()


class Gate:
    """A `Log` that stops before or after the append of an event whose request was held."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self.held: dict[str, asyncio.Event] = {}
        self.reached: dict[str, asyncio.Event] = {}
        self.away = False

    def hold(self, when: str, request_id: str) -> Callable[[], None]:
        """Stops that request `before` or `after` it is in the log, until what is returned is called."""
        name = f"{when} {request_id}"
        self.held[name], self.reached[name] = asyncio.Event(), asyncio.Event()
        return self.held[name].set

    async def append(self, kind: Kind, events: Sequence[Upsert], traceparent: str) -> Appended:
        await self._stop(f"before {events[0].request_id}")
        if self.away:
            raise NotAppended("away", may_appear=False)
        appended = await self._log.append(kind, events, traceparent)
        await self._stop(f"after {events[0].request_id}")
        return appended

    async def _stop(self, name: str) -> None:
        if name in self.held:
            self.reached[name].set()
            await self.held[name].wait()


class Place:
    """Gateways on one log, each with a memory of its own."""

    def __init__(self, settings: Settings, database: Database, log: Log) -> None:
        self.settings, self.gate, self._database = settings, Gate(log), database

    def gateway(self) -> SealedLog:
        return SealedLog(self.gate, self._database.fetch, self.settings)  # type: ignore[arg-type]

    def repeating(self) -> SealedLog:
        """A gateway that asks the database twice to make keys and to begin deletions, as where an answer is lost."""

        async def fetch(query: str, parameters: Any) -> list[tuple[Any, ...]]:
            if "keys_for" in query or "begin_deletions" in query:
                await self._database.fetch(query, parameters)
            return await self._database.fetch(query, parameters)

        return SealedLog(self.gate, fetch, self.settings)  # type: ignore[arg-type]

    def sql(self, query: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.settings.database_url) as connection:
            return connection.execute(query.encode()).fetchall()

    async def user(self) -> tuple[str, dict[str, Any], int]:
        """Status, attributes and version of the user, once everything is folded."""

        def folded() -> tuple[str, dict[str, Any], int]:
            with running(self.settings):
                wait_applied(self.settings)
            ((_, state),) = table(self.settings).items()
            return state["status"], state["attributes"], state["version"]

        return await asyncio.to_thread(folded)

    def living_keys(self) -> int:
        ((found,),) = self.sql("SELECT count(*) FROM foldline_control.user_keys WHERE wrapped IS NOT NULL")
        return int(found)


@asynccontextmanager
async def place(kafka: str, database: str, topic_prefix: str, **others: Any) -> AsyncIterator[Place]:
    settings = prepared(kafka, database, topic_prefix, **others)
    pool, log = Database(settings, "test"), KafkaLog(settings, registry_of(settings), lambda *_: None)
    await pool.open()
    await log.open()
    try:
        yield Place(settings, pool, log)
    finally:
        await log.close(2)
        await pool.close()


def request(*records: tuple[str | None, str | None]) -> list[Upsert]:
    """A request of the one user's records: each a status and an attribute's value."""
    request_id = f"req_{next(_requests)}"
    return [
        Upsert("org_1", "ada", None, status, None if value is None else f'{{"v":"{value}"}}', 1_000, request_id, index)
        for index, (status, value) in enumerate(records)
    ]


async def send(gateway: SealedLog, *records: tuple[str | None, str | None]) -> None:
    await gateway.append("users", request(*records), "00")


async def reached(at: Place, when: str, events: list[Upsert]) -> None:
    await asyncio.wait_for(at.gate.reached[f"{when} {events[0].request_id}"].wait(), 20)


Case = Callable[[Place], Any]
CASES: dict[str, Case] = {}


def case(test: Case) -> Case:
    CASES[test.__name__] = test
    return test


@case
async def an_upsert_that_was_acknowledged_before_the_delete_is_erased(at: Place) -> None:
    one = at.gateway()
    await send(one, (None, SECRET))
    await send(one, ("deleted", None))
    assert await at.user() == ("deleted", {}, 2)
    assert at.living_keys() == 0


@case
async def what_a_repeated_deletion_was_sent_with_is_not_readable(at: Place) -> None:
    for gateway in (at.gateway(), at.gateway()):
        records = request((None, SECRET), ("deleted", None), (None, SECRET), ("deleted", None))
        await gateway.append(
            "users", [event._replace(idempotency_id=bytes((event.record_index,)) * 16) for event in records], "00"
        )
    assert await at.user() == ("deleted", {}, 4)
    assert at.living_keys() == 0


@case
async def an_upsert_after_the_answer_to_the_delete_keeps_its_attributes(at: Place) -> None:
    one, two = at.gateway(), at.gateway()
    await send(one, (None, SECRET))
    await send(two, (None, SECRET))
    await send(two, ("deleted", None))
    with pytest.raises(NotAppended) as refused:  # the other gateway remembers the old key
        await send(one, ("active", "again"))
    assert refused.value.may_appear
    await send(one, ("active", "again"))
    assert await at.user() == ("active", {"v": "again"}, 5)
    assert at.living_keys() == 1


@case
async def an_upsert_that_lands_behind_the_delete_under_an_old_key_is_not_acknowledged_and_not_readable(at: Place) -> None:
    one, two = at.gateway(), at.gateway()
    late = request(("active", SECRET))
    release = at.gate.hold("before", late[0].request_id)
    under_way = asyncio.create_task(one.append("users", late, "00"))
    await reached(at, "before", late)
    await send(two, ("deleted", None))
    release()
    with pytest.raises(NotAppended, match="was being deleted"):
        await under_way
    assert await at.user() == ("active", {}, 2)
    assert at.living_keys() == 0


@case
async def an_upsert_whose_gateway_was_paused_after_delivery_is_not_acknowledged(at: Place) -> None:
    one, two = at.gateway(), at.gateway()
    early = request((None, SECRET))
    release = at.gate.hold("after", early[0].request_id)
    under_way = asyncio.create_task(one.append("users", early, "00"))
    await reached(at, "after", early)
    await send(two, ("deleted", None))
    release()
    with pytest.raises(NotAppended):
        await under_way
    assert await at.user() == ("deleted", {}, 2)
    assert at.living_keys() == 0


@case
async def while_a_delete_is_under_way_nobody_gets_a_key(at: Place) -> None:
    one, two = at.gateway(), at.gateway()
    delete = request(("deleted", None))
    release = at.gate.hold("before", delete[0].request_id)
    deleting = asyncio.create_task(one.append("users", delete, "00"))
    await reached(at, "before", delete)
    waiting = asyncio.create_task(send(two, ("active", "new")))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(asyncio.shield(waiting), 0.3)
    release()
    await deleting
    await waiting
    assert await at.user() == ("active", {"v": "new"}, 2)
    assert at.living_keys() == 1


@case
async def who_waits_too_long_for_a_delete_is_refused_and_nothing_of_it_is_queued(at: Place) -> None:
    one, two = at.gateway(), at.gateway()
    delete = request(("deleted", None))
    release = at.gate.hold("before", delete[0].request_id)
    deleting = asyncio.create_task(one.append("users", delete, "00"))
    await reached(at, "before", delete)
    for records in ((("active", "new"),), (("deleted", None),)):
        with pytest.raises(NotAppended, match="another request is deleting") as refused:
            await send(two, *records)
        assert not refused.value.may_appear
    release()
    await deleting
    assert await at.user() == ("deleted", {}, 1)


@case
async def a_delete_whose_gateway_dies_blocks_nobody_for_ever(at: Place) -> None:
    one, two = at.gateway(), at.gateway()
    await send(one, (None, SECRET))
    delete = request(("deleted", None))
    at.gate.hold("before", delete[0].request_id)
    deleting = asyncio.create_task(one.append("users", delete, "00"))
    await reached(at, "before", delete)
    deleting.cancel()  # before it is in the log: it never happened, but the key is retired
    at.sql("UPDATE foldline_control.deletions SET until = now() RETURNING 1")
    await send(two, (None, "new"))
    assert await at.user() == ("active", {"v": "new"}, 2)
    await send(two, ("deleted", None))
    assert await at.user() == ("deleted", {}, 3)
    assert at.living_keys() == 0


@case
async def a_delete_that_the_log_refused_is_over_and_a_retry_erases(at: Place) -> None:
    one = at.gateway()
    await send(one, (None, SECRET))
    at.gate.away = True
    with pytest.raises(NotAppended):
        await send(one, ("deleted", None))
    at.gate.away = False
    await send(one, (None, "kept"))
    assert await at.user() == ("active", {"v": "kept"}, 2)
    await send(one, ("deleted", None))
    assert await at.user() == ("deleted", {}, 3)
    assert at.living_keys() == 0


@case
async def a_delete_that_took_too_long_to_be_acknowledged_is_not_answered(at: Place) -> None:
    one = at.gateway()
    delete = request(("deleted", None))
    release = at.gate.hold("after", delete[0].request_id)
    deleting = asyncio.create_task(one.append("users", delete, "00"))
    await reached(at, "after", delete)
    at.sql("UPDATE foldline_control.deletions SET until = now() RETURNING 1")
    release()
    with pytest.raises(NotAppended, match="took too long") as refused:
        await deleting
    assert refused.value.may_appear


@case
async def upserts_and_deletes_in_one_request_take_effect_in_their_order(at: Place) -> None:
    one = at.gateway()
    await send(one, (None, "before"))
    await send(one, (None, SECRET), ("deleted", SECRET), ("active", SECRET), ("deleted", None), ("active", "after"))
    assert await at.user() == ("active", {"v": "after"}, 6)
    assert at.living_keys() == 1
    await send(one, ("deleted", None))
    assert await at.user() == ("deleted", {}, 7)
    assert at.living_keys() == 0


@case
async def a_request_is_begun_again_whose_answer_was_lost_on_its_way(at: Place) -> None:
    one = at.repeating()
    await send(one, (None, "before"))
    await send(one, (None, SECRET), ("deleted", None), ("active", "after"))
    assert await at.user() == ("active", {"v": "after"}, 4)
    assert at.living_keys() == 1


@case
async def two_gateways_delete_the_same_user_at_once(at: Place) -> None:
    gateways = [at.gateway() for _ in range(4)]
    await send(gateways[0], (None, SECRET))
    await asyncio.gather(*(send(gateway, ("deleted", None)) for gateway in gateways))
    assert await at.user() == ("deleted", {}, 5)
    assert at.living_keys() == 0


@case
async def many_users_in_many_requests_deadlock_nobody(at: Place) -> None:
    gateways = [at.gateway() for _ in range(4)]

    def users(turn: int, status: str | None) -> list[Upsert]:
        (one,) = request((status, "v"))
        ids = [f"u{(7 * turn + step) % 20}" for step in range(20)]
        ids = ids if turn % 2 else ids[::-1]
        return [one._replace(entity_id=user_id, record_index=index) for index, user_id in enumerate(ids)]

    async def write(gateway: SealedLog, own: int) -> None:
        for turn in range(6):
            for _ in range(50):
                try:
                    await gateway.append("users", users(turn + own, "deleted" if (turn + own) % 3 == 0 else "active"), "00")
                    break
                except NotAppended:
                    continue
            else:
                raise AssertionError("never answered")

    await asyncio.gather(*(write(gateway, own) for own, gateway in enumerate(gateways)))


@pytest.mark.parametrize("name", CASES)
def test_in_every_order(name: str, kafka: str, database: str, topic_prefix: str) -> None:
    async def run() -> None:
        async with place(kafka, database, topic_prefix, database_timeout_seconds=2) as at:
            await CASES[name](at)

    asyncio.run(run())


def test_nothing_of_a_user_is_in_the_log_to_be_read(kafka: str, database: str, topic_prefix: str) -> None:
    async def run() -> None:
        async with place(kafka, database, topic_prefix) as at:
            await send(at.gateway(), (None, SECRET), ("deleted", SECRET), ("active", SECRET))
            assert (await at.user())[:2] == ("active", {"v": SECRET})

    asyncio.run(run())
    from foldline.adapters.consumer import KafkaLogReader
    from tests.pipeline import ends

    settings = prepared(kafka, database, topic_prefix)
    values = [
        record.value() or b""
        for (topic, partition), end in ends(settings).items()
        if "users" in topic
        for record in KafkaLogReader(settings).read("users", partition, 0, end)
    ]
    assert len(values) == 3
    assert not any(SECRET.encode() in value for value in values)
