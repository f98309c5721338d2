"""Generations: what rebuilds have left."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

from foldline.cli.doctor.deployment import Deployment
from foldline.cli.doctor.findings import Finding, Findings, unless, warning
from projections.generations import Generation, generations

KEPT = timedelta(days=1)


def left(deployment: Deployment) -> Findings:
    """Rebuilds that nobody is at, and generations that were to be kept for a day."""
    assert deployment.connection is not None
    found = generations(deployment.connection)
    ((held,),) = deployment.rows("rebuild_held")
    live = next((one.generation for one in found if one.status == "live"), None)
    judged = judged_generations(found, datetime.now(UTC), held=held)
    return unless(judged, f"generation {live} is live" + (", another one is being built" if held else ""))


def judged_generations(found: Sequence[Generation], now: datetime, *, held: bool) -> Iterator[Finding]:
    """What is left over; `held` says that a rebuild is under way."""
    for one in found:
        drop = f"foldline generations drop {one.generation}"
        if one.status == "building" and not held:
            yield warning(
                f"the {one.purpose or 'rebuild'} into generation {one.generation} was left half-way",
                f"run it again, which goes on where it was, or remove it: {drop}",
            )
        if one.status == "old" and one.retired_at is not None and now - one.retired_at > KEPT:
            yield warning(f"generation {one.generation} is old, and takes up room", f"remove it: {drop}")
