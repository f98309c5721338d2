"""How fast files are validated: `python -m benchmarks.imports` prints rows a second of a CSV and of two JSON files.

What is measured is all that a validation does but for the database: both passes, every row checked, and the ids given out.
"""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Iterator, Sequence

import orjson

from benchmarks.load import ORG_ID, upserts
from producers import files
from producers.imports.check import Findings, Severity, check
from producers.validation import Stamp

ROWS = 300_000
BLOCK_BYTES = 64 * 1024


class Nowhere:
    """A sink that keeps nothing."""

    def progress(self, findings: Findings) -> None: ...
    def problems(self, severity: Severity, problems: Sequence[files.Problem]) -> None: ...
    def ids(self, ids: Sequence[str]) -> None: ...
    def failed(self, data: bytes) -> None: ...


def main() -> None:
    """Makes the files, validates each, prints."""
    records = [
        {"item_id": f"PROD-{number:07d}", "item_type": event.detail, "status": event.status or "active"}
        | {"attributes": orjson.loads(event.attributes or "{}")}
        for number, event in enumerate(upserts(ROWS, 100_000))
    ]
    for name, data in (
        ("CSV", _csv(records)),
        ("JSON array", orjson.dumps(records)),
        ("JSON lines", b"\n".join(orjson.dumps(record) for record in records)),
    ):
        took = min(_validate(data) for _ in range(3))
        print(f"{name:12}{len(data) / 1e6:6.0f} MB{ROWS / took:12,.0f} rows/s")


def _csv(records: Sequence[dict[str, object]]) -> bytes:
    text = io.StringIO()
    columns = ["item_id", "item_type", "status", "name", "price", "category", "brand"]
    writer = csv.DictWriter(text, columns, extrasaction="ignore")
    writer.writeheader()
    for record in records:
        writer.writerow(record | record["attributes"])  # type: ignore[operator]
    return text.getvalue().encode()


def _validate(data: bytes) -> float:
    def blocks() -> Iterator[bytes]:
        for at in range(0, len(data), BLOCK_BYTES):
            yield data[at : at + BLOCK_BYTES]

    began = time.perf_counter()
    findings = check("items", blocks, len(data), {}, Stamp(ORG_ID, "0" * 32, 0), Nowhere())
    took = time.perf_counter() - began
    if (findings.rows_read, findings.errors) != (ROWS, 0):
        raise RuntimeError(f"{findings.rows_read} rows were read, with {findings.errors} errors: {findings.problem}")
    return took


if __name__ == "__main__":
    main()
