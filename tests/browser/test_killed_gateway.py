"""The gateway dies in the middle of an import, in front of the person who waits for it."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.browser.faults import catalogue
from tests.browser.imports import LATER, live, submit, upload
from tests.browser.person import Person
from tests.e2e.outside import Stack, eventually

pytestmark = pytest.mark.server

ROWS = 60_000
QUEUED = "SELECT status, queued FROM foldline_control.imports WHERE created_by = %s"


def test_every_row_is_applied_once_though_the_gateway_is_killed(owner: Person, stack: Stack, tmp_path: Path) -> None:
    file = tmp_path / "large.csv"
    file.write_text(catalogue(ROWS))
    upload(owner, file)
    submit(owner, f"Import {ROWS:,} rows")
    owner.watch.outage = True
    assert eventually(lambda: stack.sql(QUEUED, owner.email)[0][1] >= ROWS / 4, 30, 0.01)
    (gateway,) = stack.processes("gateway")
    gateway.kill()
    status, queued = stack.sql(QUEUED, owner.email)[0]
    assert (status, queued < ROWS) == ("queueing", True)

    owner.page.evaluate("() => { window.asItWas = true; }")
    live(owner, f"{ROWS:,}", within=LATER)
    assert owner.page.evaluate("() => window.asItWas")
    expect(owner.page.get_by_text("The connection is lost.")).to_be_hidden()
    query = (
        "SELECT count(*), min(version), max(version) FROM foldline.known_items "
        "JOIN foldline_control.organisations USING (org_id) WHERE name = %s"
    )
    assert stack.sql(query, owner.organisation) == [(ROWS, 1, 1)]
