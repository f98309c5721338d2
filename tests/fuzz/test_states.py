"""A state machine over two gateways and the fold behind them: whatever is sent in whatever order, what is read back is what
a model written from the contract makes of what was accepted."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from foldline.settings import Settings
from tests.e2e.outside import ID, KINDS, Json, data, path_of
from tests.e2e.test_upserts import AWKWARD_IDS, NAMES, VALUES, Model, assert_equal
from tests.producers.conftest import Gateway, NewOrg, as_role, gateway, gateway_of, new_org, stage  # noqa: F401 (fixtures)

pytestmark = pytest.mark.server

IDS = st.sampled_from(["a", "b", *AWKWARD_IDS[:12]])
OPTIONAL = {
    "status": st.sampled_from(["active", "inactive", "deleted"]),
    "attributes": st.dictionaries(st.sampled_from(NAMES), st.sampled_from(VALUES), max_size=3),
}
RECORDS = {
    "items": st.fixed_dictionaries(
        {"item_id": IDS}, optional=OPTIONAL | {"item_type": st.sampled_from(["product", "é 😀"])}
    ),
    "users": st.fixed_dictionaries(
        {"user_id": IDS}, optional=OPTIONAL | {"created_at": st.just("2024-05-01T10:00:00.000001+02:00")}
    ),
}
SENT = st.sampled_from(KINDS).flatmap(lambda kind: st.tuples(st.just(kind), st.lists(RECORDS[kind], min_size=1, max_size=5)))
BAD: list[Any] = [{}, None, 7, {"price": 3}, {"item_id": "", "user_id": ""}, {"item_id": 7, "user_id": 7}]
WHICH = st.integers(0, 1)


class Conversation(RuleBasedStateMachine):
    """One organisation's, with a gateway after the other."""

    gateways: ClassVar[list[Gateway]]
    new_org: ClassVar[Any]

    def __init__(self) -> None:
        super().__init__()
        key = type(self).new_org().secret_key
        self.clients = [one.client(key) for one in self.gateways]
        self.model = Model()
        self.newest: dict[str, str] = {}  # the last operation of each kind

    def teardown(self) -> None:
        for kind in KINDS:
            found = self._listed(kind)
            expected = {entity_id: state for (of, entity_id), state in self.model.states.items() if of == kind}
            assert found.keys() == expected.keys()
            for entity_id, state in found.items():
                assert_equal(kind, state, expected[entity_id])
        for client in self.clients:
            client.close()

    @rule(sent=SENT, which=WHICH, waits=st.booleans())
    def upsert(self, sent: tuple[str, list[Json]], which: int, waits: bool) -> None:
        kind, records = sent
        headers = {"Prefer": "wait=30"} if waits else {}
        answer = self.clients[which].post(f"/v1/ingest/{kind}/upsert", json=records, headers=headers)
        assert answer.status_code == (200 if waits else 202), answer.text
        said = data(answer)
        self.newest[kind] = said["operation_id"]
        folded = [self.model.apply(kind, record) for record in records]
        assert said["accepted"] == len(records)
        if waits:
            assert (said["applied"], said["rejected"]) == (folded.count(True), folded.count(False))
            assert [error["index"] for error in said["errors"]] == [at for at, one in enumerate(folded) if not one]

    @rule(sent=SENT, which=WHICH, bad=st.sampled_from(BAD), at=st.integers(0, 5))
    def refuse(self, sent: tuple[str, list[Json]], which: int, bad: Any, at: int) -> None:
        """One wrong record, and nothing of the request is taken."""
        kind, records = sent
        answer = self.clients[which].post(f"/v1/ingest/{kind}/upsert", json=[*records[:at], bad, *records[at:]])
        assert answer.status_code == 400
        assert {error["index"] for error in answer.json()["error"]} == {min(at, len(records))}

    @precondition(lambda self: self.newest)
    @rule(kind=st.sampled_from(KINDS), entity_id=IDS, which=WHICH)
    def read(self, kind: str, entity_id: str, which: int) -> None:
        wanted = {"include_deleted": "true"} | self._newest(kind)
        answer = self.clients[which].get(path_of(kind, entity_id), params=wanted)
        expected = self.model.states.get((kind, entity_id))
        assert answer.status_code == (404 if expected is None else 200)
        if expected is not None:
            assert data(answer)[ID[kind]] == entity_id
            assert_equal(kind, data(answer), expected)

    @rule(kind=st.sampled_from(KINDS), which=WHICH, limit=st.integers(1, 5), status=st.sampled_from(["active", "deleted"]))
    def read_a_page(self, kind: str, which: int, limit: int, status: str) -> None:
        answer = self.clients[which].get(f"/v1/{kind}", params={"limit": limit, "status": status} | self._newest(kind))
        known = sorted(name for (of, name), state in self.model.states.items() if of == kind and state["status"] == status)
        assert [state[ID[kind]] for state in data(answer)[kind]] == known[:limit]

    def _newest(self, kind: str) -> dict[str, str]:
        return {"min_operation": self.newest[kind]} if kind in self.newest else {}

    def _listed(self, kind: str) -> dict[str, Json]:
        found: dict[str, Json] = {}
        more: dict[str, str] = {}
        while True:
            asked = {"include_deleted": "true", "limit": "3"} | self._newest(kind) | more
            page = data(self.clients[0].get(f"/v1/{kind}", params=asked))
            found |= {state[ID[kind]]: state for state in page[kind]}
            if page["next_cursor"] is None:
                return found
            more = {"cursor": page["next_cursor"]}


@pytest.fixture
def second(stage: Settings) -> Iterator[Gateway]:  # noqa: F811
    with gateway_of(as_role(stage, "foldline_gateway")) as running:
        yield running


def test_what_is_read_is_what_was_accepted(gateway: Gateway, second: Gateway, new_org: NewOrg) -> None:  # noqa: F811
    Conversation.gateways, Conversation.new_org = [gateway, second], staticmethod(new_org)
    checks = settings(max_examples=25, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck))
    run_state_machine_as_test(Conversation, settings=checks)
