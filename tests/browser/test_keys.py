"""Keys, from the page that makes them to the requests that they let in."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from tests.browser.person import Person
from tests.e2e.outside import Stack, client, eventually

pytestmark = pytest.mark.server

HOLDS_SECONDS = 2


def status(stack: Stack, key: str) -> int:
    with client(stack.url, key) as http:
        return http.get("/v1/items").status_code


def test_a_key_is_made_rotated_with_a_grace_and_revoked(owner: Person, stack: Stack) -> None:
    old = owner.make_key()
    assert status(stack, old) == 200
    expect(owner.page.get_by_role("main")).not_to_contain_text(old)
    expect(owner.page.get_by_role("main")).to_contain_text(old[-4:])

    owner.page.get_by_role("link", name=re.compile("^Rotate ")).click()
    owner.page.get_by_label("In 1 hour").check()
    owner.button("Rotate key").click()
    new = owner.shown_key()
    assert (status(stack, old), status(stack, new)) == (200, 200)

    owner.link("Done").click()
    owner.page.get_by_role("row").filter(has_text=old[-4:]).get_by_role("link", name=re.compile("^Revoke ")).click()
    owner.button("Revoke key").click()
    expect(owner.page.get_by_text("The key is revoked.")).to_be_visible()
    assert eventually(lambda: status(stack, old) == 401, HOLDS_SECONDS)
    assert status(stack, new) == 200

    owner.page.get_by_role("link", name=re.compile("^Rotate ")).click()
    owner.page.get_by_label("Now").check()
    owner.button("Rotate key").click()
    newest = owner.shown_key()
    assert eventually(lambda: status(stack, new) == 401, HOLDS_SECONDS)
    assert status(stack, newest) == 200


def test_a_pair_of_keys(owner: Person, stack: Stack) -> None:
    owner.page.goto("/developers/keys/new")
    owner.page.get_by_label("A pair").check()
    owner.button("Create key").click()
    assert status(stack, owner.shown_key("Secret")) == 200
    assert status(stack, owner.shown_key("Publishable")) == 403
