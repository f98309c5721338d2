"""Laws 6 and 7 where attributes are sealed: what is erased stays erased, and every replay gives the same state."""

from __future__ import annotations

import hashlib
from typing import Any, NamedTuple

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foldline.adapters.codec import BundledRegistry
from foldline.adapters.memory import MemoryLog
from foldline.adapters.seals import DataKey, new_data_key, sealed
from foldline.domain.errors import KeysLost
from foldline.domain.records import State, Upsert
from processors import opening
from processors.batch import BatchFolder
from projections.keys import KEYRING_NAME
from projections.memory import MemoryDatabase, MemoryStateStore
from projections.state import Keyring
from tests.keys import MASTERS
from tests.laws.test_fold import batches

REGISTRY = BundledRegistry()
IDS_SECRET = b"i" * 32
USERS = ("ada", "bob")
KEYS = 3


class Act(NamedTuple):
    """An event of a user, sealed under the user's key of that number; a delete may end more keys."""

    user: str
    key: int
    attributes: dict[str, int] | None
    status: str | None
    ends: tuple[int, ...]
    id: bytes | None


acts = st.lists(
    st.builds(
        Act,
        st.sampled_from(USERS),
        st.integers(0, KEYS - 1),
        st.one_of(st.none(), st.dictionaries(st.sampled_from("abc"), st.integers(0, 9), max_size=2)),
        st.sampled_from([None, None, "active", "inactive", "deleted"]),
        st.lists(st.integers(0, KEYS - 1), max_size=2, unique=True).map(tuple),
        st.sampled_from([None, None, b"1" * 16, b"2" * 16]),
    ),
    max_size=25,
)


class World:
    """A log of acts, and the keys that they are sealed under."""

    def __init__(self, history: list[Act]) -> None:
        self.log = MemoryLog(REGISTRY, 2)
        self.keys: dict[bytes, bytes | None] = {}
        self.ends: dict[str, list[bytes]] = {}
        own = {(user, number): self.new_key(user) for user in USERS for number in range(KEYS)}
        for place, act in enumerate(history):
            text = None if act.attributes is None else orjson.dumps(act.attributes).decode()
            event = Upsert("org_1", act.user, None, act.status, text, 1_000 + place, "req", place, act.id)
            if act.status == "deleted":
                # Where there are ids there are gateways, and a gateway notes every key that there is.
                numbers = range(KEYS) if any(act.id for act in history) else act.ends
                self.ends[event.event_id] = [own[act.user, number].key_id for number in numbers]
            self.log.append("users", [sealed(event, own.get((act.user, act.key)) or self.new_key(act.user))])

    def new_key(self, user: str) -> DataKey:
        made = new_data_key(IDS_SECRET, "org_1", user)
        self.keys[made.key_id] = MASTERS.current.wrap(*made)
        return made

    def database(self) -> MemoryDatabase:
        """A new one, with these keys."""
        database = MemoryDatabase({kind: self.log.topic_id(kind) for kind in ("items", "users")}, 2)  # type: ignore[misc]
        database.keyring = Keyring(MASTERS.current.wrap(KEYRING_NAME, IDS_SECRET), 0)
        database.keys, database.key_ends = self.keys, self.ends
        return database

    def folded(self, size: int, cache_bytes: int = 10**9, overlapped: bool = False) -> dict[str, State]:
        """Every state, of batches of that size; each is folded on top of one still to be committed, if wanted."""
        database = self.database()
        store = MemoryStateStore(database)
        folder = BatchFolder(store, REGISTRY, MASTERS, 2, cache_bytes)
        waiting = None
        for stretches in batches(self.log, size):
            batch = folder.fold(stretches, waiting.commit.rows if waiting else {})
            if waiting is not None:
                store.commit(waiting.commit)
            waiting = batch
            if not overlapped:
                store.commit(waiting.commit)
                waiting = None
        if waiting is not None:
            store.commit(waiting.commit)
        self.keys = database.keys
        return {user: state for (_, user), state in database.states["users"].items()}


def model(history: list[Act]) -> dict[str, dict[str, Any]]:
    """Laws 6, 7 and 9, written down naively."""
    states: dict[str, dict[str, Any]] = {}
    dead: set[tuple[str, int]] = set()
    for act in history:
        state = states.setdefault(
            act.user, {"status": "active", "attributes": {}, "version": 0, "keys": set(), "ids": set()}
        )
        if act.id in state["ids"]:
            continue
        state["version"] += 1
        key = (act.user, act.key)
        opens = act.attributes is not None and key not in dead
        if act.id is not None and (opens or act.attributes is None):
            state["ids"].add(act.id)
        if act.attributes is not None:
            state["keys"].add(key)
        if act.status == "deleted":
            ends = range(KEYS) if any(act.id for act in history) else act.ends
            dead |= state["keys"] | {(act.user, number) for number in ends}
            state |= {"status": "deleted", "attributes": {}, "keys": set()}
        elif state["status"] != "deleted" or act.status is not None:
            state["status"] = act.status or state["status"]
            state["attributes"] = state["attributes"] | (act.attributes if opens and act.attributes else {})
    return states


def shown(states: dict[str, State]) -> dict[str, tuple[str, dict[str, Any], int]]:
    return {user: (state.status, state.attributes, state.version) for user, state in states.items()}


@given(acts, st.integers(1, 30), st.sampled_from([1, 10**9]), st.booleans(), st.sampled_from([1, 2, 10**9]))
def test_what_is_erased_stays_erased_however_it_is_batched(
    history: list[Act], size: int, cache_bytes: int, overlapped: bool, keys: int
) -> None:
    expected = {user: (one["status"], one["attributes"], one["version"]) for user, one in model(history).items()}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(opening, "CACHED_KEYS", keys)
        assert shown(World(history).folded(size, cache_bytes, overlapped)) == expected


@given(acts, st.integers(1, 10), st.integers(1, 30))
def test_a_replay_after_erasures_gives_the_same_states(history: list[Act], size: int, other: int) -> None:
    world = World(history)
    live = world.folded(size)
    assert world.folded(other) == live


ID = bytes(16)


@pytest.mark.parametrize("size", [1, 10])
def test_what_lost_its_attributes_to_an_erasure_may_come_again(size: int) -> None:
    first, deleted = Act("ada", 0, {"a": 1}, None, (), None), Act("ada", 0, None, "deleted", (), None)
    late, again = Act("ada", 0, {"a": 2}, "active", (), ID), Act("ada", 3, {"a": 3}, "active", (), ID)
    for history, expected in (
        ([first, deleted, late, again, again], ("active", {"a": 3}, 4)),
        ([late, deleted, again], ("deleted", {}, 2)),
        ([late, deleted, late, again], ("deleted", {}, 2)),
    ):
        world = World(history)
        live = world.folded(size)
        assert shown(live) == {"ada": expected}
        assert world.folded(10) == live


@given(acts)
def test_no_key_of_an_erased_user_is_left(history: list[Act]) -> None:
    world = World(history)
    states = world.folded(5)
    living = {key_id for key_id, wrapped in world.keys.items() if wrapped is not None}
    for place, act in enumerate(history):
        if act.status == "deleted" and act.id is None:
            assert living.isdisjoint(world.ends[f"req-{place}"])
    for state in states.values():
        if state.status == "deleted":
            assert state.attributes == {}


def folder_of(world: World, event: Upsert) -> tuple[BatchFolder, Any]:
    world.log.append("users", [event])
    return BatchFolder(MemoryStateStore(world.database()), REGISTRY, MASTERS, 2, 10**9), batches(world.log, 1)[0]


EVENT = Upsert("org_1", "ada", None, None, '{"a":1}', 1_000, "req", 0)


def test_a_key_that_was_given_here_and_is_lost_stops_the_fold() -> None:
    world = World([])
    folder, stretches = folder_of(world, sealed(EVENT, world.new_key("ada")))
    world.keys.clear()
    with pytest.raises(KeysLost, match=r"users.upserts.v1\[\d\] at offset 0 .* restore foldline_control.user_keys"):
        folder.fold(stretches, {})


def test_a_key_of_another_keyring_stops_the_fold_where_the_event_is_older_than_this_one() -> None:
    world = World([])
    foreign = DataKey(hashlib.sha256(b"id").digest()[:16], b"k" * 32)
    world.log.append("users", [sealed(EVENT, foreign)])
    database = world.database()
    stretches = batches(world.log, 1)[0]
    young = BatchFolder(MemoryStateStore(database), REGISTRY, MASTERS, 2, 10**9).fold(stretches, {})
    ((row,),) = [rows for rows in young.commit.rows.values() if rows]
    assert (row.state.attributes, row.state.version, row.state.keys) == ({}, 1, ())
    database.keyring = database.keyring._replace(made_at=2**62)
    with pytest.raises(KeysLost, match="keyring is younger than the event"):
        BatchFolder(MemoryStateStore(database), REGISTRY, MASTERS, 2, 10**9).fold(stretches, {})


def forged(event: Upsert, key: DataKey) -> Upsert:
    """A seal that names a key under which it is not."""
    return event._replace(attributes=None, sealed=key.key_id + b"x" * 40)


def test_a_row_names_only_keys_that_opened_something_and_a_delete_ends_no_other_users_key() -> None:
    world = World([])
    first, second, bobs = world.new_key("ada"), world.new_key("ada"), world.new_key("bob")
    late, delete = EVENT._replace(request_id="late"), EVENT._replace(status="deleted")
    fresh = EVENT._replace(request_id="new", status="active")
    world.ends[delete.event_id] = [first.key_id]
    foreign = forged(EVENT._replace(request_id="foreign"), bobs)
    world.log.append("users", [delete._replace(attributes=None), sealed(late, first), foreign, sealed(fresh, second)])
    state = world.folded(10)["ada"]
    assert (state.attributes, state.version, state.keys) == ({"a": 1}, 4, (second.key_id,))
    world.log.append("users", [forged(delete._replace(request_id="again"), bobs)])
    assert world.folded(10)["ada"].status == "deleted"
    assert [world.keys[key.key_id] is None for key in (first, second, bobs)] == [True, True, False]
