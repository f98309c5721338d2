"""The stack of the release before this one writes, and stops; this one goes on with its data."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from tests.e2e.older import older, released
from tests.e2e.outside import Json, Stack, client

pytestmark = [pytest.mark.server, pytest.mark.timeout(300)]


def test_this_version_goes_on_where_the_one_before_stopped(tmp_path: Path) -> None:
    directory = tmp_path / "data"
    version = older(released(), tmp_path / "older")
    before = Stack(directory, PYTHONSAFEPATH="1", **version)
    with closing(before):
        before.start()
        org = before.organisation()
        with org.client:
            org.upsert("items", [{"item_id": f"i{n}", "item_type": "t", "attributes": {"n": n}} for n in range(100)])
            org.upsert("users", [{"user_id": f"u{n}", "attributes": {"n": n}} for n in range(100)])
            org.upsert("users", {"user_id": "u0", "status": "deleted"})
            states = {kind: by_id(org.listing(kind, include_deleted="true"), kind) for kind in ("items", "users")}
            org.upsert("items", {"item_id": "i0", "status": "inactive"}, wait=False)  # nobody may have folded it by then
        assert before.stop() == 0
    after = Stack(directory)
    with closing(after):
        after.start()
        org = org._replace(client=client(after.url, org.secret_key))
        org.upsert("items", [{"item_id": "i0", "attributes": {"m": 1}}, {"item_id": "i1", "attributes": {"m": 1}}])
        assert org.state("items", "i0").json()["data"]["status"] == "inactive"
        for kind, expected in states.items():
            found = by_id(org.listing(kind, include_deleted="true"), kind)
            assert found.keys() == expected.keys()
            assert {one for one in found if found[one] != expected[one]} <= {"i0", "i1"}
        assert [org.state("items", one).json()["data"]["version"] for one in ("i0", "i1", "i2")] == [3, 2, 1]
        verified = after.foldline("verify")
        assert verified.returncode == 0, verified.stdout + verified.stderr
        rebuilt = after.foldline("rebuild", "--swap")
        assert rebuilt.returncode == 0, rebuilt.stdout + rebuilt.stderr


def by_id(states: list[Json], kind: str) -> dict[str, Json]:
    return {state[f"{kind[:-1]}_id"]: state for state in states}
