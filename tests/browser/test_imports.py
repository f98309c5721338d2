"""Files of all kinds, from the desktop to what is live."""

from __future__ import annotations

import gzip
import json
import os
import re
from pathlib import Path

import pytest
from playwright.sync_api import Route, expect

from tests.browser.faults import catalogue, faulty, mended
from tests.browser.imports import SOON, download_failed_rows, imported, live, read_faults, submit, upload, zone
from tests.browser.person import Person
from tests.e2e.outside import Stack, eventually

pytestmark = pytest.mark.server

EXAMPLES = Path(__file__).parents[2] / "examples"
HEADER = "item_id,item_type,status,name\n"


def states(stack: Stack, person: Person) -> dict[str, tuple[str, int, dict[str, object]]]:
    """Status, version and attributes of every item of the person's organisation, deleted ones too."""
    query = (
        "SELECT item_id, status, version, attributes FROM foldline.known_items JOIN foldline_control.organisations "
        "USING (org_id) WHERE name = %s"
    )
    return {row[0]: row[1:] for row in stack.sql(query, person.organisation)}


def rows(*lines: str) -> str:
    return HEADER + "".join(f"{line}\n" for line in lines)


def written(path: Path, text: str) -> Path:
    path.write_bytes(text.encode())
    return path


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_every_fault_is_read_at_its_line_mended_and_dropped_again(
    owner: Person, stack: Stack, tmp_path: Path, end: str
) -> None:
    made = faulty(end)
    upload(owner, written(tmp_path / "spring.csv", made.text))
    wrong = len(made.faults)
    expect(owner.heading(f"{wrong} of {made.good + wrong} rows are wrong")).to_be_visible()
    assert read_faults(owner, wrong) == made.faults
    assert owner.page.get_by_role("button", name=f"Import {made.good} rows").count() == 0
    failed = download_failed_rows(owner, tmp_path)
    assert failed.name == "spring-failed-rows.csv"
    assert states(stack, owner) == {}

    owner.page.get_by_label(f"Import the {made.good} good rows").check()
    submit(owner, f"Import {made.good} rows")
    live(owner, str(made.good))
    imported(owner, written(failed, mended(failed.read_bytes().decode())), wrong)
    found = states(stack, owner)
    assert {version for _, version, _ in found.values()} == {1}
    assert len(found) == made.good + wrong
    assert found["GOOD-0"] == ("active", 1, {"name": f"Two{end}lines of 0", "price": 0.5})
    assert found["MENDED-3"] == ("active", 1, {"name": "Mended 3", "price": 2.5})


def test_the_types_of_columns_are_changed_and_the_file_is_checked_again(owner: Person, stack: Stack, tmp_path: Path) -> None:
    text = "item_id,item_type,status,size,stock,note\nA,p,active,38,7,x\nB,p,active,40,,y\n"
    upload(owner, written(tmp_path / "sizes.csv", text))
    expect(owner.field("Type of size")).to_have_value("number")
    owner.field("Type of size").select_option("Text")
    owner.field("Type of note").select_option("Leave out")
    owner.button("Check again").click()
    expect(owner.page.get_by_role("row", name=re.compile(r'^A p Active .*"38"'))).to_be_visible()
    expect(owner.field("Type of size")).to_have_value("text")
    submit(owner, "Import 2 rows")
    live(owner, "2")
    assert states(stack, owner) == {
        "A": ("active", 1, {"size": "38", "stock": 7}),
        "B": ("active", 1, {"size": "40"}),
    }


def test_a_json_file(owner: Person, stack: Stack) -> None:
    imported(owner, EXAMPLES / "catalog.json", len(json.loads((EXAMPLES / "catalog.json").read_bytes())))
    assert states(stack, owner)["PROD-001"][0] == "active"


def test_a_file_of_users(owner: Person, stack: Stack) -> None:
    imported(owner, EXAMPLES / "users.csv", 3, "users")
    owner.link("See the users").click()
    for user in ("usr_001", "usr_002", "usr_003"):
        expect(owner.link(user)).to_be_visible()
    assert states(stack, owner) == {}


def test_a_compressed_file_that_is_chosen(owner: Person, stack: Stack, tmp_path: Path) -> None:
    file = tmp_path / "packed.csv.gz"
    file.write_bytes(gzip.compress(rows("A,p,active,Packed").encode()))
    owner.page.goto("/ingestion")
    owner.field("Drop a file of items here").set_input_files(file)
    submit(owner, "Import 1 row")
    live(owner, "1")
    assert states(stack, owner) == {"A": ("active", 1, {"name": "Packed"})}


def test_the_whole_catalogue_deletes_what_the_file_lacks(owner: Person, stack: Stack, tmp_path: Path) -> None:
    imported(owner, written(tmp_path / "all.csv", catalogue(10)), 10)
    fewer = catalogue(10).splitlines(keepends=True)
    upload(owner, written(tmp_path / "fewer.csv", "".join(fewer[:10])))
    owner.page.get_by_label("This file is the whole catalogue").check()
    expect(owner.page.get_by_text("1 of 10 items would become deleted")).to_be_visible()
    expect(owner.page.get_by_text("BULK-9")).to_be_visible()
    submit(owner, "Import 9 rows and delete 1 item")
    live(owner, "10")
    found = states(stack, owner)
    assert {item: state[0] for item, state in found.items() if state[0] != "active"} == {"BULK-9": "deleted"}

    upload(owner, written(tmp_path / "few.csv", "".join(fewer[:5])))
    owner.page.get_by_label("This file is the whole catalogue").check()
    expect(owner.page.get_by_text("5 of 9 items would become deleted")).to_be_visible()
    owner.watch.expected = {409}
    owner.button("Import 4 rows and delete 5 items").click()
    expect(owner.page.get_by_role("alert").filter(has_text="type 5 to confirm it")).to_be_visible()
    assert sum(state[0] == "active" for state in states(stack, owner).values()) == 9
    owner.field("Type 5 to confirm").fill("5")
    submit(owner, "Import 4 rows and delete 5 items")
    live(owner, "9")
    active = {item for item, state in states(stack, owner).items() if state[0] == "active"}
    assert active == {"BULK-0", "BULK-1", "BULK-2", "BULK-3"}


def test_a_large_catalogue_comes_in_parts(owner: Person, stack: Stack, tmp_path: Path) -> None:
    imported(owner, written(tmp_path / "before.csv", catalogue(7)), 7)
    lines = catalogue(6).splitlines(keepends=True)
    upload(owner, written(tmp_path / "one.csv", "".join(lines[:4])))
    owner.page.get_by_label("This file is the whole catalogue").check()
    owner.page.get_by_label("More files follow").check()
    submit(owner, "Import 3 rows")
    live(owner, "3")
    owner.drop(written(tmp_path / "two.csv", lines[0] + "".join(lines[4:])), owner.page.get_by_text("Drop part 2 here"))
    expect(owner.heading("two.csv")).to_be_visible()
    expect(owner.page.get_by_text("1 of 7 items would become deleted")).to_be_visible(timeout=SOON)
    submit(owner, "Import 3 rows and delete 1 item")
    live(owner, "4")
    found = states(stack, owner)
    assert {item for item, state in found.items() if state[0] == "deleted"} == {"BULK-6"}
    assert {state[1] for state in found.values()} == {2}


def test_an_import_is_cancelled(owner: Person, stack: Stack, tmp_path: Path) -> None:
    upload(owner, written(tmp_path / "unwanted.csv", rows("A,p,active,Unwanted")))
    owner.button("Discard").click()
    owner.button("Discard file").click()
    expect(owner.heading("Cancelled")).to_be_visible()
    expect(owner.page.get_by_text("Nothing of the file was imported.")).to_be_visible()
    owner.page.goto("/ingestion")
    expect(owner.page.get_by_role("row").filter(has_text="unwanted.csv")).to_contain_text("Cancelled")
    assert states(stack, owner) == {}


def test_a_running_import_is_cancelled_and_what_was_queued_stays(owner: Person, stack: Stack, tmp_path: Path) -> None:
    query = "SELECT status, queued FROM foldline_control.imports WHERE created_by = %s"

    upload(owner, written(tmp_path / "large.csv", catalogue(300_000)))
    owner.button("Import 300,000 rows").click()
    expect(owner.heading("Queueing the rows")).to_be_visible()
    assert eventually(lambda: stack.sql(query, owner.email)[0][1] > 0, 20)
    owner.button("Cancel").click()
    owner.button("Cancel import").click()
    expect(owner.heading("Cancelled")).to_be_visible(timeout=SOON)
    ((status, queued),) = stack.sql(query, owner.email)
    assert (status, 0 < queued < 300_000) == ("cancelled", True)
    expect(owner.page.get_by_text(f"{queued:,} rows had been queued before, and stay.")).to_be_visible()
    assert eventually(lambda: len(states(stack, owner)) == queued, 20)


def test_an_upload_survives_a_lost_connection(owner: Person, stack: Stack, tmp_path: Path) -> None:
    lost: list[str] = []

    def lose_the_first(route: Route) -> None:
        if lost:
            route.continue_()
            return
        lost.append(route.request.url)
        route.abort("connectionreset")

    owner.page.route("**/ingestion/upload?*", lose_the_first)
    owner.watch.outage = True
    owner.page.goto("/ingestion")
    owner.drop(written(tmp_path / "again.csv", rows("A,p,active,Again")), zone(owner))
    expect(owner.page.get_by_text("The connection was lost. Trying again…")).to_be_visible()
    submit(owner, "Import 1 row")
    live(owner, "1")
    assert len(lost) == 1
    assert stack.sql("SELECT count(*) FROM foldline_control.imports WHERE created_by = %s", owner.email) == [(1,)]


# What no import comes of, and what a person is told in one sentence.
UNREADABLE = {
    "a picture": (b"\x89PNG\r\n\x1a\n" + bytes(2000), "PNG picture"),
    "a workbook": (b"PK\x03\x04" + bytes(2000), "Excel workbook or another zip archive: save the sheet as CSV"),
    "a program": (bytes(range(256)) * 20, "not text"),
    "nothing": (b"", "empty"),
    "a header alone": (HEADER.encode(), "no rows"),
    "brackets": (b"[" * 500_000, "nests more than"),
    "UTF-16": ((HEADER + "A,p,active,x\n").encode("utf-16"), "UTF-16: save it as UTF-8"),
    "Latin-1": (HEADER.encode() + "A,p,active,Käse\n".encode("latin-1"), "Line 2 is not UTF-8"),
    "no column for the id": (b"item_type,status\np,active\n", "no column item_id"),
    "a column twice": (b"item_id,item_type,status,status\nA,p,active,active\n", "column status twice"),
}


def test_what_cannot_be_read_is_answered_by_a_sentence(owner: Person, stack: Stack, tmp_path: Path) -> None:
    for name, (content, said) in UNREADABLE.items():
        file = tmp_path / f"{name}.csv"
        file.write_bytes(content)
        upload(owner, file)
        problem = owner.page.get_by_role("region", name="What is wrong with the file")
        expect(problem.get_by_role("heading"), name).to_contain_text(said)
        expect(owner.page.get_by_role("button", name="Import")).to_have_count(0)
    assert states(stack, owner) == {}


def test_what_is_too_large_is_not_taken(owner: Person, stack: Stack, tmp_path: Path) -> None:
    large = tmp_path / "large.csv"
    large.touch()
    os.truncate(large, 51_000_000)
    packed = tmp_path / "packed.csv.gz"
    packed.write_bytes(gzip.compress(large.read_bytes(), 1))
    owner.watch.expected = {413}
    for file, said in ((large, "at most 50 MB"), (packed, "larger than 50,000,000 bytes")):
        owner.page.goto("/ingestion")
        owner.drop(file, zone(owner))
        expect(owner.page.get_by_role("alert").filter(has_text=said)).to_be_visible(timeout=SOON)
    assert stack.sql("SELECT 1 FROM foldline_control.imports WHERE created_by = %s", owner.email) == []
