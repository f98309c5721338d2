"""Jars, Kafka's above all: a locked list, fetched once by Maven coordinates into the user's cache.

1. A lock file, for Kafka `jars.lock`, names every jar with its size and SHA-256. Nothing is resolved at run time.
2. A jar enters the cache by rename, after its checksum held; a download that was cut leaves nothing behind.
3. One process downloads at a time; the others wait for it.
4. A complete cache is used without a look at the network.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from foldline.embedded.errors import EmbeddedError

KAFKA = "org.apache.kafka:kafka_2.13:4.4.0"
LOG_BINDING = "org.apache.logging.log4j:log4j-slf4j-impl:2.25.5"  # Kafka's POM leaves the choice of one open

LOCK = files("foldline.embedded").joinpath("jars.lock")

DOWNLOADS_AT_ONCE = 6
DOWNLOAD_TRIES = 4
DOWNLOAD_TIMEOUT_SECONDS = 30

Advance = Callable[[int], None]


@dataclass(frozen=True, kw_only=True)
class Jar:
    coordinate: str
    size: int
    sha256: str

    @property
    def file_name(self) -> str:
        _, artifact, version = self.coordinate.split(":")
        return f"{artifact}-{version}.jar"

    def is_in(self, directory: Path) -> bool:
        try:
            return (directory / self.file_name).stat().st_size == self.size
        except FileNotFoundError:
            return False


def locked_jars(lock: Traversable = LOCK) -> list[Jar]:
    lines = lock.read_text().splitlines()
    rows = (line.split() for line in lines if line and not line.startswith("#"))
    return [Jar(coordinate=coordinate, size=int(size), sha256=sha256) for coordinate, size, sha256 in rows]


def cache_directory() -> Path:
    """`$XDG_CACHE_HOME/foldline`, or `~/.cache/foldline`."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if os.path.isabs(base) else Path.home() / ".cache") / "foldline"


def kafka_jars() -> Path:
    """The directory that holds Kafka's jars; raises `EmbeddedError`."""
    return fetched_jars("kafka", LOCK)


def fetched_jars(name: str, lock: Traversable) -> Path:
    """The directory that holds a lock file's jars and no others, filled first where it is not; raises `EmbeddedError`."""
    jars = locked_jars(lock)
    version = hashlib.sha256("".join(jar.sha256 for jar in jars).encode()).hexdigest()[:12]
    directory = cache_directory() / f"{name}-{version}"
    if not all(jar.is_in(directory) for jar in jars):
        try:
            directory.mkdir(parents=True, exist_ok=True)
            with _locked(directory / "lock"):
                _download(name, [jar for jar in jars if not jar.is_in(directory)], directory)
        except OSError as error:
            raise EmbeddedError(f"the jars of {name} cannot be stored in {directory}: {error}") from error
    return directory


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _download(name: str, jars: list[Jar], directory: Path) -> None:
    partial = directory / "partial"
    shutil.rmtree(partial, ignore_errors=True)
    try:
        with _progress(name, sum(jar.size for jar in jars)) as advance, ThreadPoolExecutor(DOWNLOADS_AT_ONCE) as pool:
            for done in [pool.submit(_fetch, jar, partial, directory, advance) for jar in jars]:
                done.result()
    finally:
        shutil.rmtree(partial, ignore_errors=True)


@contextmanager
def _progress(name: str, total: int) -> Iterator[Advance]:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(f"Downloading {name} (once)", total=total)
        yield lambda size: progress.advance(task, size)


def _fetch(jar: Jar, partial: Path, directory: Path, advance: Advance) -> None:
    from jgo.config import GlobalSettings
    from jgo.maven import MavenContext, PythonResolver

    @contextmanager
    def bar(_name: str, _total: int) -> Iterator[Advance]:
        yield advance

    context = MavenContext(
        resolver=PythonResolver(progress_callback=bar),
        repo_cache=partial,
        remote_repos=GlobalSettings.load().repositories or None,
        timeout=DOWNLOAD_TIMEOUT_SECONDS,
    )
    artifact = context.create_dependency(jar.coordinate).artifact
    cached = partial / artifact.component.path_prefix / artifact.cached_filename
    reason: object = None
    for _ in range(DOWNLOAD_TRIES):
        try:
            artifact.resolve()
            if hashlib.sha256(cached.read_bytes()).hexdigest() == jar.sha256:
                cached.replace(directory / jar.file_name)
                return
            reason = "the checksum is not the locked one"
        except (OSError, RuntimeError) as error:  # requests' errors are OSErrors; jgo's are RuntimeErrors
            reason = error
        cached.unlink(missing_ok=True)
    raise EmbeddedError(f"the jar {jar.coordinate} cannot be downloaded: {reason}")


def relock(written_by: str, roots: Iterable[str], alone: Iterable[str]) -> str:
    """A lock file's text: `roots` with all that they need, `alone` without; resolved and downloaded anew.

    Of an artifact that several of them need, it has the version that the first of them needs.
    """
    import jgo

    found = [artifact for root in roots for artifact in jgo.resolve(root)] + [jgo.resolve(root)[0] for root in alone]
    artifacts = {(artifact.groupId, artifact.artifactId): artifact for artifact in reversed(found)}
    rows = []
    for artifact in artifacts.values():
        content = artifact.resolve().read_bytes()
        coordinate = f"{artifact.groupId}:{artifact.artifactId}:{artifact.version}"
        rows.append(f"{coordinate} {len(content)} {hashlib.sha256(content).hexdigest()}")
    head = f"# Written by `{written_by}`: coordinate, size in bytes, SHA-256.\n"
    return head + "\n".join(sorted(rows)) + "\n"
