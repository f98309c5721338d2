"""The page of a team, over HTTP: who sees and does what, and links that are shown once."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

import httpx
import pytest

from foldline.adapters.postgres import Connection
from producers.accounts.roles import ROLES
from tests.producers.conftest import Gateway
from tests.producers.dashboard.visitors import PASSWORD, Visitor, link_in, signed_in, text_of

pytestmark = pytest.mark.usefixtures("no_attempts")

Join = Callable[..., Visitor]


@pytest.fixture
def owner(gateway: Gateway) -> Iterator[Visitor]:
    with Visitor(gateway) as made:
        yield made.sign_up("Acme & Söhne")


@pytest.fixture
def join(gateway: Gateway) -> Iterator[Join]:
    """Brings somebody into a team as a role, through an invitation."""
    made: list[Visitor] = []

    def come(by: Visitor, role: str) -> Visitor:
        visitor = Visitor(gateway)
        made.append(visitor)
        path = invited(by, visitor.email, role)
        answer = visitor.send_form(path, name=f"Some {role.capitalize()}", password=PASSWORD)
        assert (answer.status_code, answer.headers["Location"]) == (303, "/")
        return visitor

    yield come
    for visitor in made:
        visitor.close()


def invited(by: Visitor, email: str, role: str) -> str:
    """The path of the link that an invitation shows."""
    answer = by.send_form("/team/invitations", email=email, role=role)
    assert answer.status_code == 201, text_of(answer)
    return urlsplit(link_in(answer)).path


def account_id(control: Connection, visitor: Visitor) -> str:
    ((found,),) = control.execute(
        "SELECT account_id FROM foldline_control.accounts WHERE email = %s", (visitor.email,)
    ).fetchall()
    return str(found)


def row_of(page: httpx.Response, email: str) -> str:
    (row,) = [row for row in re.findall(r"(?s)<tr>.*?</tr>", page.text) if email in row]
    return " ".join(re.sub(r"<[^>]+>", " ", row).split())


def test_from_an_invitation_to_its_end(gateway: Gateway, owner: Visitor, control: Connection) -> None:
    with Visitor(gateway) as guest:
        answer = owner.send_form("/team/invitations", email=f" {guest.email.upper()}", role="DEVELOPER")
        assert answer.status_code == 201
        assert answer.headers["Cache-Control"] == "no-store"
        link = link_in(answer)
        assert link.startswith(f"{gateway.url}/link/")
        assert link not in owner.get("/team").text, "a link is shown once"
        assert f"{guest.email} Developer {owner.email}" in row_of(owner.get("/team"), guest.email)

        page = guest.get(urlsplit(link).path)
        assert f"{owner.email} invites {guest.email} as Developer." in text_of(page)
        short = guest.send_form(urlsplit(link).path, name="<Ann>", password="short")
        assert (short.status_code, 'value="&lt;Ann&gt;"' in short.text) == (400, True)
        guest.send_form(urlsplit(link).path, name="Ann Lee", password=PASSWORD)
        assert f"Ann Lee {guest.email} Developer" in row_of(owner.get("/team"), guest.email)
        assert "Open invitations" not in text_of(owner.get("/team"))
        assert guest.send_form(urlsplit(link).path, name="Eve", password=PASSWORD).status_code == 410

        place = f"/team/members/{account_id(control, guest)}"
        assert owner.send_form(f"{place}/role", role="ADMIN").headers["Location"] == "/team?done=role"
        assert guest.get("/team/invitations/new").status_code == 200
        assert owner.send_form(f"{place}/remove").headers["Location"] == "/team?done=removed"
        assert not signed_in(guest)
        refused = guest.sign_in()
        assert (refused.status_code, "belongs to no organisation any more" in text_of(refused)) == (403, True)


def test_who_has_an_account_signs_in_and_comes_back_to_join(gateway: Gateway, owner: Visitor) -> None:
    with Visitor(gateway) as guest:
        guest.sign_up("Their own").send_form("/sign-out")
        path = invited(owner, guest.email, "ADMIN")
        page = guest.get(path)
        assert 'name="password"' not in page.text
        (way,) = re.findall(r'href="(/sign-in\?next=[^"]+)"', page.text)
        assert f'value="{path}"' in guest.get(way).text
        assert guest.sign_in(next=path).headers["Location"] == path
        assert "Join Acme & Söhne" in text_of(guest.get(path))
        assert guest.send_form(path).headers["Location"] == "/"
        page = guest.get("/account")
        assert "Acme & Söhne Admin" in text_of(page)
        assert "Their own Owner" in text_of(page)
        again = invited_again(owner, guest.email)
        assert (again.status_code, "is in the team already" in text_of(again)) == (400, True)


def invited_again(by: Visitor, email: str) -> httpx.Response:
    return by.send_form("/team/invitations", email=email, role="MEMBER")


def test_an_invitation_is_for_one_address(gateway: Gateway, owner: Visitor) -> None:
    with Visitor(gateway) as stranger, Visitor(gateway) as guest:
        path = invited(owner, guest.email, "ADMIN")
        stranger.sign_up()
        page = stranger.get(path)
        assert f"You are signed in as {stranger.email}" in text_of(page)
        refused = stranger.send_form(path)
        assert (refused.status_code, f"This invitation is for {guest.email}" in text_of(refused)) == (403, True)
        assert guest.get(path).status_code == 200, "it is not used up"


def test_a_reset_by_an_admin(gateway: Gateway, owner: Visitor, join: Join, control: Connection) -> None:
    member = join(owner, "MEMBER")
    answer = owner.send_form(f"/team/members/{account_id(control, member)}/reset")
    assert answer.status_code == 201
    assert member.email in text_of(answer)
    with Visitor(gateway) as other:
        other.email = member.email
        assert other.send_form(urlsplit(link_in(answer)).path, password="staple tractor nine").status_code == 303
        assert signed_in(other)
    assert not signed_in(member)


ACTS = {
    "/team/invitations": {"email": "somebody@example.com", "role": "MEMBER"},
    "/team/invitations/withdraw": {"email": "nobody@example.com"},
    "/team/members/{member}/role": {"role": "DEVELOPER"},
    "/team/members/{member}/reset": {},
    "/team/members/{member}/remove": {},
}
ON_OWNERS = {
    "/team/invitations": {"email": "owner@example.com", "role": "OWNER"},
    "/team/members/{owner}/role": {"role": "MEMBER"},
    "/team/members/{member}/role": {"role": "OWNER"},
    "/team/members/{owner}/reset": {},
    "/team/members/{owner}/remove": {},
}
FORMS = (
    "/team/invitations/new",
    "/team/members/{member}/role",
    "/team/members/{member}/reset",
    "/team/members/{member}/remove",
)


@pytest.mark.parametrize("role", ROLES)
def test_each_role_sees_and_does_what_it_may(owner: Visitor, join: Join, control: Connection, role: str) -> None:
    actor, member, second = join(owner, role), join(owner, "MEMBER"), join(owner, "OWNER")
    ids = {"member": account_id(control, member), "owner": account_id(control, second)}
    manages, owns = role in ("ADMIN", "OWNER"), role == "OWNER"

    page = actor.get("/team")
    assert page.status_code == 200
    assert ("Invite somebody" in text_of(page)) is manages
    assert ("Remove" in row_of(page, member.email)) is manages
    assert ("Remove" in row_of(page, second.email)) is owns
    assert "Leave" in row_of(page, actor.email)
    assert [actor.get(path.format(**ids)).status_code for path in FORMS] == [200 if manages else 403] * 4

    for path, fields in ON_OWNERS.items():
        status = actor.send_form(path.format(**ids), **fields).status_code
        assert (status in (201, 303)) is owns, path
        assert status in (201, 303, 403)
    for path, fields in ACTS.items():
        status = actor.send_form(path.format(**ids), **fields).status_code
        assert (status in (201, 303)) is manages, path
        assert status in (201, 303, 403)
    assert signed_in(member) is not manages
    assert signed_in(second) is not owns
    assert signed_in(owner)


def test_a_form_is_a_dialog_for_htmx_and_a_page_without(owner: Visitor, join: Join, control: Connection) -> None:
    ids = {"member": account_id(control, join(owner, "MEMBER"))}
    for path in (*FORMS, "/team/leave"):
        whole = owner.get(path.format(**ids))
        part = owner.get(path.format(**ids), headers={"HX-Request": "true"})
        assert (whole.status_code, part.status_code) == (200, 200)
        assert "<html" in whole.text
        assert part.text.lstrip().startswith("<form")


def test_leaving(owner: Visitor, join: Join) -> None:
    refused = owner.send_form("/team/leave")
    assert (refused.status_code, "make somebody else an owner first" in text_of(refused)) == (403, True)
    second = join(owner, "OWNER")
    assert owner.send_form("/team/leave").headers["Location"] == "/sign-in"
    assert not signed_in(owner)
    assert owner.email not in text_of(second.get("/team"))


@pytest.mark.parametrize("fields", [{}, {"role": ""}, {"role": "owner"}, {"role": "GOD"}])
def test_roles_that_are_none(owner: Visitor, join: Join, control: Connection, fields: dict[str, str]) -> None:
    member = account_id(control, join(owner, "MEMBER"))
    assert owner.send_form(f"/team/members/{member}/role", **fields).status_code == 400
    assert owner.send_form("/team/invitations", email="x@example.com", **fields).status_code == 400


def test_two_organisations_see_nothing_of_each_other(gateway: Gateway, owner: Visitor, control: Connection) -> None:
    with Visitor(gateway) as other:
        other.sign_up("Other")
        guest = f"guest.{owner.email}"
        path = invited(owner, guest, "MEMBER")
        page = other.get("/team")
        assert owner.email not in page.text
        assert guest not in page.text
        assert "Acme" not in page.text
        place = f"/team/members/{account_id(control, owner)}"
        assert [other.get(f"{place}/{form}").status_code for form in ("role", "remove", "reset")] == [404] * 3
        assert [other.send_form(f"{place}/{form}", role="MEMBER").status_code for form in ("role", "remove")] == [403] * 2
        assert other.send_form(f"{place}/reset").status_code == 404
        other.send_form("/team/invitations/withdraw", email=guest)
        assert other.get(path).status_code == 200
        assert signed_in(owner)


def test_invitations_are_withdrawn(gateway: Gateway, owner: Visitor) -> None:
    path = invited(owner, "guest@example.com", "MEMBER")
    assert (
        owner.send_form("/team/invitations/withdraw", email="guest@example.com").headers["Location"]
        == "/team?done=withdrawn"
    )
    with Visitor(gateway) as guest:
        assert guest.get(path).status_code == 410
