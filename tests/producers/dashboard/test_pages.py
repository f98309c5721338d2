"""What every page rests on: how values are shown, static files, the frame, and the pages that say what went wrong."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import httpx
import pytest
from markupsafe import Markup
from starlette.requests import Request

from producers.dashboard import filters
from producers.dashboard.app import wants_page
from producers.dashboard.pages import HEADERS, NAVIGATION, page
from producers.dashboard.people import Member
from producers.dashboard.static import ASK_AGAIN, FOLDER, FOR_EVER, asset
from tests.producers.conftest import Gateway
from tests.producers.dashboard.visitors import PAGE, Visitor, text_of
from tests.producers.test_ingest import refused

TEMPLATES = Path(filters.__file__).parent / "templates"
NOW = datetime(2026, 11, 23, 14, 10, 5, tzinfo=UTC)
CSS_MAX_BYTES = 30_000


def asked(path: str = "/", **headers: str) -> Request:
    sent = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return Request({"type": "http", "method": "GET", "path": path, "query_string": b"", "headers": sent})


def somebody(role: str = "OWNER", **others: Any) -> Member:
    known = {"email": "ada@example.com", "name": "Ada", "org_name": "Acme", "account_id": "a", "org_id": "o", "session": ""}
    return Member(role=role, **{**known, **others})


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0, "0"), (12345, "12,345"), (1234.5, "1,234.5"), (2.0, "2"), (0.125, "0.12"), (-1200, "-1,200"), (None, "–")],
)
def test_numbers(value: float | None, shown: str) -> None:
    assert filters.number(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0, "0 bytes"),
        (1, "1 byte"),
        (999, "999 bytes"),
        (1234, "1.23 kB"),
        (999_600, "1 MB"),
        (50_000_000, "50 MB"),
        (2_500_000_000_000, "2.5 TB"),
        (None, "–"),
    ],
)
def test_sizes(value: int | None, shown: str) -> None:
    assert filters.size(value) == shown


def test_counts() -> None:
    assert [filters.count(n, "row") for n in (0, 1, 1234)] == ["0 rows", "1 row", "1,234 rows"]
    assert filters.count(2, "entry", "entries") == "2 entries"


def test_times_are_utc_and_say_so() -> None:
    paris = datetime(2026, 3, 1, 0, 30, tzinfo=UTC).astimezone()
    assert filters.time(paris) == '<time datetime="2026-03-01T00:30:00Z">1 Mar 2026, 00:30:00 UTC</time>'
    assert filters.time(1_700_000_000_000_001) == filters.time(datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC))
    assert filters.time(None) == "–"


@pytest.mark.parametrize(
    ("before", "shown"),
    [
        (timedelta(seconds=4), "just now"),
        (timedelta(seconds=-59), "just now"),
        (timedelta(seconds=5), "5 seconds ago"),
        (timedelta(seconds=60), "1 minute ago"),
        (timedelta(minutes=59, seconds=59), "59 minutes ago"),
        (timedelta(hours=23), "23 hours ago"),
        (timedelta(days=1), "1 day ago"),
        (timedelta(days=40), "14 Oct 2026"),
        (timedelta(hours=-1), "in 1 hour"),
        (timedelta(days=-7), "in 7 days"),
    ],
)
def test_times_beside_now(before: timedelta, shown: str) -> None:
    element = filters.ago(NOW - before, NOW)
    assert element.endswith(f" data-ago>{shown}</time>")
    assert 'title="' in element


def test_what_is_shown_as_attributes_cannot_leave_them() -> None:
    given = {"hx_get": '/x?"><script>', "download": True, "disabled": False, "title": None, "value": 0}
    assert filters.attributes(given) == Markup(' hx-get="/x?&#34;&gt;&lt;script&gt;" download value="0"')


def test_a_segment_of_a_path_is_one() -> None:
    assert filters.segment("a/b?c#d%2F é") == "a%2Fb%3Fc%23d%252F%20%C3%A9"


def test_json_is_escaped_where_it_is_shown() -> None:
    assert filters.pretty({"a": ["</pre>"]}) == '{\n  "a": [\n    "</pre>"\n  ]\n}'
    answer = page(
        asked(), "error.html", None, title="x", message=filters.pretty("</p><script>"), icon="info", action=("a", "/")
    )
    assert b"<script>" not in answer.body


@pytest.fixture
def anyone(gateway: Gateway) -> Iterator[httpx.Client]:
    with gateway.client() as client:
        yield client


def test_static_files_are_kept_for_ever_by_their_content_alone(anyone: httpx.Client) -> None:
    assert re.fullmatch(r"/assets/foldline\.css\?v=[0-9a-f]{12}", asset("foldline.css"))
    with pytest.raises(FileNotFoundError):
        asset("nope.css")
    named, other, plain = (anyone.get(url) for url in (asset("copy.js"), "/assets/copy.js?v=0", "/assets/copy.js"))
    assert [answer.headers["Cache-Control"] for answer in (named, other, plain)] == [FOR_EVER, ASK_AGAIN, ASK_AGAIN]
    assert {answer.content for answer in (named, other, plain)} == {(FOLDER / "copy.js").read_bytes()}
    assert "javascript" in plain.headers["Content-Type"]
    again = anyone.get("/assets/copy.js", headers={"If-None-Match": plain.headers["ETag"]})
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize("path", ["/assets/nope.css", "/assets/vendor", "/assets/..%2fpages.py"])
def test_no_other_file_is_served(anyone: httpx.Client, path: str) -> None:
    refused(anyone.get(path, headers=PAGE), 404)


def templates() -> list[Path]:
    return sorted(TEMPLATES.glob("*.html"))


@pytest.mark.parametrize("template", templates(), ids=lambda file: file.name)
def test_templates_hold_to_the_policy_and_name_what_exists(template: Path) -> None:
    text = re.sub(r"{#.*?#}", "", template.read_text(), flags=re.DOTALL)
    assert re.findall(r"\sstyle=|<style|\son(?!ly=)\w+=|<script(?![^>]*\ssrc=)|hx-on|javascript:", text) == []
    assert re.findall(r"""(?:src|href|action)=["'](?:\w+:)?//""", text) == []
    for name in re.findall(r"""asset\(['"]([\w./-]+)['"]\)""", text):
        assert (FOLDER / name).is_file(), name
    symbols = set(re.findall(r'<symbol id="(\w+)"', (FOLDER / "icons.svg").read_text()))
    assert set(re.findall(r"""\bicon(?:\(|=)["'](\w+)["']""", text)) <= symbols


def test_the_style_sheet_is_small() -> None:
    assert len((FOLDER / "foldline.css").read_bytes()) < CSS_MAX_BYTES


def test_what_others_wrote_is_named_with_its_licence() -> None:
    noted = (FOLDER / "vendor" / "README.md").read_text()
    for file in (FOLDER / "vendor").iterdir():
        assert file.name in noted or file.suffix in (".md", ".LICENSE"), file.name


def _luminance(colour: str) -> float:
    digits = colour.removeprefix("#")
    digits = "".join(digit * 2 for digit in digits) if len(digits) == 3 else digits
    parts = [int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _contrast(one: str, other: str) -> float:
    low, high = sorted((_luminance(one), _luminance(other)))
    return (high + 0.05) / (low + 0.05)


GROUNDS = ("bg", "side", "card", "sunk", "hover")
READ_ON = [(text, ground) for text in ("text", "soft", "accent") for ground in GROUNDS]
READ_ON += [("faint", ground) for ground in ("bg", "side", "card", "sunk")]
READ_ON += [(name, f"{name}-soft") for name in ("green", "amber", "red", "blue", "grey", "accent")]
READ_ON += [("text", f"{name}-soft") for name in ("green", "amber", "red", "blue", "accent")]
READ_ON += [("soft", "accent-soft"), ("red", "card"), ("white", "primary"), ("white", "primary-hover")]
READ_ON += [("white", "danger"), ("white", "danger-hover")]


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_words_can_be_read_on_every_ground(scheme: int) -> None:
    pairs = re.findall(r"--([\w-]+): light-dark\((#\w+), (#\w+)\);", (FOLDER / "foldline.css").read_text())
    colours = {name: both[scheme] for name, *both in pairs} | {"white": "#fff"}
    poor = {pair: _contrast(colours[pair[0]], colours[pair[1]]) for pair in READ_ON}
    assert {pair: round(found, 2) for pair, found in poor.items() if found < 4.5} == {}
    assert _contrast(colours["field"], colours["card"]) >= 3


def test_a_page_keeps_itself_to_itself() -> None:
    answer = page(asked(), "error.html", None, 404, title="Nothing", message="At all", icon="info", action=("Back", "/"))
    assert answer.status_code == 404
    assert {name: answer.headers[name] for name in HEADERS} == HEADERS
    assert "unsafe" not in HEADERS["Content-Security-Policy"]
    assert HEADERS["Cache-Control"] == "no-store"


def test_the_frame_escapes_names() -> None:
    evil = "</title><script>alert(1)</script>"
    who = somebody(name=evil, org_name=evil, email='"><b>')
    answer = page(asked(), "error.html", who, title=evil, message=evil, icon="info", action=("Back", "/"))
    assert b"<script>alert" not in answer.body
    assert b'"><b>' not in answer.body


def shown_places(path: str, role: str) -> list[tuple[str, str]]:
    """The entries of the navigation on that page, each with what it is marked as."""
    answer = page(asked(path), "error.html", somebody(role), title="x", message="x", icon="info", action=("x", "/"))
    first = bytes(answer.body).decode().partition("</nav>")[0]
    return re.findall(r'<li><a href="/[\w-]*"(?: aria-current="(\w+)")?>.*?</svg>([\w ]+)</a>', first)


@pytest.mark.parametrize(
    ("path", "marked"),
    [
        ("/", ("page", "Overview")),
        ("/ingestion", ("page", "Data ingestion")),
        ("/imports/imp_1", ("true", "Data ingestion")),
        ("/catalogue/a%2Fb", ("true", "Catalogue")),
        ("/developers/keys/new", ("true", "Developers")),
        ("/audit", ("page", "Audit log")),
    ],
)
def test_the_navigation_marks_where_one_is(path: str, marked: tuple[str, str]) -> None:
    places = shown_places(path, "OWNER")
    assert [label for _, label in places] == [*(place.label for place in NAVIGATION), "API reference"]
    assert [place for place in places if place[0]] == [marked]


def test_members_are_not_shown_the_audit_log() -> None:
    assert "Audit log" not in [label for _, label in shown_places("/", "MEMBER")]
    assert "Audit log" in [label for _, label in shown_places("/", "ADMIN")]


@pytest.mark.parametrize(
    ("path", "headers", "wanted"),
    [
        ("/catalogue", PAGE, True),
        ("/developers", {"HX-Request": "true", "Accept": "*/*"}, True),
        ("/catalogue", {"Accept": "application/json"}, False),
        ("/catalogue", {}, False),
        ("/v1/items", PAGE, False),
        ("/v1", PAGE, False),
        ("/v1x", PAGE, True),
        ("/metrics", PAGE, False),
        ("/docs/assets/x.js", PAGE, False),
    ],
)
def test_who_is_answered_by_a_page(path: str, headers: dict[str, str], wanted: bool) -> None:
    assert wants_page(asked(path, **{name.lower(): value for name, value in headers.items()})) is wanted


def test_what_is_not_there_is_said_on_a_page_to_people_and_in_the_envelope_to_programs(gateway: Gateway) -> None:
    with Visitor(gateway) as visitor:
        answer = visitor.get("/nowhere")
        assert (answer.status_code, answer.headers["Content-Security-Policy"]) == (404, HEADERS["Content-Security-Policy"])
        assert "There is no such page" in text_of(answer)
        assert '<a href="/sign-in"' in answer.text
        wrong = visitor.post("/developers")
        assert (wrong.status_code, wrong.headers["Allow"]) == (405, "GET, HEAD")
        refused(visitor.get("/v1/nowhere"), 404)
        refused(visitor.get("/nowhere", headers={"Accept": "*/*"}), 404)
        visitor.sign_up("Ünï's")
        assert "Sign out" in text_of(visitor.get("/nowhere"))


def test_htmx_is_told_in_a_header_what_went_wrong(gateway: Gateway) -> None:
    with Visitor(gateway) as visitor:
        answer = visitor.sign_up().get("/developers/keys/key_nope/revoke", headers={"HX-Request": "true"})
    assert (answer.status_code, answer.content) == (404, b"")
    assert unquote(answer.headers["Foldline-Message"]) == "It may have been revoked or replaced meanwhile."


def test_a_failure_inside_is_a_page_without_what_was_sent(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def fail(*_: Any, **__: Any) -> None:
        raise ValueError("secret text")

    with Visitor(gateway) as visitor:
        visitor.sign_up()
        monkeypatch.setattr(gateway.parts.connections, "run", fail)
        answer = visitor.get("/developers")
    assert (answer.status_code, answer.headers["Cache-Control"]) == (500, "no-store")
    assert "Something went wrong" in text_of(answer)
    captured = capsys.readouterr()
    assert "ValueError" in captured.out + captured.err
    assert "secret text" not in captured.out + captured.err + answer.text
