"""What is too large: one row is one error, the rest is read; and memory stays within bounds whatever the file is."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from producers.files.source import ROW_BYTES
from tests.producers.files.reading import attributes, places, read

HEADER = "item_id,item_type,status,x\n"
LARGE = ROW_BYTES + 300_000
GOOD = '{"item_id":"%s","item_type":"p","status":"active"}'


def item(identifier: str, attributes: str) -> str:
    return (GOOD % identifier)[:-1] + ',"attributes":' + attributes + "}"


TOO_LARGE: list[tuple[str, Callable[[], str], int]] = [
    ("one line", lambda: HEADER + "A,p,active," + "x" * LARGE + "\n", 2),
    ("many lines in quotes", lambda: HEADER + 'A,p,active,"' + ("so, and\nso " + "on" * 100) * (LARGE // 210) + '"\n', 2),
    ("many cells in quotes", lambda: HEADER + 'A,p,active,"a""\n' + ('","\n' + "x" * 100) * (LARGE // 104) + '"\n', 2),
    ("many bytes", lambda: HEADER + 'A,p,active,"' + ("😀" * 30 + "\n") * (LARGE // 120) + '"\n', 2),
    ("JSON lines", lambda: "\n" + item("A", '{"x":"' + "x" * LARGE + '"}') + "\n", 2),
]


@pytest.mark.parametrize(("text", "line"), [row[1:] for row in TOO_LARGE], ids=[row[0] for row in TOO_LARGE])
def test_a_row_that_is_too_large_is_one_error_and_reading_goes_on(text: Callable[[], str], line: int) -> None:
    good = (
        "B,p,active,x\nC,p,sold,x\n" if line == 2 and text().startswith("item") else GOOD % "B" + "\n" + GOOD % "C" + "x\n"
    )
    found = read(text() + good)
    last = (text() + good).count("\n")
    column, code = ("status", "invalid_status") if good.startswith("B") else ("", "invalid_json")
    assert places(found.errors) == [(line, 1, "", "row_too_large"), (last, 3, column, code)]
    assert [upsert.entity_id for upsert in found.upserts] == ["B"]
    assert len(found.failed) < 10_000


def test_a_record_of_an_array_that_is_too_large_is_the_last() -> None:
    found = read(f"[{GOOD % 'A'},\n{item('B', '[' + '1,' * (LARGE // 2) + '1]')},{GOOD % 'C'}]")
    assert places(found.errors) == [(2, 2, "", "row_too_large")]
    assert found.errors[0].message.endswith("nothing after it was read")
    assert [upsert.entity_id for upsert in found.upserts] == ["A"]


def test_a_quote_that_is_never_closed_does_not_hide_what_follows() -> None:
    rows = [f"{number},p,active,{'x' * 1000}\n" for number in range(LARGE // 1000)]
    found = read(HEADER + 'A,p,active,"x\n' + "".join(rows) + "Z,p,sold,x\n")
    assert places(found.errors) == [(2, 1, "", "unclosed_quote"), (len(rows) + 3, len(rows) + 2, "status", "invalid_status")]
    assert len(found.upserts) == len(rows)


def test_attributes_may_have_a_mebibyte_as_the_fold_writes_them() -> None:
    full = "x" * (1024 * 1024 - len('{"x":""}'))
    for data in (f"{HEADER}A,p,active,{full}\nB,p,active,{full}x\n", f"{item('A', _x(full))}\n{item('B', _x(full + 'x'))}"):
        found = read(data)
        assert [(problem.row, problem.column, problem.code) for problem in found.errors] == [
            (2, "attributes", "record_too_large")
        ]
        assert [len(one["x"]) for one in attributes(found)] == [len(full)]
    whole = ",".join(["1.0"] * 300_000)  # as long as that only until they are whole numbers
    assert read(item("A", f'{{"x":[{whole}]}}')).errors == []
    numbers = ",".join(["1e18"] * 60_000)  # a million bytes more, once they are whole numbers
    found = read(item("A", f'{{"x":[{numbers}]}}'))
    assert places(found.errors) == [(1, 1, "attributes", "record_too_large")]


def _x(text: str) -> str:
    return f'{{"x":"{text}"}}'


MEASURE = """
from pathlib import Path
from producers import files
from producers.validation import Stamp

def peak():
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) // 1024

keys = b",".join(b'"%d":0' % n for n in range(40_000))
twice = b"item_id,item_type,status\\n" + b"".join(b"%d,p,active\\n" % n for n in range(40_000)) * 2
wrong = b"item_id,item_type,status\\n" + b",,\\n" * 20_000
large = b"[" + b",".join(b'{"attributes":{%b}}' % keys for _ in range(4)) + b"]"
faults = b'{"attributes":{"x":[1e99,' + b"1e99," * 40_000 + b"1]}}\\n" + b"{}\\n" * 5_000
before = peak()
for data in (twice, wrong, large, faults):
    blocks = lambda: (data[at:at + 1_000_000] for at in range(0, len(data), 1_000_000))
    survey = files.survey("items", blocks)
    read = files.read("items", blocks, survey, Stamp("org", "request", 0))
    assert sum(checked.rows for checked in read) == survey.rows
print(peak() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is measured as Linux tells it")
def test_reading_takes_little_memory_beside_the_file() -> None:
    root = Path(__file__).resolve().parents[3]
    done = subprocess.run([sys.executable, "-c", MEASURE], cwd=root, capture_output=True, text=True, check=True)
    assert int(done.stdout) < 40  # MiB
