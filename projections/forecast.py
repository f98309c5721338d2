"""What would become of dead letters if they were redriven now: the present fold on the present state. Nothing is written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import orjson

from foldline.adapters.codec import UpsertCodec
from foldline.adapters.postgres import Connection, translated
from foldline.adapters.registry import registry_of
from foldline.domain.fold import FOLD, key_fault
from foldline.domain.keys import message_key, partition_of
from foldline.domain.records import KINDS, Kind, Rejection, State, Upsert
from foldline.settings import Settings
from projections.letters import Letter
from projections.sql import queries
from projections.state import ERASED

UNREADABLE = frozenset({"undecodable", "unknown_schema"})

_SQL = queries("letters")


class Forecast(NamedTuple):
    """What would become of a letter now. `code` and `message` say why it would be rejected, or cannot be redriven."""

    outcome: Literal["applied", "rejected", "impossible"]
    code: str = ""
    message: str = ""


class Decoder:
    """The events of letters, where there are any."""

    def __init__(self, settings: Settings) -> None:
        self._registry = registry_of(settings)
        self._codecs: dict[Kind, UpsertCodec] = {}

    def event(self, letter: Letter) -> Upsert | Rejection:
        """The event of a letter with its bytes, or why there is none. Raises `Unreachable` where the registry is away."""
        if letter.erased:
            return Rejection("erased", "", ERASED)
        if letter.kind not in self._codecs:
            self._codecs[letter.kind] = UpsertCodec(letter.kind, self._registry)
        return self._codecs[letter.kind].decode(letter.value)


class Forecaster:
    """Folds letters on the live state, in memory."""

    def __init__(self, connection: Connection, settings: Settings) -> None:
        self._connection, self._partitions = connection, settings.partitions
        self._decoder = Decoder(settings)
        self._states: dict[tuple[Kind, str, str], State | None] = {}

    def of(self, letters: Sequence[Letter]) -> list[Forecast]:
        """What would become of letters with their bytes, redriven in this order after those that were asked for before."""
        events = [self._decoder.event(letter) for letter in letters]
        known = known_organisations(self._connection, {event.org_id for event in events if isinstance(event, Upsert)})
        self._load(letters, events)
        return [self._one(letter, event, known) for letter, event in zip(letters, events, strict=True)]

    def _one(self, letter: Letter, event: Upsert | Rejection, known: set[str]) -> Forecast:
        event = redrivable(letter, event, known)
        if isinstance(event, Rejection):
            return Forecast("impossible", event.code, event.message)
        key = message_key(event.org_id, event.entity_id)
        partition = partition_of(key, self._partitions)
        entity = (letter.kind, event.org_id, event.entity_id)
        after: State | Rejection
        fault = key_fault(letter.kind, key, event, partition, self._partitions)
        after = fault if fault is not None else FOLD[letter.kind](self._states[entity], event, partition, 0)
        if isinstance(after, Rejection):
            return Forecast("rejected", after.code, after.message)
        self._states[entity] = after
        return Forecast("applied")

    def _load(self, letters: Sequence[Letter], events: Sequence[Upsert | Rejection]) -> None:
        for kind in KINDS:
            pairs = {
                (event.org_id, event.entity_id)
                for letter, event in zip(letters, events, strict=True)
                if isinstance(event, Upsert) and letter.kind == kind and (kind, *event[:2]) not in self._states
            }
            self._states |= {(kind, *pair): None for pair in pairs}
            asked = orjson.dumps([pair for pair in pairs if "\0" not in "".join(pair)]).decode()
            with translated():
                rows = self._connection.execute(_SQL[f"states_{kind}"].encode(), (asked,)).fetchall()
            self._states |= {(kind, row[0], row[1]): _state(row) for row in rows}


def redrivable(letter: Letter, event: Upsert | Rejection, known: set[str]) -> Upsert | Rejection:
    """A letter's event, or why it cannot be redriven; `known` are the organisations that there are.

    What could not be read when it came, and can be now, is folded where it lies by the next rebuild: redriven, it would be
    folded twice then, against law 4 of the fold.
    """
    if isinstance(event, Rejection):
        return event
    if letter.code in UNREADABLE:
        return Rejection("readable_now", "", "it can be read now: `foldline rebuild --swap` folds it where it lies")
    if event.org_id not in known:
        return Rejection("unknown_organisation", "", "it names no organisation that there is")
    return event


def known_organisations(connection: Connection, named: set[str]) -> set[str]:
    """Those of the organisations that there are."""
    ids = [org_id for org_id in named if "\0" not in org_id]
    with translated():
        return {org_id for (org_id,) in connection.execute(_SQL["organisations"].encode(), (ids,)).fetchall()}


def _state(row: Sequence[Any]) -> State:
    text: str = row[4]
    return State(*row[:4], orjson.loads(text), *row[5:], len(text.encode()))  # type: ignore[call-arg]
