"""The check of the hot paths finds a path that became slower, and only that."""

from __future__ import annotations

import json

from benchmarks.hot_paths import ATTEMPTS, RECORDED, fixed_work, paths, ratio, slower


def test_a_path_that_takes_half_as_long_again_is_named_and_no_other() -> None:
    found, fixed = paths(), fixed_work()
    recorded = {name: ratio(path, fixed) for name, path in found.items()}
    once = found["decode upserts"]
    # Three runs where what is recorded is two.
    thrice = found | {"decode upserts": lambda: (once(), once(), once())}
    twice = recorded | {"decode upserts": 2 * recorded["decode upserts"]}
    assert [slow.path for slow in slower(thrice, twice)] == ["decode upserts"]
    assert slower(found, recorded) == []


def test_every_path_is_recorded() -> None:
    recorded = json.loads(RECORDED.read_text())
    assert recorded
    assert all(paths().keys() <= values.keys() for values in recorded.values())
    assert ATTEMPTS > 1
