"""Who may do what, and how people come and go."""

from __future__ import annotations

import re
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import expect

from tests.browser.imports import imported
from tests.browser.person import Arrival, Person
from tests.browser.team import invited
from tests.e2e.outside import Stack, client

pytestmark = pytest.mark.server

CATALOGUE = Path(__file__).parents[2] / "examples/catalog.csv"


def test_an_invitation_makes_a_member_who_reads_and_cannot_import(owner: Person, arrive: Arrival, stack: Stack) -> None:
    guest = arrive()
    invited(owner, guest)
    imported(owner, CATALOGUE, 4)
    import_page = owner.page.url

    guest.page.goto("/catalogue")
    expect(guest.link("PROD-001")).to_be_visible()
    guest.page.goto("/ingestion")
    expect(guest.link("catalog.csv")).to_be_visible()
    expect(guest.page.get_by_text("You can see imports, but not make any")).to_be_visible()
    expect(guest.page.locator("input[type=file]")).to_have_count(0)
    guest.page.goto(import_page)
    expect(guest.heading("Live: 4 applied, 0 refused")).to_be_visible()
    guest.page.goto("/developers")
    expect(guest.page.get_by_role("link", name="Create key")).to_have_count(0)
    guest.page.goto("/team")
    expect(guest.link("Invite somebody")).to_have_count(0)
    expect(guest.link("Audit log")).to_have_count(0)

    import_id = import_page.rpartition("/")[2]
    assert guest.post(stack.url, "/ingestion/upload?kind=items&name=x.csv", CATALOGUE.read_bytes()) == 403
    forms: dict[str, dict[str, str]] = {
        f"/imports/{import_id}/submit": {"rows": "all", "mode": "merge"},
        f"/imports/{import_id}/cancel": {},
        f"/imports/{import_id}/types": {"type-3": "text"},
        "/developers/keys": {"role": "secret"},
        "/team/invitations": {"email": "x@example.com", "role": "OWNER"},
    }
    for path, fields in forms.items():
        assert guest.post(stack.url, path, fields) == 403, path
    guest.watch.expected = {403}
    guest.page.goto("/audit")
    expect(guest.heading("Not with your role")).to_be_visible()


def test_a_second_organisation_sees_nothing_of_the_first(
    owner: Person, arrive: Arrival, stack: Stack, tmp_path: Path
) -> None:
    file = tmp_path / "plans.csv"
    file.write_text("item_id,item_type,status,name\nPLAN-1,plan,active,Take over\n")
    imported(owner, file, 1)
    import_page = owner.page.url
    owner.make_key()
    revoke = owner.page.get_by_role("link", name=re.compile("^Revoke ")).get_attribute("href")
    owner.page.goto("/team")
    role = owner.page.get_by_role("link", name=re.compile("^Change the role of")).get_attribute("href")
    assert revoke
    assert role

    other = arrive()
    other.arrive_signed_up(stack.url)
    for path in ("/", "/ingestion", "/catalogue", "/users", "/developers", "/team", "/audit", "/start"):
        other.page.goto(path)
        expect(other.page.get_by_role("main")).not_to_contain_text(re.compile("PLAN-1|Take over|plans.csv"))
        expect(other.page.get_by_role("main")).not_to_contain_text(owner.email)
    other.watch.expected = {404}
    import_path = import_page.removeprefix(stack.url)
    for path in (import_path, f"{import_path}/events", f"{import_path}/failed-rows", f"{import_path}/problems?code=required",
                 "/catalogue/PLAN-1", revoke, role):  # fmt: skip
        answer = other.page.goto(path)
        assert answer is not None
        assert answer.status == 404, path
    for path in (f"{import_path}/submit", f"{import_path}/cancel", f"{import_path}/types", revoke):
        assert other.post(stack.url, path) == 404, path
    assert other.post(stack.url, role, {"role": "OWNER"}) in (403, 404)
    owner.page.goto("/developers")
    expect(owner.page.get_by_role("row", name=re.compile("Active", re.IGNORECASE))).to_have_count(1)


def test_a_role_is_changed_and_somebody_is_removed(owner: Person, arrive: Arrival) -> None:
    guest = arrive()
    invited(owner, guest)
    owner.page.goto("/team")
    owner.link("Change the role of Grace Guest").click()
    owner.page.get_by_label("Developer").check()
    owner.button("Change role").click()
    expect(owner.page.get_by_text("The role is changed.")).to_be_visible()
    guest.page.goto("/ingestion")
    expect(guest.field("Drop a file of items here")).to_be_attached()
    imported(guest, CATALOGUE, 4)

    owner.page.goto("/team")
    owner.link("Remove Grace Guest").click()
    owner.button("Remove Grace Guest").click()
    expect(owner.page.get_by_text("They are removed, and signed out.")).to_be_visible()
    guest.page.goto("/catalogue")
    expect(guest.heading("Sign in")).to_be_visible()
    owner.page.goto("/audit")
    log = owner.page.get_by_role("region", name="Audit log")
    for words in (guest.email, "catalog.csv"):
        expect(log.get_by_text(words).first).to_be_visible()


def test_a_password_is_reset_by_a_link(owner: Person, arrive: Arrival) -> None:
    guest = arrive()
    invited(owner, guest)
    owner.page.goto("/team")
    guest.page.goto("/team")  # a page that asks for nothing by itself
    owner.link("Reset the password of Grace Guest").click()
    owner.button("Create link").click()
    link = owner.shown_link()

    elsewhere = arrive()
    elsewhere.email, elsewhere.password = guest.email, "another long password"
    elsewhere.page.goto(link)
    elsewhere.field("New password").fill(elsewhere.password)
    elsewhere.button("Set password").click()
    expect(elsewhere.page.get_by_text(owner.organisation).first).to_be_visible()
    guest.page.goto("/catalogue")
    expect(guest.heading("Sign in")).to_be_visible()
    guest.watch.expected = {400, 410}
    guest.field("E-mail address").fill(guest.email)
    guest.field("Password").fill(guest.password)
    guest.button("Sign in").click()
    expect(guest.page.get_by_text("The e-mail address or the password is wrong.")).to_be_visible()
    guest.page.goto(link)
    expect(guest.heading("This link does not work any more")).to_be_visible()
    guest.password = elsewhere.password
    guest.sign_in()


def test_signing_out_ends_the_session_everywhere_it_is_known(owner: Person, arrive: Arrival) -> None:
    (cookie,) = owner.page.context.cookies()
    assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Lax")
    owner.page.goto("/developers")
    owner.sign_out()
    expect(owner.heading("Sign in")).to_be_visible()
    assert owner.page.context.cookies() == []
    thief = arrive()
    thief.page.context.add_cookies([{"name": cookie["name"], "value": cookie["value"], "url": owner.page.url}])
    thief.page.goto("/developers")
    expect(thief.page).to_have_url(re.compile("/sign-in[?]next=/developers"))
    owner.page.go_back()
    expect(owner.heading("Sign in")).to_be_visible()
    owner.sign_in()


def test_a_form_of_another_site_is_refused(owner: Person, stack: Stack) -> None:
    (cookie,) = owner.page.context.cookies()
    for headers in ({"Sec-Fetch-Site": "cross-site"}, {"Origin": "https://elsewhere.example"}):
        with client(stack.url) as http:
            cookies = {"Cookie": f"{cookie['name']}={cookie['value']}"}
            answer = http.post("/developers/keys", data={"role": "secret"}, headers=cookies | headers)
        assert answer.status_code == httpx.codes.FORBIDDEN
    owner.page.goto("/developers")
    expect(owner.heading("No keys in use")).to_be_visible()


def test_the_link_of_a_new_organisation_signs_in_once(stack: Stack, visitor: Person, arrive: Arrival) -> None:
    made = stack.foldline("orgs", "create", "From the shell", "--owner", "root@example.com")
    assert made.returncode == 0
    found = re.search(r"http\S+/link/\S+", made.stdout + made.stderr)
    assert found
    visitor.page.goto(found[0])
    visitor.button("Sign in").click()
    expect(visitor.page.get_by_text("You have no password yet")).to_be_visible()
    visitor.field("New password").fill(visitor.password)
    visitor.button("Set password").click()
    second = arrive()
    second.watch.expected = {410}
    second.page.goto(found[0])
    expect(second.heading("This link does not work any more")).to_be_visible()
    second.email = "root@example.com"
    second.sign_in()
