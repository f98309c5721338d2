"""The compiled fold of items (`compiled/` in the repository), where it is installed and knows these laws; else None.

It takes the upserts that are plain, and leaves all others to the fold in Python; what both come to is the same.
"""

from __future__ import annotations

from typing import Any

from foldline.domain.fold import LAWS

ItemStates: Any = None
try:
    import foldline_compiled

    if foldline_compiled.LAWS == LAWS:
        ItemStates = foldline_compiled.ItemStates
except ImportError:
    pass
