"""`make bench`: ours, the peers and the bounds, in alternation on the same servers, as a table of ratios. See `--help`."""

from __future__ import annotations

import argparse
import json
import sys

from rich.console import Console
from rich.table import Table

from benchmarks.comparison import PLANS, Comparison
from benchmarks.fold import Folds, fold, rebuild, users
from benchmarks.freshness import Figure, freshness
from benchmarks.gateway import gateway
from benchmarks.servers import servers

PARTS = ["fold", "rebuild", "users", "gateway"]


def main() -> None:
    """Parses the command line, measures, prints."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer events and seconds")
    parser.add_argument("--full", action="store_true", help="medians of five")
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"only these, of {', '.join(PARTS)}")
    arguments = parser.parse_args()
    if unknown := set(arguments.parts) - set(PARTS):
        parser.error(f"no such part: {', '.join(unknown)}")
    parts = arguments.parts or PARTS
    plan = PLANS["quick" if arguments.quick else "full" if arguments.full else "normal"]
    with servers() as started:
        comparisons, steps, missing = fold(started, plan) if "fold" in parts else Folds([], {}, [])
        if "rebuild" in parts:
            comparisons.append(rebuild(started, plan))
        if "users" in parts and not arguments.quick:
            comparisons.append(users(started, plan))
        figures = []
        if "gateway" in parts:
            gateways = gateway(started, plan)
            figures = [freshness(started, plan, gateways[0].ours)]
            comparisons += gateways
    if arguments.json:
        shown = {"comparisons": [c._asdict() for c in comparisons], "figures": [f._asdict() for f in figures]}
        shown |= {"microseconds_by_step": steps}
        print(json.dumps(shown))
    else:
        _print(comparisons, figures, steps)
    for sentence in missing:
        print(sentence, file=sys.stderr)
    sys.exit(1 if missing else 0)


def _print(comparisons: list[Comparison], figures: list[Figure], steps: dict[str, dict[str, float]]) -> None:
    table = Table(title="Ratios above 1 mean that Foldline is better")
    for column in ("what", "peer", "unit", "ours", "theirs", "ratio", "spread", "runs", "notes"):
        table.add_column(column)
    for c in comparisons:
        spread = f"{c.lowest:.2f} to {c.highest:.2f}"
        table.add_row(
            c.name, c.peer, c.unit, f"{c.ours:,.0f}", f"{c.theirs:,.0f}", f"{c.ratio:.2f}", spread, str(c.runs), c.notes
        )
    Console(width=160).print(table)
    table = Table(title="Figures of ours alone")
    for column in ("what", "unit", "p50", "p99", "notes"):
        table.add_column(column)
    for f in figures:
        table.add_row(f.name, f.unit, f"{f.p50:,.0f}", f"{f.p99:,.0f}", f.notes)
    Console(width=160).print(table)
    table = Table("step", *steps, title="Microseconds an event, by step of ours; steps of different threads overlap")
    for step in dict.fromkeys(step for found in steps.values() for step in found):
        table.add_row(step, *(f"{found[step]:.2f}" if step in found else "" for found in steps.values()))
    Console(width=160).print(table)


if __name__ == "__main__":
    main()
