"""Disks: the data directory's, and those that Kafka's brokers tell of."""

from __future__ import annotations

from collections.abc import Iterator

import psutil

from foldline.adapters.brokers import log_directories
from foldline.adapters.topics import TIMEOUT_SECONDS
from foldline.cli.doctor.deployment import Deployment
from foldline.cli.doctor.findings import Finding, Findings, fault, ok, unless, warning
from foldline.domain.errors import Unreachable

FREE_IT = "free some or enlarge it, now: Kafka and PostgreSQL end when it is full. Never delete files of theirs by hand"


def data_directory(deployment: Deployment) -> Findings:
    """The file system on which an embedded stack keeps its data."""
    if deployment.stack is None and not deployment.down:
        return [ok("there is no data directory")]
    root = next(path for path in (deployment.root, *deployment.root.parents) if path.exists())
    usage = psutil.disk_usage(str(root))
    found = judged_disk(str(root), usage.free, usage.used + usage.free, deployment.settings.doctor_disk_free_percent)
    return unless(found, f"{_gib(usage.free)} are free on the disk of {root}")


def log_disks(deployment: Deployment) -> Findings:
    """The file systems on which brokers keep the log."""
    try:
        directories = log_directories(deployment.settings, TIMEOUT_SECONDS)
    except Unreachable as error:
        return [warning(str(error), "watch the brokers' disks where they are, or let Kafka's user DESCRIBE the cluster")]
    found: list[Finding] = []
    for one in directories:
        name = f"{one.path} of broker {one.broker}"
        if one.failed:
            found.append(fault(f"{name} has failed", "see the broker's log; replace the disk"))
        elif one.total_bytes > 0:
            found += judged_disk(name, one.usable_bytes, one.total_bytes, deployment.settings.doctor_disk_free_percent)
    least = min((one.usable_bytes for one in directories if one.total_bytes > 0), default=None)
    return unless(found, "the brokers do not say" if least is None else f"{_gib(least)} or more are free for the log")


def judged_disk(name: str, free: int, size: int, percent: float) -> Iterator[Finding]:
    """A fault where less than that share is free, a warning where less than twice as much is."""
    share = 100 * free / size if size else 0.0
    said = f"{_gib(free)} of {_gib(size)} are free on the disk of {name} ({share:.1f} %)"
    if share < percent:
        yield fault(said, FREE_IT)
    elif share < 2 * percent:
        yield warning(said, "free some or enlarge the disk: the log is kept for ever and grows")


def _gib(size: int) -> str:
    return f"{size / 2**30:,.1f} GiB"
