"""What the pages say about an import: its stages with their bars, its outcome as a sentence, and what may be chosen.

1. Nothing is said to be imported before it is in the log, and nothing to be live before it is folded.
2. Each bar counts what is known to be done of its stage.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, Literal, NamedTuple

from foldline.domain.records import DETAIL_FIELD, ID_FIELD, Kind
from producers.dashboard.filters import count, number, size
from producers.imports.jobs import Job
from projections.reader import FoldedTo

State = Literal["done", "partly", "wrong", "now", "waiting", "failed", "cancelled"]
Positions = Mapping[tuple[Kind, int], FoldedTo]

ENDED: Final = frozenset(("live", "failed", "cancelled"))
DECIDING: Final = frozenset(("ready", "rejected"))
CANCELLABLE: Final = frozenset(("uploading", "uploaded", "validating", "ready", "rejected", "queueing"))
SURVEY_SHARE: Final = 0.4  # of the time that validation takes, the first pass
SAID: Final = 0.05  # a screen reader is told of steps of that size

TYPES: Final = {"text": "Text", "number": "Number", "boolean": "True/false", "json": "JSON", "omit": "Leave out"}
FORMATS: Final = {"csv": "CSV", "json": "JSON array", "ndjson": "JSON, one record a line"}
DELIMITERS: Final = {",": "comma", ";": "semicolon", "\t": "tab", "|": "vertical bar"}


class Stage(NamedTuple):
    """One step of an import. `value` of 1 is how far it is, None where nobody knows; times are when it began and ended."""

    name: str
    state: State
    said: str
    value: float | None = None
    began: datetime | None = None
    ended: datetime | None = None

    @property
    def percent(self) -> int | None:
        return None if self.value is None else int(self.value * 100)

    @property
    def took(self) -> str | None:
        """How long it took, once it is over: `0.4 s`, `12 s`, `3 min 5 s`."""
        if self.began is None or self.ended is None or self.state == "waiting":
            return None
        return duration((self.ended - self.began).total_seconds())


class Row(NamedTuple):
    """A row of the preview. Attributes as names and JSON texts, cut where they are long, and how many there are besides."""

    id: str
    detail: str
    status: str
    attributes: list[list[str]]
    besides: int


class Choices(NamedTuple):
    """What a person is asked before anything is imported."""

    good: int
    wrong: int
    whole: bool  # may it be the whole catalogue?
    part: bool  # is it a further part of one that is?
    absent: int | None  # None: it is not known what the file lacks, `missing` says why
    live: int
    sample: list[dict[str, Any]]
    missing: str | None
    confirm: bool  # so much would become deleted that the number has to be typed


def duration(seconds: float) -> str:
    """A length of time as a person reads it."""
    if seconds < 10:
        return f"{max(seconds, 0.1):.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if minutes else f"{rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def expected(job: Job) -> int:
    """How many events the import puts into the log: its rows, and what the whole catalogue lacks."""
    rows = job.good_rows if job.only_good else job.rows
    absences = (job.report or {}).get("absences") if job.whole and job.last_part else None
    return max(job.queued, rows + (absences["absent"] if absences else 0))


def applied(job: Job, positions: Positions) -> int:
    """About how many of the import's events are folded: exact for none and all, between them by the share of the log."""
    if job.status == "live":
        return job.queued
    return sum(_folded(job, positions, *end) for end in job.appended)


def stages(job: Job, folded: int) -> list[Stage]:
    """The four steps of an import. `folded`: what `applied` says."""
    made = [_upload(job), _validation(job), _queueing(job), _applying(job, folded)]
    if job.status not in ("failed", "cancelled"):
        return made
    ended: State = "failed" if job.status == "failed" else "cancelled"
    at = next((place for place, stage in enumerate(made) if stage.state == "now" or stage.ended is None), len(made) - 1)
    stopped = made[at]._replace(state=ended, ended=job.ended_at, said=ended.capitalize(), value=None)
    rest = [stage._replace(state="waiting", said="", value=None) for stage in made[at + 1 :]]
    return [*made[:at], stopped, *rest]


def headline(job: Job) -> str:
    """Where the import stands, in a few words."""
    if job.cancelling and job.status in ("validating", "queueing"):
        return "Cancelling…"
    match job.status:
        case "uploading":
            return "The file is on its way"
        case "uploaded":
            return "Waiting to be checked"
        case "validating":
            return "Checking every row"
        case "rejected":
            return _rejection(job)
        case "ready":
            return f"{count(job.rows, 'row')} can be imported"
        case "queueing":
            return "Queueing the rows"
        case "done":
            return f"Done: {_events(job)} {'is' if job.queued == 1 else 'are'} queued"
        case "live":
            refused = job.refused or 0
            return f"Live: {number(job.queued - refused)} applied, {number(refused)} refused"
        case "failed":
            return "The import failed"
        case _:
            return "Cancelled"


def explanation(job: Job) -> str:
    """What that means, and what happens next."""
    match job.status:
        case "uploading":
            return "Keep the page open from which it is sent."
        case "uploaded" | "validating":
            return "Nothing is imported yet. You can leave this page and come back."
        case "ready" | "rejected":
            return "Nothing is imported yet."
        case "queueing":
            return "Rows go into the log in the file's order. You can leave this page and come back."
        case "done":
            return "Every row is in the log and will not be lost. Processors are applying them now."
        case "live":
            return f"{count(job.deleted, 'item')} that the file lacks became deleted." if job.deleted else ""
        case "failed":
            return f"{sentence(job.failure or 'nobody knows why')} {_kept(job)}"
        case _:
            return _kept(job)


def said(job: Job, made: list[Stage]) -> str:
    """What a screen reader is told when it changes: the headline, and a bar in large steps."""
    bar = next((stage for stage in made if stage.state == "now" and stage.value is not None), None)
    if bar is None or bar.value is None:
        return headline(job)
    return f"{headline(job)}: {round(int(bar.value / SAID / 5) * SAID * 5 * 100)} %"


def choices(job: Job, absent_share: float) -> Choices:
    """What may be chosen for an import that waits for a decision."""
    report = job.report or {}
    absences, part = report.get("absences") or {}, job.part > 1
    absent, live = absences.get("absent"), absences.get("live", 0)
    missing = report.get("missing")
    if job.wrong_without_id and absent is not None:
        named = count(job.wrong_without_id, "wrong row names", "wrong rows name")
        missing, absent = f"{named} no item, so nobody knows what the file lacks: mend them, or only merge.", None
    return Choices(
        good=job.good_rows,
        wrong=job.wrong_rows,
        whole=job.kind == "items",
        part=part,
        absent=absent,
        live=live,
        sample=absences.get("sample", []),
        missing=missing,
        confirm=absent is not None and absent > absent_share * live,
    )


def problem(job: Job) -> dict[str, Any] | None:
    """Why the file as a whole cannot be read: its message is a sentence, its line there only where it says something."""
    found = (job.report or {}).get("problem")
    if not found:
        return None
    told = found["line"] <= 1 or "line" in found["message"].lower()
    return {**found, "message": sentence(found["message"]), "line": None if told else found["line"]}


def grouped(job: Job, severity: str) -> list[dict[str, Any]]:
    """The codes of what validation found, the commonest first."""
    codes = [code for code in (job.report or {}).get("codes", ()) if code["severity"] == severity]
    return sorted(codes, key=lambda code: (-code["count"], code["code"]))


def preview(job: Job) -> list[Row]:
    """The first rows as they will be stored."""
    own, detail = ID_FIELD[job.kind], DETAIL_FIELD[job.kind]
    return [
        Row(row[own], row[detail] or "", row["status"] or "", row["attributes"], row["besides"])
        for row in (job.report or {}).get("preview", ())
    ]


def as_found(job: Job) -> str:
    """How the file was read: `CSV, delimited by semicolons`."""
    report = job.report or {}
    found = FORMATS.get(report.get("format") or "", "")
    delimiter = DELIMITERS.get(report.get("delimiter") or "")
    return f"{found} with {delimiter}s" if found == "CSV" and delimiter else found


def _upload(job: Job) -> Stage:
    if job.uploaded_at is None:
        return Stage("Upload", "now", "On its way", None, job.created_at)
    return Stage("Upload", "done", size(job.file_bytes), 1.0, job.created_at, job.uploaded_at)


def _validation(job: Job) -> Stage:
    name, began = "Validation", job.validating_at
    if job.status == "uploaded":
        return Stage(name, "now", "Waiting for its turn", None, job.uploaded_at)
    if job.validated_at is not None and job.status != "validating":
        if job.status == "rejected" or job.wrong_rows or job.errors:
            wrong = f"{count(job.wrong_rows, 'wrong row')} of {number(job.rows)}" if job.wrong_rows else "Cannot be read"
            return Stage(name, "wrong" if job.status == "rejected" else "partly", wrong, 1.0, began, job.validated_at)
        return Stage(name, "done", count(job.rows, "row"), 1.0, began, job.validated_at)
    if began is None:
        return Stage(name, "waiting", "")
    if not job.rows_read:
        said = f"Reading {size(job.bytes_read)} of {size(job.file_bytes)}"
    else:
        said = f"{number(job.rows_read)} of {count(job.rows, 'row')}"
    return Stage(name, "now", said, _checked(job), began)


def _checked(job: Job) -> float:
    surveyed = _share(job.bytes_read, job.file_bytes)
    return SURVEY_SHARE * (1.0 if job.rows_read else surveyed) + (1 - SURVEY_SHARE) * _share(job.rows_read, job.rows)


def _queueing(job: Job) -> Stage:
    if job.queueing_at is None:
        return Stage("Queueing", "waiting", "Waits for you" if job.status in DECIDING else "")
    if job.done_at is not None:
        return Stage("Queueing", "done", f"{_events(job)} queued", 1.0, job.queueing_at, job.done_at)
    wanted = expected(job)
    said = f"{number(job.queued)} of {count(wanted, 'record')}"
    return Stage("Queueing", "now", said, _share(job.queued, wanted), job.queueing_at)


def _applying(job: Job, folded: int) -> Stage:
    if job.live_at is not None:
        applied = f"{number(job.queued - (job.refused or 0))} applied"
        refused = f", {number(job.refused)} refused" if job.refused else ""
        return Stage("Live", "partly" if job.refused else "done", applied + refused, 1.0, job.done_at, job.live_at)
    if job.queueing_at is None or job.ended_at is not None:
        return Stage("Live", "waiting", "")
    wanted = expected(job)
    said = f"{number(folded)} of {count(wanted, 'record')} applied"
    return Stage("Live", "now" if job.done_at else "waiting", said, _share(folded, wanted), job.done_at)


def _rejection(job: Job) -> str:
    if (job.report or {}).get("problem") and not job.rows:
        return "This file cannot be read"
    if not job.wrong_rows:
        return "This file cannot be imported as it is"
    return f"{number(job.wrong_rows)} of {count(job.rows, 'row')} {'is' if job.wrong_rows == 1 else 'are'} wrong"


def _kept(job: Job) -> str:
    if not job.queued:
        return "Nothing of the file was imported."
    return f"{_events(job)} had been queued before, and {'stays' if job.queued == 1 else 'stay'}."


def _events(job: Job) -> str:
    rows = count(job.queued - job.deleted, "row")
    return f"{rows} and {count(job.deleted, 'deletion')}" if job.deleted else rows


def sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}" if text.endswith((".", "?", "!")) else f"{text[:1].upper()}{text[1:]}."


def _folded(job: Job, positions: Positions, partition: int, records: int, last_offset: int) -> int:
    found = positions.get((job.kind, partition))
    if found is None or found.topic_id != job.topic_id or not job.run_began:
        return 0
    began = job.run_began[partition]
    return records * min(max(found.applied - began, 0), last_offset + 1 - began) // (last_offset + 1 - began)


def _share(done: float, of: float) -> float:
    return min(1.0, max(0.0, done / of)) if of > 0 else 0.0
