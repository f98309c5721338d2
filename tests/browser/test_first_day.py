"""From nothing to a live catalogue, as somebody who has just heard of Foldline."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.browser.imports import live, submit, upload
from tests.browser.person import Person
from tests.e2e.outside import Stack, client, data

pytestmark = pytest.mark.server

CATALOGUE = Path(__file__).parents[2] / "examples/catalog.csv"


def test_from_an_account_to_four_live_rows(visitor: Person, stack: Stack) -> None:
    visitor.page.goto("/")
    expect(visitor.heading("Sign in")).to_be_visible()
    visitor.link("Create an account").click()
    visitor.sign_up()

    first, second, third = (visitor.page.get_by_role("region", name=f"Step {number}:") for number in (1, 2, 3))
    first.get_by_role("button", name="Create key").click()
    key = visitor.shown_key()
    visitor.button("Copy secret key").click()
    assert visitor.page.evaluate("() => navigator.clipboard.readText()") == key
    command = second.get_by_label("Upsert an item").inner_text()
    assert command.startswith(f"curl {stack.url}/v1/ingest/items/upsert")
    assert f"X-API-KEY: {key}" in command

    with client(stack.url, key) as http:
        item = {"item_id": "FIRST", "item_type": "product", "attributes": {"name": "By hand"}}
        answer = http.post("/v1/ingest/items/upsert", json=item, headers={"Prefer": "wait=10"})
        assert data(answer)["applied"] == 1
    expect(second.get_by_role("link", name="FIRST")).to_be_visible()
    assert visitor.shown_key() == key

    third.get_by_role("link", name="Import a file").click()
    upload(visitor, CATALOGUE)
    submit(visitor, "Import 4 rows")
    live(visitor, "4")
    visitor.link("See the catalogue").click()
    for item_id in ("FIRST", "PROD-001", "PROD-002", "PROD-003", "PROD-004"):
        expect(visitor.link(item_id)).to_be_visible()
    with client(stack.url, key) as http:
        state = data(http.get("/v1/items/PROD-001"))
    assert state["attributes"] == {"name": "Wireless Headphones", "price": 149.99, "category": "Electronics"}

    visitor.page.goto("/start")
    expect(visitor.page.get_by_text("You are all set")).to_be_visible()


def test_the_page_of_an_import_keeps(owner: Person) -> None:
    upload(owner, CATALOGUE)
    address = owner.page.url
    owner.page.goto("/ingestion")
    owner.link("catalog.csv").click()
    expect(owner.page).to_have_url(address)
    submit(owner, "Import 4 rows")
    live(owner, "4")
    owner.page.reload()
    live(owner, "4")
