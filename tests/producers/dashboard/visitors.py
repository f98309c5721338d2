"""Browsers in front of the dashboard, as far as a test needs no real one: forms, cookies, and where they came from."""

from __future__ import annotations

import re
import secrets
from html import unescape
from typing import Any

import httpx

from producers.dashboard.people import COOKIE
from tests.producers.conftest import Gateway

PASSWORD = "correct horse battery"
HERE = {"Sec-Fetch-Site": "same-origin"}
PAGE = {"Accept": "text/html,application/xhtml+xml"}


class Visitor(httpx.Client):
    """A browser that follows no redirect by itself."""

    def __init__(self, gateway: Gateway, **others: Any) -> None:
        headers = {**PAGE, "User-Agent": "Mozilla/5.0 (X11; Linux x86_64) Firefox/140.0"}
        super().__init__(base_url=gateway.url, headers=headers, timeout=20, trust_env=False, **others)
        self.email = f"{secrets.token_hex(6)}@example.com"

    def send_form(self, path: str, headers: dict[str, str] | None = None, **fields: str) -> httpx.Response:
        return self.post(path, data=fields, headers=HERE if headers is None else headers)

    def sign_up(self, organisation: str = "Acme") -> Visitor:
        answer = self.send_form("/sign-up", organisation=organisation, email=self.email, password=PASSWORD)
        assert (answer.status_code, answer.headers.get("Location")) == (303, "/start"), answer.text
        return self

    def sign_in(self, password: str = PASSWORD, **others: str) -> httpx.Response:
        return self.send_form("/sign-in", email=self.email, password=password, **others)

    @property
    def session(self) -> str | None:
        return self.cookies.get(COOKIE)


def signed_in(visitor: httpx.Client) -> bool:
    return visitor.get("/account").status_code == 200


def text_of(answer: httpx.Response) -> str:
    """What a page says, without its tags, in one line."""
    body = re.sub(r"(?s)<head>.*?</head>|<svg.*?</svg>", "", answer.text)
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", body)).split())


def link_in(answer: httpx.Response) -> str:
    """The link to copy that a page shows."""
    (found,) = re.findall(r"<code[^>]*>(https?://[^<]+/link/[\w-]{43})</code>", answer.text)
    return str(found)
