"""How people come to an organisation."""

from __future__ import annotations

from playwright.sync_api import expect

from tests.browser.person import Person

GUEST = "Grace Guest"


def invitation(owner: Person, email: str, role: str = "Member") -> str:
    """The link of a new invitation, as the owner is shown it."""
    owner.page.goto("/team")
    owner.link("Invite somebody").click()
    owner.field("E-mail address").fill(email)
    owner.page.get_by_label(role).check()
    owner.button("Create invitation").click()
    return owner.shown_link()


def invited(owner: Person, guest: Person, role: str = "Member") -> None:
    """The owner makes an invitation, and the guest makes an account by its link."""
    guest.email, guest.organisation = f"guest-{owner.email}", owner.organisation
    guest.page.goto(invitation(owner, guest.email, role))
    guest.field("Your name").fill(GUEST)
    guest.field("Password").fill(guest.password)
    guest.button("Create account and join").click()
    expect(guest.page.get_by_text(guest.organisation).first).to_be_visible()
