"""`python -m schemas`: whether every version of every record reads what every other has written. Exits with 1 if not."""

from __future__ import annotations

import sys

from schemas import bundle
from schemas.compatibility import faults


def main() -> int:
    """Prints what does not hold; returns the exit code."""
    if found := faults(bundle()):
        print("\n".join(found), file=sys.stderr)
        return 1
    print(f"{len(bundle())} schemas: every version of a record reads every other")
    return 0


if __name__ == "__main__":
    sys.exit(main())
