"""The laws hold for the fold in Python, and for the compiled one where that is installed."""

from __future__ import annotations

from tests.folds import fold_is  # noqa: F401
