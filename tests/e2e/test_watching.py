"""A running stack as Prometheus sees it: everything that the rules and the dashboard ask for is there and has values."""

from __future__ import annotations

import json
import time

import httpx
import pytest

from tests.deploy.test_watching import ELSEWHERE, RULES, expressions, names_in
from tests.e2e.outside import Organisation, Stack, eventually

pytestmark = pytest.mark.server

# They have a sample once what they count has happened.
AFTERWARDS = {"foldline_delivery_failures_total", "foldline_field_errors_total"}


def scraped(url: str) -> dict[str, dict[str, float]]:
    """The samples of a service: by name, by labels."""
    found: dict[str, dict[str, float]] = {}
    answer = httpx.get(url, trust_env=False, timeout=30)
    assert answer.status_code == 200
    for line in answer.text.splitlines():
        if not line.startswith("#"):
            series, value = line.rsplit(" ", 1)
            name, _, labels = series.partition("{")
            found.setdefault(name, {})[labels.rstrip("}")] = float(value)
    return found


def test_a_stack_says_where_its_metrics_are_and_they_are_those_that_are_asked_for(stack: Stack, org: Organisation) -> None:
    places = json.loads(stack.foldline("status", "--json").stdout)["metrics"]
    assert places.keys() == {"gateway", "processor-1"}
    assert places["gateway"] == f"{stack.url}/metrics"
    shown = stack.foldline("status").stderr
    assert all(f"metrics of {name}: {url}\n" in shown for name, url in places.items())
    processor = places["processor-1"]
    assert httpx.get(processor.replace("/metrics", "/readyz"), trust_env=False).status_code == 200

    first = scraped(processor)
    before, seconds_before = first["foldline_freshness_seconds_count"], first["foldline_freshness_seconds_sum"]
    began = time.time()
    org.upsert("items", [{"item_id": f"{number}", "item_type": "p"} for number in range(50)])
    took = time.time() - began
    labels = 'kind="items",stage="committed"'
    # What is committed is readable, and is counted then.
    assert eventually(lambda: scraped(processor)["foldline_freshness_seconds_count"][labels] - before[labels] == 50, 30)
    after = scraped(processor)
    published = 'kind="items",stage="published"'
    assert eventually(
        lambda: scraped(processor)["foldline_freshness_seconds_count"][published] - before[published] == 50, 30
    )
    # From the gateway's clock to the processor's, which are one here: the answer came after the commit.
    ages = after["foldline_freshness_seconds_sum"][labels] - seconds_before[labels]
    assert 0 < ages < 50 * (took + 1)

    wanted = {name for expression in expressions() for name in names_in(expression)}
    wanted -= {*ELSEWHERE, *AFTERWARDS, *(rule["record"] for rule in RULES if "record" in rule)}
    assert eventually(lambda: wanted <= scraped(processor).keys() | scraped(places["gateway"]).keys(), 60)
