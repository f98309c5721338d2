"""What the pages say about an import, without a server; and how they follow one."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from foldline.domain.errors import Unreachable
from producers.dashboard import ingestion_events, ingestion_view
from producers.dashboard.ingestion_events import Look, Piece, event, stream, versions
from producers.dashboard.ingestion_view import applied, choices, duration, explanation, headline, said, stages
from producers.imports.jobs import Job
from projections.reader import FoldedTo

T0 = datetime(2026, 11, 23, 12, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


def job(status: str, **others: Any) -> Job:
    """An import of 4,000 rows that has come as far as its status says."""
    times = ["uploaded_at", "validating_at", "validated_at", "queueing_at", "done_at", "live_at"]
    reached = {
        "uploading": 0,
        "uploaded": 1,
        "validating": 2,
        "rejected": 3,
        "ready": 3,
        "queueing": 4,
        "done": 5,
        "live": 6,
    }
    values: dict[str, Any] = dict.fromkeys(Job._fields)
    values |= dict(zip(times[: reached.get(status, 3)], map(at, range(1, 7)), strict=False))
    values |= {"status": status, "kind": "items", "created_at": T0, "file_bytes": 2_000_000, "rows": 4000, "part": 1}
    values |= dict.fromkeys(("wrong_rows", "errors", "queued", "deleted", "bytes_read", "rows_read", "wrong_without_id"), 0)
    values |= {"cancelling": False, "only_good": False, "whole": False, "last_part": True, "appended": []}
    return Job(**values | others)


RUNS: dict[str, tuple[Job, int, str, list[tuple[str, str, int | None]]]] = {
    "uploading": (
        job("uploading"),
        0,
        "The file is on its way",
        [("now", "On its way", None), ("waiting", "", None), ("waiting", "", None), ("waiting", "", None)],
    ),
    "uploaded": (
        job("uploaded"),
        0,
        "Waiting to be checked",
        [("done", "2 MB", 100), ("now", "Waiting for its turn", None), ("waiting", "", None), ("waiting", "", None)],
    ),
    "read half of the first time": (
        job("validating", bytes_read=1_000_000),
        0,
        "Checking every row",
        [("done", "2 MB", 100), ("now", "Reading 1 MB of 2 MB", 20), ("waiting", "", None), ("waiting", "", None)],
    ),
    "read half of the second time": (
        job("validating", bytes_read=2_000_000, rows_read=2000),
        0,
        "Checking every row",
        [("done", "2 MB", 100), ("now", "2,000 of 4,000 rows", 70), ("waiting", "", None), ("waiting", "", None)],
    ),
    "good": (
        job("ready"),
        0,
        "4,000 rows can be imported",
        [("done", "2 MB", 100), ("done", "4,000 rows", 100), ("waiting", "Waits for you", None), ("waiting", "", None)],
    ),
    "wrong": (
        job("rejected", wrong_rows=1, errors=3),
        0,
        "1 of 4,000 rows is wrong",
        [
            ("done", "2 MB", 100),
            ("wrong", "1 wrong row of 4,000", 100),
            ("waiting", "Waits for you", None),
            ("waiting", "", None),
        ],
    ),
    "unreadable": (
        job("rejected", rows=0, errors=1, report={"problem": {"message": "the file is empty", "line": 1}}),
        0,
        "This file cannot be read",
        [
            ("done", "2 MB", 100),
            ("wrong", "Cannot be read", 100),
            ("waiting", "Waits for you", None),
            ("waiting", "", None),
        ],
    ),
    "half in the log": (
        job("queueing", queued=1000),
        500,
        "Queueing the rows",
        [
            ("done", "2 MB", 100),
            ("done", "4,000 rows", 100),
            ("now", "1,000 of 4,000 records", 25),
            ("waiting", "500 of 4,000 records applied", 12),
        ],
    ),
    "in the log": (
        job("done", queued=4000),
        3000,
        "Done: 4,000 rows are queued",
        [
            ("done", "2 MB", 100),
            ("done", "4,000 rows", 100),
            ("done", "4,000 rows queued", 100),
            ("now", "3,000 of 4,000 records applied", 75),
        ],
    ),
    "live": (
        job("live", queued=3999, wrong_rows=1, errors=1, only_good=True, refused=2),
        3999,
        "Live: 3,997 applied, 2 refused",
        [
            ("done", "2 MB", 100),
            ("partly", "1 wrong row of 4,000", 100),
            ("done", "3,999 rows queued", 100),
            ("partly", "3,997 applied, 2 refused", 100),
        ],
    ),
    "discarded": (
        job("cancelled", ended_at=at(9)),
        0,
        "Cancelled",
        [("done", "2 MB", 100), ("done", "4,000 rows", 100), ("cancelled", "Cancelled", None), ("waiting", "", None)],
    ),
    "failed on the way": (
        job("failed", queueing_at=at(4), queued=1000, failure="the file is gone", ended_at=at(9)),
        0,
        "The import failed",
        [("done", "2 MB", 100), ("done", "4,000 rows", 100), ("failed", "Failed", None), ("waiting", "", None)],
    ),
}


@pytest.mark.parametrize(("run", "folded", "words", "shown"), RUNS.values(), ids=RUNS)
def test_how_far_an_import_is(run: Job, folded: int, words: str, shown: list[tuple[str, str, int | None]]) -> None:
    assert headline(run) == words
    made = stages(run, folded)
    assert [stage.name for stage in made] == ["Upload", "Validation", "Queueing", "Live"]
    assert [(stage.state, stage.said, stage.percent) for stage in made] == shown


def test_what_ended_says_what_stays() -> None:
    assert explanation(job("cancelled", ended_at=at(9))) == "Nothing of the file was imported."
    failed = job("failed", queued=1001, deleted=1, failure="the file is gone", ended_at=at(9))
    assert explanation(failed) == "The file is gone. 1,000 rows and 1 deletion had been queued before, and stay."


def test_a_reader_of_the_screen_is_told_of_large_steps_only() -> None:
    told = []
    for rows_read in range(100, 4000, 100):
        run = job("validating", bytes_read=2_000_000, rows_read=rows_read)
        told.append(said(run, stages(run, 0)))
    assert list(dict.fromkeys(told)) == [f"Checking every row: {percent} %" for percent in (25, 50, 75)]


def test_how_long_it_took() -> None:
    assert [duration(seconds) for seconds in (-1, 0.01, 9.94, 12, 185, 7300)] == [
        "0.1 s",
        "0.1 s",
        "9.9 s",
        "12 s",
        "3 min 5 s",
        "2 h 1 min",
    ]
    assert [stage.took for stage in stages(job("ready"), 0)] == ["1.0 s", "1.0 s", None, None]


def test_what_is_applied_is_counted_by_partition() -> None:
    run = job("done", queued=30, topic_id="t", run_began=[100, 0, 7], appended=[[0, 10, 109], [2, 20, 26]])

    def folded(*offsets: int) -> int:
        return applied(run, {("items", partition): FoldedTo("t", offset) for partition, offset in enumerate(offsets)})

    assert [folded(0, 0, 0), folded(100, 0, 7), folded(105, 0, 7), folded(110, 0, 17), folded(500, 9, 500)] == [
        0,
        0,
        5,
        20,
        30,
    ]
    assert applied(run, {("items", 0): FoldedTo("another topic", 500)}) == 0
    assert applied(run._replace(status="live"), {}) == 30


def test_what_would_become_deleted() -> None:
    found = {"absences": {"absent": 20, "live": 100, "share": 0.2, "sample": []}, "missing": None}
    few, many = job("ready", report=found), job("ready", report={"absences": {**found["absences"], "absent": 21}})
    assert [choices(run, 0.2).confirm for run in (few, many)] == [False, True]
    unknown = job("ready", report={"absences": None, "missing": "a part is not live yet"})
    assert choices(unknown, 0.2)[4:8] == (None, 0, [], "a part is not live yet")
    nameless = choices(job("rejected", report=found, wrong_rows=2, errors=2, wrong_without_id=2), 0.2)
    assert nameless.absent is None
    assert nameless.missing == "2 wrong rows name no item, so nobody knows what the file lacks: mend them, or only merge."
    assert not choices(job("ready", kind="users", report={}), 0.2).whole


async def _never() -> str:
    raise AssertionError("nobody needs this piece")


def piece(name: str, version: str, needed: bool = True) -> Piece:
    async def render() -> str:
        return f"<p>{name}\n{version}</p>"

    return Piece(name, version, render if needed else _never)


def told(looks: list[Look | Exception | None], seen: str = "", stop_after: int = 99) -> list[str]:
    """What a browser is told, of what is seen one look after the other."""
    left = iter(looks)
    looked = 0

    async def look() -> Look | None:
        nonlocal looked
        looked += 1
        found = next(left)
        if isinstance(found, Exception):
            raise found
        return found

    async def collect() -> list[str]:
        return [text async for text in stream(look, seen, lambda: looked >= stop_after)]

    first, *rest = asyncio.run(collect())
    assert first == "retry: 1000\n\n"
    return rest


def now(*pieces: Piece, over: bool = False) -> Look:
    return Look(pieces, busy=True, over=over)


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("BUSY_SECONDS", "IDLE_SECONDS"):
        monkeypatch.setattr(ingestion_events, name, 0.0)


def test_only_what_is_new_is_told() -> None:
    looks = [
        now(piece("a", "1"), piece("b", "1")),
        now(piece("a", "1"), piece("b", "2")),
        now(piece("a", "1"), piece("b", "2")),
    ]
    assert told([*looks, now(piece("a", "2"), piece("b", "2"), over=True)]) == [
        "event: a\nid: 1.\ndata: <p>a\ndata: 1</p>\n\n",
        "event: b\nid: 1.1\ndata: <p>b\ndata: 1</p>\n\n",
        "event: b\nid: 1.2\ndata: <p>b\ndata: 2</p>\n\n",
        "event: a\nid: 2.2\ndata: <p>a\ndata: 2</p>\n\n",
        "event: end\nid: 2.2\ndata: \n\n",
    ]


def test_who_comes_back_is_told_what_differs() -> None:
    last = now(piece("a", "2", needed=False), piece("b", "2"), over=True)
    assert told([last], seen="2.1") == ["event: b\nid: 2.2\ndata: <p>b\ndata: 2</p>\n\n", "event: end\nid: 2.2\ndata: \n\n"]
    for nonsense in ("x", "1.2.3.4", "...", "\0"):
        assert len(told([now(piece("a", "2"), piece("b", "2"), over=True)], seen=nonsense)) >= 2
    assert versions(last) == "2.2"


def test_a_database_that_is_away_is_waited_for() -> None:
    away = Unreachable("PostgreSQL cannot be reached")
    last = now(piece("a", "1", needed=False), over=True)
    assert told([away, away, last], seen="1") == ["event: end\nid: 1\ndata: \n\n"]
    assert told([away, None], seen="1") == ["event: end\nid: 1\ndata: \n\n"]


def test_a_stream_ends_with_the_gateway() -> None:
    assert told([now(piece("a", "1"))], stop_after=1) == ["event: a\nid: 1\ndata: <p>a\ndata: 1</p>\n\n"]


def test_a_silent_stream_is_kept_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ingestion_events, "KEEP_ALIVE_SECONDS", -1.0)
    same = [now(piece("a", "1", needed=False)) for _ in range(3)]
    assert told(same, seen="1", stop_after=3) == [": still here\n\n"] * 3


@pytest.mark.parametrize("end", ["\n", "\r", "\r\n"])
def test_no_text_ends_an_event_early(end: str) -> None:
    assert event("a", "1", f"x{end}{end}event: b\u2028c") == "event: a\nid: 1\ndata: x\ndata: \ndata: event: b\u2028c\n\n"


def test_codes_are_listed_the_commonest_first() -> None:
    codes = [
        {"severity": "error", "code": "b", "count": 1},
        {"severity": "warning", "code": "w", "count": 9},
        {"severity": "error", "code": "a", "count": 1},
        {"severity": "error", "code": "c", "count": 7},
    ]
    run = job("rejected", report={"codes": codes})
    assert [one["code"] for one in ingestion_view.grouped(run, "error")] == ["c", "a", "b"]
