"""The state in PostgreSQL: a generation's tables and its positions.

A client may be stopped at any point, and what it has locked stays locked. So a position is locked only by what is sent as
one message: the client has sent all of it, and the server goes on alone, or nothing. The order inside a commit follows:
1. COPY into this connection's temporary tables: no row that anybody waits for is locked, however long it takes.
2. Compare-and-set, upserts, dead letters and COMMIT, as one message.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson
import psycopg

from foldline.adapters.codec import UPSERTS_TOPIC
from foldline.adapters.postgres import Connection, connect, translated
from foldline.adapters.topics import admin_client, describe_topics
from foldline.domain.errors import BadData, Conflict, FoldlineError
from foldline.domain.keys import split_key
from foldline.domain.records import KINDS, Kind, State
from foldline.settings import Settings
from foldline.steps import Steps
from projections.generations import live_generation, schema_name
from projections.sql import queries
from projections.state import ERASED, Commit, DeadLetter, Erasure, Keyring, Partition, Position

_SQL = queries("states")
# By then an erasure is published, most often. Its segment rolls only at what comes more than the lag after that.
PUBLISHED_SECONDS = 5.0


class PostgresStateStore:
    """`StateStore` of one generation, on one connection. Not to be shared between threads."""

    def __init__(
        self, settings: Settings, application_name: str, generation: int | None = None, steps: Steps | None = None
    ) -> None:
        """Connects to a generation, without a number to the one that is live now. Raises `Unreachable`, and `FoldlineError`
        before `foldline init` has run. `steps` are told how long commits take."""
        self._connection: Connection = connect(settings.database_url, application_name, settings.database_timeout_seconds)
        self._replays, self._steps = generation is not None, steps or Steps()
        with translated():
            generation = live_generation(self._connection) if generation is None else generation
        if generation is None:
            raise FoldlineError("the database has no generation of state: run `foldline init`")
        self.generation = generation
        self._sql = {name: text.replace("{schema}", schema_name(generation)) for name, text in _SQL.items()}
        self._again_seconds = settings.state_compaction_lag_seconds + settings.publish_interval_seconds + PUBLISHED_SECONDS
        self._topics = {kind: settings.topic_prefix + topic for kind, topic in UPSERTS_TOPIC.items()}
        self._kinds = {topic: kind for kind, topic in self._topics.items()}
        with translated():
            self._connection.execute(self._sql["stage"].encode())
        self._client = psycopg.ClientCursor(self._connection)

    def positions(self) -> dict[Partition, Position]:
        with translated():
            rows = self._connection.execute(self._sql["positions"].encode(), (self.generation,)).fetchall()
        return {(self._kinds[topic], partition): Position(*rest) for topic, partition, *rest in rows if topic in self._kinds}

    def load(self, kind: Kind, ids: Sequence[tuple[str, str]]) -> list[State]:
        with translated():
            rows = self._connection.execute(self._sql[f"load_{kind}"].encode(), (orjson.dumps(ids).decode(),)).fetchall()
        return [_state(*row) for row in rows]

    def commit(self, commit: Commit) -> None:
        try:
            with translated():
                kinds = [kind for kind in KINDS if any(rows for (k, _), rows in commit.rows.items() if k == kind)]
                with self._steps.step("copy"):
                    self._copy(commit, kinds)
                with self._steps.step("commit"):
                    self._client.execute(*self._final(commit, kinds))
        except (BadData, Conflict):
            with translated():
                self._connection.execute("ROLLBACK")
            raise

    def _copy(self, commit: Commit, kinds: Sequence[Kind]) -> None:
        self._connection.execute("BEGIN")
        for kind in kinds:
            with self._connection.cursor().copy(self._sql[f"copy_{kind}"].encode()) as copy:
                for (row_kind, _), rows in commit.rows.items():
                    if row_kind == kind:
                        copy.write(rows.copy_text())
        if commit.letters:
            with self._connection.cursor().copy(self._sql["copy_letters"].encode()) as copy:
                for letter in commit.letters:
                    copy.write_row(letter._replace(kind=self._topics[letter.kind]))  # type: ignore[arg-type]

    def move_published(self, moves: Mapping[Partition, tuple[int, int]]) -> None:
        parameters = {
            "generation": self.generation,
            "topics": [self._topics[kind] for kind, _ in moves],
            "partitions": [partition for _, partition in moves],
            "starts": [start for start, _ in moves.values()],
            "ends": [end for _, end in moves.values()],
        }
        with translated():
            self._connection.execute(self._sql["move_published"].encode(), parameters)

    def keyring(self) -> Keyring:
        with translated():
            row = self._connection.execute(self._sql["keyring"].encode()).fetchone()
        if row is None:
            raise FoldlineError("the database has no keyring: run `foldline init`")
        return Keyring(*row)

    def keys(self, key_ids: Sequence[bytes]) -> dict[bytes, bytes | None]:
        with translated():
            parameters = {"generation": self.generation, "key_ids": list(key_ids)}
            return dict(self._connection.execute(self._sql["keys"].encode(), parameters).fetchall())

    def key_ends(self, event_ids: Sequence[str]) -> dict[str, list[bytes]]:
        found: dict[str, list[bytes]] = {}
        with translated():
            for event_id, key_id in self._connection.execute(self._sql["key_ends"].encode(), (list(event_ids),)).fetchall():
                found.setdefault(event_id, []).append(key_id)
        return found

    def letters(self, partition: Partition, start: int, end: int) -> list[DeadLetter]:
        kind, number = partition
        with translated():
            rows = self._connection.execute(
                self._sql["letters"].encode(), (self.generation, self._topics[kind], number, start, end)
            ).fetchall()
        return [DeadLetter._make((*row[:7], kind, *row[7:])) for row in rows]

    def is_live(self) -> bool:
        with translated():
            return live_generation(self._connection) == self.generation

    def pending(self, partition: Partition) -> list[tuple[str, str]]:
        kind, number = partition
        with translated():
            return self._connection.execute(
                self._sql["pending"].encode(), (self.generation, self._topics[kind], number)
            ).fetchall()

    def remove_pending(self, partition: Partition, ids: Sequence[tuple[str, str]]) -> None:
        kind, number = partition
        text = orjson.dumps(ids).decode()
        with translated():
            self._connection.execute(
                self._sql["remove_pending"].encode(), (text, self.generation, self._topics[kind], number)
            )

    def close(self) -> None:
        self._connection.close()

    def _final(self, commit: Commit, kinds: Sequence[Kind]) -> tuple[bytes, dict[str, Any]]:
        moves = commit.moves
        statements = [self._sql["advance"], *(self._sql[f"upsert_{kind}"] for kind in kinds)]
        if commit.letters:
            statements.append(self._sql["insert_letters"])
        if self._replays and "users" in kinds:
            statements = [self._sql["lock_erasures"], *statements, self._sql["scrub_erased"]]
        if commit.erasures:
            statements.append(self._sql["erase"])
        if named := _named(commit.letters):
            statements += [self._sql["lock_erasures"], self._sql["erase_late"]]
        parameters = {
            "generation": self.generation,
            "topics": [self._topics[kind] for kind, _ in moves],
            "partitions": [partition for _, partition in moves],
            "starts": [move.start for move in moves.values()],
            "ends": [move.end for move in moves.values()],
            "last_offsets": [move.last_offset for move in moves.values()],
            "last_digests": [move.last_digest for move in moves.values()],
            "users_topic": self._topics["users"],
            "erased": orjson.dumps([_erased(erasure) for erasure in commit.erasures]).decode(),
            "lag_seconds": self._again_seconds,
            "named": orjson.dumps(named).decode(),
            "erased_message": ERASED,
        }
        return "\n".join([*statements, "COMMIT"]).encode(), parameters


def _state(*row: Any) -> State:
    text = row[4]
    size = len(text) if text.isascii() else len(text.encode())
    keys = tuple(row[10]) if len(row) > 11 else ()
    return State._make((*row[:4], orjson.loads(text), *row[5:10], size, keys, row[-1]))


def _erased(erasure: Erasure) -> dict[str, Any]:
    return erasure._asdict() | {"keys": [key_id.hex() for key_id in erasure.keys]}


def _named(letters: Sequence[DeadLetter]) -> list[tuple[int, int, str, str]]:
    """The users that dead letters name, in themselves or by their keys: partition, offset, organisation and id."""
    return [
        (letter.partition, letter.offset, org_id, user_id)
        for letter in letters
        if letter.kind == "users"
        for org_id, user_id in {(letter.org_id, letter.entity_id), split_key(letter.key or b"") or (None, None)}
        if org_id is not None and user_id is not None
    ]


def ensure_positions(connection: Connection, settings: Settings) -> None:
    """A position for every partition of the log in the live generation, beside those that are there already."""
    with translated():
        generation = live_generation(connection)
    topics = [settings.topic_prefix + topic for topic in UPSERTS_TOPIC.values()]
    described = describe_topics(admin_client(settings), topics)
    with translated(), connection.transaction():
        for topic, (topic_id, partitions) in described.items():
            for partition in range(partitions):
                connection.execute(_SQL["ensure_position"].encode(), (generation, topic, partition, topic_id))
