"""PostgreSQL: reached, new enough, migrated, and the user may do what it has to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import psycopg

from foldline.adapters.postgres import connect
from foldline.cli.doctor.deployment import Deployment
from foldline.cli.doctor.findings import Finding, Findings, fault, ok, unless, warning
from foldline.domain.errors import Unreachable
from projections.sql import Migration, migrations

LEAST_VERSION, TESTED_VERSION = 14, 18  # date_bin came with 14
MOST_CONNECTIONS_SHARE = 0.9
STATEMENT_SECONDS = 30
SERVICES = ("foldline_gateway", "foldline_processor")

# What is said of a connection that was not made, by a piece of it, and what to do: the first that fits.
REFUSALS = (
    ("password authentication failed", "mend user and password in FOLDLINE_DATABASE_URL"),
    ("no password supplied", "put the user's password into FOLDLINE_DATABASE_URL"),
    ("pg_hba.conf", "let this machine and user in: pg_hba.conf of PostgreSQL decides it"),
    ("does not exist", "mend the name in FOLDLINE_DATABASE_URL, or create the database and its user"),
    ("SSL", "mend sslmode and the certificates in FOLDLINE_DATABASE_URL"),
    ("certificate", "mend sslmode and the certificates in FOLDLINE_DATABASE_URL"),
    ("too many clients", "raise max_connections, or lower FOLDLINE_DATABASE_POOL_SIZE or the number of services"),
    ("starting up", "wait: it is recovering after a crash"),
    ("failed to resolve", "mend the host in FOLDLINE_DATABASE_URL"),
)
NOT_THERE = "see that it runs there and that nothing between you and it drops connections, or mend FOLDLINE_DATABASE_URL"


def reach(deployment: Deployment) -> Findings:
    """Connects, for all checks that come after."""
    settings = deployment.settings
    try:
        deployment.connection = connect(settings.database_url, "foldline doctor", settings.database_timeout_seconds)
    except Unreachable as error:
        return [fault(str(error), _remedy(deployment, str(error)))]
    deployment.reached.add("database")
    deployment.rows("waits", (f"{STATEMENT_SECONDS}s", f"{settings.database_timeout_seconds}s"))
    ((database, user, read_only),) = deployment.rows("session")
    if read_only == "on":
        return [
            fault(f"{database} is read-only for {user}", "name the primary server, not a standby, in FOLDLINE_DATABASE_URL")
        ]
    return [ok(f"connected to {database} as {user}")]


def _remedy(deployment: Deployment, said: str) -> str:
    what = remedy(said)
    if deployment.stack is not None and "password" in said:
        return f"give the stack's user the password that is in {deployment.root}/postgres.password again, by ALTER ROLE"
    return deployment.log_or("postgres", what) if what == NOT_THERE else what


def remedy(said: str) -> str:
    """What to do where no connection came to be, by what was said of it."""
    return next((what for piece, what in REFUSALS if piece in said), NOT_THERE)


def version(deployment: Deployment) -> Findings:
    """The server's version, and whether what it has committed survives a crash."""
    ((number, fsync, full_page_writes, used, most),) = deployment.rows("server")
    found = judged_server(number // 10_000, fsync == "on" and full_page_writes == "on", used, most)
    return unless(found, f"PostgreSQL {number // 10_000}.{number % 10_000}, {used} of {most} connections in use")


def judged_server(major: int, durable: bool, used: int, most: int) -> Iterator[Finding]:
    """What is wrong with a server of this major version and this many connections."""
    if major < LEAST_VERSION:
        yield fault(f"PostgreSQL {major} is too old", f"use {TESTED_VERSION}, which Foldline is tested with")
    elif major < TESTED_VERSION:
        yield warning(f"PostgreSQL {major} is not what Foldline is tested with", f"use {TESTED_VERSION}")
    if not durable:
        yield fault("fsync or full_page_writes is off: a crash loses keys and positions", "turn both on")
    if used >= most * MOST_CONNECTIONS_SHARE:
        yield warning(
            f"{used} of {most} connections are in use", "raise max_connections, or lower FOLDLINE_DATABASE_POOL_SIZE"
        )


def migrated(deployment: Deployment) -> Findings:
    """Whether the database has this version's migrations."""
    ((present,),) = deployment.rows("has_migrations")
    past: dict[str, str] = dict(deployment.rows("past_migrations")) if present else {}
    found = list(judged_migrations(past, migrations()))
    if not any(finding.status == "fault" for finding in found):
        deployment.reached.add("tables")
    return found or [ok(f"migrated to {migrations()[-1].name}, the newest")]


def judged_migrations(past: Mapping[str, str], ours: Sequence[Migration]) -> Iterator[Finding]:
    """What the migrations that were run, with their digests, lack or have too much."""
    known = {migration.name: migration.digest for migration in ours}
    if not past:
        yield fault("the database is not initialised", "run `foldline init`")
    elif missing := [name for name in known if name not in past]:
        yield fault(f"the database lacks {', '.join(missing)}", "run `foldline init`, then restart processors and gateways")
    if newer := sorted(past.keys() - known.keys()):
        yield fault(f"the database has {', '.join(newer)}, of a newer version", "use that version, or a later one")
    for name, digest in past.items():
        if known.get(name, digest) != digest:
            yield fault(
                f"migration {name} of the database is another one than this version's",
                "use the release that made the database: this one was built from changed migrations",
            )


def privileges(deployment: Deployment) -> Findings:
    """Whether the user may migrate, or else do the work of a service."""
    ((user, superuser, creates_roles, creates_schemas),) = deployment.rows("user")
    try:
        roles = [role for (role,) in deployment.rows("memberships", (list(SERVICES),))]
    except psycopg.errors.UndefinedObject:
        roles = []
    return judged_user(user, superuser or (creates_roles and creates_schemas), roles)


def judged_user(user: str, migrates: bool, roles: Sequence[str]) -> Findings:
    """What this user may do, by whether it may migrate and by the services whose roles it has."""
    if migrates:
        return [ok(f"{user} may migrate the database and do the work of every service")]
    if roles:
        return [ok(f"{user} may do the work of {' and '.join(roles)}, and cannot migrate the database")]
    return [
        fault(
            f"{user} may neither migrate the database nor do the work of a service",
            f"as the owner: GRANT {', '.join(SERVICES)} TO {user}; or let {user} own the database and have CREATEROLE",
        )
    ]


def size(deployment: Deployment) -> Findings:
    """How large the database is. How full its disk is PostgreSQL does not say."""
    ((bytes_, pretty),) = deployment.rows("size")
    return [ok(f"the database has {pretty} ({bytes_} bytes); PostgreSQL does not say how full its disk is")]
