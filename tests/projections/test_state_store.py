"""What every `StateStore` does, in memory and on PostgreSQL."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import orjson
import psycopg
import pytest
from hypothesis import given

from foldline.adapters.codec import UPSERTS_TOPIC
from foldline.adapters.postgres import connect
from foldline.domain.errors import BadData, Conflict
from foldline.domain.keys import message_key
from foldline.domain.records import ATTRIBUTES_MAX_BYTES, KINDS, Kind, State
from foldline.domain.times import EARLIEST, LATEST
from foldline.domain.values import normalised
from foldline.embedded.processes import until
from foldline.settings import Settings
from projections.generations import begin, migrate
from projections.memory import MemoryDatabase, MemoryStateStore
from projections.rows import PlainRows, Row
from projections.sql import queries
from projections.state import ERASED, Commit, DeadLetter, Erasure, Move, Partition, Position, StateStore
from projections.tables import PostgresStateStore
from tests.laws.model import same
from tests.laws.strategies import AWKWARD_IDS, NUMBERS, Json, objects

PARTITIONS = 2
ITEMS, USERS, ELSEWHERE = ("items", 0), ("users", 1), ("users", 0)
BEGINNING = Position(0, 0, "topic-1", None, None)


def state(entity_id: str = "PROD-1", attributes: Any = None, **fields: Any) -> State:
    default = State("org_1", entity_id, "product", "active", attributes or {}, 1, 1_000_001, 2_000_002, 0, 0, 2)
    return default._replace(**fields)


def user(entity_id: str = "USER-1", attributes: Any = None, **fields: Any) -> State:
    return state(entity_id, attributes, **{"detail": 5, "partition": 1} | fields)


def row(state: State) -> Row:
    return Row(message_key(state.org_id, state.entity_id), state, orjson.dumps(state.attributes).decode())


def of_text(attributes: str) -> dict[Partition, PlainRows]:
    return {ITEMS: PlainRows("items", [Row(b"org_1:PROD-1", state(), attributes)])}


def letter(offset: int, partition: Partition = ITEMS, **fields: Any) -> DeadLetter:
    default = DeadLetter(
        "org_1", "PROD-1", "req_1", 3, "invalid_status", "status", "no", *partition, offset, b"org_1:PROD-1", b"value", 7
    )
    return default._replace(**fields)


def batch(
    moves: Mapping[Partition, tuple[int, int]],
    items: Sequence[State] = (),
    users: Sequence[State] = (),
    letters: Sequence[DeadLetter] = (),
) -> Commit:
    found = {place: Move(start, end, end - 1, b"%016d" % end) for place, (start, end) in moves.items()}
    rows = {ITEMS: PlainRows("items", map(row, items)), USERS: PlainRows("users", map(row, users))}
    return Commit(found, rows, letters)


def everything(store: StateStore) -> tuple[Any, ...]:
    """All that a store holds of the records of these tests."""
    loaded = [store.load(kind, [("org_1", "PROD-1"), ("org_1", "USER-1")]) for kind in KINDS]
    return store.positions(), loaded, [store.letters(place, 0, 100) for place in (ITEMS, USERS)]


class StateStoreContract:
    """`connect` gives another connection to the same database, whose positions are at the beginning."""

    @pytest.fixture
    def store(self, connect: Callable[[], StateStore]) -> StateStore:
        return connect()

    def test_begins_at_the_beginning(self, store: StateStore) -> None:
        assert store.positions() == {(kind, partition): BEGINNING for kind in KINDS for partition in range(PARTITIONS)}
        assert store.load("items", [("org_1", "PROD-1")]) == store.load("items", []) == []
        assert store.letters(ITEMS, 0, 10) == []
        assert store.generation == 1

    def test_a_commit_writes_all_of_its_batch(self, connect: Callable[[], StateStore]) -> None:
        connect().commit(batch({ITEMS: (0, 5), USERS: (0, 7)}, [state()], [user()], [letter(1), letter(6, USERS)]))
        store = connect()
        positions = store.positions()
        assert positions[ITEMS] == Position(5, 0, "topic-1", 4, b"%016d" % 5)
        assert positions[USERS] == Position(7, 0, "topic-1", 6, b"%016d" % 7)
        assert positions["items", 1] == BEGINNING
        assert [bare(one) for one in store.load("items", [("org_1", "PROD-1")])] == [bare(state())]
        assert [bare(one) for one in store.load("users", [("org_1", "USER-1")])] == [bare(user())]
        assert store.letters(ITEMS, 0, 5) == [letter(1)]
        assert store.letters(USERS, 0, 7) == [letter(6, USERS)]

    def test_the_kinds_and_organisations_are_apart(self, store: StateStore) -> None:
        store.commit(batch({ITEMS: (0, 1)}, [state(), state(org_id="org_2", version=2)]))
        assert store.load("users", [("org_1", "PROD-1")]) == []
        assert [one.version for one in store.load("items", [("org_2", "PROD-1"), ("org_3", "PROD-1")])] == [2]

    def test_a_later_state_replaces_the_earlier(self, store: StateStore) -> None:
        store.commit(batch({ITEMS: (0, 1), USERS: (0, 1)}, [state(attributes={"a": 1})], [user(attributes={"a": 1})]))
        changed: dict[str, Any] = {"attributes": {"b": 2}, "version": 2, "updated_at": 3_000_003, "offset": 1}
        later = changed | {"status": "deleted", "ids": bytes(range(200, 248))}
        items, users = [state(detail="article", **later)], [user(detail=-6, **later)]
        store.commit(batch({ITEMS: (1, 2), USERS: (1, 2)}, items, users))
        assert [bare(one) for one in store.load("items", [("org_1", "PROD-1")])] == [bare(one) for one in items]
        assert [bare(one) for one in store.load("users", [("org_1", "USER-1")])] == [bare(one) for one in users]
        store.commit(batch({ITEMS: (2, 3), USERS: (2, 3)}, [state(offset=2)], [user(offset=2, keys=(b"k" * 16,))]))
        assert [one.ids for kind in KINDS for one in store.load(kind, [("org_1", "PROD-1"), ("org_1", "USER-1")])] == [
            b"",
            b"",
        ]

    @pytest.mark.parametrize(
        "moves",
        [
            {ITEMS: (4, 6)},
            {ITEMS: (6, 7)},
            {ITEMS: (5, 6), USERS: (1, 2)},
            {USERS: (0, 2), ITEMS: (0, 2)},
            {ITEMS: (5, 6), ("items", 9): (0, 1)},
        ],
    )
    def test_a_conflict_leaves_nothing_changed(self, store: StateStore, moves: Mapping[Partition, tuple[int, int]]) -> None:
        store.commit(batch({ITEMS: (0, 5)}, [state()]))
        before = everything(store)
        with pytest.raises(Conflict):
            store.commit(batch(moves, [state(version=2)], [user()], [letter(5)]))
        assert everything(store) == before
        store.commit(batch({ITEMS: (5, 6)}, [state(version=2)]))

    def test_of_two_writers_one_is_told(self, connect: Callable[[], StateStore]) -> None:
        first, second = connect(), connect()
        first.commit(batch({ITEMS: (0, 5)}, [state(version=5)]))
        with pytest.raises(Conflict):
            second.commit(batch({ITEMS: (0, 3)}, [state(version=3)]))
        assert [one.version for one in second.load("items", [("org_1", "PROD-1")])] == [5]
        second.commit(batch({ITEMS: (5, 6)}, [state(version=6)]))

    @pytest.mark.parametrize(
        "bad",
        [
            batch({ITEMS: (5, 6)}, [state("PROD-2"), state(attributes={"a": "\x00"})]),
            batch({ITEMS: (5, 6)}, [state(attributes={"\x00": 1})]),
            batch({ITEMS: (5, 6)}, [state(detail="a\x00b")]),
            batch({ITEMS: (5, 6)}, [state()], letters=[letter(5), letter(5)]),
            batch({ITEMS: (5, 6)}, [state()], letters=[letter(2)]),
            batch({ITEMS: (5, 6)}, letters=[letter(5, message="a\x00b")]),
            batch({ITEMS: (5, 6)})._replace(rows=of_text('{"a":"\\ud800"}')),
            batch({ITEMS: (5, 6)})._replace(rows=of_text('{"a":')),
        ],
        ids=["nul in value", "nul in key", "nul in text", "twice", "again", "nul in letter", "surrogate", "no json"],
    )  # fmt: skip
    def test_bad_data_leaves_nothing_changed(self, store: StateStore, bad: Commit) -> None:
        store.commit(batch({ITEMS: (0, 5)}, [state(version=7)], letters=[letter(2)]))
        before = everything(store)
        with pytest.raises(BadData):
            store.commit(bad)
        assert everything(store) == before
        assert store.load("items", [("org_1", "PROD-2")]) == []
        store.commit(batch({ITEMS: (5, 6)}, [state(version=8)], letters=[letter(5)]))
        assert [one.version for one in store.load("items", [("org_1", "PROD-1")])] == [8]

    def test_every_value_comes_back_as_it_was(self, store: StateStore) -> None:
        numbers = {literal: value for literal, value in NUMBERS.items() if "e" not in literal or value}
        texts = {"é": "\u2028\u2029", "😀": "\\N", "\\.": '"\t\r\n\b\f\x01\x7f', "": "", "\ufffe": "\uffff", " a ": "  "}
        attributes = numbers | texts | {"nested": [[[None, True, False, {"": {}}]], []], "same": [1, 1.5, "1"]}
        store.commit(batch({ITEMS: (0, 1)}, [state(attributes=attributes)]))
        (loaded,) = store.load("items", [("org_1", "PROD-1")])
        assert same(loaded.attributes, attributes)
        assert loaded.attributes_bound >= len(orjson.dumps(attributes))
        assert same(normalised(loaded.attributes), attributes)

    def test_any_attributes_come_back(self, store: StateStore) -> None:
        @given(objects)
        def come_back(attributes: Json) -> None:
            applied = store.positions()[ITEMS].applied
            store.commit(batch({ITEMS: (applied, applied + 1)}, [state(attributes=attributes.kept)]))
            (loaded,) = store.load("items", [("org_1", "PROD-1")])
            assert same(loaded.attributes, attributes.kept)
            assert loaded.attributes_bound >= len(orjson.dumps(attributes.kept))

        come_back()

    def test_any_id_and_any_text_come_back(self, store: StateStore) -> None:
        ids = [*AWKWARD_IDS, "\t", "a\\tb", "A", "a"]
        details = ["\t", "\n", "\r", "\\", "\\N", "\\.", " ", "\x01\x0b\x7f", "é" * 128, "'", '"']
        states = [state(one, detail=details[n % len(details)], version=n + 1) for n, one in enumerate(ids)]
        store.commit(batch({ITEMS: (0, 1)}, states))
        loaded = store.load("items", [("org_1", one) for one in reversed(ids)])
        assert sorted(map(bare, loaded), key=lambda one: one.version) == [bare(one) for one in states]

    def test_times_and_numbers_to_their_ends(self, store: StateStore) -> None:
        ends = {"first_seen_at": EARLIEST, "updated_at": LATEST, "version": 2**62, "offset": 2**62}
        users = [user(detail=EARLIEST, **ends), user("USER-2", detail=LATEST), user("USER-3", detail=-1)]
        store.commit(batch({USERS: (0, 2**62)}, (), users))
        loaded = store.load("users", [("org_1", one.entity_id) for one in users])
        assert sorted(map(bare, loaded)) == sorted(map(bare, users))

    def test_a_record_as_large_as_it_may_be(self, store: StateStore) -> None:
        largest = state(attributes={"a": "é" * ((ATTRIBUTES_MAX_BYTES - 8) // 2)})
        assert len(orjson.dumps(largest.attributes)) == ATTRIBUTES_MAX_BYTES
        store.commit(batch({ITEMS: (0, 1)}, [largest]))
        assert [bare(one) for one in store.load("items", [("org_1", "PROD-1")])] == [bare(largest)]

    def test_letters_keep_their_bytes(self, store: StateStore) -> None:
        unknown = {"org_id": None, "entity_id": None, "request_id": None, "record_index": None}
        letters = [
            letter(9, key=None, value=None, **unknown),
            letter(3, key=b"", value=b""),
            letter(4, key=b"\x00\xff\\x", value=bytes(range(256)) * 5000),
            letter(5, entity_id="a\tb\\N\n", message="é😀\r\n\\.", field="attributes.a\tb", logged_at=EARLIEST),
        ]
        store.commit(batch({ITEMS: (0, 10), USERS: (0, 10)}, letters=[*letters, letter(4, USERS)]))
        assert store.letters(ITEMS, 0, 10) == sorted(letters, key=lambda one: one.offset)
        assert [one.offset for one in store.letters(ITEMS, 4, 9)] == [4, 5]
        assert store.letters(("items", 1), 0, 10) == []

    def test_an_erasure_takes_the_values_of_the_users_letters_that_lie_before_it(self, store: StateStore) -> None:
        nameless = {"org_id": None, "entity_id": None, "request_id": None, "record_index": None}
        named = {"entity_id": "USER-1", "key": b"other"}
        keyed = {"entity_id": "USER-2", "key": b"org_1:USER-1"}
        theirs = [letter(1, USERS, **named), letter(2, USERS, **keyed), letter(3, USERS, **nameless | {"key": keyed["key"]})]
        astray = letter(9, ELSEWHERE, **named)
        later = letter(7, USERS, **named)
        others = [
            letter(0, USERS, entity_id="USER-2", key=b"org_1:USER-2"),
            letter(4, USERS, org_id="org_2", entity_id="USER-1", key=b"org_2:USER-1"),
            letter(5, USERS, **nameless | {"key": None}),
        ]
        item = letter(1, entity_id="USER-1", key=b"org_1:USER-1")
        moves = {ITEMS: (0, 3), USERS: (0, 5), ELSEWHERE: (0, 10)}
        store.commit(batch(moves, letters=[*theirs[:2], astray, *others[:2], item]))
        erasure = Erasure("org_1", "USER-1", 1, 6, "req_9", frozenset())
        store.commit(batch({USERS: (5, 8)}, letters=[theirs[2], others[2], later])._replace(erasures=[erasure]))
        gone = [one._replace(value=None, field="", message=ERASED) for one in (*theirs, astray)]
        assert store.letters(USERS, 0, 10) == sorted([*gone[:3], *others, later], key=lambda one: one.offset)
        assert store.letters(ELSEWHERE, 0, 10) == gone[3:]
        assert store.letters(ITEMS, 0, 10) == [item]

    def test_a_letter_that_comes_after_the_erasure_that_it_lies_before_has_no_value(self, store: StateStore) -> None:
        erasure = Erasure("org_1", "USER-1", 1, 6, "req_9", frozenset())
        store.commit(batch({USERS: (0, 8)})._replace(erasures=[erasure]))
        named, keyed = {"entity_id": "USER-1", "key": None}, {"entity_id": None, "key": b"org_1:USER-1"}
        tomorrow = time.time_ns() // 1000 + 86_400_000_000
        before = [letter(1, ELSEWHERE, **named), letter(2, ELSEWHERE, **keyed)]
        others = [
            letter(3, ELSEWHERE, **named, logged_at=tomorrow),
            letter(4, ELSEWHERE, entity_id="USER-2", key=b"org_2:USER-1"),
            letter(5, ELSEWHERE, entity_id=None, key=b"\xff"),
        ]
        later, item = letter(8, USERS, **named), letter(1, **named)
        store.commit(batch({ELSEWHERE: (0, 6), USERS: (8, 9), ITEMS: (0, 2)}, letters=[*before, *others, later, item]))
        gone = [one._replace(value=None, field="", message=ERASED) for one in before]
        assert store.letters(ELSEWHERE, 0, 10) == [*gone, *others]
        assert [*store.letters(USERS, 0, 10), *store.letters(ITEMS, 0, 10)] == [later, item]

    def test_published_follows_applied(self, store: StateStore) -> None:
        store.commit(batch({ITEMS: (0, 5), USERS: (0, 5)}))
        store.move_published({ITEMS: (0, 3), USERS: (0, 5)})
        positions = store.positions()
        assert [positions[place].published for place in (ITEMS, USERS)] == [3, 5]
        assert [positions[place].applied for place in (ITEMS, USERS)] == [5, 5]
        store.commit(batch({ITEMS: (5, 6)}))
        assert store.positions()[ITEMS][:2] == (6, 3)

    @pytest.mark.parametrize(
        "moves", [{ITEMS: (3, 4), USERS: (3, 4)}, {USERS: (0, 4), ITEMS: (0, 4)}, {ITEMS: (3, 4), ("items", 9): (0, 1)}]
    )
    def test_published_moves_for_all_or_for_none(
        self, store: StateStore, moves: Mapping[Partition, tuple[int, int]]
    ) -> None:
        store.commit(batch({ITEMS: (0, 5), USERS: (0, 5)}))
        store.move_published({ITEMS: (0, 3)})
        before = store.positions()
        with pytest.raises(Conflict):
            store.move_published(moves)
        assert store.positions() == before
        store.move_published({ITEMS: (3, 4), USERS: (0, 4)})

    def test_published_cannot_pass_applied(self, store: StateStore) -> None:
        store.commit(batch({ITEMS: (0, 5), USERS: (0, 5)}))
        before = store.positions()
        with pytest.raises(BadData):
            store.move_published({USERS: (0, 5), ITEMS: (0, 6)})
        assert store.positions() == before


def bare(state: State) -> State:
    return state._replace(attributes_bound=0)


class TestMemory(StateStoreContract):
    @pytest.fixture
    def connect(self) -> Callable[[], StateStore]:
        topic_ids: dict[Kind, str] = dict.fromkeys(KINDS, "topic-1")
        database = MemoryDatabase(topic_ids, PARTITIONS)
        return lambda: MemoryStateStore(database)


class TestPostgres(StateStoreContract):
    @pytest.fixture
    def connect(self, database: str) -> Iterator[Callable[[], StateStore]]:
        with connect(database, "test") as connection:
            migrate(connection)
            for topic in UPSERTS_TOPIC.values():
                for partition in range(PARTITIONS):
                    ensure = queries("states")["ensure_position"].encode()
                    connection.execute(ensure, (1, topic, partition, "topic-1"))
        opened: list[StateStore] = []

        def store() -> StateStore:
            opened.append(PostgresStateStore(Settings(database_url=database), "test"))
            return opened[-1]

        yield store
        for one in opened:
            one.close()

    def test_a_letter_waits_for_an_erasure_that_is_being_committed(
        self, connect: Callable[[], StateStore], database: str
    ) -> None:
        store, astray = connect(), letter(1, ELSEWHERE, entity_id="USER-1")
        with psycopg.connect(database) as erasing, psycopg.connect(database, autocommit=True) as other:
            erased = orjson.dumps(
                [{"org_id": "org_1", "user_id": "USER-1", "partition": 1, "offset": 6, "keys": [], "request_id": ""}]
            )
            erasing.execute("SELECT foldline_control.erase(1, 'users.upserts.v1', %s::jsonb, 1)", (erased.decode(),))
            with ThreadPoolExecutor(1) as thread:
                committed = thread.submit(store.commit, batch({ELSEWHERE: (0, 2)}, letters=[astray]))
                waits = "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted)"
                assert until(lambda: other.execute(waits).fetchone() == (True,), 10)
                erasing.commit()
                committed.result(10)
        assert [one.value for one in store.letters(ELSEWHERE, 0, 10)] == [None]

    def test_a_letter_of_a_generation_that_is_behind_has_no_value_where_its_user_is_erased(
        self, connect: Callable[[], StateStore], database: str
    ) -> None:
        erasure = Erasure("org_1", "USER-1", 1, 6, "req_9", frozenset())
        connect().commit(batch({USERS: (0, 8)})._replace(erasures=[erasure]))
        with psycopg.connect(database, autocommit=True) as connection:
            generation, _ = begin(connection, "test")
        behind = PostgresStateStore(Settings(database_url=database), "test", generation)
        try:
            behind.commit(batch({USERS: (0, 3)}, letters=[letter(2, USERS, entity_id="USER-1")]))
            assert [one.value for one in behind.letters(USERS, 0, 10)] == [None]
        finally:
            behind.close()

    def test_a_commit_and_a_publication_lock_positions_in_one_order(
        self, connect: Callable[[], StateStore], database: str
    ) -> None:
        """Both wait for the position that is in the middle, and neither for the other."""
        folding, publishing, places = connect(), connect(), (USERS, ELSEWHERE, ITEMS)
        folding.commit(batch(dict.fromkeys(places, (0, 4))))
        with psycopg.connect(database) as holding, psycopg.connect(database, autocommit=True) as other:
            # In which order a table is read depends on what is known of it.
            other.execute("ANALYZE foldline_control.positions")
            middle = "SELECT FROM foldline_control.positions WHERE topic = 'users.upserts.v1' AND partition = 0 FOR UPDATE"
            waits = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
            holding.execute(middle)
            with ThreadPoolExecutor(2) as threads:
                committed = threads.submit(folding.commit, batch(dict.fromkeys(places, (4, 9))))
                moved = threads.submit(publishing.move_published, dict.fromkeys(places, (0, 4)))
                assert until(lambda: other.execute(waits).fetchone() == (2,), 10)
                holding.rollback()
                committed.result(10)
                moved.result(10)
        positions = folding.positions()
        assert {(positions[place].applied, positions[place].published) for place in places} == {(9, 4)}

    def test_what_is_erased_again_while_it_is_published_is_still_to_be_published(
        self, connect: Callable[[], StateStore], database: str
    ) -> None:
        store, users = connect(), [("org_1", f"USER-{number}") for number in range(1, 4)]

        def erased(*users: tuple[str, str], at: int) -> Commit:
            erasures = [Erasure(org_id, user_id, 1, at, "req_9", frozenset()) for org_id, user_id in users]
            return batch({USERS: (at - 1, at)})._replace(erasures=erasures)

        store.commit(erased(*users, at=1))
        with ThreadPoolExecutor(1) as thread, psycopg.connect(database, autocommit=True) as other:
            other.execute("UPDATE foldline_control.pending_publications SET due_at = now()")
            assert store.pending(USERS) == users
            connect().commit(erased(users[0], at=2))
            with psycopg.connect(database) as erasing:
                erasing.execute("SELECT FROM foldline_control.pending_publications WHERE entity_id = 'USER-2' FOR UPDATE")
                thread.submit(store.remove_pending, USERS, users).result(10)
            left = "SELECT entity_id, due_at > now() FROM foldline_control.pending_publications ORDER BY entity_id"
            assert other.execute(left).fetchall() == [("USER-1", True), ("USER-2", False)]

    def test_between_two_messages_no_position_is_locked(
        self, connect: Callable[[], StateStore], database: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A process that is stopped there keeps nobody from taking its partitions over."""
        store, wait, messages = connect(), psycopg.Connection.wait, 0
        with psycopg.connect(database, autocommit=True) as other:

            def waited(connection: Any, *args: Any, **options: Any) -> Any:
                nonlocal messages
                answer = wait(connection, *args, **options)
                if connection is not other:
                    messages += 1
                    other.execute("SELECT FROM foldline_control.positions FOR UPDATE NOWAIT")
                return answer

            monkeypatch.setattr(psycopg.Connection, "wait", waited)
            store.commit(batch({ITEMS: (0, 5), USERS: (0, 5)}, [state()], [user()], [letter(3)]))
            store.move_published({ITEMS: (0, 5), USERS: (0, 5)})
            assert messages >= 5  # a beginning, three copies and an end, and what is published
            assert {position.published for position in store.positions().values()} == {0, 5}
