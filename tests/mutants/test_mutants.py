"""A suite that nothing can break proves nothing: the tests find each bug of its classes.

Of those whose test needs servers only the compare-and-set is tried, on which all of it rests; `make mutants` tries all.
"""

from __future__ import annotations

import pytest

from tests.mutants.mutants import IN_POSTGRESQL, MUTANTS, Mutant, is_found

TRIED = [
    pytest.param(mutant, id=mutant.name, marks=pytest.mark.server if mutant.servers else ())
    for mutant in MUTANTS
    if not mutant.servers or mutant.name == IN_POSTGRESQL
]


@pytest.mark.parametrize("mutant", TRIED)
def test_it_is_found(mutant: Mutant) -> None:
    found, said = is_found(mutant)
    assert found, said
