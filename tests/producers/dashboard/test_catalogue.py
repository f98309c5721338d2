"""Items and users by the dashboard: pages by key, filters, a search that says how far it came, a page for each record."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import unescape
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import httpx
import pytest

from foldline.adapters.postgres import connect
from foldline.settings import Settings
from projections import catalogue
from projections.catalogue import after_prefix
from tests.producers.conftest import Gateway
from tests.producers.dashboard.test_developers import org_of
from tests.producers.dashboard.visitors import Visitor, text_of
from tests.producers.test_reads import IDS

AT = "2025-01-12T09:00:00Z"
HTMX = {"HX-Request": "true"}


def put(settings: Settings, org_id: str, *items: tuple[str, str, str, str]) -> None:
    """Items as they stand: id, type, status, attributes."""
    with connect(settings.database_url, "test") as connection:
        for item in items:
            connection.execute(
                "INSERT INTO gen_1.items VALUES (%s, %s, %s, %s, %s, 3, %s, %s, 1, 5)", (org_id, *item, AT, AT)
            )


@pytest.fixture(scope="module")
def shop(gateway: Gateway, stage: Settings) -> Iterator[Visitor]:
    """Somebody whose organisation has items n000 to n179: of each ten the first deleted, the second inactive, every seventh
    of another type; and items with each of the awkward ids."""
    with Visitor(gateway) as visitor:
        visitor.sign_up("Shop")
        org_id = org_of(stage, visitor)
        put(stage, org_id, *((item_id, "odd", "active", '{"id": 1}') for item_id in IDS))
        numbered = []
        for n in range(180):
            status = "deleted" if n % 10 == 0 else "inactive" if n % 10 == 1 else "active"
            numbered.append(
                (f"n{n:03}", "few" if n % 7 == 0 else "many", status, f'{{"name": "Thing {n}", "price": {n}.5}}')
            )
        put(stage, org_id, *numbered)
        with connect(stage.database_url, "test") as connection:
            connection.execute(
                "INSERT INTO gen_1.users VALUES (%s, 'u/1', %s, 'active', '{\"name\": \"Ada\"}', 3, %s, %s, 1, 5)",
                (org_id, "0001-01-01T00:00:00Z", AT, AT),
            )
        yield visitor


@pytest.fixture
def newcomer(gateway: Gateway) -> Iterator[Visitor]:
    with Visitor(gateway) as visitor:
        yield visitor.sign_up()


def ids(answer: httpx.Response) -> list[str]:
    """The ids that a page lists."""
    assert answer.status_code == 200, answer.text
    return [unescape(found) for found in re.findall(r'<th scope="row"[^>]*><a href="[^"]+">([^<]*)</a>', answer.text)]


def link(answer: httpx.Response, label: str) -> str | None:
    """Where a link of the page leads; None where there is none."""
    found = re.search(rf'<a href="([^"]+)"(?:(?!</a>).)*?>{label}<', answer.text, re.DOTALL)
    return None if found is None else unescape(found[1])


def numbered(*wanted: int) -> list[str]:
    return [f"n{n:03}" for n in wanted]


NOT_DELETED = [n for n in range(180) if n % 10]


def test_pages_go_forth_and_back_by_key(shop: Visitor) -> None:
    everything = sorted([*IDS, *numbered(*NOT_DELETED)])
    seen, url, urls = [], "/catalogue", []
    while url:
        urls.append(url)
        page = shop.get(url)
        seen.append(ids(page))
        url = link(page, "Next") or ""
    assert [item for page in seen for item in page] == everything
    assert [len(page) for page in seen] == [50, 50, 50, len(everything) - 150]
    assert link(page, "Last") is None
    back = [ids(page)]
    while url := link(page, "Previous") or "":
        page = shop.get(url)
        back.append(ids(page))
    assert back[::-1] == seen
    assert (link(page, "First"), link(page, "Last")) == (None, "/catalogue?last=1")
    last = shop.get("/catalogue?last=1")
    assert ids(last) == everything[-50:]
    assert link(last, "Next") is None
    assert ids(shop.get(link(last, "First") or "")) == everything[:50]


def test_a_page_before_the_first_ones_is_the_first(shop: Visitor) -> None:
    assert ids(shop.get("/catalogue?before=n010")) == ids(shop.get("/catalogue"))
    assert ids(shop.get("/catalogue?status=deleted&before=n010")) == numbered(*range(0, 180, 10))


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("status=deleted", numbered(*range(0, 180, 10))),
        ("status=inactive", numbered(*range(1, 180, 10))),
        ("status=inactive&type=few", numbered(*(n for n in range(180) if n % 10 == 1 and n % 7 == 0))),
        ("status=all&type=few", numbered(*range(0, 180, 7))),
        ("type=few", numbered(*(n for n in range(180) if n % 10 and n % 7 == 0))),
        ("type=nope", []),
        ("status=nope&type=few&after=n100", numbered(*(n for n in range(101, 180) if n % 10 and n % 7 == 0))),
        ("q=n00&ids=1", numbered(*range(1, 10))),
        ("q=n00&ids=1&status=all", numbered(*range(10))),
        ("q=n00&ids=1&type=few", numbered(7)),
        ("q=N00&ids=1", []),
        ("q=%00n01%00&ids=1&status=inactive", numbered(11)),
    ],
)
def test_filters(shop: Visitor, query: str, found: list[str]) -> None:
    assert ids(shop.get(f"/catalogue?{query}")) == found


@pytest.mark.parametrize(
    ("q", "found"),
    [
        ("thing 12", numbered(12, 112, *range(121, 130))),
        ("12 THING", numbered(12, 112, *range(121, 130))),
        ("17.5", numbered(17, 117)),
        ("price 33", numbered(33, 133)),
        ("zzz", []),
        ("%", ["%252F", "%2F"]),
        ("_", []),
        ("\\", ["\\"]),
        ('"', []),
    ],
)
def test_a_search_finds_every_word_in_the_attributes(shop: Visitor, q: str, found: list[str]) -> None:
    assert ids(shop.get("/catalogue", params={"q": q})) == found


def test_what_is_looked_for_in_attributes_is_text(gateway: Gateway, stage: Settings, newcomer: Visitor) -> None:
    rows = {
        "quote": r'{"a": "7\" vinyl"}',
        "slash": r'{"a": "C:\\x"}',
        "per": '{"a": "100% wool"}',
        "under": '{"a_b": ["É"]}',
    }
    put(stage, org_of(stage, newcomer), *((item_id, "t", "active", attributes) for item_id, attributes in rows.items()))
    wanted = {'7"': "quote", "c:\\X": "slash", "100%": "per", "a_b": "under", "é": "under"}
    assert {q: ids(newcomer.get("/catalogue", params={"q": q})) for q in wanted} == {
        q: [found] for q, found in wanted.items()
    }


def test_ids_that_begin_so_come_first(shop: Visitor) -> None:
    page = shop.get("/catalogue?q=n12")
    assert ids(page) == numbered(*range(121, 126))
    everything = link(page, "All of them")
    assert everything == "/catalogue?q=n12&ids=1"
    assert ids(shop.get(everything)) == numbered(*range(121, 130))


def test_a_search_says_how_far_it_came_and_goes_on(shop: Visitor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogue, "STRETCH_RECORDS", 20)
    page = shop.get("/catalogue?q=Thing+7&type=many")
    stretches = []
    while found := re.search(r'hx-get="([^"]+)" hx-trigger="load', page.text):
        stretches.append(ids(page))
        asked = unescape(found[1])
        assert link(page, "Search on from here") == asked.partition("&found")[0]
        page = shop.get(asked, headers=HTMX)
        assert "<html" not in page.text
    stretches.append(ids(page))
    every = [n for n in NOT_DELETED if n % 7 and "7" in str(n)]
    assert [item for stretch in stretches for item in stretch] == numbered(*every)
    assert len(stretches) == 7
    assert f"{len(every)} found; this is the end." in text_of(page)


def test_a_search_stops_when_a_page_is_full(shop: Visitor) -> None:
    page = shop.get("/catalogue?q=thing")
    assert ids(page) == numbered(*NOT_DELETED[:50])
    assert 'hx-trigger="load' not in page.text
    assert "50 found up to n055" in text_of(page)
    assert ids(shop.get(link(page, "Search on from here") or "")) == numbered(*NOT_DELETED[50:100])


def test_a_search_ends_when_its_time_is_over(shop: Visitor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogue, "SEARCH_MILLISECONDS", 0)
    first, *_ = sorted([*IDS, *numbered(*NOT_DELETED)])
    page = shop.get("/catalogue?q=zzz")
    (asked,) = re.findall(r'hx-get="([^"]+)" hx-trigger="load', page.text)
    assert parse_qs(urlsplit(unescape(asked)).query)["after"] == [first]


def test_htmx_gets_the_listing_alone_and_a_url_to_show(shop: Visitor) -> None:
    answer = shop.get("/catalogue?q=&type=few&status=", headers=HTMX)
    assert answer.text.strip().startswith('<div id="listing"')
    assert answer.headers["HX-Push-Url"] == "/catalogue?type=few"


def test_the_types_are_those_that_there_are(shop: Visitor) -> None:
    options = re.findall(r'<option value="([^"]*)"', shop.get("/catalogue").text)
    assert options == ["", "few", "many", "odd"]
    assert "<option" not in shop.get("/users").text


def test_many_types_are_typed_in(stage: Settings, newcomer: Visitor) -> None:
    put(stage, org_of(stage, newcomer), *((f"i{n}", f"type {n:03}", "active", "{}") for n in range(130)))
    page = newcomer.get("/catalogue")
    assert page.text.count("<option value=") == 101
    assert ids(newcomer.get("/catalogue?type=type+120")) == ["i120"]


@pytest.mark.parametrize("item_id", IDS)
def test_a_record_has_a_page_whatever_its_id(shop: Visitor, item_id: str) -> None:
    page = shop.get("/catalogue", params={"q": item_id, "ids": "1", "status": "all"})
    hrefs = [unescape(href) for href in re.findall(r'<th scope="row"[^>]*><a href="([^"]+)"', page.text)]
    own = f"/catalogue/{quote(item_id, safe='')}"
    if item_id == item_id.strip():
        assert own in hrefs
    # A client that resolves dots would leave them out of the path.
    answer = shop.get(own.replace(".", "%2E"))
    assert (answer.status_code, item_id in unescape(answer.text)) == (200, True)
    assert shop.get(own.replace(".", "%2E") + "?as=json").json()["item_id"] == item_id


def test_a_record_says_all_that_is_known(shop: Visitor) -> None:
    said = text_of(shop.get("/catalogue/n021"))
    for words in ("Thing 21", "Id n021", "Type few", "Status Inactive", "Version 3", "Partition 1", "Offset 5"):
        assert words in said
    for words in ("Updated 12 Jan 2025, 09:00:00 UTC", "price 21.5 number", '"name": "Thing 21"'):
        assert words in said
    assert "is deleted" in text_of(shop.get("/catalogue/n020"))
    assert "1 Jan 1, 00:00:00 UTC" in text_of(shop.get("/users/u%2F1"))
    assert shop.get("/users/u/1?as=json").json()["created_at"] == "0001-01-01T00:00:00Z"


def test_what_a_record_holds_is_shown_and_not_run(stage: Settings, newcomer: Visitor) -> None:
    hostile = "</script><script>alert(1)</script><b onclick='x'>"
    attributes = '{"name": "%s", "%s": ["%s"], "url": "javascript:alert(1)", "site": "https://shop.example/?a=1&b"}'
    put(stage, org_of(stage, newcomer), (hostile, hostile[:100], "active", attributes % (hostile, hostile, hostile)))
    for page in (
        newcomer.get("/catalogue"),
        newcomer.get("/catalogue", params={"q": "alert"}),
        newcomer.get("/catalogue", params={"q": hostile, "type": hostile}),
        newcomer.get(f"/catalogue/{quote(hostile, safe='')}"),
        newcomer.get(f"/catalogue/{quote(hostile + 'x', safe='')}"),
    ):
        assert "<script>" not in page.text
        assert "<b onclick" not in page.text
        assert 'href="javascript' not in page.text
    assert '<a href="https://shop.example/?a=1&amp;b"' in newcomer.get(f"/catalogue/{quote(hostile, safe='')}").text


def test_a_large_record_is_shown_in_part(stage: Settings, newcomer: Visitor) -> None:
    many = "{" + ",".join(f'"a{n:04}": "{"x" * 300}"' for n in range(3000)) + "}"
    put(stage, org_of(stage, newcomer), ("large", "t", "active", many))
    page = newcomer.get("/catalogue/large")
    assert "The first 200 of 3,000 attributes." in text_of(page)
    assert len(page.content) < 400_000
    assert len(newcomer.get("/catalogue/large?as=json").json()["attributes"]) == 3000


@pytest.mark.parametrize(
    "path", ["/catalogue/nope", "/users/nope", "/catalogue/%00", "/catalogue/" + "x" * 257, "/users/a%0Ab"]
)
def test_what_nobody_has_is_404(shop: Visitor, path: str) -> None:
    answer = shop.get(path)
    assert (answer.status_code, answer.headers["Content-Type"]) == (404, "text/html; charset=utf-8")
    assert "There is no such" in text_of(answer)


@pytest.mark.parametrize("path", ["/catalogue/%ff", "/catalogue/"])
def test_what_is_no_id_is_no_page(shop: Visitor, path: str) -> None:
    assert shop.get(path).status_code == 404


def test_another_organisation_sees_nothing_of_it(shop: Visitor, newcomer: Visitor) -> None:
    assert shop.get("/catalogue/n021").status_code == shop.get("/users/u%2F1").status_code == 200
    for path in ("/catalogue/n021", "/catalogue/n021?as=json", "/users/u%2F1"):
        assert newcomer.get(path).status_code == 404
    for path in (
        "/catalogue",
        "/catalogue?q=thing",
        "/catalogue?q=n0",
        "/catalogue?type=few&status=all",
        "/users",
        "/users?q=u",
    ):
        page = newcomer.get(path)
        assert (ids(page), "few" in re.findall(r'<option value="([^"]*)"', page.text)) == ([], False)


def test_who_is_not_signed_in_is_sent_to_sign_in(gateway: Gateway) -> None:
    with Visitor(gateway) as nobody:
        for path in ("/catalogue", "/users?q=a", "/catalogue/a%2Fb", "/users/u"):
            answer = nobody.get(path)
            assert (answer.status_code, answer.headers["Location"].partition("?")[0]) == (303, "/sign-in")
        assert nobody.get("/catalogue/a%2Fb").headers["Location"] == "/sign-in?next=/catalogue/a%252Fb"


@pytest.mark.parametrize(
    ("prefix", "after"),
    [("a", "b"), ("az", "a{"), ("\ud7ff", "\ue000"), ("a\U0010ffff", "b"), ("\U0010ffff", None), ("", None)],
)
def test_what_follows_a_prefix(prefix: str, after: str | None) -> None:
    assert after_prefix(prefix) == after


def counted(answer: httpx.Response) -> Any:
    (tabs,) = re.findall(r'(?s)<nav class="tabs".*?</nav>', answer.text)
    return re.findall(r"([A-Z][a-z ]+) ([\d,]+)", re.sub(r"\s*<[^>]+>\s*", " ", tabs))


def test_the_tabs_say_how_many_there_are(shop: Visitor) -> None:
    awkward = len(IDS)
    assert counted(shop.get("/catalogue")) == [
        ("Not deleted", str(162 + awkward)),
        ("Active", str(144 + awkward)),
        ("Inactive", "18"),
        ("Deleted", "18"),
        ("All", str(180 + awkward)),
    ]
    assert counted(shop.get("/catalogue?type=few")) == []


def test_empty_listings_say_what_to_do(newcomer: Visitor, shop: Visitor) -> None:
    assert "No items yet" in text_of(newcomer.get("/catalogue"))
    assert "No users yet" in text_of(newcomer.get("/users"))
    assert "Nothing found" in text_of(shop.get("/catalogue?q=zzz"))
    assert "Nothing with this status" in text_of(shop.get("/users?status=deleted"))
