"""`python -m foldline`."""

from __future__ import annotations

from foldline.cli import main

main()
