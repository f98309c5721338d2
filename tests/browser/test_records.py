"""What is live, as people look for it and look at it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.browser.faults import catalogue
from tests.browser.imports import imported
from tests.browser.person import Person

pytestmark = pytest.mark.server

HOSTILE = "<img src=/evil.png onerror=alert(1)>"
NAMED = f"""item_id,item_type,status,name,size
A/B?c=d#e %41,shoe,active,Trail Shoe,42
X-1,coat,inactive,Rain Coat,M
X-2,coat,deleted,Old Coat,L
X-3,coat,active,{HOSTILE},S
"""


def test_records_are_found_filtered_and_looked_at(owner: Person, tmp_path: Path) -> None:
    file = tmp_path / f"{HOSTILE.replace('/', '')}.csv"
    file.write_text(NAMED)
    imported(owner, file, 4)
    owner.page.goto("/")
    expect(owner.page.get_by_role("definition").filter(has_text="2 active")).to_contain_text("1 deleted")
    expect(owner.link(file.name)).to_be_visible()

    owner.page.goto("/catalogue")
    for item_id, there in (("A/B?c=d#e %41", 1), ("X-1", 1), ("X-2", 0), ("X-3", 1)):
        expect(owner.link(item_id)).to_have_count(there)
    expect(owner.page.get_by_text(HOSTILE)).to_be_visible()
    owner.page.get_by_label("Status").get_by_role("link", name=re.compile("^Deleted 1")).click()
    expect(owner.link("X-2")).to_be_visible()
    expect(owner.link("X-1")).to_have_count(0)
    owner.page.goto("/catalogue")
    owner.page.get_by_label("Search by id or text").press_sequentially("rain")
    expect(owner.link("X-1")).to_be_visible()
    expect(owner.link("X-3")).to_have_count(0)
    expect(owner.page).to_have_url(re.compile("q=rain"))
    owner.page.reload()
    expect(owner.link("X-1")).to_be_visible()
    expect(owner.link("X-3")).to_have_count(0)

    owner.page.goto("/catalogue")
    owner.link("A/B?c=d#e %41").click()
    expect(owner.heading("Trail Shoe")).to_be_visible()
    expect(owner.page.get_by_role("row", name="size 42 text")).to_be_visible()
    address = owner.page.url
    owner.button("Copy link").click()
    assert owner.page.evaluate("() => navigator.clipboard.readText()") == address


def test_long_lists_are_paged_by_key(owner: Person, tmp_path: Path) -> None:
    file = tmp_path / "long.csv"
    file.write_text(catalogue(120))
    imported(owner, file, 120)
    owner.page.goto("/catalogue")
    pages = owner.page.get_by_role("navigation", name="Pages")
    ids = sorted(f"BULK-{number}" for number in range(120))
    expect(owner.page.get_by_role("link", name=re.compile("^BULK-"))).to_have_text(ids[:50])
    pages.get_by_role("link", name="Next").click()
    expect(owner.page.get_by_role("link", name=re.compile("^BULK-"))).to_have_text(ids[50:100])
    owner.page.go_back()
    expect(owner.page.get_by_role("link", name=re.compile("^BULK-"))).to_have_text(ids[:50])
    pages.get_by_role("link", name="Last").click()
    expect(owner.link(ids[-1])).to_be_visible()
