"""The past of a record: the state at any position is what the events up to it add up to."""

from __future__ import annotations

import random

from foldline.domain.fold import FOLD
from foldline.domain.keys import message_key, partition_of
from foldline.domain.records import Rejection, State, Upsert
from projections.history import Entry, history, state_at
from tests.pipeline import append, append_raw, prepared


def test_states_at_positions_are_the_models(kafka: str, database: str, topic_prefix: str) -> None:
    settings = prepared(kafka, database, topic_prefix)
    chosen = random.Random(1)
    sent = [
        Upsert(
            "org_1",
            f"P-{chosen.randrange(4)}",
            chosen.choice((None, "product")),
            chosen.choice((None, "active", "deleted")),
            f'{{"k{chosen.randrange(3)}": {chosen.randrange(5)}}}',
            number,
            "0" * 32,
            number,
        )
        for number in range(400)
    ]
    append(settings, "items", sent)
    for item_id in ("P-0", "P-1", "P-2", "P-3", "unknown"):
        past = list(history(settings, "items", "org_1", item_id))
        assert [entry.event for entry in past] == [event for event in sent if event.entity_id == item_id]
        for position in chosen.sample(range(400), 25):
            assert state_at(iter(past), lambda entry, p=position: entry.offset > p) == (model(past, position), False)


def model(past: list[Entry], position: int) -> State | None:
    state: State | None = None
    for entry in past:
        if entry.offset <= position:
            assert entry.event is not None
            after = FOLD["items"](state, entry.event, entry.partition, entry.offset)
            state = state if isinstance(after, Rejection) else after
    return state


def test_what_changed_and_what_was_rejected(kafka: str, database: str, topic_prefix: str) -> None:
    settings = prepared(kafka, database, topic_prefix, partitions=1)
    key = message_key("org_1", "P")
    assert partition_of(key, settings.partitions) == 0
    append(settings, "items", [Upsert("org_1", "P", None, None, None, 0, "a" * 32, 0)])
    append(settings, "items", [Upsert("org_1", "P", "product", None, '{"a": 1, "b": null}', 5, "b" * 32, 0)])
    append_raw(settings, "items", [(key, b"nonsense")])
    append(settings, "items", [Upsert("org_1", "P", None, "deleted", '{"a": 2}', 6, "c" * 32, 3)])
    first, second, third, fourth = history(settings, "items", "org_1", "P")
    assert (first.offset, first.rejection and first.rejection.code, first.state) == (0, "item_type_required", None)
    assert second.changed == {
        "status": (None, "active"), "item_type": (None, "product"), "attributes.a": (None, 1), "attributes.b": (None, None),
    }  # fmt: skip
    assert (third.event, third.rejection and third.rejection.code, third.state) == (None, "undecodable", second.state)
    assert fourth.changed == {"status": ("active", "deleted"), "attributes.a": (1, 2)}
    assert fourth.state is not None
    assert fourth.state.version == 2
