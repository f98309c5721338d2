"""Schemathesis against a gateway: cases made of its own OpenAPI document, right and wrong, alone and in sequences.

`make fuzz` runs slices until there are `--cases`, or `--minutes` are over, and adds up what they tried. Every slice has a
seed; the same seed against the same document makes the same cases.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit, urlunsplit

import psycopg

from foldline.adapters.postgres import connect
from producers.tenants import create_organisation, set_rate_limit
from tests.keys import MASTER_KEY_FILE
from tests.pipeline import prepared, running
from tests.producers.conftest import as_role, gateway_of
from tests.stack import servers

# What must hold of every answer, whatever was sent.
CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
SCHEMATHESIS = Path(sys.executable).with_name("schemathesis")


class Slice(NamedTuple):
    """What one run tried and found. `cases` are requests, by status; `failures` is what it printed, where there were any."""

    cases: Counter[int]
    failures: str


def run(url: str, key: str, examples: int, seed: int, phases: str = "examples,coverage,fuzzing,stateful") -> Slice:
    """One run against a gateway, of so many examples an operation and phase."""
    with tempfile.TemporaryDirectory() as directory:
        report = Path(directory) / "report.ndjson"
        command = [
            str(SCHEMATHESIS), "run", f"{url}/openapi.json", "--header", f"X-API-KEY: {key}", "--checks", CHECKS,
            "--phases", phases, "--max-examples", str(examples), "--seed", str(seed), "--continue-on-failure",
            "--report-ndjson-path", str(report), "--generation-database", "none", "--no-color", "--warnings", "off",
            "--request-timeout", "40", "--suppress-health-check", "all",
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=directory)
        cases: Counter[int] = Counter()
        for line in report.read_text().splitlines():
            for status in _statuses(json.loads(line)):
                cases[status] += 1
    return Slice(cases, "" if done.returncode == 0 else done.stdout + done.stderr)


def _statuses(event: object) -> list[int]:
    """The status of every answer that an event of the report tells of."""
    if isinstance(event, dict):
        response = event.get("response")
        own = [response["status_code"]] if isinstance(response, dict) and "status_code" in response else []
        return own + [status for key, value in event.items() if key != "response" for status in _statuses(value)]
    return [status for value in event for status in _statuses(value)] if isinstance(event, list) else []


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--cases", type=int, default=20_000)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(2**31))
    parser.add_argument("--examples", type=int, default=60, help="of each operation and phase, a slice")
    arguments = parser.parse_args()
    total: Counter[int] = Counter()
    os.environ["FOLDLINE_MASTER_KEY_FILE"] = MASTER_KEY_FILE
    with ExitStack() as stack:
        started = stack.enter_context(servers({"kafka", "postgres"}))
        kafka, postgres, name = started.kafka(), started.postgres(), f"fuzz_{secrets.token_hex(4)}"
        with psycopg.connect(postgres, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}".encode())
        settings = prepared(kafka, urlunsplit(urlsplit(postgres)._replace(path=f"/{name}")), f"{name}.")
        with connect(settings.database_url, "fuzz") as connection:
            org = create_organisation(connection, "Fuzz", settings.key_prefix)
            set_rate_limit(connection, org.org_id, 0)
        stack.enter_context(running(as_role(settings, "foldline_processor")))
        gateway = stack.enter_context(gateway_of(as_role(settings, "foldline_gateway")))
        ends, seed = time.monotonic() + 60 * arguments.minutes, arguments.seed
        while total.total() < arguments.cases and time.monotonic() < ends:
            found = run(gateway.url, org.secret_key, arguments.examples, seed)
            total += found.cases
            print(f"seed {seed}: {found.cases.total()} cases, {total.total()} in all", flush=True)
            if found.failures:
                print(found.failures)
                return 1
            seed += 1
    print(", ".join(f"{status}: {count}" for status, count in sorted(total.items())))
    return 0


if __name__ == "__main__":
    sys.exit(main())
