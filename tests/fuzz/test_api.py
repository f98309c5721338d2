"""A short campaign of schemathesis, in every run of the tests; `make fuzz` is the long one."""

from __future__ import annotations

import pytest

from tests.fuzz.campaign import run
from tests.producers.conftest import Gateway, NewOrg, gateway, new_org, stage  # noqa: F401 (fixtures)

pytestmark = pytest.mark.server


def requests(gateway: Gateway) -> int:  # noqa: F811
    """How many the gateway has answered."""
    families = gateway.parts.metrics.registry.collect()
    return sum(int(s.value) for family in families for s in family.samples if s.name == "foldline_http_requests_total")


def test_every_answer_is_a_documented_one(gateway: Gateway, new_org: NewOrg) -> None:  # noqa: F811
    before = requests(gateway)
    found = run(gateway.url, new_org().secret_key, examples=5, seed=1)
    assert found.failures == ""
    assert 200 < found.cases.total() <= requests(gateway) - before  # cases are requests, none counted twice
    assert {200, 202, 400, 404} <= found.cases.keys()
    assert max(found.cases) < 500
