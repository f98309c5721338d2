"""The past of a record on its page."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from foldline.domain.records import Upsert
from foldline.settings import Settings
from tests.pipeline import append, wait_applied
from tests.producers.conftest import Gateway
from tests.producers.dashboard.test_developers import org_of
from tests.producers.dashboard.visitors import Visitor, text_of


@pytest.fixture(scope="module")
def shop(gateway: Gateway, stage: Settings) -> Iterator[Visitor]:
    with Visitor(gateway) as visitor:
        visitor.sign_up("Past")
        org = org_of(stage, visitor)
        append(stage, "items", [
            Upsert(org, "a/b", None, None, None, 1, "1" * 32, 0),
            Upsert(org, "a/b", "product", None, '{"price": 1, "name": "<b>"}', 2, "2" * 32, 0),
            Upsert(org, "a/b", None, "inactive", '{"price": 2}', 3, "3" * 32, 0),
        ])  # fmt: skip
        append(stage, "users", [Upsert(org, "u", 5, None, '{"email": "ada@example.com"}', 1, "4" * 32, 0)])
        wait_applied(stage, published=False)
        yield visitor


def test_every_event_with_what_it_changed_newest_first(shop: Visitor) -> None:
    page = shop.get("/catalogue/a%2Fb", params={"as": "history"})
    assert page.status_code == 200
    said = text_of(page)
    assert "3 events in the log" in said
    order = ["attributes.price : 1 → 2", "attributes.price : nothing → 1", "a new item needs an item_type"]
    places = [said.index(sentence) for sentence in order]
    assert places == sorted(places)
    assert "<b>" not in page.text.replace("</b>", "")
    assert "&lt;b&gt;" in page.text


def test_htmx_gets_the_part_alone_and_the_page_leads_to_it(shop: Visitor) -> None:
    part = shop.get("/catalogue/a%2Fb", params={"as": "history"}, headers={"HX-Request": "true"})
    assert part.text.lstrip().startswith('<section id="history">')
    assert 'hx-get="/catalogue/a%2Fb?as=history"' in shop.get("/catalogue/a%2Fb").text


def test_of_users_the_same_is_shown(shop: Visitor) -> None:
    said = text_of(shop.get("/users/u", params={"as": "history"}))
    assert "attributes.email : nothing → ada@example.com" in said
    assert "Version 1 as a whole" in said


def test_the_past_of_another_organisations_record_is_not_there(shop: Visitor, gateway: Gateway) -> None:
    with Visitor(gateway) as stranger:
        stranger.sign_up("Other")
        assert stranger.get("/catalogue/a%2Fb", params={"as": "history"}).status_code == 404
