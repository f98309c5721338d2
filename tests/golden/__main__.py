"""Makes the bytes of new golden files: `python -m tests.golden NAME…`, after their JSON has been written."""

from __future__ import annotations

import sys

from tests.golden import HERE, encoded, golden

for name in sys.argv[1:]:
    with (HERE / f"{name}.hex").open("x") as file:
        file.write(encoded(golden(name)).hex() + "\n")
