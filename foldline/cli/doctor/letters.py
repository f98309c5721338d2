"""Dead letters: what was passed lately and is still there to be looked at."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

from foldline.cli.doctor.deployment import Deployment
from foldline.cli.doctor.findings import Finding, Findings, fault, unless
from foldline.domain.times import format_rfc3339
from projections.letters import Group, Wanted, groups

# Why a record was passed says what may help; the rest is for the redrive's dry run to say.
REMEDIES = {
    "unknown_schema": "update the processors, or `foldline init` of its version, then `foldline rebuild --swap`",
    "undecodable": "find who else writes to the topic; what a newer version can read, a rebuild folds",
    "item_type_required": "send the item once with its type; then",
}


def recent(deployment: Deployment) -> Findings:
    """Letters of the last while that were not redriven, by reason."""
    seconds = deployment.settings.doctor_recent_seconds
    since = round((time.time() - seconds) * 1_000_000)
    assert deployment.connection is not None
    found = groups(deployment.connection, deployment.settings, Wanted(since=since, status="waiting"))
    return unless(judged_letters(found, since), f"no dead letter of the last {seconds / 3600:g} h waits")


def judged_letters(found: Sequence[Group], since: int) -> Iterator[Finding]:
    """A fault for each reason."""
    at = format_rfc3339(since - since % 1_000_000)
    for group in found:
        select = f"--reason {group.code} --since {at}"
        yield fault(
            f"{group.waiting} dead letters: {group.code}, the last at {format_rfc3339(group.last_at)}",
            f"{REMEDIES.get(group.code, 'when the cause is gone')}: foldline dead-letters list {select} shows them, "
            f"foldline dead-letters redrive {select} --dry-run what would become of them",
        )
