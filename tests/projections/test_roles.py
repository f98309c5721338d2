"""What the services' roles may do in the database: their work, and nothing to the tables themselves. That they may do their
work is shown by the tests of the gateway, which run as members of them."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from foldline.adapters.postgres import Connection, connect
from projections.generations import begin, migrate

SERVICES = ("foldline_gateway", "foldline_processor")
TABLES = """
SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'v') AND (n.nspname LIKE 'foldline%' OR n.nspname LIKE 'gen\\_%' OR c.relname LIKE 'foldline%')
ORDER BY 1
"""
OF_PEOPLE = (
    "accounts", "memberships", "sessions", "links", "attempts", "api_keys", "secrets", "audit_log", "idempotency_keys",
)  # fmt: skip
OF_THE_FOLD = ("positions", "dead_letters", "generations", "erasures", "secrets", "keyring")


@pytest.fixture
def connection(database: str) -> Iterator[Connection]:
    with connect(database, "test") as opened:
        migrate(opened)
        begin(opened, "a second generation")
        yield opened


def may(connection: Connection, role: str, table: str, rights: str) -> bool:
    ((found,),) = connection.execute("SELECT has_table_privilege(%s, %s, %s)", (role, table, rights)).fetchall()
    return bool(found)


def refused(connection: Connection, role: str, statement: str) -> None:
    connection.execute(f"SET ROLE {role}".encode())
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute(statement.encode())
    connection.execute(b"RESET ROLE")


@pytest.mark.parametrize("role", [*SERVICES, "foldline_reader"])
def test_nobody_drops_alters_or_empties_a_table(connection: Connection, role: str) -> None:
    tables = [table for (table,) in connection.execute(TABLES.encode()).fetchall()]
    assert len(tables) > 30
    for table in tables:
        assert not may(connection, role, table, "TRUNCATE, TRIGGER, REFERENCES, MAINTAIN"), table
        refused(connection, role, f"DROP {'VIEW' if table.startswith('foldline.') else 'TABLE'} {table}")
    refused(connection, role, "ALTER TABLE foldline_control.api_keys ADD COLUMN mine text")
    refused(connection, role, "CREATE TABLE foldline_control.mine (mine text)")
    refused(connection, role, "CREATE SCHEMA mine")
    refused(connection, role, "DROP SCHEMA gen_1 CASCADE")
    refused(connection, role, "CREATE ROLE mine")


def test_a_processor_sees_nothing_of_people_and_their_keys(connection: Connection) -> None:
    for table in OF_PEOPLE:
        name = f"foldline_control.{table}"
        assert not may(connection, "foldline_processor", name, "SELECT, INSERT, UPDATE, DELETE"), name


def test_the_gateway_changes_nothing_that_the_fold_has_made(connection: Connection) -> None:
    for table in [f"foldline_control.{table}" for table in OF_THE_FOLD] + ["gen_1.items", "gen_1.users", "gen_2.users"]:
        assert may(connection, "foldline_gateway", table, "SELECT"), table
        assert not may(connection, "foldline_gateway", table, "INSERT, UPDATE, DELETE"), table


def test_a_generation_that_is_made_later_is_theirs_too(connection: Connection) -> None:
    for kind in ("items", "users"):
        assert may(connection, "foldline_processor", f"gen_2.{kind}", "INSERT")
        assert may(connection, "foldline_gateway", f"gen_2.{kind}", "SELECT")


def test_nobody_logs_in_as_a_role_itself(connection: Connection) -> None:
    query = "SELECT rolname FROM pg_roles WHERE rolname LIKE 'foldline%' AND (rolcanlogin OR rolsuper OR rolcreaterole)"
    found = [name for (name,) in connection.execute(query.encode()).fetchall()]
    assert not {*SERVICES, "foldline_reader"} & set(found)
