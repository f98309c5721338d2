"""Processors: whether there are any, and whether they get on with what waits for them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple, TypeAlias

from foldline.adapters.codec import UPSERTS_TOPIC
from foldline.adapters.consumer import watermarks
from foldline.adapters.topics import TIMEOUT_SECONDS, admin_client
from foldline.cli.doctor.deployment import Deployment
from foldline.cli.doctor.findings import Finding, Findings, fault, unless, warning
from foldline.embedded.processes import until
from processors.runners.lives import group
from projections.lag import Applied, Lag, lag_of

# So long is watched whether positions move; a batch is committed several times a second.
WATCH_SECONDS = 5.0
# Records that are to be published without an event wait so long at most, where a processor runs.
PENDING_SECONDS = 120.0

Place: TypeAlias = tuple[str, int]


class Progress(NamedTuple):
    """`members` is how many processors are in the group; `stuck` are the partitions with records to be folded of which none
    was while they were watched, `unpublished` those with states to be published of which none was."""

    members: int
    lag: Lag
    stuck: list[Place]
    unpublished: list[Place]


def of_processors(deployment: Deployment) -> Findings:
    """The members of the group, the lag, and whether it shrinks."""
    settings = deployment.settings
    progress = _watched(deployment)
    start = deployment.log_or(
        "processor-1", "start one: foldline process. Where one should run, its log says why it does not"
    )
    found = judged_progress(progress, group(settings), settings.doctor_lag_seconds, start)
    return unless(found, f"{progress.members} processors, {progress.lag.records} records behind")


def judged_progress(progress: Progress, group_id: str, most_seconds: float, start: str) -> Iterator[Finding]:
    """What is wrong with processors that were seen to get on like this; `start` says how to get one where there is none."""
    lag = progress.lag
    waiting = f"{lag.records} records wait to be folded, the oldest for {lag.seconds:.0f} s"
    if not progress.members:
        yield fault(
            f"no processor is running: nobody is in the group {group_id}" + (f", and {waiting}" if lag.records else ""),
            start,
        )
    elif progress.stuck:
        yield fault(
            f"the processors do not get on: {waiting}, in {_named(progress.stuck)}",
            "their logs say `begin again` and why, or which loud stop ended them; else restart them",
        )
    elif lag.seconds > most_seconds:
        yield warning(
            f"the processors are behind, and get on: {waiting}",
            "wait; where it grows, start more processors, up to the partitions of a topic, on cores of their own",
        )
    if progress.members and progress.unpublished:
        yield fault(
            f"states are folded and not published, in {_named(progress.unpublished)}",
            "the processors' logs say what Kafka refuses; readers of the tables have the states, those of the topics do not",
        )


def pending(deployment: Deployment) -> Findings:
    """States that should have been published without an event: after a swap, or when an erased user's are due."""
    ((overdue,),) = deployment.rows("overdue", (PENDING_SECONDS,))
    found = [
        warning(f"{overdue} states are to be published, and were not in time", "see that a processor runs, and its log")
    ]
    return unless(found if overdue else [], "no publication is overdue")


def _watched(deployment: Deployment) -> Progress:
    """Who works, what waits, and how both change until all of it has moved or a while is over."""
    settings = deployment.settings
    admin = admin_client(settings)
    described = admin.describe_consumer_groups([group(settings)], request_timeout=TIMEOUT_SECONDS)
    members = len(described[group(settings)].result(TIMEOUT_SECONDS).members)
    before = _positions(deployment)
    ends: dict[Place, int] = {}
    for topic in (settings.topic_prefix + topic for topic in UPSERTS_TOPIC.values()):
        count = sum(name == topic for name, _ in before)
        ends |= {(topic, number): high for number, (_, high) in enumerate(watermarks(settings, topic, count))}
    lag = lag_of(settings, [Applied(*place, applied) for place, (applied, _) in before.items() if place in ends])
    stuck = [place for place, (applied, _) in before.items() if ends.get(place, 0) > applied]
    unpublished = [place for place, (applied, published) in before.items() if ends.get(place, 0) >= applied > published]

    def moved() -> bool:
        nonlocal stuck, unpublished
        now = _positions(deployment)
        stuck = [place for place in stuck if now.get(place, before[place])[0] == before[place][0]]
        unpublished = [place for place in unpublished if now.get(place, before[place])[1] == before[place][1]]
        return not stuck and not unpublished

    if members:
        until(moved, WATCH_SECONDS)
    return Progress(members, lag, stuck, unpublished)


def _positions(deployment: Deployment) -> Mapping[Place, tuple[int, int]]:
    return {
        (topic, partition): (applied, published) for topic, partition, applied, published in deployment.rows("positions")
    }


def _named(places: list[Place]) -> str:
    return ", ".join(f"{topic}[{partition}]" for topic, partition in places)
