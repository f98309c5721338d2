"""Erasures in the dashboard: who may ask for one, what it does, and how what was erased is listed and proved."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any
from urllib.parse import quote, unquote

import httpx
import pytest

from foldline.adapters.postgres import Connection, connect
from foldline.domain.records import Upsert
from foldline.settings import Settings
from producers.dashboard import erasures
from tests.pipeline import append, prepared, running, table, wait_applied
from tests.producers.conftest import Gateway, gateway_of
from tests.producers.dashboard.test_audit import org_of, said
from tests.producers.dashboard.test_developers import made
from tests.producers.dashboard.test_team import invited
from tests.producers.dashboard.visitors import PASSWORD, Visitor, text_of

pytestmark = pytest.mark.usefixtures("no_attempts")

USERS = "/v1/ingest/users/upsert"
ODD = "<b>/ü? 7&%2F#"


@pytest.fixture
def api(gateway: Gateway, owner: Visitor) -> Iterator[httpx.Client]:
    """The API, asked with a key of the owner's organisation."""
    with gateway.client(made(owner)[0]) as client:
        yield client


def upsert(api: httpx.Client, *records: dict[str, Any]) -> str:
    """Returns the id of the request once it is applied, as the events carry it."""
    answer = api.post(USERS, json=list(records), headers={"Prefer": "wait=30"})
    assert (answer.status_code, answer.json()["data"]["status"]) == (200, "applied"), answer.text
    return str(answer.json()["data"]["operation_id"])


def page_of(user_id: str) -> str:
    return f"/users/{quote(user_id, safe='')}"


def erase(who: Visitor, user_id: str, **fields: str) -> httpx.Response:
    return who.send_form("/erasures", **({"user_id": user_id, "typed": user_id} | fields))


def listed(page: httpx.Response) -> list[str]:
    """The users of a page, in its order."""
    assert page.status_code == 200, page.text
    return [unquote(path) for path in re.findall(r'<th scope="row"><a class="break" href="/users/([^"]+)"', page.text)]


def actions_in(page: httpx.Response) -> list[str]:
    return re.findall(r'href="(/erasures/new[^"]*)"', page.text)


def test_a_user_is_erased(owner: Visitor, api: httpx.Client, stage: Settings, control: Connection) -> None:
    upsert(api, {"user_id": ODD, "attributes": {"email": "ada@example.com"}, "created_at": "2020-01-02T03:04:05Z"})
    (action,) = actions_in(owner.get(page_of(ODD)))
    form = owner.get(action)
    assert form.status_code == 200
    assert "Erase this user? <b>/ü? 7&%2F# Erased All attributes, for good" in text_of(form)
    assert "Undo There is none." in text_of(form)
    answer = erase(owner, ODD)
    assert answer.status_code == 303
    assert re.fullmatch(re.escape(page_of(ODD)) + r"\?erased=\d+", answer.headers["Location"])
    page = owner.get(answer.headers["Location"])
    words = text_of(page)
    assert "The user is erased" in words
    assert "What attributes there were nobody can know any more." in words
    assert "ada@example.com" not in page.text
    assert actions_in(page) == []
    state = table(stage)["users", org_of(control, owner), ODD]
    assert (state["status"], state["attributes"], state["version"]) == ("deleted", {}, 2)
    assert "Created 2 Jan 2020, 03:04:05 UTC" in words
    assert "Listings and the API leave it out" in text_of(owner.get(page_of(ODD)))
    shown = api.get(f"/v1/users/{quote(ODD, safe='')}", params={"include_deleted": "true"}).json()["data"]
    assert (shown["status"], shown["attributes"]) == ("deleted", {})

    listing = owner.get("/erasures")
    assert listed(listing) == [ODD]
    assert re.search(
        rf"UTC {re.escape(owner.email)} [0-9a-f]{{32}} 1 Erased Older states leave the state topic by", text_of(listing)
    )
    assert said(owner.get("/audit"))[0] == (owner.email, "Asked for the user &lt;b&gt;/ü? 7&amp;%2F# to be erased")


@pytest.mark.parametrize("typed", ["", "U", "u ", " u", "erase"])
def test_the_id_has_to_be_typed(typed: str, owner: Visitor, api: httpx.Client, stage: Settings, control: Connection) -> None:
    upsert(api, {"user_id": "u", "attributes": {"a": 1}})
    answer = erase(owner, "u", typed=typed)
    assert answer.status_code == 400
    assert "This is not the id of the user." in text_of(answer)
    wait_applied(stage, published=False)
    assert table(stage)["users", org_of(control, owner), "u"]["attributes"] == {"a": 1}
    assert "Asked for" not in text_of(owner.get("/audit"))
    assert listed(owner.get("/erasures")) == []


def test_the_form_is_a_dialog_of_the_page_too(owner: Visitor, api: httpx.Client) -> None:
    upsert(api, {"user_id": "u"})
    part = owner.get("/erasures/new?user_id=u", headers={"HX-Request": "true"})
    assert part.text.lstrip().startswith('<form method="post" action="/erasures"')
    assert 'hx-get="/erasures/new?user_id=u"' in owner.get("/users/u").text


def test_who_is_not_there_cannot_be_erased(owner: Visitor, gateway: Gateway, api: httpx.Client) -> None:
    upsert(api, {"user_id": "u", "attributes": {"a": 1}})
    api.post("/v1/ingest/items/upsert", json={"item_id": "i", "item_type": "t"})
    for user_id in ("nobody", "i", "", "\0", "\n", "x" * 257):
        assert owner.get("/erasures/new", params={"user_id": user_id}).status_code == 404, user_id
        assert erase(owner, user_id).status_code in (400, 404), user_id
    assert owner.send_form("/erasures").status_code == 404
    with Visitor(gateway) as stranger:
        stranger.sign_up("Other")
        assert stranger.get("/erasures/new?user_id=u").status_code == 404
        assert erase(stranger, "u").status_code == 404
        assert listed(stranger.get("/erasures")) == []
    assert (
        owner.post("/erasures", data={"user_id": "u", "typed": "u"}, headers={"Sec-Fetch-Site": "cross-site"}).status_code
        == 403
    )
    assert actions_in(owner.get("/catalogue/i")) == []
    assert "a 1 number" in text_of(owner.get("/users/u"))


@pytest.mark.parametrize(("role", "status"), [("MEMBER", 403), ("DEVELOPER", 303), ("ADMIN", 303)])
def test_who_may_what(role: str, status: int, owner: Visitor, api: httpx.Client, gateway: Gateway) -> None:
    upsert(api, {"user_id": "u", "attributes": {"a": 1}}, {"user_id": "v", "attributes": {"a": 1}})
    erase(owner, "v")
    with Visitor(gateway) as guest:
        guest.send_form(invited(owner, guest.email, role), name="Guest", password=PASSWORD)
        assert bool(actions_in(guest.get("/users/u"))) is (status == 303)
        assert (guest.get("/erasures/new?user_id=u").status_code == 200) is (status == 303)
        assert erase(guest, "u").status_code == status
        assert listed(guest.get("/erasures")) == (["u", "v"] if status == 303 else ["v"])
        assert 'href="/erasures"' in guest.get("/").text
        by = guest.email if status == 303 else owner.email
        assert by in text_of(guest.get("/erasures"))
    with Visitor(gateway) as nobody:
        for path in ("/erasures", "/erasures/new?user_id=u", "/erasures/proof.json?user_id=v"):
            assert nobody.get(path).headers["Location"].startswith("/sign-in?next=/erasures")
        assert erase(nobody, "u").status_code == 303


def test_a_suspended_organisation_erases_nobody(owner: Visitor, api: httpx.Client, control: Connection) -> None:
    upsert(api, {"user_id": "u", "attributes": {"a": 1}})
    control.execute(
        "UPDATE foldline_control.organisations SET suspended_at = now() WHERE org_id = %s", (org_of(control, owner),)
    )
    assert erase(owner, "u").status_code == 403
    assert "a 1 number" in text_of(owner.get("/users/u"))


def test_what_the_log_did_not_take_is_said_in_a_sentence(owner: Visitor, api: httpx.Client, control: Connection) -> None:
    upsert(api, {"user_id": "u", "attributes": {"a": 1}})
    control.execute(
        "INSERT INTO foldline_control.deletions VALUES (%s, 'u', 'another', now() + interval '1 hour')",
        (org_of(control, owner),),
    )
    answer = erase(owner, "u")
    assert answer.status_code == 503
    assert "Nothing is erased Another request is deleting a user of this one: try again in a moment." in text_of(answer)
    assert "a 1 number" in text_of(owner.get("/users/u"))
    control.execute("DELETE FROM foldline_control.deletions")
    assert erase(owner, "u").status_code == 303
    assert listed(owner.get("/erasures")) == ["u"]


def test_every_erasure_is_listed_by_page_and_by_user(owner: Visitor, api: httpx.Client) -> None:
    for day in range(2):
        upsert(api, *({"user_id": f"u {n}", "status": "active", "attributes": {"day": day}} for n in range(60)))
        upsert(api, *({"user_id": f"u {n}", "status": "deleted"} for n in range(60)))
    found: list[str] = []
    url = "/erasures"
    while url:
        page = owner.get(url)
        found += listed(page)
        (url, *_) = [*re.findall(r'href="([^"]+)"[^>]*rel="next"', page.text), ""]
        url = url.replace("&amp;", "&")
    assert len(found) == 120
    assert sorted(found[:60]) == sorted(found[60:]) == sorted(f"u {n}" for n in range(60))
    of_one = owner.get("/erasures", params={"user_id": "u 7"})
    assert listed(of_one) == ["u 7"] * 2
    assert owner.email not in text_of(of_one).partition("Asked for by")[2]
    assert "None that are like that" in text_of(owner.get("/erasures?user_id=u"))
    for ignored in ("user_id=%00", "before=x", "before=1.x", f"before={'9' * 30}.t:1:1", "before=99999999999999999.t:1:1"):
        assert owner.get(f"/erasures?{ignored}").status_code == 200, ignored


def test_the_past_of_a_user_has_values_until_they_are_erased(
    owner: Visitor, api: httpx.Client, stage: Settings, control: Connection
) -> None:
    upsert(api, {"user_id": "u", "attributes": {"email": "ada@example.com", "n": 1}})
    append(stage, "users", [Upsert(org_of(control, owner), "u", None, None, '{"plain": "in-clear"}', 1, "8" * 32, 0)])
    wait_applied(stage, published=False)
    upsert(api, {"user_id": "u", "attributes": {"n": 2}})
    before = text_of(owner.get("/users/u?as=history"))
    for words in (
        "attributes.email : nothing → ada@example.com",
        "attributes.n : 1 → 2",
        '"plain":"in-clear"',
        "nothing → in-clear",
    ):
        assert words in before
    erase(owner, "u")
    upsert(api, {"user_id": "u", "status": "active", "attributes": {"email": "new@example.com"}})
    page = owner.get("/users/u?as=history")
    after = text_of(page)
    assert "5 events in the log" in after
    for gone in ("ada@example.com", "in-clear", "attributes.plain", "attributes.n"):
        assert gone not in page.text
    assert "attributes.email : nothing → new@example.com" in after
    assert "status : active → deleted It erased the attributes." in after
    assert after.count("The attributes of then are erased.") == 3
    assert "Version 5 as a whole" in after
    assert "Version 3 as a whole" not in after


def test_a_proof_is_a_file(owner: Visitor, api: httpx.Client, gateway: Gateway) -> None:
    upsert(api, {"user_id": ODD, "attributes": {"email": "ada@example.com"}}, {"user_id": "living", "attributes": {"a": 1}})
    erase(owner, ODD)
    (path,) = re.findall(r'href="(/erasures/proof.json[^"]+)"', owner.get("/erasures").text)
    answer = owner.get(path)
    assert answer.status_code == 200, text_of(answer)
    assert answer.headers["Content-Disposition"] == 'attachment; filename="proof.json"'
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["Cache-Control"] == "no-store"
    proof = answer.json()
    assert (proof["user_id"], proof["status"], proof["holds"], proof["faults"]) == (ODD, "deleted", True, [])
    assert (proof["events"], proof["sealed"], proof["readable"], proof["keys_left"]) == (2, 1, 0, 0)
    for user_id in ("living", "nobody", ""):
        assert owner.get("/erasures/proof.json", params={"user_id": user_id}).status_code == 404
    with Visitor(gateway) as stranger:
        stranger.sign_up("Other")
        assert stranger.get(path).status_code == 404


def test_a_proof_that_takes_long_is_given_up(owner: Visitor, api: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    upsert(api, {"user_id": "u", "attributes": {"a": 1}})
    erase(owner, "u")
    monkeypatch.setattr(erasures, "PROOF_SECONDS", 0.01)
    answer = owner.get("/erasures/proof.json?user_id=u")
    assert answer.status_code == 503
    assert "the command foldline erasures prove" in text_of(answer)
    monkeypatch.undo()
    assert owner.get("/erasures/proof.json?user_id=u").json()["holds"] is True


LONG_AGO = "UPDATE foldline_control.erasures SET erased_at = now() - interval '9 days' WHERE org_id = %s"


def test_it_says_when_older_states_are_gone(owner: Visitor, api: httpx.Client, control: Connection) -> None:
    org = org_of(control, owner)
    upsert(api, {"user_id": "u", "attributes": {"a": 1}})
    erase(owner, "u")
    assert "Older states leave the state topic by" in text_of(owner.get("/erasures"))
    control.execute(LONG_AGO, (org,))
    assert "Older states leave the state topic by" in text_of(owner.get("/erasures"))
    control.execute("DELETE FROM foldline_control.pending_publications WHERE org_id = %s", (org,))
    assert "Erased everywhere" in text_of(owner.get("/erasures"))


def test_an_erasure_that_is_not_applied_yet(kafka: str, database: str, topic_prefix: str) -> None:
    settings = prepared(kafka, database, topic_prefix)
    with ExitStack() as parts:
        gateway = parts.enter_context(gateway_of(settings))
        owner = parts.enter_context(Visitor(gateway)).sign_up()
        with running(settings), gateway.client(made(owner)[0]) as api:
            upsert(api, {"user_id": "u", "attributes": {"a": 1}})
        answer = erase(owner, "u")
        waiting = owner.get(answer.headers["Location"])
        assert "The erasure is in the log" in text_of(waiting)
        assert listed(owner.get("/erasures")) == []
        with running(settings):
            wait_applied(settings, published=False)
        assert "The user is erased" in text_of(owner.get(answer.headers["Location"]))
        assert listed(owner.get("/erasures")) == ["u"]
        with connect(settings.database_url, "test") as control:
            control.execute(LONG_AGO, (org_of(control, owner),))
            control.execute("UPDATE foldline_control.pending_publications SET due_at = now() - interval '8 days'")
        assert "Older states leave the state topic once a processor has run again" in text_of(owner.get("/erasures"))
