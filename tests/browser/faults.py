"""A catalogue in which each row has another thing wrong with it, and where a person is to read of it."""

from __future__ import annotations

import csv
import io
from typing import NamedTuple

HEADER = ["item_id", "item_type", "status", "name", "price", "attributes"]
GOOD = ('GOOD-{n},product,active,"Two\nlines of {n}",{n}.50,', "GOOD-{n},product,inactive,Plain {n},{n}.25,")

# Each row by its code, and the column that is named; the last one swallows what comes after it.
WRONG = (
    ("required", "item_id", ",product,active,No id,1.5,"),
    ("required", "item_type", "W-1,,active,No type,1.5,"),
    ("required", "status", "W-2,product,,No status,1.5,"),
    ("invalid_status", "status", "W-3,product,archived,Unknown status,1.5,"),
    ("invalid_id", "item_id", "W-\t4,product,active,A tab in its id,1.5,"),
    ("too_long", "item_type", "W-5," + "t" * 129 + ",active,A long type,1.5,"),
    ("too_few_cells", "", "W-6,product,active"),
    ("too_many_cells", "", "W-7,product,active,Too many,1.5,,,surplus"),
    ("bad_quoting", "", 'W-8,product,active,"quoted"not,1.5,'),
    ("invalid_json", "attributes", "W-9,product,active,Not JSON,1.5,{colour: red}"),
    ("invalid_type", "attributes", "W-10,product,active,An array,1.5,[1]"),
    ("invalid_number", "attributes", 'W-11,product,active,Too large,1.5,"{""weight"": 1e400}"'),
    ("invalid_string", "attributes", 'W-12,product,active,A null character,1.5,"{""note"": ""a\\u0000b""}"'),
    ("too_deep", "attributes", 'W-13,product,active,Deep,1.5,"{""a"": ' + "[" * 40 + "]" * 40 + '}"'),
    ("unclosed_quote", "", 'W-14,product,active,"never closed,1.5,'),
)


class Fault(NamedTuple):
    line: int
    row: int
    code: str


class Faulty(NamedTuple):
    """A file, its faults in its order, and how many good rows it has."""

    text: str
    faults: list[Fault]
    good: int


def faulty(end: str = "\n") -> Faulty:
    """Good rows, some of which span lines, with a wrong row after every second one."""
    text = ",".join(HEADER) + end
    faults: list[Fault] = []
    row = good = 0
    for code, _, wrong in WRONG:
        for pattern in GOOD:
            text += pattern.format(n=good).replace("\n", end) + end
            row, good = row + 1, good + 1
        row += 1
        faults.append(Fault(text.count("\n") + 1, row, code))
        text += wrong + end
    return Faulty(text, faults, good)


def mended(failed: str) -> str:
    """The failed rows as they were downloaded, put right by somebody who looked at each."""
    rows = list(csv.reader(io.StringIO(failed, newline="")))
    assert rows[0] == [*HEADER, "error"]
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(rows[0])
    for number, row in enumerate(rows[1:]):
        assert row[-1] != ""
        writer.writerow([f"MENDED-{number}", "product", "active", f"Mended {number}", "2.5", "", row[-1]])
    return out.getvalue()


def catalogue(rows: int) -> str:
    """A file without a fault."""
    lines = [f"BULK-{n},product,active,Number {n},{n}.5\n" for n in range(rows)]
    return "item_id,item_type,status,name,price\n" + "".join(lines)
