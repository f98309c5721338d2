"""One stack for the tests that leave it whole."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.outside import Organisation, Stack


@pytest.fixture(scope="package")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    started = Stack(tmp_path_factory.mktemp("e2e") / "data")
    started.start()
    yield started
    started.close()


@pytest.fixture
def org(stack: Stack) -> Iterator[Organisation]:
    """An organisation of the test's own, without a rate limit."""
    made = stack.organisation()
    with made.client:
        yield made
