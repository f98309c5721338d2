"""`foldline rebuild`: what is left of one that is cancelled."""

from __future__ import annotations

import pytest

from foldline.adapters.postgres import Connection
from foldline.cli.orgs import connected
from foldline.cli.rebuild import building
from projections import generations
from tests.pipeline import prepared


def interrupted(connection: Connection) -> None:
    """Somebody presses Ctrl-C before a statement's answer is there."""
    connection.pgconn.send_query(b"SELECT pg_sleep(600)")
    raise KeyboardInterrupt


def test_who_cancels_in_the_middle_of_a_statement_leaves_nothing(kafka: str, database: str, topic_prefix: str) -> None:
    settings = prepared(kafka, database, topic_prefix)
    with connected(settings) as connection, pytest.raises(KeyboardInterrupt), building(settings, connection, "rebuild"):
        interrupted(connection)
    with connected(settings) as connection:
        assert [found.status for found in generations.generations(connection)] == ["live"]
