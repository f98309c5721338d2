"""`foldline dead-letters`: what could not be folded, why, and back into the log."""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter
from enum import StrEnum
from typing import Annotated, Any

import typer

from foldline.adapters.producer import KafkaLog
from foldline.adapters.registry import registry_of
from foldline.cli.context import NEGATIVE, DataDir, Json, settings_for
from foldline.cli.orgs import connected
from foldline.domain.errors import FoldlineError
from foldline.domain.times import format_rfc3339, parse_rfc3339
from foldline.domain.values import printable
from foldline.settings import Settings
from producers.accounts.audit import COMMAND_LINE
from producers.redrive import Outcome, Redriver
from projections import letters
from projections.forecast import Forecast, Forecaster
from projections.letters import Letter, Place, Wanted

FLUSH_SECONDS = 5.0
SHOWN_BYTES = 4096
WOULD = {"applied": "would be applied", "rejected": "would be rejected again", "impossible": "cannot be redriven"}

app = typer.Typer(no_args_is_help=True, add_completion=False, help="List, show and redrive what could not be folded.")


class KindOf(StrEnum):
    """Of what the record was to be an upsert."""

    items = "items"
    users = "users"


Org = Annotated[str | None, typer.Option("--org", help="Only this organisation's.", metavar="ID")]
Reason = Annotated[str | None, typer.Option("--reason", help="Only of this reason, by its code.", metavar="CODE")]
Since = Annotated[str | None, typer.Option("--since", help="Only what came then or later (RFC 3339).", metavar="TIME")]
Until = Annotated[str | None, typer.Option("--until", help="Only what came then or earlier (RFC 3339).", metavar="TIME")]
OfKind = Annotated[KindOf | None, typer.Option("--kind", help="Only of items or of users.")]
Id = Annotated[str | None, typer.Option("--id", help="Only of this record.", metavar="ID")]
PLACE = "TOPIC:PARTITION:OFFSET"


@app.command(name="list")
def list_(
    org: Org = None,
    reason: Reason = None,
    since: Since = None,
    until: Until = None,
    kind: OfKind = None,
    id_: Id = None,
    waiting: Annotated[bool, typer.Option("--waiting", help="Only what was not redriven.")] = False,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Show dead letters, newest first."""
    wanted = _wanted(org, reason, since, until, kind, id_)._replace(status="waiting" if waiting else "")
    settings = settings_for(data_dir)
    with connected(settings) as connection:
        for letter in letters.every(connection, settings, wanted):
            print(json.dumps(letters.as_json(letter), ensure_ascii=False) if as_json else _line(letter))


@app.command()
def show(
    place: Annotated[str, typer.Argument(help="Where it lies in the log.", metavar=PLACE)],
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Show one dead letter with its bytes, its event and what would become of it now; exits with 1 where there is none."""
    settings = settings_for(data_dir)
    at = _place(place)
    with connected(settings) as connection:
        letter = letters.letter(connection, settings, at)
        if letter is None:
            raise FoldlineError(f"there is no dead letter {place}")
        (forecast,) = Forecaster(connection, settings).of([letter])
    document = letters.as_whole_json(letter, registry_of(settings)) | {"redrive": _forecast_json(forecast)}
    print(json.dumps(document, ensure_ascii=False) if as_json else _whole(letter, document, forecast))


@app.command()
def redrive(
    places: Annotated[list[str] | None, typer.Argument(help="Those alone.", metavar=PLACE)] = None,
    org: Org = None,
    reason: Reason = None,
    since: Since = None,
    until: Until = None,
    kind: OfKind = None,
    id_: Id = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would become of each now, and do nothing.")] = False,
    again: Annotated[bool, typer.Option("--again", help="Also what was redriven before.")] = False,
    applicable: Annotated[bool, typer.Option("--applicable", help="Only what would be applied now.")] = False,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Send dead letters into the log again, oldest first: those named, or all that the options leave.

    Exits with 1 where none was redriven, or one of those named was not.
    """
    wanted = _wanted(org, reason, since, until, kind, id_)
    if not places and wanted == Wanted():
        raise typer.BadParameter(f"say which: {PLACE}, --reason, --org, --since, --until, --kind or --id")
    settings = settings_for(data_dir)
    named = [_place(place) for place in places or ()]
    if named:
        wanted = wanted._replace(places=named)
        _assert_known(settings, wanted)
    if dry_run:
        _forecast(settings, wanted, again, as_json)
        return
    counts = asyncio.run(_redrive(settings, wanted, again, applicable, as_json))
    if not counts["redriven"] or (named and len(counts) > 1):
        sys.exit(NEGATIVE)


async def _redrive(settings: Settings, wanted: Wanted, again: bool, applicable: bool, as_json: bool) -> Counter[str]:
    counts = Counter[str]()
    log = KafkaLog(settings, registry_of(settings), lambda *_: None)
    await log.open()
    try:
        with connected(settings) as connection:
            redriver = Redriver(settings, connection, log, COMMAND_LINE)
            async for outcome in redriver.run(wanted, again=again, applicable=applicable):
                counts[outcome.outcome] += 1
                print(
                    json.dumps(_outcome_json(outcome), ensure_ascii=False) if as_json else _outcome_line(outcome), flush=True
                )
    finally:
        await log.close(FLUSH_SECONDS)
    before = f"{counts['already_redriven']:,} left alone that were redriven before (--again redrives them)"
    left = f"{counts['rejected']:,} that would be rejected again, " if applicable else ""
    typer.echo(f"{counts['redriven']:,} redriven, {before}, {left}{counts['impossible']:,} cannot be redriven", err=True)
    return counts


def _forecast(settings: Settings, wanted: Wanted, again: bool, as_json: bool) -> None:
    counts = Counter[str]()
    with connected(settings) as connection:
        forecaster = Forecaster(connection, settings)
        for chunk in letters.chunks(connection, settings, wanted):
            found = letters.raw_letters(connection, settings, chunk)
            before = [] if again else [letter for letter in found if letter.landed is not None]
            fresh = [letter for letter in found if again or letter.landed is None]
            told = [(_outcome_json(one), _outcome_line(one)) for one in (_left(letter) for letter in before)]
            told += [(_would_json(*one), _would_line(*one)) for one in zip(fresh, forecaster.of(fresh), strict=True)]
            for document, line in told:
                counts[document["outcome"]] += 1
                print(json.dumps(document, ensure_ascii=False) if as_json else line)
    said = ", ".join(f"{counts[outcome]:,} {words}" for outcome, words in WOULD.items())
    typer.echo(f"{said}, {counts['already_redriven']:,} redriven before; nothing is redriven (--dry-run)", err=True)


def _assert_known(settings: Settings, wanted: Wanted) -> None:
    with connected(settings) as connection:
        known = {place for chunk in letters.chunks(connection, settings, wanted) for place in chunk}
    for place in wanted.places or ():
        if place not in known:
            raise FoldlineError(f"there is no such dead letter {place}")


def _wanted(
    org: str | None, reason: str | None, since: str | None, until: str | None, kind: KindOf | None, id_: str | None
) -> Wanted:
    if any("\0" in text for text in (org, reason, id_) if text):
        raise typer.BadParameter("a NUL character is in no dead letter's id")
    return Wanted(org, reason, kind and kind.value, id_, _time("--since", since), _time("--until", until))  # type: ignore[arg-type]


def _time(option: str, text: str | None) -> int | None:
    micros = None if text is None else parse_rfc3339(text)
    if text is not None and micros is None:
        wrong = f"{text!r} is not RFC 3339 with Z or an offset, such as 2025-01-12T09:00:00Z"
        raise typer.BadParameter(wrong, param_hint=option)
    return micros


def _place(text: str) -> Place:
    place = letters.place_of(text)
    if place is None:
        raise typer.BadParameter(f"{text!r} is not {PLACE}, such as items.upserts.v1:0:17")
    return place


def _forecast_json(forecast: Forecast) -> dict[str, Any]:
    return {"outcome": forecast.outcome, "code": forecast.code or None, "message": forecast.message or None}


def _would_json(letter: Letter, forecast: Forecast) -> dict[str, Any]:
    return _named(letter) | _forecast_json(forecast)


def _left(letter: Letter) -> Outcome:
    return Outcome(letter, "already_redriven", letter.redrive)


def _outcome_json(outcome: Outcome) -> dict[str, Any]:
    redrive = outcome.redrive
    return _named(outcome.letter) | {
        "outcome": outcome.outcome,
        "code": outcome.code or None,
        "message": outcome.message or None,
        "redriven_at": redrive and format_rfc3339(redrive.asked_at),
        "redriven_by": redrive and redrive.asked_by,
        "redriven_to": str(outcome.landed) if outcome.landed else None,
    }


def _named(letter: Letter) -> dict[str, Any]:
    return {"letter": str(letter.place), "org_id": letter.org_id, "kind": letter.kind, "id": letter.entity_id}


def _line(letter: Letter) -> str:
    who = "unknown" if letter.org_id is None else printable(f"{letter.org_id}:{letter.entity_id}")
    words = f"{format_rfc3339(letter.logged_at)}  {letter.place}  {letter.code}  {who}  {printable(letter.message)}"
    return words + (f"  redriven to {letter.landed}" if letter.landed else "")


def _would_line(letter: Letter, forecast: Forecast) -> str:
    why = f": {printable(forecast.message)} ({forecast.code})" if forecast.code else ""
    return f"{letter.place}  {WOULD[forecast.outcome]}{why}"


def _outcome_line(outcome: Outcome) -> str:
    redrive = outcome.redrive
    if redrive is None:
        return f"{outcome.letter.place}  {WOULD[outcome.outcome]}: {printable(outcome.message)} ({outcome.code})"
    when = f" at {format_rfc3339(redrive.asked_at)} by {redrive.asked_by}" if outcome.outcome == "already_redriven" else ""
    return f"{outcome.letter.place}  {'was ' if when else ''}redriven{when}, to {outcome.landed}"


def _whole(letter: Letter, document: dict[str, Any], forecast: Forecast) -> str:
    shown = {name: value for name, value in letters.as_json(letter).items() if value is not None}
    lines = [f"{name}: {printable(str(value))}" for name, value in shown.items()]
    if document["event"] is not None:
        lines += ["event:", json.dumps(document["event"], ensure_ascii=True, indent=2)]
    for name, data in (("key", letter.key), ("value", letter.value)):
        lines += [f"{name}: none"] if data is None else [f"{name}: {len(data)} bytes", *letters.hexdump(data, SHOWN_BYTES)]
    return "\n".join([*lines, f"redrive: {_would_line(letter, forecast).partition('  ')[2]}"])
