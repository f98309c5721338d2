"""Dead letters into the log again, each once, whatever fails on the way.

1. A redriven record is the same event: its bytes, its id and its own times, under the key and on the partition where it
   belongs, with a header that says of which letter. State depends on the log's order alone (law 1 of the fold): so the event
   counts as the newest of its record, and what it carries replaces what came since.
2. One session at a time redrives (an advisory lock of the database, which ends with the session).
3. Before letters are appended, the database says so; after their acknowledgement, where they lie, in the commit of the audit
   log's entry.
4. Who finds a letter that was begun and not acknowledged waits until nothing of it can arrive any more, then looks for the
   header in the log, and appends it only where it is not there.
5. Letters go oldest first; those of one record keep their order.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any, Final, Literal, NamedTuple, cast

from foldline.adapters.consumer import KafkaLogReader, watermarks
from foldline.adapters.postgres import Connection, translated
from foldline.adapters.producer import Appended, Header, Log, NotAppended, headers_of
from foldline.domain.errors import FoldlineError
from foldline.domain.keys import message_key, partition_of
from foldline.domain.records import Rejection, Upsert
from foldline.settings import Settings
from producers.accounts import audit
from producers.gateway.trace import traceparent
from projections import letters
from projections.forecast import Decoder, Forecaster, known_organisations, redrivable
from projections.letters import Letter, Place, Redrive, Wanted
from projections.sql import queries

REDRIVE_HEADER: Final = "foldline_redrive_of"
LOCK_SECONDS: Final = 0.1
AUDITED_PLACES: Final = 20

_SQL = queries("letters")


class Outcome(NamedTuple):
    """What became of a letter. `redrive` is the one by which it lies in the log again; `code` and `message` say why not."""

    letter: Letter
    outcome: Literal["redriven", "already_redriven", "rejected", "impossible"]
    redrive: Redrive | None = None
    code: str = ""
    message: str = ""

    @property
    def landed(self) -> Place | None:
        """Where it lies in the log again."""
        return self.letter._replace(redrive=self.redrive).landed


class _Ready(NamedTuple):
    """A letter that is to be appended: its event, and what is noted of it."""

    letter: Letter
    event: Upsert
    key: bytes
    redrive: Redrive


class Redriver:
    """Sends letters into the log again, on a connection of its own."""

    def __init__(self, settings: Settings, connection: Connection, log: Log, actor: str) -> None:
        """`actor` is an e-mail address, or `COMMAND_LINE`; `log` is open."""
        self._settings, self._connection, self._log, self._actor = settings, connection, log, actor
        self._reader = KafkaLogReader(settings)
        self._decoder = Decoder(settings)
        self._forecaster: Forecaster | None = None

    async def run(
        self, wanted: Wanted, *, again: bool = False, applicable: bool = False, limit: int = letters.MOST_LETTERS
    ) -> AsyncIterator[Outcome]:
        """What becomes of each letter that is wanted, the oldest first, at most `limit`.

        One that was redriven before is left alone without `again`; with `applicable` also one that would be rejected
        again, as the state is now. Raises `FoldlineError` while another session redrives, and `Unreachable` where some may
        or may not be in the log: to run it again finds out.
        """
        await self._lock()
        self._forecaster = Forecaster(self._connection, self._settings) if applicable else None
        for places in await asyncio.to_thread(list, letters.chunks(self._connection, self._settings, wanted, limit)):
            for outcome in await self._chunk(places, again):
                yield outcome

    async def _lock(self) -> None:
        deadline = time.monotonic() + self._settings.database_timeout_seconds
        while not await asyncio.to_thread(self._locked):
            if time.monotonic() > deadline:
                raise FoldlineError("somebody else redrives dead letters: try again when that has ended")
            await asyncio.sleep(LOCK_SECONDS)

    def _locked(self) -> bool:
        with translated():
            ((locked,),) = self._connection.execute(_SQL["lock_redrives"].encode()).fetchall()
        return bool(locked)

    async def _chunk(self, places: Sequence[Place], again: bool) -> list[Outcome]:
        found = await asyncio.to_thread(letters.raw_letters, self._connection, self._settings, places)
        settled = await self._settled([one for one in found if one.redrive and one.landed is None])
        decided = await asyncio.to_thread(self._decided, found, settled, again)
        ready = [one for one in decided if isinstance(one, _Ready)]
        if ready:
            ready = await asyncio.to_thread(self._begun, ready)
        landed = dict(zip((one.letter.place for one in ready), await self._appended(ready), strict=True))
        failures = [one for one in landed.values() if isinstance(one, NotAppended)]
        outcomes = [
            Outcome(one.letter, "redriven", one.redrive._replace(landed_offset=appended.ends[0].last_offset))
            for one in ready
            if isinstance(appended := landed[one.letter.place], Appended)
        ]
        outcomes += [one for one in decided if isinstance(one, Outcome) and one.outcome == "redriven"]
        await asyncio.to_thread(self._note, outcomes)
        if failures:
            raise failures[0]
        left = [one for one in decided if isinstance(one, Outcome) and one.outcome != "redriven"]
        order = {one.place: number for number, one in enumerate(found)}
        return sorted([*outcomes, *left], key=lambda one: order[one.letter.place])

    def _decided(self, found: Sequence[Letter], settled: dict[Place, int | None], again: bool) -> list[Outcome | _Ready]:
        """What is to be done with letters; `settled` has those that were in doubt, with their offset in the log."""
        events = [self._decoder.event(letter) for letter in found]
        known = known_organisations(self._connection, {event.org_id for event in events if isinstance(event, Upsert)})
        decided = [self._decide(*pair, known, settled, again) for pair in zip(found, events, strict=True)]
        return decided if self._forecaster is None else self._applicable(self._forecaster, decided)

    def _applicable(self, forecaster: Forecaster, decided: Sequence[Outcome | _Ready]) -> list[Outcome | _Ready]:
        """Those that are ready only where they would be applied."""
        ready = [one.letter for one in decided if isinstance(one, _Ready)]
        forecasts = dict(zip((letter.place for letter in ready), forecaster.of(ready), strict=True))
        return [
            Outcome(one.letter, "rejected", None, forecast.code, forecast.message)
            if (forecast := forecasts.get(one.letter.place)) is not None and forecast.outcome == "rejected"
            else one
            for one in decided
        ]

    def _decide(
        self,
        letter: Letter,
        event: Upsert | Rejection,
        known: set[str],
        settled: dict[Place, int | None],
        again: bool,
    ) -> Outcome | _Ready:
        before = letter.redrive
        if before is not None and settled.get(letter.place) is not None:
            return Outcome(letter, "redriven", before._replace(landed_offset=settled[letter.place]))
        if before is not None and letter.landed is not None and not again:
            return Outcome(letter, "already_redriven", before)
        event = redrivable(letter, event, known)
        if isinstance(event, Rejection):
            return Outcome(letter, "impossible", None, event.code, event.message)
        key = message_key(event.org_id, event.entity_id)
        attempt = 1 if before is None else before.attempt if letter.landed is None else before.attempt + 1
        partition = partition_of(key, self._settings.partitions)
        now = time.time_ns() // 1000
        return _Ready(letter, event, key, Redrive(attempt, self._actor, now, partition, 0, None))

    def _begun(self, ready: Sequence[_Ready]) -> list[_Ready]:
        """Notes that the letters may lie in the log from its present end on."""
        topics = {one.letter.place.topic for one in ready}
        log_ends = {
            topic: [high for _, high in watermarks(self._settings, topic, self._settings.partitions)] for topic in topics
        }
        noted = [
            one._replace(redrive=one.redrive._replace(log_end=log_ends[one.letter.place.topic][one.redrive.to_partition]))
            for one in ready
        ]
        self._execute(
            "begin_redrives",
            [one.letter.place for one in noted],
            asked_by=self._actor,
            attempts=[one.redrive.attempt for one in noted],
            to_partitions=[one.redrive.to_partition for one in noted],
            log_ends=[one.redrive.log_end for one in noted],
        )
        return noted

    async def _appended(self, ready: Sequence[_Ready]) -> list[Appended | NotAppended]:
        """What became of each. The first goes alone: once the log is described, records are handed over in their order."""
        found: list[Appended | NotAppended] = []
        for stretch in (ready[:1], ready[1:]):
            answers = await asyncio.gather(*map(self._append, stretch), return_exceptions=True)
            for answer in answers:
                if isinstance(answer, BaseException) and not isinstance(answer, NotAppended):
                    raise answer
                found.append(answer)
        return found

    async def _append(self, ready: _Ready) -> Appended:
        letter, event = ready.letter, ready.event
        headers: list[Header] = [
            *headers_of(letter.kind, event, traceparent(None)),
            ("ce_id", event.event_id.encode()),
            ("ce_subject", event.entity_id.encode()),
            (REDRIVE_HEADER, str(letter.place).encode()),
        ]
        return await self._log.append_encoded(letter.kind, ready.key, letter.value or b"", headers)

    def _note(self, outcomes: Sequence[Outcome]) -> None:
        """Notes where letters lie in the log, and in the audit log that they do."""
        if not outcomes:
            return
        redrives = [one.redrive for one in outcomes if one.redrive is not None]
        with translated(), self._connection.transaction():
            self._execute(
                "redrives_landed",
                [one.letter.place for one in outcomes],
                attempts=[redrive.attempt for redrive in redrives],
                landed_offsets=[redrive.landed_offset for redrive in redrives],
            )
            redriven = [one.letter for one in outcomes]
            for org_id in sorted({letter.org_id for letter in redriven if letter.org_id is not None}):
                self._audit(org_id, [letter for letter in redriven if letter.org_id == org_id])

    def _audit(self, org_id: str, redriven: Sequence[Letter]) -> None:
        places = [str(letter.place) for letter in redriven]
        subject = places[0] if len(places) == 1 else f"{len(places)} dead letters"
        codes = dict(Counter(letter.code for letter in redriven))
        audit.record(
            self._connection,
            org_id,
            self._actor,
            "letters.redriven",
            subject,
            letters=len(places),
            codes=codes,
            places=places[:AUDITED_PLACES],
        )

    async def _settled(self, doubtful: Sequence[Letter]) -> dict[Place, int | None]:
        """Where letters that may be in the log are, once nothing of them can arrive any more; None for not there."""
        if not doubtful:
            return {}
        with translated():
            ((seconds,),) = await asyncio.to_thread(self._execute, "seconds_in_doubt", [letter.place for letter in doubtful])
        await asyncio.sleep(self._settings.delivery_timeout_seconds - (seconds or 0))
        return await asyncio.to_thread(self._looked_up, doubtful)

    def _looked_up(self, doubtful: Sequence[Letter]) -> dict[Place, int | None]:
        found: dict[Place, int | None] = {letter.place: None for letter in doubtful}
        stretches: dict[tuple[str, int], list[Letter]] = {}
        for letter in doubtful:
            assert letter.redrive is not None
            stretches.setdefault((letter.place.topic, letter.redrive.to_partition), []).append(letter)
        for (topic, partition), sought in stretches.items():
            begins = {str(one.place): (one.redrive.log_end, one.place) for one in sought if one.redrive is not None}
            start = min(log_end for log_end, _ in begins.values())
            end = watermarks(self._settings, topic, self._settings.partitions)[partition][1]
            if start >= end:
                continue
            for record in self._reader.read(sought[0].kind, partition, start, end):
                named = _redrive_of(cast(Any, record).headers())
                if named in begins and record.offset() >= begins[named][0]:
                    found[begins[named][1]] = record.offset()
        return found

    def _execute(self, query: str, places: Sequence[Place], **parameters: object) -> list[tuple[float | None]]:
        with translated():
            cursor = self._connection.execute(
                _SQL[query].encode(),
                {
                    "topics": [place.topic for place in places],
                    "partitions": [place.partition for place in places],
                    "offsets": [place.offset for place in places],
                    **parameters,
                },
            )
            return cursor.fetchall() if cursor.description is not None else []


def _redrive_of(headers: Iterable[tuple[str, bytes | str | None]] | None) -> str:
    """The letter that a record's header names."""
    for name, value in headers or ():
        if name == REDRIVE_HEADER and isinstance(value, bytes):
            return value.decode(errors="replace")
    return ""
