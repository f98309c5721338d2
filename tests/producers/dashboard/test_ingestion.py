"""Files over HTTP as a browser sends them: what their pages say, what may be chosen, and who may choose it."""

from __future__ import annotations

import gzip
import json
import re
import threading
from collections.abc import Callable, Iterator
from html import unescape
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from foldline.adapters.postgres import Connection, connect
from foldline.settings import Settings
from producers.accounts.roles import Role
from producers.dashboard.ingestion_samples import SAMPLES
from producers.dashboard.ingestion_view import sentence
from producers.imports import jobs
from tests.producers.conftest import Gateway, gateway_of
from tests.producers.dashboard.visitors import HERE, Visitor, text_of
from tests.producers.imports.conftest import Desk, importing

HEADER = "item_id,item_type,status,name\n"
FAULTS = (
    HEADER
    + 'A,product,active,One\nB,product,aktiv,"Two\nlines"\n,product,active,Three\nD,product,active\nE,product,active,Five\n'
)


@pytest.fixture(scope="module")
def _importer(stage: Settings) -> Iterator[None]:
    with importing(stage):
        yield


@pytest.fixture
def control(stage: Settings) -> Iterator[Connection]:
    with connect(stage.database_url, "test") as connection:
        connection.execute("DELETE FROM foldline_control.attempts")
        yield connection


class Person(Visitor):
    """Somebody signed in, and the imports of their organisation."""

    desk: Desk

    def drop(
        self, data: bytes | str, name: str = "file.csv", kind: str = "items", series: str = "", **headers: str
    ) -> httpx.Response:
        content = data.encode() if isinstance(data, str) else data
        url = f"/ingestion/upload?kind={kind}&name={quote(name)}&series={series}"
        return self.post(url, content=content, headers={**HERE, "Accept": "application/json", **headers})

    def upload(self, data: bytes | str, name: str = "file.csv", kind: str = "items", series: str = "") -> str:
        """The page of a file that is checked."""
        answer = self.drop(data, name, kind, series)
        assert answer.status_code == 201, answer.text
        url = str(answer.json()["url"])
        self.desk.wait(url.rpartition("/")[2], "ready", "rejected")
        return url

    def choose(self, url: str, what: str = "submit", **fields: str) -> httpx.Response:
        return self.send_form(f"{url}/{what}", **fields)

    def live(self, url: str) -> str:
        """What the page says once everything is applied."""
        self.desk.wait(url.rpartition("/")[2], "live")
        return text_of(self.get(url))

    def become(self, role: Role) -> None:
        self.desk.connection.execute(
            "UPDATE foldline_control.memberships SET role = %s WHERE org_id = %s", (role, self.desk.org_id)
        )


NewPerson = Callable[[], Person]


@pytest.fixture
def new_person(gateway: Gateway, stage: Settings, control: Connection) -> Iterator[NewPerson]:
    """Makes an organisation with somebody who is signed in."""
    made: list[Person] = []

    def make() -> Person:
        made.append(Person(gateway))
        made[-1].sign_up()
        query = "SELECT org_id FROM foldline_control.memberships JOIN foldline_control.accounts USING (account_id)"
        ((org_id,),) = control.execute(f"{query} WHERE email = %s", (made[-1].email,)).fetchall()
        made[-1].desk = Desk(stage, control, org_id)
        return made[-1]

    yield make
    for person in made:
        person.close()


@pytest.fixture
def person(new_person: NewPerson, _importer: None) -> Person:
    return new_person()


def events(answer: httpx.Response) -> Iterator[tuple[str, str, str]]:
    """Name, id and data of each event, as they come."""
    told: dict[str, list[str]] = {}
    for line in answer.iter_lines():
        if line:
            name, _, value = line.partition(": ")
            told.setdefault(name, []).append(value)
            continue
        if "event" in told:
            yield told["event"][0], told["id"][0], "\n".join(told["data"])
        told = {}


def test_a_file_from_the_drop_zone_to_live(person: Person) -> None:
    assert "Drop a file of items here" in text_of(person.get("/ingestion"))
    url = person.upload(HEADER + "A,product,active,One\nB,product,inactive,Two\n", "spring.csv")
    page = text_of(person.get(url))
    assert "2 rows can be imported Nothing is imported yet." in page
    assert "Import 2 rows" in page
    assert 'A product Active name "One"' in page
    assert person.desk.items() == {}
    assert (person.choose(url).status_code, person.choose(url).status_code) == (303, 409)
    assert "Live: 2 applied, 0 refused" in person.live(url)
    assert person.desk.items() == {"A": ("active", 1, {"name": "One"}), "B": ("inactive", 1, {"name": "Two"})}
    listed = text_of(person.get("/ingestion"))
    assert f"spring.csv Items Live 2 0 {person.email}" in listed
    done = person.desk.connection.execute(
        "SELECT action FROM foldline_control.audit_log WHERE org_id = %s AND action LIKE 'import.%%' ORDER BY audit_id",
        (person.desk.org_id,),
    ).fetchall()
    assert done == [("import.uploaded",), ("import.submitted",), ("import.live",)]


def test_a_page_follows_its_import_to_the_end(person: Person) -> None:
    url = person.upload(HEADER + "A,product,active,One\n")
    page = person.get(url).text
    (seen,) = re.findall(r'data-seen="([^"]+)"', page)
    with person.stream("GET", f"{url}/events?seen={seen}") as answer:
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        assert person.choose(url).status_code == 303
        told = list(events(answer))
    assert told[-1][0] == "end"
    assert {name for name, _, _ in told} == {"head", "progress", "body", "end"}
    bodies = [data for name, _, data in told if name == "progress"]
    assert "Live: 1 applied, 0 refused" in bodies[-1]
    last = told[-1][1]
    with person.stream("GET", f"{url}/events", headers={"Last-Event-ID": last}) as answer:
        assert [name for name, _, _ in events(answer)] == ["end"]


def test_a_stream_ends_with_its_gateway(stage: Settings, person: Person) -> None:
    url = person.upload(HEADER + "A,product,active,One\n")
    with (
        gateway_of(stage) as other,
        httpx.Client(base_url=other.url, cookies=person.cookies, timeout=20) as client,
        client.stream("GET", f"{url}/events") as answer,
    ):
        told = events(answer)
        assert next(told)[0] == "head"
        other.server.should_exit = True
        assert [name for name, _, _ in told] == ["progress", "body"]


def test_every_fault_is_shown_at_its_line(person: Person) -> None:
    url = person.upload(FAULTS, "faults.csv")
    page = text_of(person.get(url))
    assert "3 of 5 rows are wrong" in page
    assert "3 faults in 3 rows" in page
    assert "Import the 2 good rows" in page
    shown = {}
    for code in ("invalid_status", "required", "too_few_cells"):
        answer = person.get(f"{url}/problems?severity=error&code={code}", headers={"HX-Request": "true"})
        assert "<html" not in answer.text
        cells = [
            unescape(re.sub(r"<[^>]+>", "", cell)).strip() for cell in re.findall(r"(?s)<td[^>]*>(.*?)</td>", answer.text)
        ]
        shown[code] = cells[:5]
    assert shown == {
        "invalid_status": ["Line 3", "2", "status", "invalid_status", "aktiv"],
        "required": ["Line 5", "3", "item_id", "required", "empty"],
        "too_few_cells": ["Line 6", "4", "–", "too_few_cells", "D"],
    }
    whole = person.get(f"{url}/problems?severity=error&code=required")
    assert "<html" in whole.text
    for wrong in ("code=unheard_of", "code=required&block=1", "code=required&severity=warning", "code=required&block=-1"):
        assert person.get(f"{url}/problems?{wrong}").status_code == 404


def test_nothing_is_imported_while_a_row_is_wrong_and_the_good_rows_if_chosen(person: Person) -> None:
    url = person.upload(FAULTS)
    refused = person.choose(url, rows="all")
    assert refused.status_code == 409
    assert "3 rows are wrong: nothing is imported while that is so." in text_of(refused)
    assert person.desk.items() == {}
    assert person.choose(url, rows="good").status_code == 303
    assert "Live: 2 applied, 0 refused" in person.live(url)
    assert sorted(person.desk.items()) == ["A", "E"]


def test_the_failed_rows_are_mended_and_dropped_again(person: Person) -> None:
    url = person.upload(FAULTS, 'spring "2026" <é>.csv')
    answer = person.get(f"{url}/failed-rows")
    headers = {name: answer.headers[name] for name in ("Content-Type", "Content-Disposition", "X-Content-Type-Options")}
    assert headers == {
        "Content-Type": "application/octet-stream",
        "Content-Disposition": 'attachment; filename="spring_2026_-failed-rows.csv"; '
        "filename*=UTF-8''spring%20%222026%22%20%3C%C3%A9%3E-failed-rows.csv",
        "X-Content-Type-Options": "nosniff",
    }
    assert answer.text.splitlines()[0] == "item_id,item_type,status,name,error"
    mended = answer.text.replace("aktiv", "active").replace("\n,product", "\nC,product")
    again = person.upload(mended, "mended.csv")
    assert "3 rows can be imported" in text_of(person.get(again))
    assert person.choose(again).status_code == 303
    assert "Live: 3 applied, 0 refused" in person.live(again)
    assert person.desk.items() == {
        "B": ("active", 1, {"name": "Two\nlines"}),
        "C": ("active", 1, {"name": "Three"}),
        "D": ("active", 1, {}),
    }
    assert person.get(f"{again}/failed-rows").status_code == 404


def test_a_column_is_read_as_another_type(person: Person) -> None:
    url = person.upload("item_id,item_type,status,size,note\nA,p,active,38,x\nB,p,active,40,\n")
    assert "size 38" in text_of(person.get(url))
    fields = re.findall(r'<label for="(type-\d+)"[^>]*>Type of (\w+)</label>', person.get(url).text)
    named = {column: field for field, column in fields}
    assert sorted(named) == ["note", "size"]
    assert person.choose(url, "types", **{named["size"]: "text", named["note"]: "omit", "type-0": "json"}).status_code == 303
    import_id = url.rpartition("/")[2]
    person.desk.wait(import_id, "ready")
    assert person.desk.job(import_id).types == {"size": "text", "note": "omit"}
    assert person.choose(url).status_code == 303
    person.live(url)
    assert person.desk.items() == {"A": ("active", 1, {"size": "38"}), "B": ("active", 1, {"size": "40"})}
    assert person.choose(url, "types", **{named["size"]: "number"}).status_code == 409


def test_the_whole_catalogue_has_to_be_confirmed(person: Person) -> None:
    rows = [f"I-{number},product,active,Item {number}\n" for number in range(5)]
    first = person.upload(HEADER + "".join(rows))
    person.choose(first)
    person.live(first)
    url = person.upload(HEADER + rows[0])
    page = text_of(person.get(url))
    assert "4 of 5 items would become deleted: I-1 Item 1 I-2 Item 2" in page
    assert "Type 4 to confirm" in page
    for typed in ("", "3", "four"):
        refused = person.choose(url, mode="whole", typed=typed)
        assert (refused.status_code, "type 4 to confirm it" in text_of(refused)) == (409, True)
        assert re.search(r'value="whole" checked', refused.text)
    assert person.choose(url, mode="whole", typed="4").status_code == 303
    page = person.live(url)
    assert "Live: 5 applied, 0 refused 4 items that the file lacks became deleted." in page
    assert "1 row and 4 deletions queued" in page
    assert [item for item, state in person.desk.items().items() if state[0] == "active"] == ["I-0"]


def test_a_catalogue_in_parts(person: Person) -> None:
    rows = [f"I-{number},product,active,Item {number}\n" for number in range(11)]
    before = person.upload(HEADER + "".join(rows))
    person.choose(before)
    person.live(before)
    first = person.upload(HEADER + "".join(rows[:5]), "one.csv")
    assert person.choose(first, mode="whole", more="yes").status_code == 303
    assert "More files follow 1 part so far." in person.live(first)
    assert "Drop part 2 here" in text_of(person.get(first))
    (upload,) = re.findall(r'data-upload="([^"]+)"', person.get(first).text)
    series = unescape(upload).partition("series=")[2]
    second = person.upload(HEADER + "".join(rows[5:10]), "two.csv", series=series)
    page = text_of(person.get(second))
    assert "part 2 of one.csv" in page
    assert "1 of 11 items would become deleted" in page
    assert "Only merge" not in page
    assert person.choose(second).status_code == 303
    assert "Live: 6 applied, 0 refused" in person.live(second)
    assert "Drop part 3 here" not in text_of(person.get(second))
    assert [item for item, state in person.desk.items().items() if state[0] == "deleted"] == ["I-10"]
    assert person.drop(HEADER + rows[0], series=series).status_code == 400


def test_what_the_fold_refuses_is_listed(person: Person, control: Connection) -> None:
    long = "x" * 700_000
    rows = f'{{"item_id":"A","item_type":"p","status":"active","attributes":{{"a":"{long}"}}}}\n'
    rows += f'{{"item_id":"A","item_type":"p","status":"active","attributes":{{"b":"{long}"}}}}\n'
    url = person.upload(rows, "large.ndjson")
    assert "1 warning" in text_of(person.get(url))
    person.choose(url)
    page = person.live(url)
    assert "Live: 1 applied, 1 refused" in page
    assert re.search(r"Row Id Field Code Why 2 A attributes record_too_large", page), page


def test_an_import_is_discarded(person: Person) -> None:
    url = person.upload(HEADER + "A,product,active,One\n")
    assert "Discard this file?" in text_of(person.get(url))
    assert person.choose(url, "cancel").status_code == 303
    page = text_of(person.get(url))
    assert "Cancelled Nothing of the file was imported." in page
    assert "Import 1 row" not in page
    assert [person.choose(url, what).status_code for what in ("cancel", "submit", "types")] == [409, 409, 409]
    assert person.desk.items() == {}


def test_the_preview_keeps_numbers_and_cuts_what_is_long(person: Person) -> None:
    record = {"large": 1e59, "small": 1e-59, "whole": 2**63 - 1, "long": "x" * 500, "none": None}
    row = {"item_id": "A", "item_type": "p", "status": "active", "attributes": record | {f"k{n}": n for n in range(30)}}
    page = text_of(person.get(person.upload(json.dumps([row]), "row.json")))
    shown = f'large 1e+59 small 1e-59 whole 9223372036854775807 long "{"x" * 119}… none null k0 0 k1 1'
    assert shown in page
    assert "k14 14 and 15 more" in page


UNREADABLE = {
    "nothing": b"",
    "a header": HEADER.encode(),
    "a picture": b"\x89PNG\r\n\x1a\n" + bytes(99),
    "brackets": b"[" * 500_000,
    "no id": b"item_type,status\np,active\n",
}


@pytest.mark.parametrize("data", UNREADABLE.values(), ids=UNREADABLE)
def test_what_cannot_be_read_is_a_sentence(person: Person, data: bytes) -> None:
    url = person.upload(data)
    page = text_of(person.get(url))
    message = (person.desk.job(url.rpartition("/")[2]).report or {})["problem"]["message"]
    assert "This file cannot be read Nothing is imported yet." in page
    assert f"{sentence(message)} Nothing was imported. Mend the file, and upload it again." in page
    assert "Import 0 rows" not in page
    assert person.choose(url, rows="good").status_code == 409


def test_what_is_refused_while_it_comes_leaves_nothing(person: Person, stage: Settings) -> None:
    small = HEADER.encode() + b"A,product,active,One\n"
    large = bytes(stage.max_file_bytes + 1)
    answers = {
        "too large": person.drop(large),
        "too large, packed": person.drop(gzip.compress(large)),
        "cut": person.drop(gzip.compress(small)[:-9]),
        "no kind": person.drop(small, kind="things"),
        "no series": person.drop(small, series="imp_" + 32 * "0"),
    }
    said = {name: (answer.status_code, answer.json()["message"]) for name, answer in answers.items()}
    assert said == {
        "too large": (413, "The file is larger than 50,000,000 bytes: split it into several"),
        "too large, packed": (413, "The file is larger than 50,000,000 bytes: split it into several"),
        "cut": (400, "The gzip file ends too early: was it copied as a whole?"),
        "no kind": (400, "Say what the file has: kind is items or users"),
        "no series": (400, "there is no import of which this could be a part"),
    }
    assert jobs.jobs(person.desk.connection, person.desk.org_id) == []


def test_a_packed_file(person: Person) -> None:
    url = person.upload(gzip.compress(HEADER.encode() + b"A,product,active,One\n"), "file.csv.gz")
    assert "1 row can be imported" in text_of(person.get(url))


@pytest.mark.parametrize("kind", ["items", "users"])
def test_the_samples_are_good_and_say_the_same(person: Person, kind: str) -> None:
    previews = []
    for ending in ("csv", "json"):
        name = f"{kind}.{ending}"
        answer = person.get(f"/ingestion/samples/{name}")
        assert answer.headers["Content-Disposition"].startswith(f'attachment; filename="sample-{name}"')
        assert answer.text == SAMPLES[name]
        job = person.desk.job(person.upload(answer.content, name, kind).rpartition("/")[2])
        assert (job.status, job.errors, job.warnings) == ("ready", 0, 0)
        previews.append((job.report or {})["preview"])
    assert previews[0] == previews[1]
    assert person.get("/ingestion/samples/secrets.csv").status_code == 404


def test_a_name_is_only_a_name(person: Person) -> None:
    name = '"><img src=x onerror=alert(1)>.csv'
    url = person.upload(HEADER + 'A,product,active,"<script>alert(1)</script>"\n<b>,product,<i>,x\n', name)
    for page in (
        person.get(url).text,
        person.get("/ingestion").text,
        person.get(f"{url}/problems?severity=error&code=invalid_status").text,
    ):
        assert "<img" not in re.sub(r'<img src="/assets/[^>]*>', "", page)
        assert "<script>alert" not in page
        assert "<b>" not in page
        assert "&lt;" in page


def test_who_only_reads_changes_nothing(person: Person) -> None:
    url = person.upload(FAULTS)
    person.become("MEMBER")
    listing, page = person.get("/ingestion"), person.get(url)
    assert "You can see imports, but not make any" in text_of(listing)
    assert 'type="file"' not in listing.text
    assert "3 faults in 3 rows" in text_of(page)
    assert [form for form in re.findall(r'action="([^"]+)"', page.text) if form.startswith("/imports")] == [f"{url}/types"]
    assert "Check again" not in page.text
    assert person.get(f"{url}/failed-rows").status_code == 200
    assert [person.choose(url, what, rows="good").status_code for what in ("submit", "types", "cancel")] == [403, 403, 403]
    assert person.drop(HEADER).status_code == 403
    assert len(jobs.jobs(person.desk.connection, person.desk.org_id)) == 1
    person.become("DEVELOPER")
    assert person.choose(url, rows="good").status_code == 303


def test_another_organisation_sees_nothing(person: Person, new_person: NewPerson) -> None:
    url = person.upload(FAULTS, "secret-plans.csv")
    other = new_person()
    assert "secret-plans" not in other.get("/ingestion").text
    paths = ("", "/events", "/failed-rows", "/problems?severity=error&code=required")
    answers = [other.get(url + path) for path in paths] + [other.choose(url, what) for what in ("submit", "types", "cancel")]
    assert [answer.status_code for answer in answers] == [404] * 7
    assert all("secret-plans" not in answer.text for answer in answers)
    assert other.drop(HEADER, series=url.rpartition("/")[2]).status_code == 400
    assert person.desk.job(url.rpartition("/")[2]).status == "rejected"


def test_nobody_is_asked_to_sign_in(person: Person, gateway: Gateway) -> None:
    url = person.upload(FAULTS)
    with Person(gateway) as nobody:
        for path in ("/ingestion", "/ingestion/samples/items.csv", url, f"{url}/events", f"{url}/failed-rows"):
            answer = nobody.get(path)
            assert (answer.status_code, answer.headers["Location"]) == (303, f"/sign-in?next={path}")
        assert nobody.drop(HEADER, **{"HX-Request": "true"}).headers["HX-Redirect"] == "/sign-in"
        assert nobody.choose(url, "cancel").status_code == 303


def test_other_sites_send_nothing(person: Person) -> None:
    url = person.upload(FAULTS)
    elsewhere = {"Sec-Fetch-Site": "cross-site"}
    assert person.drop(HEADER, **elsewhere).status_code == 403
    assert [
        person.send_form(f"{url}/{what}", elsewhere, rows="good").status_code for what in ("submit", "types", "cancel")
    ] == [403] * 3
    assert len(jobs.jobs(person.desk.connection, person.desk.org_id)) == 1


@pytest.mark.parametrize("path", ["imp_0", "imp_%00", "imp_" + 33 * "0", "x", "%F0%9F%98%80", "imp_" + 32 * "0"])
def test_an_import_that_is_none(person: Person, path: str) -> None:
    assert person.get(f"/imports/{path}").status_code == 404


def test_older_imports_are_pages_by_key(new_person: NewPerson) -> None:
    person = new_person()
    made = [
        jobs.create(person.desk.connection, person.desk.org_id, "items", f"file-{number}.csv", "ada", None)
        for number in range(60)
    ]
    path, pages = "/ingestion", []
    while path:
        page = person.get(path).text
        pages.append(re.findall(r'href="/imports/(imp_\w+)"', page))
        (path, *_) = [unescape(link) for link in re.findall(r'href="(/ingestion\?kind=items&amp;before=[^"]+)"', page)] or [
            ""
        ]
    assert [len(page) for page in pages] == [25, 25, 10]
    assert [import_id for page in pages for import_id in page] == made[::-1]
    assert person.get("/ingestion?before=nonsense").status_code == 200


def test_two_people_decide_once(person: Person) -> None:
    url = person.upload(HEADER + "A,product,active,One\n")
    statuses: list[int] = []
    cookies: Any = dict(person.cookies)

    def decide() -> None:
        with httpx.Client(base_url=person.base_url, cookies=cookies, headers=HERE, timeout=20) as client:
            statuses.append(client.post(f"{url}/submit", data={"mode": "merge"}).status_code)

    threads = [threading.Thread(target=decide) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(statuses) == [303, 409, 409, 409]
    person.live(url)
    assert person.desk.items() == {"A": ("active", 1, {"name": "One"})}
