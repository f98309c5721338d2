"""A suite that nothing can break proves nothing: the tests of the fold find each bug of its classes."""

from __future__ import annotations

import pytest

from tests.mutants.mutants import MUTANTS, Mutant, is_found


@pytest.mark.parametrize("mutant", [mutant for mutant in MUTANTS if not mutant.servers], ids=lambda mutant: mutant.name)
def test_it_is_found(mutant: Mutant) -> None:
    found, said = is_found(mutant)
    assert found, said
