"""A user asks to be forgotten, and somebody sees to it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.browser.imports import imported
from tests.browser.person import Arrival, Person
from tests.browser.team import invited

pytestmark = pytest.mark.server

FORGOTTEN = "usr/1?ä b"
USERS = f"""user_id,status,created_at,name,email
{FORGOTTEN},active,2025-01-12T09:00:00Z,Ada Lovelace,ada@example.com
usr-2,active,2025-02-03T14:30:00Z,Grace Hopper,grace@example.com
usr-3,deleted,2025-02-03T14:30:00Z,,
"""


@pytest.fixture
def users(owner: Person, tmp_path: Path) -> Person:
    """The owner of an organisation that has these users."""
    file = tmp_path / "users.csv"
    file.write_text(USERS)
    imported(owner, file, 3, "users")
    return owner


def test_a_user_is_erased_listed_and_proved(users: Person, tmp_path: Path) -> None:
    page = users.page
    page.goto("/users")
    users.link(FORGOTTEN).click()
    expect(page.get_by_role("row", name="email ada@example.com text")).to_be_visible()
    users.link("Show the history").click()
    expect(page.get_by_role("region", name="Events").get_by_text("ada@example.com").first).to_be_visible()

    users.link("Erase this user").click()
    dialog = page.get_by_role("dialog", name="Erase this user?")
    expect(dialog.get_by_text("All attributes, for good")).to_be_visible()
    dialog.get_by_role("link", name="Cancel").click()
    expect(dialog).to_have_count(0)
    users.link("Erase this user").click()
    dialog.get_by_label("Type the id of the user").fill("usr-2")
    users.watch.expected = {400}
    dialog.get_by_role("button", name="Erase for good").click()
    expect(page.get_by_text("This is not the id of the user.")).to_be_visible()
    users.watch.expected = set()
    users.field("Type the id of the user").fill(FORGOTTEN)
    users.button("Erase for good").click()

    expect(page.get_by_role("status").filter(has_text="The user is erased")).to_be_visible()
    expect(users.heading(FORGOTTEN)).to_be_visible()
    expect(page.get_by_text("What attributes there were nobody can know any more.")).to_be_visible()
    expect(users.link("Erase this user")).to_have_count(0)
    users.link("Show the history").click()
    expect(page.get_by_text("It erased the attributes.")).to_be_visible()
    expect(page.get_by_text("The attributes of then are erased.")).to_be_visible()
    assert "ada@example.com" not in page.content()

    page.get_by_role("navigation", name="Main").get_by_role("link", name="Erasures").click()
    row = page.get_by_role("region", name="Erasures").get_by_role("row", name=FORGOTTEN)
    expect(row.get_by_text(users.email)).to_be_visible()
    expect(row.get_by_text("Older states leave the state topic by")).to_be_visible()
    by_import = page.get_by_role("region", name="Erasures").get_by_role("row", name="usr-3")
    expect(by_import.get_by_role("link", name="An import")).to_be_visible()
    with page.expect_download() as download:
        row.get_by_role("link", name=f"Download the proof for {FORGOTTEN}").click()
    assert download.value.suggested_filename == "proof.json"
    download.value.save_as(tmp_path / "proof.json")
    proof = json.loads((tmp_path / "proof.json").read_text())
    assert (proof["user_id"], proof["holds"], proof["readable"], proof["keys_left"]) == (FORGOTTEN, True, 0, 0)
    row.get_by_role("link", name=FORGOTTEN).first.click()
    expect(page.get_by_text("This user is deleted, and its attributes are erased")).to_be_visible()
    page.goto("/users/usr-2")
    expect(page.get_by_role("row", name="email grace@example.com text")).to_be_visible()


def test_without_script_a_user_is_erased(users: Person, arrive: Arrival) -> None:
    person = arrive(script=False)
    person.email = users.email
    person.sign_in()
    person.page.goto("/users/usr-2")
    person.link("Erase this user").click()
    expect(person.heading("Erase this user?")).to_be_visible()
    person.field("Type the id of the user").fill("usr-2")
    person.button("Erase for good").click()
    expect(person.page.get_by_text("The user is erased")).to_be_visible()
    person.link("listed with its proof").click()
    expect(person.page.get_by_role("region", name="Erasures").get_by_role("row", name="usr-2")).to_be_visible()


def test_a_member_erases_nobody(users: Person, arrive: Arrival) -> None:
    member = arrive()
    invited(users, member)
    member.page.goto("/users/usr-2")
    expect(member.page.get_by_role("row", name="email grace@example.com text")).to_be_visible()
    expect(member.link("Erase this user")).to_have_count(0)
    member.watch.expected = {403}
    member.page.goto("/erasures/new?user_id=usr-2")
    expect(member.heading("Not with your role")).to_be_visible()
