"""The check of the hot paths finds a path that became slower, and only that."""

from __future__ import annotations

import json

from benchmarks.hot_paths import ATTEMPTS, RECORDED, measured, paths, slower


def test_a_path_that_takes_twice_as_long_is_named_and_no_other() -> None:
    found = paths()
    recorded, once = measured(found), found["decode upserts"]
    assert [slow.path for slow in slower(found | {"decode upserts": lambda: (once(), once())}, recorded)] == [
        "decode upserts"
    ]
    assert slower(found, recorded) == []


def test_every_path_is_recorded() -> None:
    recorded = json.loads(RECORDED.read_text())
    assert recorded
    assert all(paths().keys() <= values.keys() for values in recorded.values())
    assert ATTEMPTS > 1
