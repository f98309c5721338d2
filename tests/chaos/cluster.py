"""What is broken: a stack by `foldline up`, and a second machine with a gateway and processors of its own.

The second machine reaches Kafka and PostgreSQL, and is reached, through a proxy; where there can be no second network, it is
the same machine under another name. What dies there is started again, as an orchestrator would.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path

import psutil

from foldline.embedded.datadir import Stack, running_stack
from foldline.embedded.kafka import kafka_part
from foldline.embedded.masterkey import master_key_file
from foldline.embedded.ports import Ports
from foldline.embedded.postgres import postgres_part
from foldline.embedded.processes import spawn
from foldline.embedded.services import program
from foldline.settings import Settings
from tests.chaos.machine import Disk, Machine
from tests.chaos.patience import patient
from tests.chaos.proxy import HOST, Link, Proxy
from tests.e2e import outside
from tests.mutants.mutants import ROOT

MARK = "FOLDLINE_CHAOS_RUN"
KAFKA_DISK_BYTES, POSTGRES_DISK_BYTES = 3 * 2**30, 4 * 2**30
START_SECONDS = 120.0
END_SECONDS = 90.0
RESPAWN_SECONDS = 1.0
FAR_GATEWAY_PORT = 8080


class Broken(Exception):
    """The stack does not do what it promises; the message says what."""


class Cluster:
    """Started and stopped from the main thread only: processes die with the thread that started them."""

    def __init__(self, root: Path, machine: Machine) -> None:
        self.root, self.machine = root, machine
        self.data = root / "data"
        self.mark = secrets.token_hex(8)
        self._log = root / "up.log"
        self._near = {name: value for name, value in os.environ.items() if not name.startswith("FOLDLINE_")} | {
            MARK: self.mark
        }
        self._up: subprocess.Popen[bytes] | None = None
        self._wanted: dict[str, Mapping[str, str]] = {}
        self._far: dict[str, tuple[subprocess.Popen[bytes], float]] = {}
        self.failures: list[str] = []
        self.may_be_down = False
        self.disks: dict[str, Disk] = {}
        self.links: dict[str, Link] = {}
        self.reset: Callable[[str], None] = lambda name: None
        self.urls: list[str] = []

    # The stack

    def start(self) -> None:
        """Both machines, until all of it is ready."""
        self._prepare_disks()
        self.start_up()
        stack = self.wait_ready()
        self.urls = [stack.url, self._connect(stack)]
        self._want("gateway-far", "gateway", {"FOLDLINE_GATEWAY_PORT": str(FAR_GATEWAY_PORT)})
        self.add_processor()
        self.tend()
        wait(lambda: answers(self.urls[1]), START_SECONDS, "the second gateway is not ready")

    def start_up(self) -> None:
        """`foldline up`, which then becomes ready by itself."""
        clock = json.dumps(self.machine.database_clock.environment)
        command = [sys.executable, "-m", "tests.chaos.up", clock, "up", "--data-dir", str(self.data)]
        self._up = spawn(command, log=self._log, environment=self._near, directory=ROOT, death_signal=signal.SIGTERM)
        self.may_be_down = False

    def wait_ready(self) -> Stack:
        def ready() -> bool:
            assert self._up is not None
            if self._up.poll() is not None:
                raise Broken(f"`foldline up` ended with {self._up.returncode}: {self._log.read_text()[-2000:]}")
            return running_stack(self.data) is not None

        wait(ready, START_SECONDS, "`foldline up` is not ready")
        stack = running_stack(self.data)
        assert stack is not None
        return stack

    @property
    def up(self) -> psutil.Process | None:
        """`foldline up`, if it runs."""
        if self._up is None or self._up.poll() is not None:
            return None
        return psutil.Process(self._up.pid)

    def settings(self) -> Settings:
        """What the stack's own commands go by."""
        environment = self.wait_ready().environment
        values = {name.removeprefix("FOLDLINE_").lower(): value for name, value in environment.items()}
        return Settings(**{"schema_registry_url": None, "master_key": None} | values)  # type: ignore[arg-type]

    def parts(self, name: str) -> list[psutil.Process]:
        """The processes of `up` by what they are: gateway, process, postgres or kafka. None where `up` is down."""
        up = self.up
        if up is None:
            return []
        try:
            return [child for child in up.children(recursive=True) if outside._is(child, name)]
        except psutil.Error:
            return []

    def foldline(self, *arguments: str) -> list[str]:
        return [*program(arguments[0]), *arguments[1:], "--data-dir", str(self.data)]

    @property
    def environment(self) -> dict[str, str]:
        """What to start commands with."""
        return self._near

    # The second machine

    def add_processor(self) -> str:
        """One more processor there, which comes by itself."""
        name = f"processor-far-{secrets.token_hex(2)}"
        self._want(name, "process", {"FOLDLINE_GROUP_INSTANCE_ID": name})
        return name

    def remove_processor(self, name: str) -> None:
        """Asks a processor to drain and end; it is not started again."""
        self._wanted.pop(name, None)
        process = self._far.get(name)
        if process is not None and process[0].poll() is None:
            process[0].terminate()

    def far(self, prefix: str) -> list[psutil.Process]:
        """The services of the second machine that run, by the beginning of their names."""
        found = [process for name, (process, _) in self._far.items() if name.startswith(prefix) and name in self._wanted]
        return [psutil.Process(process.pid) for process in found if process.poll() is None]

    @property
    def far_processors(self) -> list[str]:
        return sorted(name for name in self._wanted if name.startswith("processor"))

    def tend(self) -> None:
        """Starts again what has ended on the second machine, unless its clock is behind, and notes where `up` ended though
        nobody ended it."""
        for name, how in () if self.machine.second_clock.is_behind else self._wanted.items():
            running = self._far.get(name)
            if running is not None and (running[0].poll() is None or time.monotonic() < running[1] + RESPAWN_SECONDS):
                continue
            with self.machine.network.inside() if self.machine.network else nullcontext():
                process = spawn(
                    program(how["command"]), log=self.root / f"{name}.log", environment=how, directory=self.root,
                    death_signal=signal.SIGTERM,
                )  # fmt: skip
            self._far[name] = process, time.monotonic()
        if self._up is not None and self._up.poll() is not None and not self.may_be_down:
            self.failures.append(
                f"`foldline up` ended by itself with {self._up.returncode}: {self._log.read_text()[-1000:]}"
            )
            self.start_up()

    def stop(self) -> None:
        """Everything drained and stopped. Raises `Broken` where it takes too long or ends badly."""
        self._wanted.clear()
        for process, _ in self._far.values():
            if process.poll() is None:
                process.terminate()
        for name, (process, _) in self._far.items():
            wait(lambda process=process: process.poll() is not None, END_SECONDS, f"{name} does not end")  # type: ignore[misc]
        if self._up is not None:
            self.may_be_down = True
            self._up.terminate()
            wait(lambda: self._up is None or self._up.poll() is not None, END_SECONDS, "`foldline up` does not end")
            if self._up.returncode != 0:
                raise Broken(f"`foldline up` ended with {self._up.returncode}: {self._log.read_text()[-2000:]}")

    def kill(self) -> None:
        """Ends whatever of this run still runs."""
        self._wanted.clear()
        self.may_be_down = True
        for process in self.left():
            process.kill()

    def left(self) -> list[psutil.Process]:
        """The processes of this run that there are."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.pid != os.getpid() and process.environ().get(MARK) == self.mark:
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def _want(self, name: str, command: str, own: Mapping[str, str]) -> None:
        stack = running_stack(self.data)
        base = dict(stack.environment) if stack is not None else self._far_environment
        self._far_environment = base
        clock = self.machine.second_clock.environment
        ready = {"FOLDLINE_READY_FILE": str(self.root / f"{name}.ready")}
        self._wanted[name] = {**self._near, **base, **clock, **ready, **own, "command": command}

    def _prepare_disks(self) -> None:
        self.data.mkdir(mode=0o700)
        master_key_file(self.data)
        ports = Ports(self.data / "ports.json")
        kafka_part(self.data, ports.get("kafka"), ports.get("kafka-controller"))
        postgres_part(self.data, ports.get("postgres"))
        for name, size in (("kafka", KAFKA_DISK_BYTES), ("postgres", POSTGRES_DISK_BYTES)):
            disk = self.machine.disk(self.data / name, size)
            if disk is not None:
                self.disks[name] = disk

    def _connect(self, stack: Stack) -> str:
        network = self.machine.network
        if network is None:
            return f"http://{HOST}:{FAR_GATEWAY_PORT}"
        kafka = int(stack.kafka.rpartition(":")[2])
        database = int(stack.database_url.rpartition(":")[2].partition("/")[0])
        with socket.socket() as probe:
            probe.bind((HOST, 0))
            port = probe.getsockname()[1]
        proxy = Proxy(network, [kafka, database], {port: FAR_GATEWAY_PORT})
        names = {"kafka": kafka, "postgres": database, "gateway": FAR_GATEWAY_PORT}
        self.links = {name: proxy.links[number] for name, number in names.items()}
        self.reset = lambda name: proxy.reset(names[name])
        return f"http://{HOST}:{port}"


def answers(url: str) -> bool:
    """Whether a gateway is ready."""
    try:
        with outside.client(url) as http:
            return http.get("/readyz", timeout=2).status_code == 200
    except outside.httpx.HTTPError:
        return False


def wait(condition: Callable[[], bool], seconds: float, otherwise: str) -> None:
    """Waits until the condition holds. Raises `Broken` where it does not in time."""
    if not outside.eventually(condition, patient(seconds)):
        raise Broken(f"{otherwise} after {patient(seconds):g} s")
