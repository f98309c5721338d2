"""The first-run page notices each step: a key, the first upsert applied, the first import live."""

from __future__ import annotations

import os
import re
import subprocess
from html import unescape
from pathlib import Path
from typing import Any

from foldline.adapters.postgres import connect
from foldline.embedded.processes import until
from foldline.settings import Settings
from tests.docs.followed import stand_ins
from tests.producers.conftest import Gateway
from tests.producers.dashboard.test_developers import KEY, org_of
from tests.producers.dashboard.visitors import Visitor, text_of
from tests.producers.imports.conftest import Desk, importing

HTMX = {"HX-Request": "true"}
SAMPLE = b"item_id,item_type,status,name\nA-1,product,active,Alpha\nA-2,product,inactive,Beta\n"


def news_url(text: str) -> str:
    """Where the page asks for news."""
    (found,) = re.findall(r'hx-get="(/start/news\?[^"]+)"', text)
    return unescape(found)


def command(text: str) -> str:
    (found,) = re.findall(r'<code id="curl">(.*?)</code>', text, re.DOTALL)
    return unescape(found)


def test_from_a_key_to_a_first_import(gateway: Gateway, stage: Settings, owner: Visitor, tmp_path: Path) -> None:
    # 1. Without a key there is one thing to do.
    page = owner.get("/start")
    assert "Create key" in text_of(page)
    assert "$FOLDLINE_KEY" in command(page.text)
    assert owner.get(news_url(page.text), headers=HTMX).status_code == 204

    # 2. The key is shown, and filled in.
    made = owner.send_form("/start/key")
    assert (made.status_code, made.headers["Cache-Control"]) == (201, "no-store")
    (key, *others) = re.findall(KEY, made.text)
    assert set(others) == {key}
    assert (owner.get(news_url(page.text), headers=HTMX).status_code, key in owner.get("/start").text) == (200, False)
    assert owner.get(news_url(made.text), headers=HTMX).status_code == 204

    # 3. A refused request is noticed, and is no upsert.
    with gateway.client(key) as client:
        assert client.post("/v1/ingest/items/upsert", json={"item_id": ""}).status_code == 400
    said = until_news(owner, news_url(made.text))
    assert "A request has come with your key" in text_of(said)
    assert 'id="start-curl" hx-preserve' in said.text

    # 4. The very command of the page is an upsert, and applied.
    environment = os.environ | {"PATH": f"{os.environ['PATH']}:{stand_ins(tmp_path / 'stand-ins')}"}
    answer = subprocess.run(["bash", "-c", command(made.text)], env=environment, capture_output=True, text=True, check=True)
    assert '"status":"applied"' in answer.stdout
    said = until_news(owner, news_url(said.text))
    assert "It has arrived and is applied: PROD-001 is in the catalogue." in text_of(said)
    assert "Step 2 of 3 is done." in text_of(said)

    # 5. An import is live, and all is done.
    with connect(stage.database_url, "test") as connection, importing(stage):
        desk = Desk(stage, connection, org_of(stage, owner))
        import_id = desk.imported(SAMPLE).import_id
    said = owner.get(news_url(said.text), headers=HTMX)
    assert ("You are all set" in text_of(said), "All steps are done." in text_of(said)) == (True, True)
    assert f'href="/imports/{import_id}"' in said.text
    assert "/start/news" not in said.text
    assert "/start/news" not in owner.get("/start").text


def until_news(visitor: Visitor, url: str) -> Any:
    found: list[Any] = []

    def asked() -> bool:
        answer = visitor.get(url, headers=HTMX)
        if answer.status_code == 200:
            found.append(answer)
        return bool(found)

    assert until(asked, 10)
    return found[0]


def test_a_record_of_an_import_is_no_upsert(stage: Settings, owner: Visitor) -> None:
    with connect(stage.database_url, "test") as connection, importing(stage):
        Desk(stage, connection, org_of(stage, owner)).imported(SAMPLE)
    said = text_of(owner.get("/start"))
    assert "It is live" in said
    assert "It has arrived and is applied" not in said
    assert "You are all set" not in said


def test_ids_are_links_to_their_records(gateway: Gateway, owner: Visitor) -> None:
    (key, *_) = re.findall(KEY, owner.send_form("/start/key").text)
    with gateway.client(key) as client:
        body = {"user_id": 'a/b?"><b>'}
        assert client.post("/v1/ingest/users/upsert", json=body, headers={"Prefer": "wait=10"}).status_code == 200
    assert until(lambda: "has arrived" in owner.get("/start").text, 5)
    page = owner.get("/start").text
    assert '<a href="/users/a%2Fb%3F%22%3E%3Cb%3E"' in page
    assert '"><b>' not in page


def test_the_steps_of_one_organisation_are_not_anothers(gateway: Gateway, owner: Visitor) -> None:
    owner.send_form("/start/key")
    with Visitor(gateway) as other:
        assert "Create key" in text_of(other.sign_up().get("/start"))
