"""The compiled fold of items, where `foldline-compiled` is installed (`compiled/` in the repository), else None.

It takes the upserts that are plain, and leaves all others to the fold in Python; what both come to is the same.
"""

from __future__ import annotations

from typing import Any

try:
    from foldline_compiled import ItemStates as _ItemStates
except ImportError:
    _ItemStates = None

ItemStates: Any = _ItemStates
