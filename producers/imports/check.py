"""Validation of a whole file, wherever its bytes are: what is found goes to a sink, a block at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, Protocol

import orjson

from foldline.domain.records import DETAIL_FIELD, ID_FIELD, Kind, Upsert
from foldline.domain.times import format_rfc3339
from producers import files
from producers.validation import Stamp

Severity = Literal["error", "warning"]
PREVIEWED: Final = 10
SHOWN_ATTRIBUTES: Final = 20
SHOWN_CHARACTERS: Final = 120
# The columns of users whose values problems show: all else may be personal.
SHOWN_OF_USERS: Final = frozenset((ID_FIELD["users"],))
# More wrong rows than these are counted as if they named no item: nobody can say then what the file lacks.
MOST_WRONG_IDS: Final = 100_000


class Sink(Protocol):
    """Where what validation finds is kept."""

    def progress(self, findings: Findings) -> None:
        """Called after every stretch of rows. May raise to end the validation."""

    def problems(self, severity: Severity, problems: Sequence[files.Problem]) -> None:
        """Problems in the order of their rows."""

    def ids(self, ids: Sequence[str]) -> None:
        """The ids of a stretch of rows, wrong ones too."""

    def failed(self, data: bytes) -> None:
        """The next bytes of the file of wrong rows."""


@dataclass
class Findings:
    """What is known of a file so far. `codes`: how many problems there are, by severity and code, each with its first."""

    size: int
    survey: files.Survey | None = None
    bytes_read: int = 0
    rows_read: int = 0
    wrong_rows: int = 0
    errors: int = 0
    warnings: int = 0
    wrong_ids: list[str] = field(default_factory=list)
    wrong_without_id: int = 0
    codes: dict[tuple[Severity, str], tuple[int, files.Problem]] = field(default_factory=dict)
    preview: list[dict[str, Any]] = field(default_factory=list)
    problem: files.Problem | None = None

    @property
    def rows(self) -> int:
        return self.survey.rows if self.survey else 0


def check(
    kind: Kind, blocks: files.Blocks, size: int, types: Mapping[str, files.ColumnType], stamp: Stamp, sink: Sink
) -> Findings:
    """Validates a file of `size` bytes. A file that cannot be read at all is a finding, too: its `problem`."""
    findings = Findings(size)

    def on_bytes(count: int) -> None:
        findings.bytes_read = count
        sink.progress(findings)

    try:
        findings.survey = survey = files.survey(kind, blocks, types, on_bytes)
        failed_rows = False
        for checked in files.read(kind, blocks, survey, stamp):
            if checked.failed:
                sink.failed(checked.failed if failed_rows else files.failed_header(survey) + checked.failed)
                failed_rows = True
            sink.ids([upsert.entity_id for upsert in checked.upserts])
            sink.ids(checked.wrong_ids)
            _add(findings, "error", _showable(kind, checked.errors), sink)
            _add(findings, "warning", _showable(kind, checked.warnings), sink)
            _count(findings, kind, checked)
            sink.progress(findings)
        if failed_rows:
            sink.failed(files.failed_footer(survey))
    except files.BadFile as bad:
        problems = _showable(kind, bad.problems)
        findings.problem = problems[0]
        _add(findings, "error", problems, sink)
    return findings


def _showable(kind: Kind, problems: Sequence[files.Problem]) -> Sequence[files.Problem]:
    """Problems without what must not be kept: the values of users' attributes, and what may be one."""
    if kind != "users":
        return problems
    return [one if one.column in SHOWN_OF_USERS else one._replace(value="") for one in problems]


def _count(findings: Findings, kind: Kind, checked: files.Checked) -> None:
    findings.rows_read += checked.rows
    findings.wrong_rows += checked.wrong_rows
    room = MOST_WRONG_IDS - len(findings.wrong_ids)
    findings.wrong_ids += checked.wrong_ids[:room]
    findings.wrong_without_id += checked.wrong_without_id + max(0, len(checked.wrong_ids) - room)
    wanted = PREVIEWED - len(findings.preview)
    findings.preview += [_shown(kind, upsert) for upsert in checked.upserts[: max(0, wanted)]]


def _add(findings: Findings, severity: Severity, problems: Sequence[files.Problem], sink: Sink) -> None:
    if not problems:
        return
    if severity == "error":
        findings.errors += len(problems)
    else:
        findings.warnings += len(problems)
    for problem in problems:
        count, first = findings.codes.get((severity, problem.code), (0, problem))
        findings.codes[severity, problem.code] = count + 1, first
    sink.problems(severity, problems)


def _shown(kind: Kind, upsert: Upsert) -> dict[str, Any]:
    """A row as it will be stored: of its attributes the first, each as its name and the beginning of its JSON text, which
    keeps numbers; and how many there are besides."""
    detail = format_rfc3339(upsert.detail) if isinstance(upsert.detail, int) else upsert.detail
    attributes = orjson.loads(upsert.attributes) if upsert.attributes is not None else {}
    first = [[_cut(name), _cut(orjson.dumps(attributes[name]).decode())] for name in [*attributes][:SHOWN_ATTRIBUTES]]
    return {
        ID_FIELD[kind]: upsert.entity_id,
        DETAIL_FIELD[kind]: detail,
        "status": upsert.status,
        "attributes": first,
        "besides": len(attributes) - len(first),
    }


def _cut(text: str) -> str:
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}…"


def report(findings: Findings, blocks_of: Callable[[Severity, str], int]) -> dict[str, Any]:
    """What a person is shown of it. `blocks_of`: in how many blocks the problems of a code are kept."""
    survey = findings.survey
    return {
        "format": survey.format if survey else None,
        "delimiter": survey.delimiter if survey else None,
        "columns": [column._asdict() for column in survey.columns] if survey else [],
        "survey": survey.as_json() if survey else None,
        "preview": findings.preview,
        "codes": [
            {
                "severity": severity,
                "code": code,
                "count": count,
                "blocks": blocks_of(severity, code),
                "example": first.as_json(),
            }
            for (severity, code), (count, first) in findings.codes.items()
        ],
        "problem": findings.problem.as_json() if findings.problem else None,
        "absences": None,
        "missing": None,
    }
