"""What a comparison is: ours and a peer's in alternation, and the ratio of each pair."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable
from typing import NamedTuple


class Plan(NamedTuple):
    """How much is measured: events of the fold and of the rebuild, seconds of the gateway's load; variants are of peers."""

    events: int
    rebuild_events: int
    seconds: float
    runs: int
    variants: bool = False


PLANS = {
    "quick": Plan(120_000, 400_000, 4, 3),
    "normal": Plan(400_000, 1_000_000, 8, 3),
    "full": Plan(600_000, 1_000_000, 10, 5, variants=True),
}


class Comparison(NamedTuple):
    """Medians of ours and a peer's, and the spread of the ratio between the runs."""

    name: str
    peer: str
    unit: str
    ours: float
    theirs: float
    ratio: float
    runs: int
    lowest: float
    highest: float
    notes: str


def compare(
    name: str, peer: str, unit: str, runs: int, pair: Callable[[], tuple[float, float]], notes: Callable[[], str]
) -> Comparison:
    pairs = []
    for run in range(runs):
        pairs.append(pair())
        print(f"{name}: run {run + 1} of {runs}: {pairs[-1][0]:,.0f} to {pairs[-1][1]:,.0f} {unit}", file=sys.stderr)
    ratios = sorted(ours / theirs for ours, theirs in pairs)
    ours, theirs = (statistics.median(side) for side in zip(*pairs, strict=True))
    return Comparison(name, peer, unit, ours, theirs, statistics.median(ratios), runs, ratios[0], ratios[-1], notes())
