"""What the log says of batches, by their offsets: those that failed, those with dead letters, and at the level `debug` all.

Neither keys nor values: they may be of a user who is to be forgotten.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import structlog

from foldline.domain.errors import Conflict, FoldlineError
from foldline.domain.records import Kind
from foldline.steps import Steps
from projections.state import Commit, DeadLetter, Partition
from projections.topics import Publication

# So many dead letters of a batch are named; all are counted, and in the table.
LETTERS = 10

_REQUEST_ID = re.compile("[0-9a-f]{32}")
_log = structlog.get_logger("foldline.processor")


class BatchLog:
    """An `Observer` that logs."""

    def __init__(self, topics: Mapping[Kind, str]) -> None:
        """`topics` are the names of the log's topics by kind."""
        self._topics = topics

    def begins(self, steps: Steps) -> None: ...

    def committed(self, commit: Commit, began: float, ended: float) -> None:
        offsets = self._offsets(commit)
        states = sum(map(len, commit.rows.values()))
        _log.debug("committed", offsets=offsets, states=states, dead_letters=len(commit.letters), ms=_ms(began, ended))
        if commit.letters:
            named = [self._named(letter) for letter in commit.letters[:LETTERS]]
            _log.warning("dead letters", count=len(commit.letters), offsets=offsets, letters=named)

    def failed(self, commit: Commit, began: float, failure: FoldlineError) -> None:
        level = _log.info if isinstance(failure, Conflict) else _log.warning
        level("not committed", offsets=self._offsets(commit), error=type(failure).__name__)

    def published(self, publications: Mapping[Partition, Publication], began: float, ended: float) -> None:
        states = {self._place(partition): len(publication.rows) for partition, publication in publications.items()}
        _log.debug("published", states=states, ms=_ms(began, ended))

    def _offsets(self, commit: Commit) -> dict[str, Sequence[int]]:
        """The first and the last offset of each partition."""
        return {self._place(partition): (move.start, move.end - 1) for partition, move in commit.moves.items()}

    def _place(self, partition: Partition) -> str:
        kind, number = partition
        return f"{self._topics[kind]}[{number}]"

    def _named(self, letter: DeadLetter) -> dict[str, str]:
        """As `foldline dead-letters show` takes it; with what can be a request's id: strangers write to the log."""
        named = {"at": f"{self._topics[letter.kind]}:{letter.partition}:{letter.offset}", "reason": letter.code}
        if letter.request_id and _REQUEST_ID.fullmatch(letter.request_id):
            named["request_id"] = letter.request_id
        return named


def _ms(began: float, ended: float) -> float:
    return round(1000 * (ended - began), 1)
