"""A field is added: processors of the old and the new version side by side, over old and new events, by a real registry.

The new version is this program with one more version of each event's schema. Both fold everything, and replay everything.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import fastavro
import psycopg

import schemas
from foldline.adapters.codec import UPSERTS_TOPIC, without_logical_types
from foldline.domain.keys import message_key, partition_of
from foldline.domain.records import DETAIL_FIELD, ID_FIELD, KINDS, Kind, Upsert
from foldline.embedded.processes import spawn, until
from foldline.settings import Settings
from tests.pipeline import append, append_raw, assert_equal, prepared, wait_applied
from tests.registry import ask

ADDED = {"name": "source", "type": ["null", "string"], "default": None, "doc": "What has sent it."}
PROGRAM = (sys.executable, "-P", "-m", "foldline")  # -P: what lies in the working directory is not imported
READY_SECONDS = 60.0


def newer(kind: Kind) -> schemas.Schema:
    """The next version of a kind's event: a field more."""
    last = schemas.latest(UPSERTS_TOPIC[kind])
    definition = last.definition
    definition["fields"].insert(3, ADDED)
    return last._replace(version=last.version + 1, text=json.dumps(definition))


def newer_program(directory: Path) -> dict[str, str]:
    """The variables by which Python takes the new version's schemas for this one's."""
    package = directory / "schemas"
    shutil.copytree(Path(schemas.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    rows = ""
    for kind in KINDS:
        schema = newer(kind)
        (package / f"{schema.record}.v{schema.version}.avsc").write_text(schema.text)
        rows += f'    ("{schema.record}", {schema.version}, "{schema.topic}"),\n'
    module = package / "__init__.py"
    head, order, rest = module.read_text().partition("_ORDER = (\n")
    rest_of_order, end, tail = rest.partition("\n)\n")
    module.write_text(f"{head}{order}{rest_of_order}\n{rows.rstrip()}{end}{tail}")
    return {"PYTHONPATH": str(directory)}


def environment(settings: Settings, others: Mapping[str, str]) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("FOLDLINE_")}
    changed = {name: getattr(settings, name) for name in settings.model_fields_set}
    return kept | {f"FOLDLINE_{name.upper()}": str(value) for name, value in changed.items()} | dict(others)


def foldline(
    settings: Settings, version: Mapping[str, str], directory: Path, *arguments: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*PROGRAM, *arguments],
        env=environment(settings, version),
        cwd=directory,
        capture_output=True,
        text=True,
        check=False,
    )


class Processor:
    """A processor of one version, as a process of its own."""

    def __init__(self, settings: Settings, version: Mapping[str, str], log: Path) -> None:
        self._log = log
        self.process = spawn(
            [*PROGRAM, "process"], log=log, environment=environment(settings, version), directory=log.parent
        )

    def assigned(self) -> set[str]:
        """The partitions that it was given last."""
        lines = [json.loads(line) for line in self._log.read_text().splitlines() if '"assigned"' in line]
        return set(lines[-1]["partitions"]) if lines else set()


@contextmanager
def processor(settings: Settings, version: Mapping[str, str], log: Path) -> Iterator[Processor]:
    started = Processor(settings, version, log)
    try:
        yield started
    finally:
        started.process.terminate()
        code = started.process.wait(30)
    assert code == 0, log.read_text()


def encoded(kind: Kind, event: Upsert, schema_id: int, source: str | None) -> bytes:
    """An event as the new version writes it."""
    names = ("org_id", ID_FIELD[kind], DETAIL_FIELD[kind], *Upsert._fields[3:])
    value: dict[str, Any] = dict(zip(names, event, strict=True)) | {"source": source}
    written = BytesIO(b"\0" + schema_id.to_bytes(4, "big"))
    written.seek(5)
    fastavro.schemaless_writer(written, fastavro.parse_schema(without_logical_types(newer(kind).definition)), value)
    return written.getvalue()


def events(seed: int, kind: Kind, count: int) -> list[Upsert]:
    chosen = random.Random(seed)
    return [
        Upsert(
            "org_1",
            f"P-{chosen.randrange(40)}",
            "product" if kind == "items" else chosen.choice((None, 1_700_000_000_000_000)),
            chosen.choice((None, "active", "inactive", "deleted")),
            f'{{"k{chosen.randrange(3)}": {number}}}',
            1_700_000_000_000_000 + number,
            "a" * 32,
            number,
        )
        for number in range(count)
    ]


def test_old_and_new_processors_fold_old_and_new_events(
    kafka: str, database: str, topic_prefix: str, schema_registry: str, tmp_path: Path
) -> None:
    settings = prepared(kafka, database, topic_prefix, partitions=4, schema_registry_url=schema_registry)
    old: dict[str, str] = {}
    new = newer_program(tmp_path / "new")
    written: list[tuple[Kind, Upsert]] = []

    def write(seed: int, ids: Mapping[Kind, int]) -> None:
        for kind in KINDS:
            made = events(seed, kind, 200)
            if not ids:
                append(settings, kind, made)
            else:
                values = (encoded(kind, event, ids[kind], (None, "shop")[event.record_index % 2]) for event in made)
                keys = [message_key(event.org_id, event.entity_id) for event in made]
                append_raw(settings, kind, zip(keys, values, strict=True))
            written.extend((kind, event) for event in made)

    write(1, {})
    done = foldline(settings, new, tmp_path, "init")
    names = ", ".join(f"{newer(kind).record}.v{newer(kind).version}" for kind in KINDS)
    assert (done.returncode, f"schemas: {names}, " in " ".join(done.stderr.split())) == (0, True), done.stderr
    ids = {kind: schema_id(settings, kind) for kind in KINDS}

    with processor(settings, old, tmp_path / "old.log") as first, processor(settings, new, tmp_path / "new.log") as second:
        every = {f"{topic_prefix}{topic}[{number}]" for topic in UPSERTS_TOPIC.values() for number in range(4)}

        def shared() -> bool:
            halves = (first.assigned(), second.assigned())
            return all(halves) and not halves[0] & halves[1] and halves[0] | halves[1] == every

        assert until(shared, READY_SECONDS), (first.assigned(), second.assigned())
        for seed in range(2, 6):
            write(seed, ids if seed % 2 else {})
        wait_applied(settings)
        assert shared()
    assert {partition_of(message_key("org_1", f"P-{number}"), 4) for number in range(40)} == {0, 1, 2, 3}
    assert_equal(settings, written)
    with psycopg.connect(database) as connection:
        assert connection.execute("SELECT count(*) FROM foldline_control.dead_letters").fetchone() == (0,)
    for version in (old, new):
        done = foldline(settings, version, tmp_path, "verify")
        assert done.returncode == 0, done.stdout + done.stderr


def schema_id(settings: Settings, kind: Kind) -> int:
    """The id that the registry has given to the new version's schema."""
    assert settings.schema_registry_url is not None
    subject = f"{settings.topic_prefix}{UPSERTS_TOPIC[kind]}-value"
    found: int = ask(settings.schema_registry_url, "POST", f"/subjects/{subject}", {"schema": newer(kind).text})["id"]
    return found
