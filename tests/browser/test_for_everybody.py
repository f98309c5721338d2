"""Every page, for eyes of every kind, screens of every width, and hands without a mouse."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Locator, Page, expect
from starlette.routing import Route

from producers.dashboard.app import ROUTES
from tests.browser.faults import faulty
from tests.browser.imports import imported, live, read_faults, upload
from tests.browser.look import too_wide, violations
from tests.browser.person import Arrival, Person
from tests.browser.team import GUEST, invitation, invited
from tests.e2e.outside import Stack, client, data

pytestmark = pytest.mark.server

EXAMPLES = Path(__file__).parents[2] / "examples"
UPSERT = "/v1/ingest/items/upsert"
MAX_TABS = 60
FOCUS_IS_SEEN = """() => {
    const marked = element => {
        const style = getComputedStyle(element);
        return (style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) > 0) || style.boxShadow !== 'none';
    };
    const focused = document.activeElement;
    return marked(focused) || marked(focused.parentElement) || marked(focused.parentElement.parentElement);
}"""


class Scene(NamedTuple):
    """The owner of a new organisation, somebody who is not signed in, and a directory for files."""

    owner: Person
    visitor: Person
    stack: Stack
    directory: Path


Walk = Callable[[Scene], Iterator[Page]]


def ways_in(scene: Scene) -> Iterator[Page]:
    """What people see who are not signed in."""
    visitor = scene.visitor
    visitor.page.goto("/sign-up")
    yield visitor.page
    visitor.watch.expected = {400, 410, 404}
    visitor.page.goto("/sign-in")
    yield visitor.page
    visitor.field("E-mail address").fill("nobody@example.com")
    visitor.field("Password").fill("not the password")
    visitor.button("Sign in").click()
    expect(visitor.page.get_by_text("The e-mail address or the password is wrong.")).to_be_visible()
    yield visitor.page
    visitor.page.goto("/link/gone")
    yield visitor.page
    visitor.page.goto("/nowhere")
    yield visitor.page
    visitor.page.goto(invitation(scene.owner, f"invited-{scene.owner.email}"))
    yield scene.owner.page
    yield visitor.page


def people(scene: Scene) -> Iterator[Page]:
    owner = scene.owner
    invited(owner, scene.visitor)
    for path in ("/team", "/team/invitations/new", "/team/leave", "/audit", "/account", "/audit?actor=nobody"):
        owner.page.goto(path)
        yield owner.page
    for change in ("Change the role of", "Reset the password of", "Remove"):
        owner.page.goto("/team")
        address = owner.link(f"{change} {GUEST}").get_attribute("href")
        assert address
        owner.page.goto(address)
        yield owner.page
    owner.page.goto("/team")
    owner.link("Invite somebody").click()
    expect(owner.page.get_by_role("dialog")).to_be_visible()
    yield owner.page
    scene.visitor.page.goto("/ingestion")
    yield scene.visitor.page
    scene.visitor.watch.expected = {403}
    scene.visitor.page.goto("/audit")
    yield scene.visitor.page


def keys(scene: Scene) -> Iterator[Page]:
    owner = scene.owner
    for path in ("/", "/catalogue", "/start", "/developers", "/developers/keys/new"):
        owner.page.goto(path)
        yield owner.page
    owner.button("Create key").click()
    expect(owner.heading("Your new key")).to_be_visible()
    yield owner.page
    for path in ("/start", "/developers"):
        owner.page.goto(path)
        yield owner.page
    for change in ("Rotate", "Revoke"):
        owner.page.goto("/developers")
        link = owner.page.get_by_role("link", name=re.compile(f"^{change} "))
        address = link.get_attribute("href")
        assert address
        link.click()
        expect(owner.page.get_by_role("dialog")).to_be_visible()
        yield owner.page
        owner.page.goto(address)
        yield owner.page


def imports(scene: Scene) -> Iterator[Page]:
    owner = scene.owner
    owner.page.goto("/ingestion")
    yield owner.page
    upload(owner, EXAMPLES / "catalog.csv")
    yield owner.page
    owner.button("Discard").click()
    expect(owner.page.get_by_role("dialog")).to_be_visible()
    yield owner.page
    owner.button("Discard file").click()
    expect(owner.heading("Cancelled")).to_be_visible()
    yield owner.page
    wrong = scene.directory / "a-catalogue-with-a-rather-long-name-of-the-spring-of-this-year.csv"
    wrong.write_bytes(faulty().text.encode())
    upload(owner, wrong)
    read_faults(owner, len(faulty().faults))
    yield owner.page
    owner.page.goto(f"{owner.page.url}/problems?code=required")
    yield owner.page
    empty = scene.directory / "empty.csv"
    empty.touch()
    upload(owner, empty)
    yield owner.page
    imported(owner, EXAMPLES / "users.csv", 3, "users")
    yield owner.page
    owner.page.goto("/ingestion?kind=users")
    yield owner.page


def records(scene: Scene) -> Iterator[Page]:
    owner = scene.owner
    imported(owner, EXAMPLES / "users.csv", 3, "users")
    imported(owner, EXAMPLES / "catalog.csv", 4)
    with client(scene.stack.url, owner.make_key()) as http:
        assert data(http.post(UPSERT, json={"item_id": "TYPELESS"}, headers={"Prefer": "wait=30"}))["rejected"] == 1
    owner.watch.expected = {404}
    for path in ("/catalogue", "/users", "/catalogue?status=deleted", "/catalogue/PROD-001", "/users/usr_001",
                 "/catalogue/unknown", "/catalogue?q=Headphones", "/dead-letters", "/dead-letters/redrive"):  # fmt: skip
        owner.page.goto(path)
        yield owner.page
    owner.page.goto("/dead-letters")
    owner.page.get_by_role("rowheader").get_by_role("link", name="TYPELESS").click()
    expect(owner.page.get_by_text("it would be rejected again")).to_be_visible()
    yield owner.page
    owner.page.goto("/erasures")
    yield owner.page
    owner.page.goto("/users/usr_001")
    owner.link("Erase this user").click()
    expect(owner.page.get_by_role("dialog")).to_be_visible()
    yield owner.page
    owner.page.goto("/erasures/new?user_id=usr_001")
    yield owner.page
    owner.watch.expected = {400, 404}
    owner.field("Type the id of the user").fill("usr_002")
    owner.button("Erase for good").click()
    expect(owner.page.get_by_text("This is not the id of the user.")).to_be_visible()
    yield owner.page
    owner.field("Type the id of the user").fill("usr_001")
    owner.button("Erase for good").click()
    expect(owner.page.get_by_text("The user is erased")).to_be_visible()
    owner.link("Show the history").click()
    expect(owner.page.get_by_text("It erased the attributes.")).to_be_visible()
    yield owner.page
    owner.page.goto("/erasures")
    yield owner.page
    owner.page.goto("/")
    expect(owner.page.get_by_role("region", name="Recent imports").get_by_role("row")).not_to_have_count(0)
    owner.page.get_by_text(re.compile(" as a table$")).first.click()
    expect(owner.page.get_by_role("columnheader", name="From")).to_be_visible()
    yield owner.page


# Every page of the dashboard, and who goes there.
WALKS: dict[Walk, set[str]] = {
    ways_in: {"/sign-in", "/sign-up", "/link/{token}"},
    people: {"/account", "/team", "/team/invitations/new", "/team/leave", "/team/members/{account_id}/role",
             "/team/members/{account_id}/remove", "/team/members/{account_id}/reset", "/audit"},
    keys: {"/start", "/developers", "/developers/keys/new", "/developers/keys/{key_id}/rotate",
           "/developers/keys/{key_id}/revoke"},
    imports: {"/ingestion", "/imports/{import_id}", "/imports/{import_id}/problems"},
    records: {"/", "/catalogue", "/users", "/catalogue/{item_id:path}", "/users/{user_id:path}", "/dead-letters",
              "/dead-letters/{place}", "/dead-letters/redrive", "/erasures", "/erasures/new"},
}  # fmt: skip
NO_PAGES = {"/start/news", "/overview/live", "/overview/{chart}.json", "/ingestion/samples/{name}", "/dead-letters/export",
            "/erasures/proof.json", "/imports/{import_id}/events", "/imports/{import_id}/failed-rows"}  # fmt: skip
READ = [route for route in ROUTES if isinstance(route, Route) and "GET" in (route.methods or ())]


def test_somebody_goes_to_every_page() -> None:
    assert set.union(NO_PAGES, *WALKS.values()) == {route.path for route in READ}


@pytest.mark.parametrize("walk", WALKS, ids=lambda walk: walk.__name__)
def test_every_page_is_for_everybody(walk: Walk, owner: Person, arrive: Arrival, stack: Stack, tmp_path: Path) -> None:
    found: list[str] = []
    seen: set[str] = set()
    for page in walk(Scene(owner, arrive(), stack, tmp_path)):
        seen |= {next((route.path for route in READ if route.path_regex.match(urlsplit(page.url).path)), "")}
        found += [*violations(page), *too_wide(page)]
        page.set_viewport_size({"width": 1280, "height": 900})
    assert found == []
    assert seen >= WALKS[walk]


def tab_to(person: Person, target: Locator) -> None:
    """Presses Tab until the target has the focus, which can be seen all the way."""
    for _ in range(MAX_TABS):
        person.page.keyboard.press("Tab")
        assert person.page.evaluate(FOCUS_IS_SEEN), person.page.evaluate("() => document.activeElement.outerHTML")
        if target.evaluate("element => element === document.activeElement"):
            return
    raise AssertionError(f"{target} is not reached by {MAX_TABS} tabs")


def test_by_keyboard_alone_from_signing_in_to_live(owner: Person, arrive: Arrival) -> None:
    person = arrive()
    keyboard = person.page.keyboard
    person.page.goto("/sign-in")
    expect(person.field("E-mail address")).to_be_focused()
    keyboard.type(owner.email)
    tab_to(person, person.field("Password"))
    keyboard.type(owner.password)
    keyboard.press("Enter")
    main = person.page.get_by_role("navigation", name="Main")
    expect(main).to_be_visible()

    tab_to(person, person.link("Skip to the content"))
    tab_to(person, main.get_by_role("link", name="Data ingestion"))
    keyboard.press("Enter")
    expect(person.heading("Data ingestion")).to_be_visible()
    tab_to(person, person.link("Skip to the content"))
    keyboard.press("Enter")
    file = person.field("Drop a file of items here")
    with person.page.expect_file_chooser() as chooser:
        tab_to(person, file)
        keyboard.press("Enter")
    chooser.value.set_files(EXAMPLES / "catalog.csv")
    submit = person.button("Import 4 rows")
    expect(submit).to_be_visible()
    tab_to(person, submit)
    keyboard.press("Enter")
    live(person, "4")
    tab_to(person, person.link("See the catalogue"))
    keyboard.press("Enter")
    expect(person.link("PROD-001")).to_be_visible()


def test_by_phone(arrive: Arrival) -> None:
    person = arrive(width=390, height=844)
    person.sign_up()
    person.page.get_by_text("Menu", exact=True).click()
    person.page.get_by_role("navigation", name="Main").get_by_role("link", name="Developers").click()
    expect(person.heading("No keys in use")).to_be_visible()


def test_without_script_people_sign_in_and_read(owner: Person, arrive: Arrival) -> None:
    imported(owner, EXAMPLES / "catalog.csv", 4)
    import_page = owner.page.url
    person = arrive(script=False)
    person.email = owner.email
    person.sign_in()
    person.page.goto("/catalogue")
    expect(person.link("PROD-001")).to_be_visible()
    person.page.goto(import_page)
    expect(person.heading("Live: 4 applied, 0 refused")).to_be_visible()
    person.page.goto("/developers/keys/new")
    person.button("Create key").click()
    assert person.shown_key().startswith("lehnz_sk_")
