"""What is secret is planted in every way in which it can come, right and wrong; then every log of the stack is searched."""

from __future__ import annotations

import gzip
import json
import secrets
from urllib.parse import unquote, urlsplit

import httpx
import pytest

from tests.e2e.outside import Stack, client

pytestmark = pytest.mark.server

HERE = {"Sec-Fetch-Site": "same-origin"}


def test_nothing_secret_is_in_any_log(stack: Stack) -> None:
    org = stack.organisation("Logs")
    value, password = f"VALUE{secrets.token_hex(8)}", f"PASSWORD {secrets.token_hex(8)}"
    planted = {value, password, org.secret_key, org.publishable_key}

    # Keys, rotated, revoked, wrong; values that hold, that do not, that cannot be read.
    made = stack.foldline("keys", "create", org.org_id, "--json")
    other_key = json.loads(made.stdout)["key"]
    rotated = json.loads(stack.foldline("keys", "rotate", other_key, "--json").stdout)["key"]
    assert stack.foldline("keys", "revoke", rotated).returncode == 0
    planted |= {other_key, rotated}
    org.upsert("users", {"user_id": "u", "attributes": {"email": value}})
    org.upsert("users", {"user_id": "u", "status": "deleted", "attributes": {"email": value}})
    assert org.upsert("items", {"item_id": "without-type", "attributes": {"name": value}})["rejected"] == 1
    for body in (f'{{"user_id": "u", "attributes": {value}}}', f'{{"user_id": "u", "{value}": 1}}', f'["{value}"]'):
        assert org.client.post("/v1/ingest/users/upsert", content=body).status_code == 400
    zipped = gzip.compress(value.encode())[:-3]
    answer = org.client.post("/v1/ingest/users/upsert", content=zipped, headers={"Content-Encoding": "gzip"})
    assert answer.status_code == 400
    for key in (org.secret_key[:-1], other_key, rotated, value):
        with client(stack.url, key) as wrong:
            assert wrong.get("/v1/items", params={"cursor": value}).status_code in (200, 400, 401)
    org.client.get(f"/v1/users/{value}")

    # People: a password right and wrong, a session, a link, a form that is none.
    email = f"{secrets.token_hex(6)}@example.com"
    with httpx.Client(base_url=stack.url, headers=HERE, trust_env=False, timeout=30) as browser:
        fields = {"organisation": "Logs", "email": email, "password": password}
        assert browser.post("/sign-up", data=fields).status_code == 303
        session = browser.cookies["foldline_session"]
        assert browser.post("/sign-in", data={"email": email, "password": password + "x"}).status_code == 400
        assert browser.post("/sign-in", content=password.encode()).status_code >= 400
        assert browser.post("/account/password", data={"current": password + "y", "password": password}).status_code < 500
        made = stack.foldline("accounts", "reset", email, "--json")
        link = json.loads(made.stdout)["reset_link"]
        assert browser.get(urlsplit(link).path).status_code == 200
        assert browser.post(urlsplit(link).path, data={"password": password}).status_code == 303
        planted |= {session, browser.cookies["foldline_session"], link.rpartition("/")[2]}

    planted.add(unquote(urlsplit(stack.database_url).password or ""))
    planted.add((stack.directory / "master.key").read_text().strip())
    assert all(len(secret) > 8 for secret in planted)

    stack.wait_published()
    files = [file for file in (stack.directory / "logs").rglob("*") if file.is_file()]
    assert {"gateway.log", "kafka.log", "postgres.log"} <= {file.name for file in files}, files
    files.append(stack.directory.with_suffix(".log"))
    for file in files:
        text = file.read_text(errors="replace")
        found = [secret[:12] for secret in planted if secret in text]
        assert found == [], f"{file} has secrets that begin so"
