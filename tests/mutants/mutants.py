"""Bugs to be planted in a copy of the program, and the test that is to find each."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent.parent
COPIED = ("foldline", "processors", "producers", "projections", "schemas", "tests", "examples", "pyproject.toml")
SECONDS = 300.0
CRASHES = "tests/processors/test_crashes.py"
IN_POSTGRESQL = "no compare-and-set in PostgreSQL"


class Mutant(NamedTuple):
    """A bug: `before` in `file` is replaced by `after`. `servers` says that its test needs Kafka and PostgreSQL."""

    name: str
    file: str
    before: str
    after: str
    test: str
    servers: bool = False


MUTANTS = (
    Mutant(
        "no compare-and-set",
        "projections/memory.py",
        "or database.positions[partition].applied != move.start",
        "or False",
        f"{CRASHES}::test_a_paused_worker_goes_on_while_its_successor_works",
    ),
    Mutant(
        IN_POSTGRESQL,
        "projections/sql/migrations/0001_initial.sql",
        "        AND p.applied = x.applied_before AND NOT p.closed;\n",
        "        AND NOT p.closed;\n",
        "tests/projections/test_state_store.py::TestPostgres::test_of_two_writers_one_is_told",
        servers=True,
    ),
    Mutant(
        "publish before the commit",
        "processors/worker.py",
        "        self._commit_store.commit(batch.commit)\n",
        "        self._publisher.submit(batch)\n        self._commit_store.commit(batch.commit)\n        return\n",
        f"{CRASHES}::test_a_fault_at_every_effect",
    ),
    Mutant(
        "lost update: a batch is not folded on the one before it, whose commit is under way",
        "processors/batch.py",
        "self._folder.fold_on(partition, records, uncommitted.get(partition), self",
        "self._folder.fold_on(partition, records, None, self",
        f"{CRASHES}::test_whatever_is_delivered",
    ),
    Mutant(
        "double fold: what was delivered again is folded again",
        "processors/worker.py",
        "                        continue\n                    if next(",
        "                        stretch.append(record)\n                        continue\n                    if next(",
        f"{CRASHES}::test_whatever_is_delivered",
    ),
    Mutant(
        "stale publish: of two states of a record the older one is published",
        "processors/publication.py",
        "rows = rows.then(newer) if len(rows) else newer\n",
        "rows = newer.then(rows) if len(rows) else newer\n",
        f"{CRASHES}::test_whatever_is_delivered",
    ),
    Mutant(
        "cross-tenant read: an item is found by its id alone",
        "projections/sql/reads.sql",
        "FROM foldline.known_items WHERE org_id = %(org_id)s AND item_id = %(entity_id)s;",
        "FROM foldline.known_items WHERE %(org_id)s <> '' AND item_id = %(entity_id)s;",
        "tests/producers/security/test_isolation.py::test_no_route_of_the_api_reaches_into_another_organisation",
        servers=True,
    ),
    Mutant(
        "leaked secret: a key that is unknown is logged",
        "producers/gateway/access.py",
        '            raise _unauthorised("The key in X-API-KEY is unknown, revoked or replaced")\n',
        '            __import__("structlog").get_logger().warning("unknown key", key=key)\n'
        '            raise _unauthorised("The key in X-API-KEY is unknown, revoked or replaced")\n',
        "tests/e2e/test_secrets_in_logs.py::test_nothing_secret_is_in_any_log",
        servers=True,
    ),
)


def is_found(mutant: Mutant) -> tuple[bool, str]:
    """Whether the test that is to find the bug fails by an assertion of its own with it; and what pytest said. Raises
    `ValueError` where the program has changed, so that the bug cannot be planted."""
    with tempfile.TemporaryDirectory(prefix="foldline-mutant-") as directory:
        copy = Path(directory)
        for name in COPIED:
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, copy / name)
        file = copy / mutant.file
        text = file.read_text()
        if text.count(mutant.before) != 1:
            raise ValueError(f"{mutant.file} has not once what {mutant.name!r} changes")
        file.write_text(text.replace(mutant.before, mutant.after))
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", mutant.test]
        environment = os.environ | {"PYTHONPATH": str(copy)}
        ran = subprocess.run(
            command, cwd=copy, env=environment, capture_output=True, text=True, timeout=SECONDS, check=False
        )
    return ran.returncode == 1 and "1 failed" in ran.stdout, ran.stdout[-3000:] + ran.stderr[-1000:]
