"""How long what is to come may take: longer on a machine that others use, too. What has to hold is the same."""

from __future__ import annotations

import os

VARIABLE = "CHAOS_PATIENCE"


def patient(seconds: float) -> float:
    """As many times longer as the variable says."""
    return seconds * float(os.environ.get(VARIABLE, "1"))
