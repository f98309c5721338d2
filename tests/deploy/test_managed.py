"""What docs/deployment.md says of servers that others manage."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
from psycopg import sql

from foldline.adapters.postgres import connect
from foldline.domain.errors import Unreachable


@pytest.fixture
def role(postgres: str) -> Iterator[str]:
    """A user of the test's own, without a password."""
    name = f"test_{secrets.token_hex(4)}"
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(name)))
        yield name
        connection.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))


def test_a_password_in_a_file_is_read_at_each_connection(postgres: str, database: str, role: str, tmp_path: Path) -> None:
    file = tmp_path / "pgpass"
    parts = urlsplit(database)
    url = urlunsplit(parts._replace(netloc=f"{role}@{parts.hostname}:{parts.port}", query=f"passfile={file}"))

    def renew(password: str) -> None:
        with psycopg.connect(postgres, autocommit=True) as connection:
            statement = sql.SQL("ALTER ROLE {} PASSWORD {}").format(sql.Identifier(role), sql.Literal(password))
            connection.execute(statement)

    def keep(password: str) -> None:
        file.write_text(f"{parts.hostname}:{parts.port}:{parts.path.removeprefix('/')}:{role}:{password}\n")
        file.chmod(0o600)

    renew("first")
    keep("first")
    with connect(url, "test") as before:
        renew("second")
        with pytest.raises(Unreachable, match="password authentication failed"):
            connect(url, "test")
        keep("second")
        with connect(url, "test") as after:
            assert after.execute("SELECT current_user").fetchall() == [(role,)]
        assert before.execute("SELECT current_user").fetchall() == [(role,)]
