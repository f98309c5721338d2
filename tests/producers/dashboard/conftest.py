"""What the dashboard's tests share: the database behind it, and somebody who owns an organisation."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from foldline.adapters.postgres import Connection, connect
from foldline.settings import Settings
from tests.producers.conftest import Gateway
from tests.producers.dashboard.visitors import Visitor


@pytest.fixture
def no_attempts(stage: Settings) -> None:
    """Forgets who failed to sign in: all these browsers have one address."""
    with connect(stage.database_url, "test") as connection:
        connection.execute("DELETE FROM foldline_control.attempts")


@pytest.fixture
def control(stage: Settings) -> Iterator[Connection]:
    with connect(stage.database_url, "test") as connection:
        yield connection


@pytest.fixture
def owner(gateway: Gateway) -> Iterator[Visitor]:
    with Visitor(gateway) as made:
        yield made.sign_up()
