"""No other distribution on the path claims one of our top-level names: pip overwrites silently where two do (ADR 4)."""

from __future__ import annotations

from importlib.metadata import distributions

NAMES = {"foldline", "schemas", "producers", "processors", "projections"}


def test_nobody_else_claims_our_names() -> None:
    claims = {
        (distribution.name, file.parts[0])
        for distribution in distributions()
        for file in distribution.files or ()
        if distribution.name != "foldline" and file.parts[0].removesuffix(".py") in NAMES
    }
    assert claims == set()
