"""The overview: figures that are right soon, charts with at most 300 points, and nothing of anybody else's."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import httpx
import pytest

from foldline.adapters.postgres import connect
from foldline.embedded.processes import until
from foldline.settings import Settings
from producers import tenants
from projections import overview
from projections.figures import sample
from tests.producers.conftest import Gateway
from tests.producers.dashboard.test_developers import org_of
from tests.producers.dashboard.visitors import Visitor, text_of

HTMX = {"HX-Request": "true"}
CHARTS = ["items", "users", "events", "freshness", "lag-records", "lag-seconds"]


@pytest.fixture
def api(gateway: Gateway, stage: Settings, owner: Visitor) -> Iterator[httpx.Client]:
    """A client with a key of the owner's organisation."""
    with connect(stage.database_url, "test") as connection:
        key = tenants.create_key(connection, org_of(stage, owner), "secret", stage.key_prefix)
    with gateway.client(key.key) as client:
        yield client


def run(settings: Settings, query: str, **parameters: Any) -> None:
    with connect(settings.database_url, "test") as connection:
        connection.execute(query.encode(), parameters)


def send(api: httpx.Client, kind: str, records: Any) -> None:
    assert api.post(f"/v1/ingest/{kind}/upsert", json=records, headers={"Prefer": "wait=20"}).status_code == 200


def figure(answer: httpx.Response, label: str) -> str:
    """What a tile says."""
    (found,) = re.findall(rf"(?s)<dt>(?:<a[^>]*>)?{label}(?:</a>)?</dt><dd>(.*?)</dd>", answer.text)
    return " ".join(re.sub(r"(?s)<svg.*?</svg>|<[^>]+>", " ", found).split())


def points(owner: Visitor, chart: str, span: str = "1h") -> Any:
    answer = owner.get(f"/overview/{chart}.json?range={span}", headers={"Accept": "application/json"})
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "application/json"), answer.text
    return answer.json()


def last(owner: Visitor, chart: str) -> dict[str, Any]:
    """The newest value of each series."""
    return {series["label"]: series["values"][-1] for series in points(owner, chart)["series"]}


def test_before_anything_it_leads_to_the_first_steps(owner: Visitor) -> None:
    page = owner.get("/")
    assert "Nothing here yet" in text_of(page)
    assert 'href="/start"' in page.text
    assert 'hx-get="/?range=1h" hx-trigger="every 3s"' in page.text


def test_the_numbers_are_those_of_now(owner: Visitor, api: httpx.Client) -> None:
    send(api, "items", [{"item_id": f"i{n}", "item_type": "t"} for n in range(7)])
    send(api, "items", [{"item_id": "i0", "status": "inactive"}, {"item_id": "i1", "status": "deleted"}])
    send(api, "users", {"user_id": "u"})
    page = owner.get("/")
    assert figure(page, "Items") == "6 5 active 1 inactive 1 deleted"
    assert figure(page, "Users") == "1 1 active 0 inactive 0 deleted"
    assert "You are not all set yet" in text_of(page)
    send(api, "users", {"user_id": "v"})
    live = owner.get("/overview/live", headers=HTMX)
    assert figure(live, "Users") == "2 2 active 0 inactive 0 deleted"
    assert live.text.strip().startswith('<div id="live"')


def test_of_many_records_the_last_sample_is_shown(
    stage: Settings, owner: Visitor, api: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(overview, "FEW_RECORDS", 2)
    send(api, "items", [{"item_id": f"i{n}", "item_type": "t"} for n in range(3)])
    run(
        stage,
        "INSERT INTO foldline_control.record_counts VALUES (%(org)s, now() + '1 d', 'items', 9, 8, 7)",
        org=org_of(stage, owner),
    )
    assert figure(owner.get("/"), "Items") == "17 9 active 8 inactive 7 deleted"


def test_what_is_sent_becomes_figures(stage: Settings, owner: Visitor, api: httpx.Client) -> None:
    send(api, "items", [{"item_id": f"i{n}", "item_type": "t"} for n in range(600)])
    assert until(lambda: figure(owner.get("/"), "Events per second") == "10 Over the last minute", 30)
    took = re.compile(r"\d+ ms 99th percentile \d+ ms, last hour")
    assert until(lambda: took.fullmatch(figure(owner.get("/"), "Time until readable")), 30)
    assert max(points(owner, "events")["series"][0]["values"]) in (30, 60)  # in a bucket of 20 s, or in its first half
    freshness = [value for value in points(owner, "freshness")["series"][0]["values"] if value is not None]
    assert len(freshness) == 1
    with connect(stage.database_url, "test") as connection:
        assert until(lambda: sample(connection, stage) and figure(owner.get("/"), "Not yet applied").startswith("0 "), 30)
        assert until(lambda: last(owner, "items") == {"Active": 600, "Inactive": 0, "Deleted": 0}, 30)
    assert points(owner, "lag-records")["series"][0]["label"] == "Records"


@pytest.mark.parametrize(
    ("span", "seconds", "bucket"),
    [("1h", 3600, 20), ("24h", 86_400, 300), ("7d", 604_800, 2400), ("30d", 2_592_000, 9000)],
)
@pytest.mark.parametrize("chart", CHARTS)
def test_a_chart_has_at_most_300_points(owner: Visitor, chart: str, span: str, seconds: int, bucket: int) -> None:
    times = points(owner, chart, span)["times"]
    assert len(times) == seconds // bucket <= 300
    assert {after - before for before, after in pairwise(times)} == {bucket}
    assert times[0] % bucket == 0
    assert time.time() - 30 - bucket < times[-1] <= time.time()
    assert all(len(series["values"]) == len(times) for series in points(owner, chart, span)["series"])


def test_buckets_hold_what_was_in_them(stage: Settings, owner: Visitor) -> None:
    org_id = org_of(stage, owner)
    hour = "date_bin('1 hour', now(), 'epoch') - interval '3 hours'"
    run(
        stage,
        f"INSERT INTO foldline_control.activity SELECT %(org)s, {hour} + n * interval '10 s', 'items', 100 * (n + 1), n"  # noqa: S608
        " FROM generate_series(0, 59) n",
        org=org_id,
    )
    run(
        stage,
        "INSERT INTO foldline_control.record_counts VALUES"  # noqa: S608
        f" (%(org)s, {hour}, 'users', 1, 2, 3), (%(org)s, {hour} + interval '10 minutes', 'users', 4, 5, 6)",
        org=org_id,
    )
    events, freshness, users = (points(owner, chart, "24h") for chart in ("events", "freshness", "users"))
    items = [value for value in events["series"][0]["values"] if value]
    assert items == [sum(100 * n for n in range(1, 31)) / 300, sum(100 * n for n in range(31, 61)) / 300]
    assert set(events["series"][1]["values"]) == {0}
    assert [value for value in freshness["series"][0]["values"] if value is not None] == [14.5, 44.5]
    assert [round(value, 2) for value in freshness["series"][1]["values"] if value is not None] == [28.71, 58.71]
    active = users["series"][0]["values"]
    first = active.index(1)
    assert active[:first] == [None] * first
    assert active[first:] == [1, 1] + [4] * (len(active) - first - 2)


def test_a_chart_is_a_table_for_who_sees_none(stage: Settings, owner: Visitor) -> None:
    run(
        stage,
        "INSERT INTO foldline_control.record_counts VALUES (%(org)s, now() - interval '1 min', 'items', 1200, 2, 3)",
        org=org_of(stage, owner),
    )
    answer = owner.get("/overview/items.json", headers=HTMX)
    assert "From Active Inactive Deleted" in text_of(answer)
    assert "1,200 2 3" in text_of(answer)


@pytest.mark.parametrize(
    "path", ["/overview/nope.json", "/overview/items.json?range=1y", "/overview/items", "/overview/.json"]
)
def test_what_is_no_chart_is_404(owner: Visitor, path: str) -> None:
    assert owner.get(path).status_code == 404


def test_what_was_refused_is_counted_and_the_newest_named(owner: Visitor, api: httpx.Client) -> None:
    answer = api.post(
        "/v1/ingest/items/upsert", json=[{"item_id": f"i{n}"} for n in range(7)], headers={"Prefer": "wait=20"}
    )
    assert answer.json()["data"]["rejected"] == 7
    page = owner.get("/")
    assert "7 refused records" in text_of(page)
    assert page.text.count("<code>item_type_required</code>") == 5


def test_another_organisation_sees_nothing_of_it(
    gateway: Gateway, stage: Settings, owner: Visitor, api: httpx.Client
) -> None:
    send(api, "items", [{"item_id": "secret-thing", "item_type": "t"}])
    api.post("/v1/ingest/items/upsert", json={"item_id": "refused-thing"}, headers={"Prefer": "wait=20"})
    run(
        stage,
        "INSERT INTO foldline_control.activity VALUES (%(org)s, now() - interval '1 minute', 'items', 5, 5)",
        org=org_of(stage, owner),
    )
    with Visitor(gateway) as other:
        other.sign_up("Other")
        assert "Nothing here yet" in text_of(other.get("/"))
        for chart in ("items", "users", "events", "freshness"):
            assert {value for series in points(other, chart)["series"] for value in series["values"]} <= {0, None}
    assert set(points(owner, "events")["series"][0]["values"]) != {0}


def test_who_is_not_signed_in_is_sent_to_sign_in(gateway: Gateway) -> None:
    with Visitor(gateway) as nobody:
        for path in ("/", "/overview/live", "/overview/items.json"):
            answer = nobody.get(path)
            assert (answer.status_code, answer.headers["Location"].partition("?")[0]) == (303, "/sign-in")
