"""The audit log's page: who reads it, what it says, and how it is paged and filtered."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from foldline.adapters.postgres import Connection
from producers.accounts import audit
from producers.accounts.audit import Entry, record
from producers.dashboard.sentences import label, sentence
from tests.producers.conftest import Gateway
from tests.producers.dashboard.test_team import invited
from tests.producers.dashboard.visitors import PASSWORD, Visitor, text_of

pytestmark = pytest.mark.usefixtures("no_attempts")


def org_of(control: Connection, visitor: Visitor) -> str:
    ((org_id,),) = control.execute(
        "SELECT org_id FROM foldline_control.memberships JOIN foldline_control.accounts USING (account_id) WHERE email = %s",
        (visitor.email,),
    ).fetchall()
    return str(org_id)


def said(page: httpx.Response) -> list[tuple[str, str]]:
    """Who and what, of each entry of a page."""
    assert page.status_code == 200
    rows = re.findall(r'(?s)<td data-label="Who">(.*?)</td>\s*<td data-label="What">(.*?)</td>', page.text)
    return [tuple(" ".join(re.sub(r"<[^>]+>", "", cell).split()) for cell in row) for row in rows]  # type: ignore[misc]


@pytest.mark.parametrize(
    ("action", "subject", "detail", "words"),
    [
        ("session.signed_in", "a@b", {"client": "Firefox on Linux"}, "signed in: Firefox on Linux"),
        ("key.created", "lehnz_sk_…av97", {"role": "secret"}, "created the secret key lehnz_sk_…av97"),
        (
            "key.rotated",
            "lehnz_sk_…av97",
            {"role": "secret", "new": "lehnz_sk_…1234", "grace_seconds": 86400},
            "replaced the secret key lehnz_sk_…av97 by lehnz_sk_…1234; the old one works for 24 hours yet",
        ),
        (
            "key.rotated",
            "lehnz_pk_…av97",
            {"role": "publishable", "new": "lehnz_pk_…1234", "grace_seconds": 0},
            "replaced the publishable key lehnz_pk_…av97 by lehnz_pk_…1234",
        ),
        ("member.invited", "b@c", {"role": "ADMIN"}, "invited b@c as Admin"),
        ("member.joined", "b@c", {"role": "ADMIN", "invited_by": "a@b"}, "joined as Admin"),
        ("member.joined", "b@c", {"role": "OWNER"}, "made b@c Owner"),
        (
            "member.role_changed",
            "b@c",
            {"before": "MEMBER", "after": "ADMIN"},
            "changed the role of b@c from Member to Admin",
        ),
        ("import.submitted", "imp_1", {"rows": 1234, "whole": False}, "imported imp_1: 1,234 rows"),
        ("organisation.rate_limit_changed", "org_1", {"rate_limit": 1000}, "set the rate limit to 1,000 requests a window"),
        ("organisation.rate_limit_changed", "org_1", {"rate_limit": 0}, "set the rate limit to none"),
        ("organisation.rate_limit_changed", "org_1", {"rate_limit": None}, "set the rate limit to the default"),
        ("erasure.requested", "usr\n1", {}, "erasure requested: usr\\n1"),
        ("key.created", "x", {}, "created the – key x"),
    ],
)
def test_what_an_entry_says(action: str, subject: str, detail: dict[str, Any], words: str) -> None:
    assert sentence(Entry(1, datetime(2026, 11, 23, tzinfo=UTC), "a@b", action, subject, detail)) == words


def test_what_an_action_is_called() -> None:
    assert label("member.role_changed") == "Member role changed"


def test_the_log_tells_what_people_did_newest_first(owner: Visitor) -> None:
    guest = f"guest.{owner.email}"
    invited(owner, guest, "ADMIN")
    owner.send_form("/account/name", name="<Ann>")
    owner.send_form("/sign-out")
    owner.sign_in()
    assert said(owner.get("/audit")) == [
        (owner.email, "Signed in: Firefox on Linux"),
        (owner.email, "Signed out"),
        (owner.email, "Changed their name to &lt;Ann&gt;"),
        (owner.email, f"Invited {guest} as Admin"),
        (owner.email, "Signed in: Firefox on Linux"),
        (owner.email, "Created the account and the organisation"),
    ]


@pytest.mark.parametrize(("role", "status"), [("MEMBER", 403), ("DEVELOPER", 200), ("ADMIN", 200), ("OWNER", 200)])
def test_who_reads_it(gateway: Gateway, owner: Visitor, role: str, status: int) -> None:
    with Visitor(gateway) as reader:
        reader.send_form(invited(owner, reader.email, role), name="Reader", password=PASSWORD)
        assert reader.get("/audit").status_code == status
        assert ('href="/audit"' in reader.get("/account").text) is (status == 200)
    with Visitor(gateway) as nobody:
        assert nobody.get("/audit").headers["Location"] == "/sign-in?next=/audit"


def test_it_is_paged_by_key_and_new_entries_move_nothing(owner: Visitor, control: Connection) -> None:
    org_id = org_of(control, owner)
    for number in range(120):
        record(control, org_id, "importer", "import.live", f"imp_{number:03}")
    pages, url = [], "/audit?actor=importer"
    while url:
        page = owner.get(url)
        pages.append([words for _, words in said(page)])
        record(control, org_id, "importer", "import.live", "imp_new")
        (url, *_) = [*re.findall(r'href="([^"]+)"[^>]*rel="next"', page.text), ""]
        url = url.replace("&amp;", "&")
    assert [len(found) for found in pages] == [50, 50, 20]
    assert [words for found in pages for words in found] == [f"Has the import imp_{n:03} live" for n in reversed(range(120))]
    assert "offset" not in owner.get("/audit").text


def test_it_is_filtered_by_action_and_actor_in_the_url(owner: Visitor, control: Connection) -> None:
    org_id = org_of(control, owner)
    for actor in ("ann@example.com", "bob@example.com"):
        for action in ("import.submitted", "import.cancelled"):
            record(control, org_id, actor, action, f"imp_{actor[:3]}")
    assert said(owner.get("/audit?action=import.cancelled")) == [
        ("bob@example.com", "Cancelled imp_bob"),
        ("ann@example.com", "Cancelled imp_ann"),
    ]
    page = owner.get("/audit?action=import.cancelled&actor=ann%40example.com")
    assert said(page) == [("ann@example.com", "Cancelled imp_ann")]
    assert '<option value="import.cancelled" selected>Import cancelled</option>' in page.text
    assert '<option value="ann@example.com" selected>' in page.text
    assert 'href="/imports/imp_ann"' in page.text
    for none in ("action=nope", "actor=nope", "before=0", "action=%00&actor=nope"):
        assert "Nothing like that has happened" in text_of(owner.get(f"/audit?{none}"))
    for ignored in ("before=x", "before=-1", "before=%C2%B2", "action=%00", "before=" + "9" * 100):
        assert len(said(owner.get(f"/audit?{ignored}"))) == 6
    assert len(said(owner.get("/audit?before=" + "9" * 25))) == 6


def test_organisations_have_logs_of_their_own(gateway: Gateway, owner: Visitor) -> None:
    with Visitor(gateway) as other:
        other.sign_up()
        assert {who for who, _ in said(other.get("/audit"))} == {other.email}
        assert owner.email not in other.get("/audit").text
        assert "Nothing like that" in text_of(other.get(f"/audit?actor={owner.email}"))


def test_a_long_log_is_read_by_its_indexes(owner: Visitor, control: Connection) -> None:
    org_id = org_of(control, owner)
    control.execute(
        "INSERT INTO foldline_control.audit_log (org_id, actor, action, subject)"
        " SELECT %s, 'actor ' || n %% 50, 'session.signed_in', n::text FROM generate_series(1, 100000) n",
        (org_id,),
    )
    record(control, org_id, "rare", "key.revoked", "x")
    control.execute("ANALYZE foldline_control.audit_log")

    def blocks(query: str, **parameters: object) -> int:
        asked = {"org_id": org_id, "action": "", "actor": "", "before": None, "limit": 51} | parameters
        ((plan,),) = control.execute(
            f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {audit.SQL[query]}".encode(), asked, prepare=False
        ).fetchall()
        return int(plan[0]["Plan"]["Shared Hit Blocks"] + plan[0]["Plan"]["Shared Read Blocks"])

    for parameters in ({}, {"actor": "rare"}, {"action": "key.revoked"}, {"actor": "actor 7"}, {"before": 5000}):
        assert blocks("entries", **parameters) < 200, parameters
    assert blocks("entries", action="session.signed_in", actor="actor 7") < 4000
    assert (blocks("actors") < 1000, blocks("actions") < 1000) == (True, True)
    control.execute("DELETE FROM foldline_control.audit_log WHERE org_id = %s AND actor LIKE 'actor %%'", (org_id,))
