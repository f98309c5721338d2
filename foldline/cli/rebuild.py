"""`foldline rebuild` and `foldline verify`: the log replayed into a generation, to replace the live one or to compare."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from confluent_kafka import Consumer, TopicPartition
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from foldline.adapters.codec import UPSERTS_TOPIC
from foldline.adapters.consumer import reader_config
from foldline.adapters.postgres import Connection, translated
from foldline.adapters.topics import TIMEOUT_SECONDS
from foldline.cli.context import NEGATIVE, DataDir, Json, settings_for
from foldline.cli.orgs import connected
from foldline.domain.times import parse_rfc3339
from foldline.settings import Settings
from processors import rebuild as rebuilds
from processors.rebuild import SAMPLE, Comparison
from projections import generations
from projections.state import Partition

SWAP, VERIFY = "rebuild", "verify"
# More than the server needs to end a session.
SESSION_END_SECONDS = 10.0


def rebuild(
    swap: Annotated[bool, typer.Option("--swap", help="Put it in the live generation's place.")] = False,
    as_of: Annotated[
        str | None, typer.Option(help="Fold only what the log had then (RFC 3339, inclusive).", metavar="TIME")
    ] = None,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Replay the log into a new generation beside the live one."""
    if swap and as_of is not None:
        raise typer.BadParameter("a generation of the past cannot take the live one's place", param_hint="--as-of")
    settings = settings_for(data_dir)
    with (
        connected(settings) as connection,
        building(settings, connection, f"as of {as_of}" if as_of else SWAP) as generation,
    ):
        live = generations.live_generation(connection)
        assert live is not None
        ends = rebuilds.positions(connection, settings, live)
        if as_of is not None:
            ends = _ends_at(settings, ends, as_of)
        shown: dict[str, Any] = {"generation": generation, "records": sum(ends.values())}
        began = time.monotonic()
        with _bar(connection, settings, generation, sum(ends.values())) as moved:
            rebuilds.build(settings, generation, ends, moved)
            shown["seconds"] = round(time.monotonic() - began, 3)
            if swap:
                compared = rebuilds.compare(settings, generation, moved)
                shown |= _compared(compared)
                _tell(compared)
                shown |= {"replaced": rebuilds.swap(connection, settings, generation, compared, moved).old}
            else:
                generations.built(connection, generation)
        generations.drop_expired(connection)
    if as_json:
        print(json.dumps(shown))
    else:
        what = f"is live in place of {shown['replaced']}" if swap else "is built; `foldline generations list` shows it"
        typer.echo(f"generation {generation} {what}", err=True)


def verify(data_dir: DataDir = None, as_json: Json = False) -> None:
    """Replay the log into a scratch generation and compare it, row by row, with the live one at the same position."""
    settings = settings_for(data_dir)
    with connected(settings) as connection, building(settings, connection, VERIFY, resume=False) as generation:
        live = generations.live_generation(connection)
        assert live is not None
        total = sum(rebuilds.positions(connection, settings, live).values())
        with _bar(connection, settings, generation, total) as moved:
            compared = rebuilds.compare(settings, generation, moved)
        generations.drop(connection, generation)
    if as_json:
        print(json.dumps(_compared(compared)))
    else:
        print(f"rows: {compared.rows[0]} live, {compared.rows[1]} replayed")
        print(f"checksum: {compared.checksums[0]} live, {compared.checksums[1]} replayed")
        print(f"differences: {len(compared.differences)}")
        _tell(compared)
    if compared.differences:
        sys.exit(NEGATIVE)


@contextmanager
def building(settings: Settings, connection: Connection, purpose: str, *, resume: bool = True) -> Iterator[int]:
    """A generation to build. Where somebody cancels, nothing of it is left; where a server fails, the next one goes on."""
    generations.hold(connection)
    generation, resumed = generations.begin(connection, purpose, resume=resume)
    try:
        if resumed:
            typer.echo(f"going on with generation {generation}", err=True)
        yield generation
    except (KeyboardInterrupt, typer.Abort):
        with translated():
            connection.cancel_safe()  # it may be in the middle of a statement, where it can be asked nothing more
        connection.close()
        with connected(settings) as another:
            generations.hold(another, SESSION_END_SECONDS)
            generations.drop(another, generation)
        typer.echo(f"cancelled: nothing is left of generation {generation}", err=True)
        raise


def _ends_at(settings: Settings, ends: dict[Partition, int], as_of: str) -> dict[Partition, int]:
    """Where the log ended at a time, inclusive, by the log's own times; no further than it is folded."""
    micros = parse_rfc3339(as_of)
    if micros is None:
        raise typer.BadParameter(
            f"{as_of!r} is not RFC 3339 with Z or an offset, such as 2025-01-12T09:00:00Z", param_hint="--as-of"
        )
    after = micros // 1000 + 1
    consumer = Consumer(reader_config(settings))
    try:
        asked = [TopicPartition(settings.topic_prefix + UPSERTS_TOPIC[kind], number, after) for kind, number in ends]
        found = consumer.offsets_for_times(asked, timeout=TIMEOUT_SECONDS)
    finally:
        consumer.close()
    starts = [place.offset if place.offset >= 0 else end for place, end in zip(found, ends.values(), strict=True)]
    return {partition: min(start, end) for (partition, end), start in zip(ends.items(), starts, strict=True)}


@contextmanager
def _bar(connection: Connection, settings: Settings, generation: int, total: int) -> Iterator[Callable[[int], None]]:
    """Progress on stderr, with rate and remaining time, where somebody looks at it."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("records"))
    speed = TextColumn("{task.fields[rate]}")
    console = Console(stderr=True)
    folded = sum(rebuilds.positions(connection, settings, generation).values())
    began = time.monotonic()
    with Progress(*columns, speed, TimeRemainingColumn(), console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task(f"generation {generation}", total=total, completed=folded, rate="")

        def moved(records: int) -> None:
            rate = records / max(0.001, time.monotonic() - began)
            bar.update(task, completed=min(total, folded + records), rate=f"{rate:,.0f}/s")

        yield moved


def _compared(compared: Comparison) -> dict[str, Any]:
    return {
        "rows": {"live": compared.rows[0], "replayed": compared.rows[1]},
        "checksum": {"live": compared.checksums[0], "replayed": compared.checksums[1]},
        "difference_count": len(compared.differences),
        "differences": [difference._asdict() for difference in compared.differences[:SAMPLE]],
    }


def _tell(compared: Comparison) -> None:
    """How many records differ, and the first of them, on stderr."""
    if compared.differences:
        typer.echo(f"{len(compared.differences)} records differ, among them:", err=True)
    for difference in compared.differences[:SAMPLE]:
        missing = f", which the {difference.missing} generation lacks" if difference.missing else ""
        typer.echo(f"  {difference.kind[:-1]} {difference.entity_id} of {difference.org_id}{missing}", err=True)
