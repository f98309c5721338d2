"""The servers of a test session in containers: those of compose.yaml, with its images, settings and health checks.

Each session has a network of its own, where they find each other by their names, and ports that are free.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from tests.registry import API, fill

COMPOSE = Path(__file__).resolve().parents[1] / "compose.yaml"
PASSWORD = "foldline"
START_SECONDS = 300


@cache
def _services() -> dict[str, Any]:
    return dict(yaml.safe_load(COMPOSE.read_text())["services"])


class Containers:
    def __init__(self, stack: ExitStack, names: set[str]) -> None:
        from testcontainers.core.docker_client import DockerClient
        from testcontainers.core.network import Network

        self._host = DockerClient().host()
        self._network = stack.enter_context(Network())
        start = {"kafka": self._kafka, "postgres": self._postgres}
        with ThreadPoolExecutor() as pool:
            self._urls = dict(zip(sorted(names), pool.map(lambda name: start[name](stack), sorted(names)), strict=True))

    def kafka(self) -> str:
        return self._urls["kafka"]

    def postgres(self) -> str:
        return self._urls["postgres"]

    @contextmanager
    def registry(self, root: Path) -> Iterator[str]:
        with ExitStack() as stack:
            port = self._start(stack, "registry", 8080, {})
            url = f"http://{self._host}:{port}{API}"
            fill(url)
            yield url

    def _kafka(self, stack: ExitStack) -> str:
        port = _free_port()
        own = {
            # The port has to be known before the container is: clients are told of it.
            "KAFKA_ADVERTISED_LISTENERS": f"BROKER://kafka:9092,HOST://{self._host}:{port}",
            "KAFKA_HEAP_OPTS": "-Xmx512m",
            "KAFKA_GROUP_MIN_SESSION_TIMEOUT_MS": "1000",
        }
        self._start(stack, "kafka", 29092, own, port)
        return f"{self._host}:{port}"

    def _postgres(self, stack: ExitStack) -> str:
        port = self._start(stack, "postgres", 5432, {"POSTGRES_PASSWORD": PASSWORD})
        return f"postgresql://foldline:{PASSWORD}@{self._host}:{port}/foldline"

    def _start(self, stack: ExitStack, name: str, inside: int, own: dict[str, str], outside: int | None = None) -> int:
        """Runs a service of compose.yaml until the stack is closed; gives the port where it is reached, once it is ready."""
        from testcontainers.core.container import DockerContainer
        from testcontainers.core.wait_strategies import ExecWaitStrategy

        service = _services()[name]
        kind, *check = service["healthcheck"]["test"]
        ready = ExecWaitStrategy(["sh", "-c", *check] if kind == "CMD-SHELL" else check).with_startup_timeout(START_SECONDS)
        container = DockerContainer(
            service["image"],
            env={key: str(value) for key, value in (service["environment"] | own).items()},
            network=self._network,
            network_aliases=[name],
        ).waiting_for(ready)
        if "command" in service:
            container.with_command(service["command"])
        container.with_bind_ports(inside, outside)
        stack.enter_context(container)
        return int(container.get_exposed_port(inside))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("", 0))
        return int(probe.getsockname()[1])
