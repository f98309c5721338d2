"""The compiled fold (`compiled/` in the repository), where it is installed and knows these laws; else None.

It takes the upserts that are plain, and leaves all others to the fold in Python; what both come to is the same.
"""

from __future__ import annotations

from typing import Any

from foldline.domain.fold import LAWS

States: Any = None
try:
    import foldline_compiled

    if foldline_compiled.LAWS == LAWS:
        States = foldline_compiled.States
except ImportError:
    pass
