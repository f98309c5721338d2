"""What a person does with a file on the dashboard."""

from __future__ import annotations

import re
from pathlib import Path

from playwright.sync_api import Locator, expect

from tests.browser.faults import Fault
from tests.browser.person import Person

IMPORT_PAGE = re.compile(r"/imports/imp_[0-9a-f]{32}$")
DECIDED = re.compile(r"can be imported|wrong$|cannot be")
SOON = 30_000
LATER = 90_000


def upload(person: Person, file: Path, kind: str = "items") -> None:
    """Drops a file, and returns on its page once it is checked."""
    person.page.goto("/ingestion")
    if kind == "users":
        person.page.get_by_label("Kind of records").get_by_role("link", name="Users").click()
    person.drop(file, zone(person, kind))
    expect(person.page).to_have_url(IMPORT_PAGE, timeout=SOON)
    expect(person.heading(DECIDED)).to_be_visible(timeout=SOON)


def zone(person: Person, kind: str = "items") -> Locator:
    return person.page.get_by_text(f"Drop a file of {kind} here")


def submit(person: Person, label: str) -> None:
    """Presses the button that imports, by what it says it will do."""
    button = person.page.get_by_role("button", name=label, exact=True)
    button.click()
    expect(button).to_have_count(0)


def live(person: Person, applied: str, refused: str = "0", within: int = SOON) -> None:
    """Waits, without a reload, until the page says that everything is applied."""
    expect(person.heading(f"Live: {applied} applied, {refused} refused")).to_be_visible(timeout=within)


def imported(person: Person, file: Path, rows: int, kind: str = "items") -> None:
    """A file without a fault, from the desktop to live."""
    upload(person, file, kind)
    submit(person, f"Import {rows} row{'' if rows == 1 else 's'}")
    live(person, str(rows))


def read_faults(person: Person, number: int) -> list[Fault]:
    """Opens every group of faults and reads each row, in the order of the file."""
    groups = person.page.get_by_role("region", name=re.compile(r"^\d+ faults? in \d+ rows?$"))
    for group in groups.get_by_role("group").all():
        if group.get_attribute("open") is None:
            group.locator("summary").click()
    rows = groups.get_by_role("region", name="Rows").get_by_role("row").filter(has=person.page.get_by_role("cell"))
    expect(rows).to_have_count(number)
    cells = [row.get_by_role("cell").all_inner_texts() for row in rows.all()]
    assert all(sentence.strip() for *_, sentence in cells)
    return sorted(Fault(int(line), int(row), code) for line, row, _, code, *_ in cells)


def download_failed_rows(person: Person, to: Path) -> Path:
    with person.page.expect_download() as download:
        person.link("Download the failed rows").first.click()
    file = to / download.value.suggested_filename
    download.value.save_as(file)
    return file
