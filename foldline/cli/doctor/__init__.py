"""`foldline doctor`: a deployment looked at from every side, and what to do where something is wrong."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from typing import NamedTuple

import psycopg
from confluent_kafka import KafkaException
from rich.console import Console

from foldline.adapters.postgres import translation
from foldline.adapters.topics import unreachable
from foldline.cli.context import NEGATIVE, DataDir, Json
from foldline.cli.doctor import (
    clock,
    contradictions,
    database,
    disk,
    generations,
    kafka,
    keys,
    letters,
    progress,
    registry,
    stack,
    topics,
)
from foldline.cli.doctor.deployment import NAMES, Deployment, Part, deployment_of
from foldline.cli.doctor.findings import Finding, Findings, Status, fault, warning
from foldline.domain.errors import FoldlineError


class Check(NamedTuple):
    """A question about a deployment; `needs` are the parts without which it cannot be asked."""

    name: str
    look: Callable[[Deployment], Findings]
    needs: tuple[Part, ...] = ()


# In the order in which faults are best mended: what comes later may be wrong because of what came before.
CHECKS = (
    Check("stack", stack.running),
    Check("disk", disk.data_directory),
    Check("settings", contradictions.contradictions),
    Check("database", database.reach, ("servers",)),
    Check("database.server", database.version, ("database",)),
    Check("database.migrations", database.migrated, ("database",)),
    Check("database.privileges", database.privileges, ("database",)),
    Check("database.size", database.size, ("database",)),
    Check("database.clock", clock.of_database, ("database",)),
    Check("kafka", kafka.reach, ("servers",)),
    Check("kafka.version", kafka.version, ("kafka",)),
    Check("kafka.limits", kafka.limits, ("kafka",)),
    Check("kafka.disks", disk.log_disks, ("kafka",)),
    Check("topics", topics.present, ("kafka",)),
    Check("kafka.clock", clock.of_kafka, ("kafka", "log")),
    Check("schemas", registry.registered, ("servers",)),
    Check("master-key", keys.master_key, ("servers",)),
    Check("log", topics.the_same_log, ("tables", "log")),
    Check("processors", progress.of_processors, ("tables", "log")),
    Check("publications", progress.pending, ("tables",)),
    Check("dead-letters", letters.recent, ("tables",)),
    Check("generations", generations.left, ("tables",)),
    Check("api-keys", keys.api_keys, ("tables",)),
)
STYLES: dict[Status, str] = {"ok": "green", "warning": "yellow", "fault": "bold red"}
OTHER_USER = "run it with the FOLDLINE_DATABASE_URL of the user that runs `foldline init`"


def doctor(data_dir: DataDir = None, as_json: Json = False) -> None:
    """Check a deployment, and say what to do where something is wrong."""
    deployment = deployment_of(data_dir)
    console = Console(width=10_000 if not Console().is_terminal else None, highlight=False)
    found: list[tuple[str, Finding]] = []
    try:
        for check in CHECKS:
            for finding in examined(check, deployment):
                found.append((check.name, finding))
                if not as_json:
                    _show(console, check.name, finding)
    finally:
        if deployment.connection is not None:
            deployment.connection.close()
    if as_json:
        checks = [{"check": name, **finding._asdict()} for name, finding in found]
        print(json.dumps({"status": worst(finding for _, finding in found), "checks": checks}, ensure_ascii=False))
    if worst(finding for _, finding in found) == "fault":
        sys.exit(NEGATIVE)


def examined(check: Check, deployment: Deployment) -> Iterator[Finding]:
    """What a check finds; that it could not be asked is a finding, too."""
    missing = [part for part in check.needs if part not in deployment.reached]
    if missing:
        reason = NAMES["servers"] if "servers" not in deployment.reached else NAMES[missing[0]]
        yield warning(f"not checked: {reason}", "mend that first")
        return
    try:
        yield from check.look(deployment)
    except (FoldlineError, psycopg.Error, KafkaException) as error:
        yield failed(deployment, error)


def failed(deployment: Deployment, error: Exception) -> Finding:
    """A check that was cut short."""
    cause = error.__cause__ if isinstance(error, FoldlineError) else error
    if isinstance(cause, psycopg.errors.InsufficientPrivilege):
        return warning(f"not checked: {translation(cause)}", OTHER_USER)
    if isinstance(error, psycopg.Error):
        error = translation(error)
    elif isinstance(error, KafkaException):
        error = unreachable(deployment.settings, error)
    return fault(str(error), "see what it says, and run `foldline doctor` again")


def worst(found: Iterator[Finding]) -> Status:
    """The status of the whole."""
    order: list[Status] = ["ok", "warning", "fault"]
    return max((finding.status for finding in found), key=order.index, default="ok")


def _show(console: Console, name: str, finding: Finding) -> None:
    console.print(f"{finding.status:8}", style=STYLES[finding.status], end="", markup=False)
    console.print(f"{name:20} {finding.message}", markup=False)
    if finding.remedy is not None:
        console.print(f"{'':28} → {finding.remedy}", markup=False, soft_wrap=True)
