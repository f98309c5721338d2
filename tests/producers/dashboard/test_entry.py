"""The ways in over HTTP: forms, cookies, redirects, links, and what comes from other sites."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from foldline.adapters.postgres import Connection
from foldline.settings import Settings
from producers import tenants
from producers.accounts import entry, links
from producers.dashboard.app import ROUTES
from producers.dashboard.people import COOKIE, local_path
from tests.producers.conftest import Gateway, gateway_of
from tests.producers.dashboard.visitors import HERE, PASSWORD, Visitor, signed_in, text_of

pytestmark = pytest.mark.usefixtures("no_attempts")

OTHER_PASSWORD = "staple tractor nine"


@pytest.fixture
def visitor(gateway: Gateway) -> Iterator[Visitor]:
    with Visitor(gateway) as made:
        yield made


def cookie_of(answer: httpx.Response) -> dict[str, str]:
    """The attributes of the session's cookie, by lower-case name; the value as `value`."""
    (header,) = [text for text in answer.headers.get_list("set-cookie") if text.startswith(f"{COOKIE}=")]
    first, *rest = header.split("; ")
    return {"value": first.partition("=")[2]} | {
        name.lower(): value for name, _, value in (part.partition("=") for part in rest)
    }


def reset_link(control: Connection, settings: Settings, email: str) -> str:
    return urlsplit(links.url_of("http://x", entry.reset_link(control, settings, email))).path


def sign_in_link(control: Connection, settings: Settings, email: str) -> tuple[str, str]:
    """The organisation's id, and the link's path."""
    with control.transaction():
        org_id = tenants.insert_organisation(control, "By command")
        return org_id, f"/link/{entry.insert_owner(control, settings, org_id, email)}"


def test_from_an_account_to_its_sign_out_and_back(visitor: Visitor) -> None:
    assert "Create an account" in text_of(visitor.get("/sign-up"))
    answer = visitor.send_form("/sign-up", organisation="Acme & Söhne", email=visitor.email, password=PASSWORD)
    assert (answer.status_code, answer.headers["Location"]) == (303, "/start")
    cookie = cookie_of(answer)
    assert len(cookie.pop("value")) == 43
    assert cookie == {"httponly": "", "max-age": "1209600", "path": "/", "samesite": "lax"}
    page = visitor.get("/account")
    assert page.status_code == 200
    assert page.headers["Cache-Control"] == "no-store"
    assert "Acme & Söhne" in text_of(page)

    answer = visitor.send_form("/sign-out")
    assert (answer.status_code, answer.headers["Location"]) == (303, "/sign-in")
    assert cookie_of(answer)["max-age"] == "0"
    assert visitor.session is None
    answer = visitor.get("/account?x=1")
    assert (answer.status_code, answer.headers["Location"]) == (303, "/sign-in?next=/account%3Fx%3D1")

    assert 'value="/account?x=1"' in visitor.get(answer.headers["Location"]).text
    answer = visitor.sign_in(next="/account?x=1")
    assert (answer.status_code, answer.headers["Location"]) == (303, "/account?x=1")
    assert signed_in(visitor)
    assert visitor.get("/sign-in?next=/account").headers["Location"] == "/account"
    assert visitor.get("/sign-up").headers["Location"] == "/"


def test_a_session_that_was_ended_is_none_even_with_its_cookie(gateway: Gateway, visitor: Visitor) -> None:
    visitor.sign_up()
    kept = visitor.session or ""
    visitor.send_form("/sign-out")
    with Visitor(gateway, cookies={COOKIE: kept}) as thief:
        assert not signed_in(thief)


@pytest.mark.parametrize("cookie", ["", "x", "x" * 43, "x" * 5000, "é", "'; --"])
def test_a_cookie_that_is_no_session_is_nobody(gateway: Gateway, cookie: str) -> None:
    with Visitor(gateway) as nobody:
        answer = nobody.get("/account", headers={"Cookie": f"{COOKIE}={cookie}".encode()})  # type: ignore[dict-item]
        assert (answer.status_code, answer.headers["Location"]) == (303, "/sign-in?next=/account")


def test_a_sign_in_takes_no_session_that_somebody_else_has_chosen(gateway: Gateway, visitor: Visitor) -> None:
    visitor.sign_up()
    with Visitor(gateway) as thief:
        thief.sign_up()
        fixed = thief.session
        assert fixed is not None
        visitor.cookies.clear()
        visitor.cookies.set(COOKIE, fixed, domain="127.0.0.1", path="/")
        visitor.sign_in()
        assert visitor.session not in (None, fixed)
        assert visitor.email in text_of(visitor.get("/account"))
        assert not signed_in(thief)


def test_what_does_not_hold_is_told_at_its_field_and_what_was_typed_stays(visitor: Visitor) -> None:
    answer = visitor.send_form("/sign-up", organisation="<b>Acme</b>", email="nobody", password="short")
    assert answer.status_code == 400
    assert 'value="&lt;b&gt;Acme&lt;/b&gt;"' in answer.text
    assert "short" not in answer.text
    for field in ("email", "password"):
        assert f'aria-describedby="{"password-hint " if field == "password" else ""}{field}-error"' in answer.text
    assert "set-cookie" not in answer.headers


def test_a_wrong_password_and_an_unknown_address_are_one_answer(gateway: Gateway, visitor: Visitor) -> None:
    visitor.sign_up().send_form("/sign-out")
    wrong, email = visitor.sign_in("not the password"), visitor.email
    visitor.email = f"no.{email}"
    unknown = visitor.sign_in("not the password")
    assert (wrong.status_code, unknown.status_code) == (400, 400)
    assert wrong.text.replace(email, "EMAIL") == unknown.text.replace(f"no.{email}", "EMAIL")
    assert "The e-mail address or the password is wrong." in text_of(wrong)


def test_too_many_failures_have_to_wait_on_every_gateway(stage: Settings, gateway: Gateway, visitor: Visitor) -> None:
    visitor.sign_up().send_form("/sign-out")
    with gateway_of(stage) as second, Visitor(second) as other:
        other.email = visitor.email
        statuses = [one.sign_in("not the password").status_code for one in (visitor, other) * 5]
        assert statuses == [400] * 10
        for one in (visitor, other):
            answer = one.sign_in()
            assert answer.status_code == 429
            assert 880 < int(answer.headers["Retry-After"]) <= 900
            assert "Too many failed attempts. Try again in 15 minutes." in text_of(answer)
            assert one.session is None


def test_nobody_signs_up_where_that_is_closed(stage: Settings) -> None:
    with gateway_of(stage.model_copy(update={"signup": "closed"})) as closed, Visitor(closed) as visitor:
        fields = {"organisation": "Acme", "email": visitor.email, "password": PASSWORD}
        for answer in (visitor.get("/sign-up"), visitor.send_form("/sign-up", **fields)):
            assert answer.status_code == 403
            assert "Accounts are made by invitation" in text_of(answer)
            assert 'name="password"' not in answer.text
        assert "/sign-up" not in visitor.get("/sign-in").text
        assert visitor.sign_in().status_code == 400, "no account was made"


@pytest.mark.parametrize("public_url", ["https://foldline.example.com", "http://foldline.example.com"])
def test_the_cookie_is_secure_where_people_come_by_https(stage: Settings, public_url: str) -> None:
    with gateway_of(stage.model_copy(update={"public_url": public_url})) as public, Visitor(public) as visitor:
        fields = {"organisation": "Acme", "email": visitor.email, "password": PASSWORD}
        for answer in (visitor.send_form("/sign-up", **fields), visitor.send_form("/sign-out")):
            assert ("secure" in cookie_of(answer)) == public_url.startswith("https")


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("/catalogue?q=a%20b#x", "/catalogue?q=a%20b#x"),
        ("/", "/"),
        ("", "/"),
        ("catalogue", "/"),
        ("//evil.example", "/"),
        ("/\\evil.example", "/"),
        ("\\/evil.example", "/"),
        ("/\t/evil.example", "/"),
        ("/a\r\nX: y", "/"),
        ("https://evil.example", "/"),
        ("javascript:alert(1)", "/"),
        ("/é", "/"),
        ("/" + "a" * 3000, "/"),
    ],
)
def test_the_way_back_stays_here(visitor: Visitor, text: str, path: str) -> None:
    assert local_path(text) == path
    visitor.sign_up().send_form("/sign-out")
    assert visitor.sign_in(next=text).headers["Location"] == path


def test_htmx_is_told_the_way_in_a_header(visitor: Visitor) -> None:
    answer = visitor.get(
        "/account", headers={"HX-Request": "true", "HX-Current-URL": "http://elsewhere.example/catalogue?q=a"}
    )
    assert (answer.status_code, answer.headers["HX-Redirect"]) == (401, "/sign-in?next=/catalogue%3Fq%3Da")
    answer = visitor.send_form("/account/name", {**HERE, "Referer": "http://elsewhere.example/account"}, name="A")
    assert answer.headers["Location"] == "/sign-in?next=/account"


ELSEWHERE = {"Sec-Fetch-Site": "cross-site"}


@pytest.mark.parametrize(
    ("headers", "passes"),
    [
        ({"Sec-Fetch-Site": "same-origin"}, True),
        ({"Sec-Fetch-Site": "none"}, True),
        ({"Sec-Fetch-Site": "same-site"}, False),
        ({"Sec-Fetch-Site": "cross-site"}, False),
        ({"Sec-Fetch-Site": ""}, False),
        ({"Sec-Fetch-Site": "cross-site", "Origin": "{url}"}, False),
        ({"Sec-Fetch-Site": "same-origin", "Origin": "https://evil.example"}, True),
        ({"Origin": "{url}"}, True),
        ({"Origin": "http://foldline.example.com"}, True),
        ({"Origin": "https://foldline.example.com"}, True),
        ({"Origin": "http://foldline.example.com:8443"}, False),
        ({"Origin": "https://evil.example"}, False),
        ({"Origin": "http://127.0.0.1"}, False),
        ({"Origin": "{url}.evil.example"}, False),
        ({"Origin": "null"}, False),
        ({"Origin": ""}, False),
        ({"Origin": "http://[evil"}, False),
        ({"Referer": "{url}/sign-in"}, False),
        ({}, False),
    ],
    ids=str,
)
def test_only_pages_of_this_site_change_something(public: Gateway, headers: dict[str, str], passes: bool) -> None:
    with Visitor(public) as visitor:
        visitor.sign_up()
        sent = {name: value.format(url=public.url) for name, value in headers.items()}
        answer = visitor.send_form("/account/name", sent, name="Changed")
        assert answer.status_code == (303 if passes else 403)
        assert ("Changed" in text_of(visitor.get("/account"))) is passes
        if not passes:
            assert "This came from elsewhere" in text_of(answer)


@pytest.fixture(scope="module")
def public(stage: Settings) -> Iterator[Gateway]:
    with gateway_of(stage.model_copy(update={"public_url": "http://foldline.example.com"})) as made:
        yield made


def test_every_route_of_the_dashboard_that_changes_something_is_guarded(visitor: Visitor) -> None:
    visitor.sign_up()
    routes: list[Any] = ROUTES
    tried = 0
    for route in routes:
        for method in sorted((getattr(route, "methods", None) or set()) - {"GET", "HEAD"}):
            path = route.path_format.format(**dict.fromkeys(route.param_convertors, "x"))
            answer = visitor.request(method, path, headers=ELSEWHERE)
            assert (answer.status_code, "This came from elsewhere" in text_of(answer)) == (403, True), (method, path)
            tried += 1
    assert tried >= 8


def test_the_api_is_not_guarded_and_reading_is_not(gateway: Gateway, visitor: Visitor, control: Connection) -> None:
    made = tenants.create_organisation(control, "Acme", "lehnz")
    answer = visitor.post(
        "/v1/ingest/items/upsert",
        json={"item_id": "A", "item_type": "t"},
        headers={**ELSEWHERE, "Origin": "https://shop.example", "X-API-KEY": made.secret_key},
    )
    assert answer.status_code == 202
    assert visitor.sign_up().get("/account", headers=ELSEWHERE).status_code == 200


def test_signing_in_is_guarded_too(visitor: Visitor) -> None:
    visitor.sign_up().send_form("/sign-out")
    assert visitor.send_form("/sign-in", ELSEWHERE, email=visitor.email, password=PASSWORD).status_code == 403
    assert visitor.session is None


@pytest.mark.parametrize(
    ("content", "headers", "status"),
    [
        (b"name=%00", {"Content-Type": "application/x-www-form-urlencoded"}, 400),
        (b"name=%FF", {"Content-Type": "application/x-www-form-urlencoded"}, 400),
        (b"\xff=a", {"Content-Type": "application/x-www-form-urlencoded"}, 400),
        (b"&".join(b"a%d=1" % n for n in range(200)), {"Content-Type": "application/x-www-form-urlencoded"}, 400),
        (b"name=" + b"a" * 70_000, {"Content-Type": "application/x-www-form-urlencoded"}, 413),
        (b'{"name": "A"}', {"Content-Type": "application/json"}, 415),
        (b"name=A", {}, 415),
    ],
)
def test_what_is_no_form_is_refused(visitor: Visitor, content: bytes, headers: dict[str, str], status: int) -> None:
    visitor.sign_up()
    for path in ("/account/name", "/sign-in"):
        assert visitor.post(path, content=content, headers={**HERE, **headers}).status_code == status
    assert text_of(visitor.get("/account")).count("A browser") == 0


def test_a_sign_in_link_is_used_by_a_button_and_once(stage: Settings, visitor: Visitor, control: Connection) -> None:
    org_id, path = sign_in_link(control, stage, visitor.email)
    for _ in range(2):
        page = visitor.get(path)
        assert page.status_code == 200
        assert visitor.email in text_of(page)
        assert visitor.head(path).status_code == 200
    assert not signed_in(visitor)
    answer = visitor.send_form(path)
    assert (answer.status_code, answer.headers["Location"]) == (303, "/account")
    page = visitor.get("/account")
    assert "You have no password yet" in text_of(page)
    assert "By command" in text_of(page)
    assert 'name="current"' not in page.text
    for again in (visitor.get(path), visitor.send_form(path)):
        assert again.status_code == 410
        assert "This link does not work any more" in text_of(again)

    answer = visitor.send_form("/account/password", password=OTHER_PASSWORD)
    assert (answer.status_code, answer.headers["Location"]) == (303, "/account?done=password")
    assert "You have no password yet" not in text_of(visitor.get("/account?done=password"))
    visitor.send_form("/sign-out")
    assert visitor.sign_in(OTHER_PASSWORD).status_code == 303
    assert {one.org_id for one in tenants.organisations(control)} >= {org_id}


def test_a_reset_link_sets_a_password_and_signs_out_everywhere_else(
    stage: Settings, gateway: Gateway, visitor: Visitor, control: Connection
) -> None:
    visitor.sign_up()
    path = reset_link(control, stage, visitor.email)
    with Visitor(gateway) as other:
        other.email = visitor.email
        assert 'name="password"' in other.get(path).text
        refused = other.send_form(path, password="short")
        assert (refused.status_code, "at least 12 characters" in text_of(refused)) == (400, True)
        assert other.send_form(path, password=OTHER_PASSWORD).headers["Location"] == "/"
        assert signed_in(other)
        assert not signed_in(visitor)
        assert other.send_form(path, password=PASSWORD).status_code == 410
        other.send_form("/sign-out")
        assert other.sign_in().status_code == 400
        assert other.sign_in(OTHER_PASSWORD).status_code == 303


def test_a_link_that_expired_does_nothing(stage: Settings, visitor: Visitor, control: Connection) -> None:
    visitor.sign_up()
    path = reset_link(control, stage, visitor.email)
    control.execute("UPDATE foldline_control.links SET expires_at = now() - interval '1 second' WHERE used_at IS NULL")
    assert visitor.get(path).status_code == 410
    assert visitor.send_form(path, password=OTHER_PASSWORD).status_code == 410
    assert signed_in(visitor)


@pytest.mark.parametrize("token", ["nope", "x" * 43, "x" * 5000, "%00", "a%2Fb", "%FF"])
def test_a_link_that_never_was(visitor: Visitor, token: str) -> None:
    assert visitor.get(f"/link/{token}").status_code in (404, 410)
    assert visitor.send_form(f"/link/{token}").status_code in (404, 410)


def test_a_person_changes_their_name_and_password(gateway: Gateway, visitor: Visitor) -> None:
    visitor.sign_up()
    assert visitor.send_form("/account/name", name=" Ann <Lee> ").headers["Location"] == "/account?done=name"
    assert "Ann &lt;Lee&gt;" in visitor.get("/account?done=name").text
    refused = visitor.send_form("/account/name", name=" ")
    assert (refused.status_code, "1 to 200 printable characters" in text_of(refused)) == (400, True)
    with Visitor(gateway) as other:
        other.email = visitor.email
        other.sign_in()
        wrong = visitor.send_form("/account/password", current="not the password", password=OTHER_PASSWORD)
        assert (wrong.status_code, "This is not your password." in text_of(wrong)) == (400, True)
        assert signed_in(other)
        changed = visitor.send_form("/account/password", current=PASSWORD, password=OTHER_PASSWORD)
        assert changed.headers["Location"] == "/account?done=password"
        assert signed_in(visitor)
        assert not signed_in(other)


def test_a_person_ends_their_other_sessions(gateway: Gateway, visitor: Visitor) -> None:
    visitor.sign_up()
    others = [Visitor(gateway, cookies={}) for _ in range(3)]
    for other in others:
        other.email = visitor.email
        other.sign_in()
    page = visitor.get("/account")
    digests = [part.partition('"')[0] for part in page.text.split('name="session" value="')[1:]]
    assert len(set(digests)) == 3
    assert visitor.send_form("/account/sessions/end", session=digests[0]).status_code == 303
    assert [signed_in(other) for other in others].count(True) == 2
    assert visitor.send_form("/account/sessions/end-others").status_code == 303
    assert [signed_in(other) for other in others].count(True) == 0
    assert signed_in(visitor)
    for other in others:
        other.close()


def test_a_person_looks_at_one_organisation_of_theirs_at_a_time(
    stage: Settings, visitor: Visitor, control: Connection
) -> None:
    visitor.sign_up("First & Co")
    org_id, path = sign_in_link(control, stage, visitor.email)
    assert "First & Co" in text_of(visitor.get("/account"))
    visitor.send_form(path)
    page = visitor.get("/account")
    assert 'title="By command"' in page.text
    (first,) = (part.partition('"')[0] for part in page.text.split('name="org_id" value="')[1:])
    assert visitor.send_form("/account/organisation", org_id=first, next="/account").headers["Location"] == "/account"
    assert 'title="First &amp; Co"' in visitor.get("/account").text
    foreign = tenants.create_organisation(control, "Foreign", "lehnz").org_id
    for wrong in (foreign, "", "org\x07"):
        assert visitor.send_form("/account/organisation", org_id=wrong).status_code == 403
    assert 'title="First &amp; Co"' in visitor.get("/account").text
    assert visitor.send_form("/account/organisation", org_id=org_id).status_code == 303
    assert 'title="By command"' in visitor.get("/account").text


def test_pages_do_not_count_against_the_rate_limit_and_stay_open_to_the_suspended(
    visitor: Visitor, control: Connection
) -> None:
    visitor.sign_up("Held")
    ((org_id,),) = control.execute(
        "SELECT org_id FROM foldline_control.memberships JOIN foldline_control.accounts USING (account_id) WHERE email = %s",
        (visitor.email,),
    ).fetchall()
    tenants.set_rate_limit(control, org_id, 1)
    assert [visitor.get("/account").status_code for _ in range(5)] == [200] * 5
    assert control.execute("SELECT * FROM foldline_control.rate_windows WHERE org_id = %s", (org_id,)).fetchall() == []
    tenants.suspend(control, org_id)
    assert "Held is suspended" in text_of(visitor.get("/account"))
    visitor.send_form("/sign-out")
    assert visitor.sign_in().status_code == 303
    assert "Held is suspended" in text_of(visitor.get("/account"))
    for path in ("/team/invitations", "/developers/keys"):
        refused = visitor.send_form(path, email="a@example.com", role="secret")
        assert (refused.status_code, "Held is suspended" in text_of(refused)) == (403, True)
    assert visitor.send_form("/account/name", name="Ann").status_code == 303
    assert [visitor.get(path).status_code for path in ("/team", "/audit", "/developers")] == [200] * 3
    tenants.resume(control, org_id)
    assert "Held is suspended" not in text_of(visitor.get("/account"))
