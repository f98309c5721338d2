"""A person in front of the dashboard, who finds things by what they are and say."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from playwright.sync_api import Locator, Page, expect

from tests.browser.watch import Watch

PASSWORD = "correct horse battery staple"


@dataclass
class Person:
    page: Page
    watch: Watch
    email: str = ""
    organisation: str = ""
    password: str = PASSWORD

    def sign_up(self) -> None:
        """Makes an account with an organisation of its own, through the page."""
        self._become_somebody()
        self.page.goto("/sign-up")
        self.field("Organisation").fill(self.organisation)
        self.field("E-mail address").fill(self.email)
        self.field("Password").fill(self.password)
        self.button("Create account").click()
        expect(self.heading("Get started")).to_be_visible()

    def arrive_signed_up(self, url: str) -> None:
        """As `sign_up`, without looking at the pages."""
        self._become_somebody()
        fields = {"organisation": self.organisation, "email": self.email, "password": self.password}
        assert self.post(url, "/sign-up", fields) == 303

    def post(self, url: str, path: str, body: dict[str, str] | bytes = b"") -> int:
        """The status of a form or a file, sent as their own pages would, whether or not they have a button for it."""
        sent = {"data": body} if isinstance(body, bytes) and body else {"form": body or {}}
        headers = {"Origin": url, "Sec-Fetch-Site": "same-origin"}
        return self.page.request.post(path, headers=headers, max_redirects=0, **sent).status

    def sign_in(self) -> None:
        self.page.goto("/sign-in")
        self.field("E-mail address").fill(self.email)
        self.field("Password").fill(self.password)
        self.button("Sign in").click()
        expect(self.heading("Sign in")).to_have_count(0)

    def field(self, label: str) -> Locator:
        return self.page.get_by_label(label)

    def button(self, name: str) -> Locator:
        return self.page.get_by_role("button", name=name)

    def link(self, name: str) -> Locator:
        return self.page.get_by_role("link", name=name)

    def heading(self, name: str | re.Pattern[str]) -> Locator:
        return self.page.get_by_role("heading", name=name)

    def make_key(self) -> str:
        """A secret key, made on the page of developers and read from the page that shows it once."""
        self.page.goto("/developers")
        self.page.get_by_role("main").get_by_role("link", name="Create key").first.click()
        self.button("Create key").click()
        key = self.shown_key()
        self.link("Done").click()
        return key

    def shown_key(self, role: str = "Secret") -> str:
        return self.page.get_by_role("group", name=f"{role} key").get_by_role("code").inner_text()

    def shown_link(self) -> str:
        """A link that the page shows once."""
        return self.page.get_by_role("group", name="Link").get_by_role("code").inner_text()

    def sign_out(self) -> None:
        """By the menu of the person, as it is on a wide screen."""
        self.page.locator("summary").filter(has_text=self.email.partition("@")[0]).first.click()
        self.page.get_by_role("button", name="Sign out").first.click()

    def drop(self, file: Path, target: Locator) -> None:
        """Drags a file from the desktop over the target and lets it go: the browser's own events, with the file itself."""
        target.scroll_into_view_if_needed()
        box = target.bounding_box()
        assert box is not None
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        session = self.page.context.new_cdp_session(self.page)
        carried = {"items": [], "files": [str(file.resolve())], "dragOperationsMask": 1}
        for event in ("dragEnter", "dragOver", "drop"):
            session.send("Input.dispatchDragEvent", {"type": event, "x": x, "y": y, "data": carried})
        session.detach()

    def keep(self, directory: Path, number: int) -> None:
        """Keeps what the person saw in the end."""
        for shown, page in enumerate(self.page.context.pages):
            name = directory / f"person-{number}-page-{shown}"
            page.screenshot(path=name.with_suffix(".png"), full_page=True)
            name.with_suffix(".html").write_text(page.content())
            name.with_suffix(".txt").write_text("\n".join([page.url, *self.watch.complaints]))

    def _become_somebody(self) -> None:
        self.organisation, self.email = f"Shop {secrets.token_hex(3)}", f"{secrets.token_hex(4)}@example.com"


Arrival = Callable[..., Person]
