"""Foldline's own services as parts of the embedded stack."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path

from foldline.embedded.parts import Part

INIT_SECONDS = 120.0
START_SECONDS = 60.0
GATEWAY_GRACE_SECONDS = 20.0
PROCESSOR_GRACE_SECONDS = 20.0
PROBE_SECONDS = 2.0

ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}


@dataclass(frozen=True, kw_only=True)
class Services:
    """`init` runs to its end before the others start."""

    init: Part
    gateway: Part
    processors: Sequence[Part]


def foldline_services(
    root: Path, host: str, port: int, metrics_ports: Sequence[int], runner: str, environment: Mapping[str, str]
) -> Services:
    """`environment` is complete; `host` and `port` are where the gateway will listen; there is a processor for each of the
    `metrics_ports`; `runner` is what processors run on."""
    return Services(
        init=Part(
            name="init",
            argv=program("init"),
            environment=environment,
            ready=lambda: True,
            start_seconds=INIT_SECONDS,
        ),
        gateway=Part(
            name="gateway",
            argv=program("gateway"),
            environment=environment,
            ready=lambda: answers(host, port, "/readyz"),
            start_seconds=START_SECONDS,
            grace_seconds=GATEWAY_GRACE_SECONDS,
        ),
        processors=[
            _processor(root, f"processor-{number}", metrics_port, runner, environment)
            for number, metrics_port in enumerate(metrics_ports, 1)
        ],
    )


def _processor(root: Path, name: str, metrics_port: int, runner: str, environment: Mapping[str, str]) -> Part:
    ready = root / "run" / f"{name}.ready"
    own = {
        "FOLDLINE_GROUP_INSTANCE_ID": f"foldline-{name}",
        "FOLDLINE_READY_FILE": str(ready),
        "FOLDLINE_METRICS_PORT": str(metrics_port),
    }
    return Part(
        name=name,
        argv=[*program("process"), "--runner", runner],
        environment={**environment, **own},
        prepare=lambda: ready.unlink(missing_ok=True),
        ready=ready.exists,
        start_seconds=START_SECONDS,
        grace_seconds=PROCESSOR_GRACE_SECONDS,
    )


def program(command: str) -> list[str]:
    """`foldline COMMAND` by the script of this installation, so that the process list shows it under that name."""
    script = Path(sys.executable).with_name("foldline")
    start = [str(script)] if script.exists() else ["-m", "foldline"]
    return [sys.executable, *start, command]


def answers(host: str, port: int, path: str) -> bool:
    """Whether a GET is answered with 200."""
    connection = HTTPConnection(ANY_ADDRESS.get(host, host), port, timeout=PROBE_SECONDS)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()
