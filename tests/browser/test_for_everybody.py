"""Every page, for eyes of every kind, screens of every width, and hands without a mouse."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.faults import faulty
from tests.browser.imports import imported, live, upload
from tests.browser.look import too_wide, violations
from tests.browser.person import Arrival, Person

pytestmark = pytest.mark.server

EXAMPLES = Path(__file__).parents[2] / "examples"
MAX_TABS = 60
FOCUS_IS_SEEN = """() => {
    const marked = element => {
        const style = getComputedStyle(element);
        return (style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) > 0) || style.boxShadow !== 'none';
    };
    const focused = document.activeElement;
    return marked(focused) || marked(focused.parentElement) || marked(focused.parentElement.parentElement);
}"""


def entry_pages(visitor: Person, owner: Person) -> Iterator[Page]:
    """What people see who are not signed in."""
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
    owner.page.goto("/team/invitations/new")
    owner.field("E-mail address").fill(f"invited-{owner.email}")
    owner.button("Create invitation").click()
    visitor.page.goto(owner.shown_link())
    yield visitor.page
    yield owner.page


def pages_of_people(owner: Person) -> Iterator[Page]:
    for path in ("/team", "/team/invitations/new", "/team/leave", "/audit", "/account", "/audit?actor=nobody"):
        owner.page.goto(path)
        yield owner.page
    owner.page.goto("/team")
    owner.link("Invite somebody").click()
    expect(owner.page.get_by_role("dialog")).to_be_visible()
    yield owner.page


def pages_of_keys(owner: Person) -> Iterator[Page]:
    for path in ("/start", "/developers", "/developers/keys/new"):
        owner.page.goto(path)
        yield owner.page
    owner.button("Create key").click()
    expect(owner.heading("Your new key")).to_be_visible()
    yield owner.page
    owner.page.goto("/start")
    yield owner.page
    owner.page.goto("/developers")
    yield owner.page
    for change in ("Rotate", "Revoke"):
        owner.page.goto("/developers")
        owner.page.get_by_role("link", name=re.compile(f"^{change} ")).click()
        expect(owner.page.get_by_role("dialog")).to_be_visible()
        yield owner.page


def pages_of_records(owner: Person) -> Iterator[Page]:
    owner.watch.expected = {404}
    for path in ("/", "/catalogue", "/users", "/catalogue?status=deleted", "/catalogue/PROD-001", "/users/usr_001",
                 "/catalogue/unknown", "/catalogue?q=Headphones", "/dead-letters", "/nowhere"):  # fmt: skip
        owner.page.goto(path)
        yield owner.page


def pages_of_imports(owner: Person, directory: Path) -> Iterator[Page]:
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
    wrong = directory / "a-catalogue-with-a-rather-long-name-of-the-spring-of-this-year.csv"
    wrong.write_bytes(faulty().text.encode())
    upload(owner, wrong)
    expect(owner.page.get_by_role("cell", name="invalid_status")).to_have_count(0)
    for summary in owner.page.get_by_role("main").get_by_role("group").locator("summary").all():
        summary.click()
    yield owner.page
    address = owner.page.url
    owner.page.goto(f"{address}/problems?code=required")
    yield owner.page
    empty = directory / "empty.csv"
    empty.touch()
    upload(owner, empty)
    yield owner.page
    imported(owner, EXAMPLES / "users.csv", 3, "users")
    imported(owner, EXAMPLES / "catalog.csv", 4)
    yield owner.page
    owner.page.goto("/ingestion?kind=users")
    yield owner.page


def looked_at(pages: Iterator[Page]) -> list[str]:
    """What is wrong with any of them."""
    found: list[str] = []
    for page in pages:
        found += violations(page)
        found += too_wide(page)
        page.set_viewport_size({"width": 1280, "height": 900})
    return found


def test_the_ways_in(owner: Person, arrive: Arrival) -> None:
    assert looked_at(entry_pages(arrive(), owner)) == []


def test_people(owner: Person) -> None:
    assert looked_at(pages_of_people(owner)) == []


def test_keys(owner: Person) -> None:
    assert looked_at(pages_of_keys(owner)) == []


def test_imports_and_records(owner: Person, tmp_path: Path) -> None:
    assert looked_at(pages_of_imports(owner, tmp_path)) == []
    assert looked_at(pages_of_records(owner)) == []


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
