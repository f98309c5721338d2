"""`make mutants`: plants each bug in a copy of the program and runs the test that is to find it; exits 1 if one does not."""

from __future__ import annotations

import sys

from tests.mutants.mutants import MUTANTS, is_found


def main() -> None:
    """Prints a line for each bug."""
    missed = 0
    for mutant in MUTANTS:
        found, said = is_found(mutant)
        missed += not found
        print(f"{'found' if found else 'MISSED'}: {mutant.name}, by {mutant.test}", flush=True)
        if not found:
            print(said, file=sys.stderr, flush=True)
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
