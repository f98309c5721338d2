"""Keys by the dashboard: shown once, rotated with a grace, revoked, by who may and of their own organisation only."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack

import httpx
import pytest

from foldline.adapters.postgres import connect
from foldline.embedded.processes import until
from foldline.settings import Settings
from producers import tenants
from producers.accounts import directory
from producers.accounts.roles import Role
from producers.accounts.sessions import digest_of
from tests.producers.conftest import Gateway
from tests.producers.dashboard.visitors import PASSWORD, Visitor, text_of

KEY = r"lehnz_[sp]k_[0-9A-Za-z]{38}"
HOLDS_SECONDS = 3  # keys' changes hold within two


@pytest.fixture
def colleague(gateway: Gateway, stage: Settings, owner: Visitor) -> Iterator[Visitor]:
    """A member of the owner's organisation, signed in."""
    with Visitor(gateway) as visitor:
        joined(stage, org_of(stage, owner), visitor, "MEMBER")
        assert visitor.sign_in().status_code == 303
        yield visitor


def joined(settings: Settings, org_id: str, visitor: Visitor, role: Role) -> None:
    with connect(settings.database_url, "test") as connection:
        account_id = directory.insert_account(connection, visitor.email, "Some One", None)
        assert account_id is not None
        directory.insert_membership(connection, org_id, account_id, role)
        directory.insert_password(connection, account_id, PASSWORD)


def org_of(settings: Settings, visitor: Visitor) -> str:
    assert visitor.session is not None
    with connect(settings.database_url, "test") as connection:
        query = "SELECT org_id FROM foldline_control.sessions WHERE session_hash = %s"
        row = connection.execute(query, (digest_of(visitor.session),)).fetchone()
    assert row is not None
    return str(row[0])


def keys_of(settings: Settings, visitor: Visitor) -> list[tenants.Key]:
    with connect(settings.database_url, "test") as connection:
        return tenants.keys(connection, org_of(settings, visitor))


def made(visitor: Visitor, role: str = "secret") -> list[str]:
    answer = visitor.send_form("/developers/keys", role=role)
    assert answer.status_code == 201
    return re.findall(KEY, answer.text)


def status_with(gateway: Gateway, key: str) -> int:
    with gateway.client(key) as client:
        return client.get("/v1/items").status_code


def holds(gateway: Gateway, key: str, status: int) -> bool:
    return until(lambda: status_with(gateway, key) == status, HOLDS_SECONDS)


def test_a_pair_is_shown_once_and_works(gateway: Gateway, stage: Settings, owner: Visitor) -> None:
    answer = owner.send_form("/developers/keys", role="pair")
    secret, publishable = re.findall(KEY, answer.text)
    assert (answer.status_code, answer.headers["Cache-Control"]) == (201, "no-store")
    assert (secret[:9], publishable[:9]) == ("lehnz_sk_", "lehnz_pk_")
    assert (status_with(gateway, secret), status_with(gateway, publishable)) == (200, 403)
    listed = owner.get("/developers")
    assert re.findall(KEY, listed.text) == []
    assert re.findall(r"lehnz_[sp]k_…\w{4}", text_of(listed)) == [
        f"lehnz_sk_…{secret[-4:]}",
        f"lehnz_pk_…{publishable[-4:]}",
    ]
    assert f"by {owner.email}" in text_of(listed)
    assert {key.created_by for key in keys_of(stage, owner)} == {owner.email}


def test_a_list_says_when_a_key_was_last_used(gateway: Gateway, owner: Visitor) -> None:
    (key,) = made(owner)
    assert "Never" in text_of(owner.get("/developers"))
    assert status_with(gateway, key) == 200
    assert until(lambda: "Never" not in text_of(owner.get("/developers")), 5)


def test_without_a_grace_the_old_key_stops(gateway: Gateway, stage: Settings, owner: Visitor) -> None:
    (old,) = made(owner)
    (kept,) = keys_of(stage, owner)
    answer = owner.send_form(f"/developers/keys/{kept.key_id}/rotate", grace="0")
    (new,) = re.findall(KEY, answer.text)
    assert (answer.status_code, new != old) == (201, True)
    assert "The old key has stopped" in text_of(answer)
    assert (status_with(gateway, new), holds(gateway, old, 401)) == (200, True)
    assert "1 key no longer in use" in text_of(owner.get("/developers"))


@pytest.mark.parametrize(("grace", "shown"), [("3600", "59 minutes"), ("86400", "23 hours"), ("604800", "6 days")])
def test_during_a_grace_both_keys_work(gateway: Gateway, stage: Settings, owner: Visitor, grace: str, shown: str) -> None:
    (old,) = made(owner)
    (kept,) = keys_of(stage, owner)
    (new,) = re.findall(KEY, owner.send_form(f"/developers/keys/{kept.key_id}/rotate", grace=grace).text)
    assert (status_with(gateway, new), status_with(gateway, old)) == (200, 200)
    page = owner.get("/developers")
    assert f"Stops in {shown}" in text_of(page)
    assert f"/developers/keys/{kept.key_id}/rotate" not in page.text
    again = owner.send_form(f"/developers/keys/{kept.key_id}/rotate", grace="0")
    assert again.status_code == 409
    assert "was replaced already" in text_of(again)
    assert owner.send_form(f"/developers/keys/{kept.key_id}/revoke").status_code == 303
    assert (holds(gateway, old, 401), status_with(gateway, new)) == (True, 200)


def test_a_revoked_key_stops_and_cannot_be_revoked_again(gateway: Gateway, stage: Settings, owner: Visitor) -> None:
    (key,) = made(owner)
    (kept,) = keys_of(stage, owner)
    assert "This cannot be undone" in text_of(owner.get(f"/developers/keys/{kept.key_id}/revoke"))
    answer = owner.send_form(f"/developers/keys/{kept.key_id}/revoke")
    assert (answer.status_code, answer.headers["Location"]) == (303, "/developers?done=revoked")
    assert "The key is revoked" in text_of(owner.get(answer.headers["Location"]))
    assert holds(gateway, key, 401)
    assert owner.send_form(f"/developers/keys/{kept.key_id}/revoke").status_code == 404


def routes_of(key_id: str) -> list[tuple[str, str, dict[str, str]]]:
    of_key = f"/developers/keys/{key_id}"
    return [
        ("GET", "/developers/keys/new", {}),
        ("POST", "/developers/keys", {"role": "pair"}),
        ("POST", "/start/key", {}),
        ("GET", f"{of_key}/rotate", {}),
        ("POST", f"{of_key}/rotate", {"grace": "0"}),
        ("GET", f"{of_key}/revoke", {}),
        ("POST", f"{of_key}/revoke", {}),
    ]


def answers(visitor: Visitor, key_id: str) -> list[httpx.Response]:
    return [
        visitor.get(path) if method == "GET" else visitor.send_form(path, None, **fields)
        for method, path, fields in routes_of(key_id)
    ]


def test_a_member_sees_keys_and_changes_none(stage: Settings, owner: Visitor, colleague: Visitor) -> None:
    made(owner, "pair")
    before = keys_of(stage, owner)
    page = colleague.get("/developers")
    assert before[0].hint in page.text
    assert re.findall(r"/developers/keys/\w+|Create key|Rotate|Revoke", page.text) == []
    assert [answer.status_code for answer in answers(colleague, before[0].key_id)] == [403] * 7
    assert keys_of(stage, owner) == before


def test_nobody_reaches_the_keys_of_another_organisation(gateway: Gateway, stage: Settings, owner: Visitor) -> None:
    made(owner)
    before = keys_of(stage, owner)
    with Visitor(gateway) as stranger:
        stranger.sign_up()
        assert before[0].hint not in stranger.get("/developers").text
        assert [answer.status_code for answer in answers(stranger, before[0].key_id)[3:]] == [404] * 4
    assert keys_of(stage, owner) == before


def test_nobody_reaches_keys_without_signing_in(gateway: Gateway) -> None:
    with Visitor(gateway) as nobody:
        found = [nobody.get("/developers"), nobody.get("/start"), *answers(nobody, "key_1")]
    assert {answer.status_code for answer in found} == {303}
    assert {answer.headers["Location"].partition("?")[0] for answer in found} == {"/sign-in"}


def test_forms_from_another_site_change_nothing(stage: Settings, owner: Visitor) -> None:
    made(owner)
    before = keys_of(stage, owner)
    elsewhere = {"Sec-Fetch-Site": "cross-site"}
    for method, path, fields in routes_of(before[0].key_id):
        if method == "POST":
            assert owner.send_form(path, headers=elsewhere, **fields).status_code == 403
    assert keys_of(stage, owner) == before


def test_a_key_has_a_role_and_a_grace_that_there_are(stage: Settings, owner: Visitor) -> None:
    assert owner.send_form("/developers/keys", role="root").status_code == 400
    assert owner.send_form("/developers/keys").status_code == 400
    made(owner)
    before = keys_of(stage, owner)
    for grace in ("", "-1", "99999999999", "1e3", "3601"):
        assert owner.send_form(f"/developers/keys/{before[0].key_id}/rotate", grace=grace).status_code == 400
    assert keys_of(stage, owner) == before


def test_forms_open_in_a_dialog_and_on_pages_of_their_own(stage: Settings, owner: Visitor) -> None:
    made(owner)
    (key,) = keys_of(stage, owner)
    for path in ("/developers/keys/new", f"/developers/keys/{key.key_id}/rotate", f"/developers/keys/{key.key_id}/revoke"):
        sheet, page = owner.get(path, headers={"HX-Request": "true"}), owner.get(path)
        assert ("<html" in sheet.text, "<h2>" in sheet.text, '<form method="post"' in sheet.text) == (False, True, True)
        assert ("<html" in page.text, "<h1>" in page.text, '<form method="post"' in page.text) == (True, True, True)


def test_what_is_done_to_keys_is_in_the_audit_log(stage: Settings, owner: Visitor) -> None:
    made(owner)
    (first,) = keys_of(stage, owner)
    owner.send_form(f"/developers/keys/{first.key_id}/rotate", grace="3600")
    owner.send_form(f"/developers/keys/{first.key_id}/revoke")
    with connect(stage.database_url, "test") as connection:
        query = "SELECT action, subject FROM foldline_control.audit_log WHERE org_id = %s AND actor = %s ORDER BY audit_id"
        rows = connection.execute(query, (first.org_id, owner.email)).fetchall()
    assert [row for row in rows if row[0].startswith("key.")] == [
        ("key.created", first.hint),
        ("key.rotated", first.hint),
        ("key.revoked", first.hint),
    ]


def test_two_who_rotate_at_once_make_one_key(gateway: Gateway, stage: Settings, owner: Visitor) -> None:
    made(owner)
    (key,) = keys_of(stage, owner)
    with ExitStack() as stack:
        others = [stack.enter_context(Visitor(gateway, cookies=dict(owner.cookies))) for _ in range(2)]
        found = sorted(
            other.send_form(f"/developers/keys/{key.key_id}/rotate", grace="3600").status_code for other in others
        )
    assert found == [201, 409]
    assert len(keys_of(stage, owner)) == 2


def test_a_suspended_organisation_is_told_so(stage: Settings, owner: Visitor) -> None:
    assert "is suspended" not in text_of(owner.get("/developers"))
    with connect(stage.database_url, "test") as connection:
        tenants.suspend(connection, org_of(stage, owner))
    assert "Acme is suspended The API refuses its keys" in text_of(owner.get("/developers"))
