"""Ids, attributes, names and parameters that are markup: pages show them as text. And the headers that every answer has."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from foldline.adapters.postgres import Connection
from foldline.settings import Settings
from producers.dashboard.pages import HEADERS
from tests.producers.conftest import Gateway
from tests.producers.dashboard.visitors import Visitor
from tests.producers.security.conftest import Owned, bare_application, filled, owned, routes_of_pages

MARKUP = "\"'><img src=x onerror=alert(1)><script>alert(2)</script>{{7*7}}"
LIVE = re.compile(r"<img src=x|<script>alert|onerror=alert\(1\)>")
PARAMETERS = (
    "q", "next", "kind", "range", "before", "after", "last", "done", "id", "reason", "status", "type", "actor", "action",
    "user_id", "as", "since", "until", "code", "severity", "series",
)  # fmt: skip
PAGES = {"chart": "items", "name": "items.csv", "token": "a" * 43}


@pytest.fixture(scope="module")
def hostile(gateway: Gateway, stage: Settings, control: Connection) -> Iterator[Owned]:
    made = owned(gateway, stage, control, MARKUP, MARKUP)
    made.visitor.send_form("/account/name", name=MARKUP[:60])
    yield made
    made.visitor.close()


@pytest.mark.parametrize("path", [path for path in routes_of_pages("GET") if not path.endswith("/events")])
def test_what_is_stored_is_text_on_every_page(path: str, hostile: Owned) -> None:
    answer = hostile.visitor.get(filled(path, PAGES | hostile.names))
    assert answer.status_code < 500
    if answer.headers.get("content-type", "").startswith("text/html"):
        assert LIVE.search(answer.text) is None, LIVE.search(answer.text)
        assert (
            HEADERS.items() <= dict(answer.headers.items()).items()
            or {name.lower() for name in HEADERS} <= answer.headers.keys()
        )
    elif answer.content:
        assert answer.headers["x-content-type-options"] == "nosniff"


def test_what_is_stored_is_shown(hostile: Owned) -> None:
    """Without this, the test before would also hold for pages that show nothing."""
    page = hostile.visitor.get(filled("/catalogue/{item_id}", hostile.names)).text
    assert page.count("&lt;img src=x onerror=alert(1)&gt;") > 2
    assert "{{7*7}}" in page


@pytest.mark.parametrize("path", [path for path in routes_of_pages("GET") if not path.endswith("/events")])
def test_what_is_sent_comes_back_as_text(path: str, hostile: Owned, gateway: Gateway) -> None:
    values = dict.fromkeys([*PAGES, *hostile.names], MARKUP)
    with Visitor(gateway) as nobody:
        for who in (hostile.visitor, nobody):
            for url in (filled(path, PAGES | hostile.names), filled(path, values)):
                answer = who.get(url, params=dict.fromkeys(PARAMETERS, MARKUP))
                assert answer.status_code < 500, (path, url)
                assert LIVE.search(answer.text) is None or not answer.headers["content-type"].startswith("text/html")
                assert "<script" not in answer.headers.get("location", "")


@pytest.mark.parametrize("path", ["/sign-in", "/sign-up", "/nowhere", f"/link/{'A' * 43}"])
def test_forms_and_error_pages_escape_too(path: str, gateway: Gateway) -> None:
    with Visitor(gateway) as nobody:
        answer = nobody.send_form(path, email=MARKUP, organisation=MARKUP, name=MARKUP, next=MARKUP, password="x")
    assert LIVE.search(answer.text) is None


@pytest.mark.parametrize("path", [getattr(route, "path", "") for route in bare_application().routes])
def test_every_answer_says_what_it_is_and_is_not_to_be_guessed_at(path: str, gateway: Gateway, hostile: Owned) -> None:
    values = {"id": "1", "subject": "x", "version": "1", **PAGES, **hostile.names}
    if path.endswith("/events"):
        return
    with gateway.client(hostile.secret_key) as client:
        answer = client.get(filled(path, values))
    assert answer.headers["x-content-type-options"] == "nosniff", path
    assert "server" not in answer.headers
    if path.startswith("/v1/"):
        assert answer.headers["cache-control"] == "no-store"


def test_the_documentation_runs_only_its_own_scripts(gateway: Gateway) -> None:
    with gateway.client() as client:
        answer = client.get("/docs")
    policy = answer.headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert re.search(r"script-src 'self' 'sha256-[\w+/=]+';", policy)
    assert "frame-ancestors 'none'" in policy
