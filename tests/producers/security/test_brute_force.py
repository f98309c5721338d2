"""Who tries keys or links one after the other, or makes organisations by the dozen: a defined answer, then 429."""

from __future__ import annotations

import hashlib
import secrets

import pytest

from foldline.adapters.postgres import Connection
from foldline.settings import Settings
from producers.tenants import key_hash, make_key
from tests.producers.conftest import Gateway, NewOrg, gateway_of
from tests.producers.dashboard.visitors import PASSWORD, Visitor


@pytest.fixture(autouse=True)
def _no_attempts(control: Connection) -> None:
    control.execute("DELETE FROM foldline_control.attempts")


def test_unknown_keys_are_401_then_429_and_known_ones_go_on(stage: Settings, new_org: NewOrg) -> None:
    org = new_org()
    with gateway_of(stage.model_copy(update={"unknown_keys_per_minute": 5})) as gateway:
        with gateway.client(org.secret_key) as client:
            assert client.get("/v1/items").status_code == 200
        statuses = []
        for _ in range(7):
            with gateway.client(make_key(stage.key_prefix, "secret")) as guesser:
                answer = guesser.get("/v1/items")
                statuses.append(answer.status_code)
        assert statuses == [401] * 5 + [429] * 2
        assert 0 < int(answer.headers["Retry-After"]) <= 60
        assert answer.json()["success"] is False
        with gateway.client(org.secret_key) as client:  # known to this gateway, though it has to ask again meanwhile
            assert client.get("/v1/items").status_code == 200
        with gateway.client("not a key") as client:  # costs nothing, and is told so
            assert client.get("/v1/items").status_code == 401


def test_keys_are_found_by_their_digest_alone(control: Connection, new_org: NewOrg) -> None:
    """No comparison of keys takes a time that depends on them: what is looked up is SHA-256, which nobody steers."""
    org = new_org()
    texts = control.execute("SELECT k::text FROM foldline_control.api_keys k").fetchall()
    assert not any(org.secret_key in text for (text,) in texts)
    ((kept,),) = control.execute(
        "SELECT key_hash FROM foldline_control.api_keys WHERE org_id = %s AND role = 'secret'", (org.org_id,)
    )
    assert bytes(kept) == hashlib.sha256(org.secret_key.encode()).digest() == key_hash(org.secret_key)


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_links_that_do_not_work_are_410_then_429(gateway: Gateway, stage: Settings, method: str) -> None:
    limit = stage.sign_in_failures
    headers = {"Sec-Fetch-Site": "same-origin"}
    with Visitor(gateway) as guesser:
        answers = [guesser.request(method, f"/link/{secrets.token_urlsafe(32)}", headers=headers) for _ in range(limit + 2)]
    assert [answer.status_code for answer in answers] == [410] * limit + [429] * 2
    assert 0 < int(answers[-1].headers["Retry-After"]) <= stage.sign_in_window_seconds


def test_so_many_organisations_from_one_address_and_no_more(stage: Settings, control: Connection) -> None:
    with gateway_of(stage.model_copy(update={"sign_ups": 2})) as gateway:
        for _ in range(2):
            with Visitor(gateway) as visitor:
                visitor.sign_up()
        with Visitor(gateway) as visitor:
            answer = visitor.send_form("/sign-up", organisation="One more", email=visitor.email, password=PASSWORD)
            assert answer.status_code == 429
            assert int(answer.headers["Retry-After"]) > 0
            found = control.execute("SELECT FROM foldline_control.accounts WHERE email = %s", (visitor.email,)).fetchall()
            assert found == []
