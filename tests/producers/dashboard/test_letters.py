"""The pages of dead letters: whose they are, what they show, and the way back into the log."""

from __future__ import annotations

import json
import re
from base64 import b64decode
from typing import Any
from urllib.parse import unquote

import httpx
import pytest

from foldline.adapters.codec import BundledRegistry, UpsertCodec
from foldline.adapters.postgres import Connection
from foldline.domain.records import Upsert
from foldline.settings import Settings
from projections import letters
from projections.letters import Letter, Wanted
from tests.pipeline import append, append_raw, table, wait_applied
from tests.producers.conftest import Gateway
from tests.producers.dashboard.test_audit import org_of, said
from tests.producers.dashboard.test_team import invited
from tests.producers.dashboard.visitors import PASSWORD, Visitor, text_of

pytestmark = pytest.mark.usefixtures("no_attempts")

AT = 1_736_672_400_000_000


def upsert(org: str, entity_id: str, index: int = 0, **changed: Any) -> Upsert:
    return Upsert(org, entity_id, None, None, '{"price": 1}', AT, "b" * 32, index)._replace(**changed)


def of(stage: Settings, control: Connection, org: str) -> list[Letter]:
    wait_applied(stage)
    return list(letters.every(control, stage, Wanted(org), raw=True))


def listed(page: httpx.Response) -> list[str]:
    """The letters of a page's list."""
    assert page.status_code == 200, page.text
    return re.findall(r'<th scope="row"><a class="break" href="/dead-letters/([^"]+)"', page.text)


def chosen(page: httpx.Response) -> dict[str, Any]:
    """The hidden fields of a form."""
    return dict(re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)">', page.text))


def redrive(who: Visitor, path: str, **fields: Any) -> httpx.Response:
    """What a person does: looks at what would happen, and presses the button."""
    form = who.get(path)
    assert form.status_code == 200, form.text
    return who.send_form("/dead-letters/redrive", **chosen(form), **fields)


def test_they_are_grouped_by_reason_with_samples(owner: Visitor, stage: Settings, control: Connection) -> None:
    assert "Everything that was accepted could be applied" in text_of(owner.get("/dead-letters"))
    org = org_of(control, owner)
    append(stage, "items", [upsert(org, f"P-{n}", n) for n in range(5)])
    append(stage, "users", [upsert(org, "<u>", status="gone")])
    append(stage, "items", [upsert("elsewhere", "not here")])
    wait_applied(stage)
    page = owner.get("/dead-letters")
    words = text_of(page)
    assert re.search(r"A new item without a type item_type_required 5 5 ", words)
    assert re.search(r"An unknown status invalid_status 1 1 ", words)
    assert words.index("A new item without") < words.index("An unknown status")
    assert len(re.findall("of 3 samples, item_type_required", page.text)) == 3
    assert len(listed(page)) == 6
    assert "&lt;u&gt;" in page.text
    assert "not here" not in page.text


def test_filters_are_in_the_url(owner: Visitor, stage: Settings, control: Connection) -> None:
    org = org_of(control, owner)
    append(stage, "items", [upsert(org, f"P-{n}", n) for n in range(3)])
    append(stage, "users", [upsert(org, "u/1", status="gone")])
    found = of(stage, control, org)
    user = next(str(letter.place) for letter in found if letter.kind == "users")
    for query in ("kind=users", "reason=invalid_status", "id=u%2F1", "kind=users&id=u%2F1&reason=invalid_status"):
        assert listed(owner.get(f"/dead-letters?{query}")) == [user], query
    day = "2000-01-01T00:00"
    assert len(listed(owner.get(f"/dead-letters?since={day}"))) == 4
    assert f'value="{day}"' in owner.get(f"/dead-letters?since={day}").text
    assert listed(owner.get(f"/dead-letters?until={day}")) == []
    assert "None that are like that" in text_of(owner.get(f"/dead-letters?until={day}"))
    for ignored in ("kind=x", "status=x", "since=yesterday", "until=%00", "id=%00", "before=x", "before=1.x:1:1:"):
        assert len(listed(owner.get(f"/dead-letters?{ignored}"))) == 4, ignored


def test_they_are_paged_by_key_and_new_ones_move_nothing(owner: Visitor, stage: Settings, control: Connection) -> None:
    org = org_of(control, owner)
    append(stage, "items", [upsert(org, f"P-{n}", n) for n in range(120)])
    wanted = [str(letter.place) for letter in of(stage, control, org)]
    found, url = [], "/dead-letters?reason=item_type_required"
    while url:
        page = owner.get(url)
        found += listed(page)
        append(stage, "items", [upsert(org, "new")])
        wait_applied(stage, published=False)
        (url, *_) = [*re.findall(r'href="([^"]+)"[^>]*rel="next"', page.text), ""]
        url = url.replace("&amp;", "&")
        assert "offset=" not in url
    assert found == wanted


def test_a_letter_whole(owner: Visitor, gateway: Gateway, stage: Settings, control: Connection) -> None:
    org = org_of(control, owner)
    append(stage, "items", [upsert(org, "P-1", 3, attributes='{"html": "<script>"}')])
    (letter,) = of(stage, control, org)
    page = owner.get(f"/dead-letters/{letter.place}")
    words = text_of(page)
    assert "Redriven now, it would be rejected again A new item needs an item_type" in words
    assert '"html": "<script>"' in words
    assert "<script>" not in page.text.partition("<main")[2]
    assert letter.value is not None
    assert letter.value[:8].hex(" ") in words
    document = owner.get(f"/dead-letters/{letter.place}?as=json").json()
    assert b64decode(document["value"]) == letter.value
    assert document["event"]["attributes"] == {"html": "<script>"}
    append(stage, "items", [upsert(org, "P-1", detail="t")])
    wait_applied(stage)
    assert "Redriven now, it would be applied" in text_of(owner.get(f"/dead-letters/{letter.place}"))
    for unknown in (f"{letter.place}0", "nonsense", "items.upserts.v1:0:99999999999999999999"):
        assert owner.get(f"/dead-letters/{unknown}").status_code == 404
    with Visitor(gateway) as stranger:
        assert stranger.sign_up().get(f"/dead-letters/{letter.place}").status_code == 404
        append(stage, "items", [upsert(org_of(control, stranger), "P")])
        assert listed(stranger.get("/dead-letters")) != [str(letter.place)]
        redrive(stranger, f"/dead-letters/redrive?at={letter.place}")
        stranger.send_form("/dead-letters/redrive", at=str(letter.place))
    assert [one.redrive for one in of(stage, control, org)] == [None]


def test_one_is_redriven(owner: Visitor, stage: Settings, control: Connection) -> None:
    org = org_of(control, owner)
    append(stage, "items", [upsert(org, "P")])
    (letter,) = of(stage, control, org)
    append(stage, "items", [upsert(org, "P", detail="t")])
    wait_applied(stage)
    answer = redrive(owner, f"/dead-letters/redrive?at={letter.place}")
    assert (answer.status_code, answer.headers["Location"]) == (303, "/dead-letters?redriven=1")
    assert "1 dead letter is in the log again" in text_of(owner.get("/dead-letters?redriven=1"))
    wait_applied(stage)
    assert table(stage)["items", org, "P"]["version"] == 2
    words = text_of(owner.get(f"/dead-letters/{letter.place}"))
    assert f"Redriven By {owner.email}" in words
    assert listed(owner.get("/dead-letters")) == []
    assert listed(owner.get("/dead-letters?status=redriven")) == listed(owner.get("/dead-letters?status=all"))
    assert said(owner.get("/audit"))[0] == (owner.email, f"Redrove the dead letter {letter.place} (item_type_required)")

    form = owner.get(f"/dead-letters/redrive?at={letter.place}")
    assert "Also what was redriven before 1 dead letter was." in text_of(form)
    again = redrive(owner, f"/dead-letters/redrive?at={letter.place}")
    assert again.headers["Location"] == "/dead-letters?already_redriven=1"
    assert "had been redriven before and was left alone" in text_of(owner.get(again.headers["Location"]))
    assert redrive(owner, f"/dead-letters/redrive?at={letter.place}", again="on").headers["Location"].endswith("?redriven=1")
    wait_applied(stage)
    assert table(stage)["items", org, "P"]["version"] == 3


def test_a_selection_and_all_of_a_reason(owner: Visitor, stage: Settings, control: Connection) -> None:
    org = org_of(control, owner)
    append(stage, "items", [upsert(org, f"P-{n}", n) for n in range(60)])
    append(stage, "items", [upsert(org, "other", detail="t", status="gone")])
    found = [letter for letter in of(stage, control, org) if letter.code == "item_type_required"]
    append(stage, "items", [upsert(org, f"P-{n}", detail="t") for n in range(60) if n != 7])
    wait_applied(stage)
    picked = [letter.place for letter in found if letter.entity_id in ("P-1", "P-2")]
    answer = redrive(owner, "/dead-letters/redrive?" + "&".join(f"at={place}" for place in picked))
    assert answer.headers["Location"] == "/dead-letters?redriven=2"

    form = owner.get("/dead-letters/redrive?reason=item_type_required")
    words = text_of(form)
    assert "Redrive 58 dead letters?" in words
    assert "57 would be applied" in words
    assert "1 would be rejected again" in words
    append(stage, "items", [upsert(org, "after the look")])
    wait_applied(stage)
    fields = chosen(form)
    assert set(fields) == {"reason", "until"}
    answer = owner.send_form("/dead-letters/redrive", **fields, which="applied")
    assert answer.headers["Location"] == "/dead-letters?redriven=57&rejected=1"
    wait_applied(stage)
    versions = {entity[2]: row["version"] for entity, row in table(stage).items() if entity[1] == org}
    assert versions == {f"P-{n}": 2 for n in range(60) if n != 7}
    left = [letter.entity_id for letter in of(stage, control, org) if letter.landed is None]
    assert sorted(map(str, left)) == ["P-7", "after the look", "other"]


def test_what_is_chosen_wrongly(owner: Visitor) -> None:
    assert "Nothing is selected" in text_of(owner.get("/dead-letters/redrive?at=nonsense"))
    assert owner.send_form("/dead-letters/redrive").status_code == 400
    assert owner.send_form("/dead-letters/redrive", reason="x").status_code == 400
    assert owner.send_form("/dead-letters/redrive", reason="x", until="0").headers["Location"].endswith("?redriven=0")
    assert owner.post("/dead-letters/redrive", headers={"Sec-Fetch-Site": "cross-site"}).status_code == 403


@pytest.mark.parametrize(("role", "status"), [("MEMBER", 403), ("DEVELOPER", 303)])
def test_who_may_what(
    role: str, status: int, owner: Visitor, gateway: Gateway, stage: Settings, control: Connection
) -> None:
    org = org_of(control, owner)
    append(stage, "items", [upsert(org, "P")])
    (letter,) = of(stage, control, org)
    with Visitor(gateway) as guest:
        guest.send_form(invited(owner, guest.email, role), name="Guest", password=PASSWORD)
        assert listed(guest.get("/dead-letters")) == [str(letter.place)]
        assert guest.get(f"/dead-letters/{letter.place}").status_code == 200
        assert guest.get("/dead-letters/export").status_code == 200
        assert ("Redrive" in re.sub("Redriven", "", text_of(guest.get("/dead-letters")))) is (status == 303)
        assert guest.send_form("/dead-letters/redrive", at=str(letter.place)).status_code == status
        assert (guest.get(f"/dead-letters/redrive?at={letter.place}").status_code == 200) is (status == 303)
    with Visitor(gateway) as nobody:
        assert unquote(nobody.get("/dead-letters").headers["Location"]) == "/sign-in?next=/dead-letters"


def test_export(owner: Visitor, stage: Settings, control: Connection) -> None:
    org = org_of(control, owner)
    append(stage, "items", [upsert(org, f"P-{n}", n) for n in range(30)])
    encode = UpsertCodec("items", BundledRegistry()).encode
    append_raw(stage, "items", [(None, encode(upsert(org, "keyless", detail="t")))])
    found = of(stage, control, org)
    answer = owner.get("/dead-letters/export")
    assert answer.headers["Content-Disposition"] == 'attachment; filename="dead-letters.ndjson"'
    assert answer.headers["Content-Type"] == "application/x-ndjson"
    rows = [json.loads(line) for line in answer.text.splitlines()]
    assert rows == [letters.as_whole_json(letter, BundledRegistry()) for letter in found]
    (row,) = [json.loads(line) for line in owner.get("/dead-letters/export?reason=wrong_key").text.splitlines()]
    assert (row["id"], row["key"], row["event"]["item_type"]) == ("keyless", None, "t")
