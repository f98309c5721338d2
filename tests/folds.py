"""Tests that import `fold_is` run with the fold in Python, and with the compiled one where that is installed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from foldline.adapters import compiled

FOLDS = ["plain"] if compiled.States is None else ["compiled", "plain"]


@pytest.fixture(scope="module", autouse=True, params=FOLDS)
def fold_is(request: pytest.FixtureRequest) -> Iterator[str]:
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "plain":
            patch.setattr(compiled, "States", None)
        yield request.param
