"""The master key goes over to another one while keys are made, used and destroyed; also where that is stopped half-way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from typing import Any

import psycopg
import pytest

from foldline.adapters.pool import Database
from foldline.adapters.postgres import Connection, connect
from foldline.adapters.producer import Appended
from foldline.adapters.seals import MasterKey, MasterKeys, new_master_key, opened, seal_key
from foldline.domain.errors import FoldlineError, MasterKeyMissing
from foldline.domain.records import Upsert
from foldline.settings import Settings
from producers.sealing import SealedLog
from projections import rotation
from projections.generations import migrate
from projections.keys import check_keyring, ensure_keyring, key_secrets

OLD, NEW, OTHER = (new_master_key() for _ in range(3))
_requests = count()


def settings_of(database: str, *keys: str) -> Settings:
    return Settings(database_url=database, master_key=",".join(keys), master_key_file=None)  # type: ignore[arg-type]


def masters_of(database: str, *keys: str) -> MasterKeys:
    return MasterKeys(settings_of(database, *keys))


class Kept:
    """A `Log` that keeps what is appended, and is Kafka to nobody."""

    def __init__(self) -> None:
        self.events: list[Upsert] = []

    async def append(self, _: str, events: list[Upsert], __: str) -> Appended:
        self.events += events
        return Appended("topic", [])


def upsert(user_id: str, status: str | None = None) -> Upsert:
    return Upsert("org_1", user_id, None, status, f'{{"v":"{user_id}"}}', 1_000, f"req_{next(_requests)}", 0)


@pytest.fixture
def connection(database: str) -> Any:
    """A database of which the old master key is the one."""
    with connect(database, "test") as found:
        migrate(found)
        ensure_keyring(found, masters_of(database, OLD))
        yield found


@asynccontextmanager
async def gateway(settings: Settings) -> AsyncIterator[tuple[SealedLog, Kept]]:
    pool, log = Database(settings, "test"), Kept()
    await pool.open()
    try:
        yield SealedLog(log, pool.fetch, settings), log  # type: ignore[arg-type]
    finally:
        await pool.close()


def fill(settings: Settings, users: int) -> list[Upsert]:
    """Makes the keys of some users; returns their events."""

    async def made() -> list[Upsert]:
        async with gateway(settings) as (one, log):
            await one.append("users", [upsert(f"u{number}") for number in range(users)], "00")
            return log.events

    return asyncio.run(made())


def wrapped_under(connection: Connection) -> dict[bytes, int]:
    """How many keys, the keyring being one, each master key wraps, by fingerprint."""
    rows = connection.execute(
        "SELECT substr(wrapped, 1, 8), count(*) FROM (SELECT wrapped FROM foldline_control.user_keys"
        " UNION ALL SELECT ids_secret FROM foldline_control.keyring) AS x WHERE wrapped IS NOT NULL GROUP BY 1"
    ).fetchall()
    return dict(rows)


def readable(connection: Connection, masters: MasterKeys, events: list[Upsert]) -> list[str]:
    """The users whose events can be opened."""
    found = key_secrets(connection, masters, [key_id for event in events if (key_id := seal_key(event))])
    pairs = [(event.entity_id, opened(event, found.get(seal_key(event) or b"")).attributes) for event in events]
    assert all(text in (None, f'{{"v":"{user_id}"}}') for user_id, text in pairs)
    return [user_id for user_id, text in pairs if text is not None]


def test_everything_is_wrapped_by_the_first_key_afterwards_and_opens_with_it_alone(
    connection: Connection, database: str
) -> None:
    events = fill(settings_of(database, OLD), 25)
    connection.execute(
        "UPDATE foldline_control.user_keys SET wrapped = NULL, retired_at = now(), destroyed_at = now() WHERE user_id = 'u7'"
    )
    moves: list[tuple[int, int]] = []
    both = masters_of(database, NEW, OLD)
    assert rotation.rotate(connection, both, lambda *moved: moves.append(moved), batch_keys=10) == 24
    assert moves == [(10, 24), (20, 24), (24, 24)]
    assert wrapped_under(connection) == {MasterKey(NEW).fingerprint: 25}
    assert rotation.rotate(connection, both) == 0
    new = masters_of(database, NEW)
    check_keyring(connection, new)
    assert readable(connection, new, events) == [f"u{n}" for n in range(25) if n != 7]
    with pytest.raises(MasterKeyMissing):
        check_keyring(connection, masters_of(database, OLD))


def test_without_the_old_key_nothing_is_changed(connection: Connection, database: str) -> None:
    events = fill(settings_of(database, OLD), 3)
    with pytest.raises(MasterKeyMissing, match=MasterKey(OLD).fingerprint.hex()):
        rotation.rotate(connection, masters_of(database, NEW))
    rotation.rotate(connection, masters_of(database, NEW, OLD))
    connection.execute(  # a key that a rotation before this one left
        "UPDATE foldline_control.user_keys SET wrapped = %s WHERE user_id = 'u1'",
        (MasterKey(OTHER).wrap(seal_key(events[1]) or b"", b"s" * 32),),
    )
    before = wrapped_under(connection)
    with pytest.raises(MasterKeyMissing, match=MasterKey(OTHER).fingerprint.hex()):
        rotation.rotate(connection, masters_of(database, OLD, NEW))
    assert wrapped_under(connection) == before


def test_a_rotation_that_is_killed_half_way_goes_on_when_it_is_run_again(connection: Connection, database: str) -> None:
    events = fill(settings_of(database, OLD), 30)
    both = masters_of(database, NEW, OLD)

    class Killed(Exception):
        pass

    def kill(done: int, _: int) -> None:
        if done >= 20:
            raise Killed

    with pytest.raises(Killed):
        rotation.rotate(connection, both, kill, batch_keys=10)
    assert wrapped_under(connection) == {MasterKey(NEW).fingerprint: 21, MasterKey(OLD).fingerprint: 10}
    for masters in (both, masters_of(database, OLD, NEW)):
        assert len(readable(connection, masters, events)) == 30
    assert rotation.rotate(connection, both, batch_keys=10) == 10
    assert wrapped_under(connection) == {MasterKey(NEW).fingerprint: 31}
    assert len(readable(connection, masters_of(database, NEW), events)) == 30


def test_two_do_not_rotate_at_once(connection: Connection, database: str) -> None:
    rotation.hold(connection)
    with connect(database, "test") as other, pytest.raises(FoldlineError, match="another rotation"):
        rotation.hold(other)


def test_writers_go_on_and_what_they_make_meanwhile_opens_with_the_new_key_alone(
    connection: Connection, database: str
) -> None:
    """One gateway was given both keys in each order; the keys that it remembers, and those that it makes, stay good."""
    first = fill(settings_of(database, OLD), 300)

    async def write(one: SealedLog, name: str, done: asyncio.Event) -> None:
        for number in count():
            if done.is_set() and number >= 50:
                return
            await one.append("users", [upsert(f"{name}{number}"), upsert(f"u{number % 300}")], "00")
            if number % 7 == 0:
                again = upsert(f"{name}{number}")._replace(status="deleted", attributes=None)
                await one.append("users", [upsert(f"{name}{number}"), again], "00")

    async def run() -> list[Upsert]:
        done = asyncio.Event()
        async with (
            gateway(settings_of(database, OLD, NEW)) as (one, a),
            gateway(settings_of(database, NEW, OLD)) as (two, b),
        ):
            writers = [asyncio.create_task(write(one, "a", done)), asyncio.create_task(write(two, "b", done))]
            masters = masters_of(database, NEW, OLD)
            with connect(database, "test") as own:
                assert await asyncio.to_thread(rotation.rotate, own, masters, batch_keys=7) >= 300
            done.set()
            await asyncio.gather(*writers)
            return a.events + b.events

    events = asyncio.run(run())
    assert list(wrapped_under(connection)) == [MasterKey(NEW).fingerprint]
    sent = [event for event in events if event.sealed is not None]
    assert len(readable(connection, masters_of(database, NEW), first + sent)) == len(first) + len(sent)


def test_a_gateway_that_read_the_file_before_a_rotation_began_wraps_by_the_new_key_after_it(
    connection: Connection, database: str, tmp_path: Any
) -> None:
    file = tmp_path / "master.key"
    file.write_text(OLD)
    settings = Settings(database_url=database, master_key=None, master_key_file=str(file))

    async def run() -> list[Upsert]:
        async with gateway(settings) as (one, log):
            await one.append("users", [upsert("before")], "00")
            file.write_text(f"{NEW}\n{OLD}\n")
            with connect(database, "test") as own:
                await asyncio.to_thread(rotation.rotate, own, MasterKeys(settings))
            file.write_text(f"{NEW}\n")
            await one.append("users", [upsert("before"), upsert("after")], "00")
            await one.append("users", [upsert("gone"), upsert("gone", "deleted")], "00")
            return log.events

    events = asyncio.run(run())
    assert wrapped_under(connection) == {MasterKey(NEW).fingerprint: 4}
    assert readable(connection, masters_of(database, NEW), events) == ["before", "before", "after", "gone"]


def test_what_was_read_before_the_end_of_a_rotation_is_opened_after_it(tmp_path: Any) -> None:
    file = tmp_path / "master.key"
    file.write_text(OLD)
    masters = MasterKeys(Settings(master_key=None, master_key_file=str(file)))
    read = [MasterKey(NEW).wrap(b"new", b"1"), MasterKey(OLD).wrap(b"old", b"2")]
    file.write_text(f"{NEW}\n")
    assert [masters.unwrap(name, wrapped) for name, wrapped in zip((b"new", b"old"), read, strict=True)] == [b"1", b"2"]
    assert masters.current.fingerprint == MasterKey(NEW).fingerprint


def test_a_gateway_without_the_new_key_makes_no_keys_that_would_be_lost(connection: Connection, database: str) -> None:
    async def run() -> list[Upsert]:
        async with gateway(settings_of(database, OLD)) as (one, log):
            await one.append("users", [upsert("known")], "00")
            with connect(database, "test") as own:
                await asyncio.to_thread(rotation.rotate, own, masters_of(database, NEW, OLD))
            await one.append("users", [upsert("known")], "00")
            with pytest.raises(FoldlineError, match=MasterKey(NEW).fingerprint.hex()):
                await one.append("users", [upsert("unknown")], "00")
            return log.events

    assert [event.entity_id for event in asyncio.run(run())] == ["known", "known"]
    assert wrapped_under(connection) == {MasterKey(NEW).fingerprint: 2}


def test_a_key_that_somebody_holds_is_waited_for_and_one_destroyed_meanwhile_stays_so(
    connection: Connection, database: str
) -> None:
    fill(settings_of(database, OLD), 5)
    moves: list[tuple[int, int]] = []
    with psycopg.connect(database) as holder, connect(database, "test") as own:
        holder.execute("SELECT FROM foldline_control.user_keys WHERE user_id IN ('u1', 'u2') FOR UPDATE")

        def moved(*at: int) -> None:
            moves.append(at)  # type: ignore[arg-type]
            if at[0] == 3:
                holder.execute("SELECT foldline_control.destroy_keys(array_agg(key_id)) FROM foldline_control.user_keys"
                               " WHERE user_id = 'u1'")  # fmt: skip
                holder.commit()

        assert rotation.rotate(own, masters_of(database, NEW, OLD), moved) == 4
    assert moves == [(3, 5), (4, 5)]
    assert wrapped_under(connection) == {MasterKey(NEW).fingerprint: 5}
    destroyed = connection.execute("SELECT user_id FROM foldline_control.user_keys WHERE wrapped IS NULL").fetchall()
    assert destroyed == [("u1",)]
