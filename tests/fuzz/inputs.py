"""What strangers' bytes meet first, as functions that return for any bytes, or else have found a fault."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from foldline.adapters.codec import BundledRegistry, UpsertCodec
from foldline.domain.fold import FOLD
from foldline.domain.records import KINDS, Kind, Rejection, State, Upsert
from producers.files import BadFile
from producers.validation import Refused, Stamp, TooMany, validate
from tests.producers.files.reading import _read

STAMP: Final = Stamp("org_a", "0123456789abcdef0123456789abcdef", 1_736_672_400_000_000)
CODECS: Final = {kind: UpsertCodec(kind, BundledRegistry()) for kind in KINDS}


def body(data: bytes) -> None:
    """A request's body: refused with named errors, or upserts that are the same after the log and that the fold can take."""
    for kind in KINDS:
        outcome = validate(kind, data, STAMP, 100)
        if isinstance(outcome, Refused):
            assert outcome.errors
            assert outcome.total >= len(outcome.errors)
            for error in outcome.errors:
                assert error.code
                assert error.message
                "".join(map(str, error.as_json().values())).encode()
        elif isinstance(outcome, TooMany):
            assert outcome.records > 100
        else:
            _fold(kind, outcome)


def file(data: bytes) -> None:
    """A file: refused as a whole, or rows that are wrong with problems, or upserts that the fold can take."""
    for kind in KINDS:
        try:
            found = _read(data, kind, {}, 64 * 1024, 0)
        except BadFile:
            continue
        assert found.survey.rows == len(found.upserts) + found.wrong_rows
        _fold(kind, found.upserts)


def event(data: bytes) -> None:
    """A record of the log: rejected, or an upsert that the fold takes or rejects."""
    for kind in KINDS:
        decoded = CODECS[kind].decode(data)
        if isinstance(decoded, Upsert):
            assert isinstance(FOLD[kind](None, decoded, 0, 0), State | Rejection)
        else:
            assert decoded.code in ("undecodable", "unknown_schema")


def _fold(kind: Kind, upserts: list[Upsert]) -> None:
    states: dict[str, State] = {}
    for upsert in upserts:
        assert CODECS[kind].decode(CODECS[kind].encode(upsert)) == upsert
        after = FOLD[kind](states.get(upsert.entity_id), upsert, 0, 0)
        assert isinstance(after, State) or after.code in ("item_type_required", "record_too_large"), after
        if isinstance(after, State):
            states[upsert.entity_id] = after


INPUTS: Final[dict[str, Callable[[bytes], None]]] = {"body": body, "file": file, "event": event}
