"""Kafka over TLS and SASL, and PostgreSQL over TLS, with certificates that hold and others: whatever talks to them does so
by the settings, and nothing falls back to plain text.

The embedded PostgreSQL is built without TLS; in front of it stands a proxy that ends it, as stunnel and pgbouncer do.
"""

from __future__ import annotations

import secrets
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit, urlunsplit

import pytest
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, ScramCredentialInfo, ScramMechanism, UserScramCredentialUpsertion
from pydantic import SecretStr

from foldline.adapters.postgres import connect
from foldline.adapters.topics import admin_client, describe_topics, lacks_topic
from foldline.cli.doctor import disk, kafka
from foldline.cli.doctor.deployment import Deployment
from foldline.cli.runners import Name
from foldline.domain.errors import Unreachable
from foldline.embedded.kafka import kafka_part
from foldline.embedded.ports import Ports
from foldline.embedded.processes import spawn, until
from foldline.settings import Settings
from producers.tenants import create_organisation
from tests.certificates import Authority, authority
from tests.pipeline import prepared, running, table, wait_applied
from tests.producers.conftest import gateway_of

pytestmark = pytest.mark.server

PASSWORD = "sasl password"
TIMEOUT_SECONDS = 3.0


class Broker:
    """A broker with three doors: plain for the test itself, TLS that asks for a certificate, and SASL over TLS."""

    def __init__(self, root: Path, signer: Authority) -> None:
        self.root, self.authority = root, signer
        ports = Ports(root / "ports.json")
        plain, controller, tls, sasl = (ports.get(name) for name in ("kafka", "kafka-controller", "tls", "sasl"))
        self.plain, self.tls, self.sasl = (f"127.0.0.1:{port}" for port in (plain, tls, sasl))
        certificate, key = signer.signed("broker")
        store = root / "store.pem"
        store.write_text(key.read_text() + certificate.read_text())
        self.part = kafka_part(root, plain, controller)
        doors = f"BROKER://{self.plain},TLS://{self.tls},SASL://{self.sasl}"
        more = {
            "listeners": f"{doors},CONTROLLER://127.0.0.1:{controller}",
            "advertised.listeners": doors,
            "listener.security.protocol.map": "BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT,TLS:SSL,SASL:SASL_SSL",
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": store,
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": signer.file,
            "listener.name.tls.ssl.client.auth": "required",
            "sasl.enabled.mechanisms": "SCRAM-SHA-512",
            "listener.name.sasl.scram-sha-512.sasl.jaas.config": (
                "org.apache.kafka.common.security.scram.ScramLoginModule required;"
            ),
        }
        with (root / "kafka.properties").open("a") as file:
            file.writelines(f"{name}={value}\n" for name, value in more.items())

    def mutual(self) -> dict[str, Any]:
        certificate, key = self.authority.signed("client")
        return {
            "kafka_bootstrap": self.tls,
            "kafka_security_protocol": "SSL",
            "kafka_ssl_ca_file": str(self.authority.file),
            "kafka_ssl_certificate_file": str(certificate),
            "kafka_ssl_key_file": str(key),
        }

    def password(self) -> dict[str, Any]:
        return {
            "kafka_bootstrap": self.sasl,
            "kafka_security_protocol": "SASL_SSL",
            "kafka_sasl_username": "foldline",
            "kafka_sasl_password": SecretStr(PASSWORD),
            "kafka_ssl_ca_file": str(self.authority.file),
        }


@pytest.fixture(scope="module")
def signer(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return authority(tmp_path_factory.mktemp("authority"), "authority")


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory, signer: Authority) -> Iterator[Broker]:
    made = Broker(tmp_path_factory.mktemp("broker"), signer)
    log = made.root / "kafka.log"
    process = spawn(made.part.argv, log=log, directory=made.part.directory, death_signal=made.part.death_signal)
    try:
        assert until(lambda: process.poll() is not None or made.part.ready(), made.part.start_seconds)
        assert process.poll() is None, log.read_text()
        credentials = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4096)
        change = UserScramCredentialUpsertion("foldline", credentials, PASSWORD.encode())
        admin = AdminClient({"bootstrap.servers": made.plain, "log_level": 0})
        for altered in admin.alter_user_scram_credentials([change]).values():
            altered.result(20)
        yield made
    finally:
        process.send_signal(made.part.stop_signal)
        process.wait(made.part.grace_seconds)


def goes_through(settings: Settings, runner: Name = Name.native) -> None:
    """A write over HTTP is in the log, folded and published."""
    with connect(settings.database_url, "test") as connection:
        org = create_organisation(connection, "Test", settings.key_prefix)
    with running(settings, name=runner), gateway_of(settings) as gateway, gateway.client(org.secret_key) as client:
        item = {"item_id": "a", "item_type": "p", "attributes": {"n": 1}}
        answer = client.post("/v1/ingest/items/upsert", json=item, headers={"Prefer": "wait=30"})
        assert (answer.status_code, answer.json()["message"]) == (200, "Applied"), answer.text
        assert client.get("/readyz").status_code == 200
        wait_applied(settings)
    assert [key[1:] for key in table(settings)] == [(org.org_id, "a")]


@pytest.mark.parametrize(
    ("door", "runner"), [("mutual", Name.native), ("password", Name.native), ("password", Name.faust)], ids=str
)
def test_everything_talks_to_kafka_by_the_settings(door: str, runner: Name, broker: Broker, database: str) -> None:
    door_settings = getattr(broker, door)()
    bootstrap = door_settings.pop("kafka_bootstrap")
    goes_through(prepared(bootstrap, database, f"tls-{secrets.token_hex(4)}.", **door_settings), runner)


@pytest.mark.parametrize(
    ("door", "change"),
    [
        ("mutual", {"kafka_ssl_certificate_file": None, "kafka_ssl_key_file": None}),
        ("mutual", {"kafka_security_protocol": "PLAINTEXT"}),
        ("mutual", {"kafka_ssl_ca_file": "another"}),
        ("password", {"kafka_sasl_password": SecretStr("wrong")}),
        ("password", {"kafka_ssl_ca_file": "another"}),
        ("password", {"kafka_ssl_ca_file": None}),
    ],
    ids=["no certificate", "plain text", "another's authority", "wrong password", "its authority", "unknown authority"],
)
def test_kafka_that_cannot_be_trusted_or_does_not_trust_is_unreachable(
    door: str, change: dict[str, Any], broker: Broker, tmp_path: Path
) -> None:
    if change.get("kafka_ssl_ca_file") == "another":
        change = {"kafka_ssl_ca_file": str(authority(tmp_path, "another").file)}
    known = getattr(broker, door)()
    assert lacks_topic(answer(Settings(**known)))
    assert not lacks_topic(answer(Settings(**(known | change))))


@pytest.mark.parametrize(
    ("door", "change", "remedy"),
    [
        ("password", {}, None),
        ("password", {"kafka_sasl_password": SecretStr("wrong")}, "FOLDLINE_KAFKA_SASL_PASSWORD"),
        ("password", {"kafka_ssl_ca_file": None}, "FOLDLINE_KAFKA_SSL_CA_FILE"),
        ("mutual", {}, None),
        ("mutual", {"kafka_ssl_certificate_file": None, "kafka_ssl_key_file": None}, "FOLDLINE_KAFKA_SSL_CERTIFICATE_FILE"),
        ("mutual", {"kafka_security_protocol": "PLAINTEXT"}, "FOLDLINE_KAFKA_SECURITY_PROTOCOL"),
    ],
    ids=["SASL", "wrong password", "unknown authority", "TLS", "no certificate", "plain text"],
)
def test_the_doctor_says_what_keeps_us_out_of_kafka(
    door: str, change: dict[str, Any], remedy: str | None, broker: Broker
) -> None:
    deployment = Deployment(Settings(**(getattr(broker, door)() | change)), broker.root, None, down=False)
    found = {check: list(look(deployment)) for check, look in (("kafka", kafka.reach), ("disks", disk.log_disks))}
    (finding,) = found["kafka"]
    if remedy is None:
        assert [one.status for one in (finding, *kafka.version(deployment), *found["disks"])] == ["ok", "ok", "ok"]
    else:
        assert (finding.status, remedy in str(finding.remedy)) == ("fault", True), finding
        assert [one.status for one in found["disks"]] == ["warning"]


def answer(settings: Settings) -> KafkaException:
    """What Kafka says of a topic that does not exist, or why it says nothing."""
    with pytest.raises(KafkaException) as raised:
        describe_topics(admin_client(settings), ["missing"], TIMEOUT_SECONDS)
    return raised.value


@contextmanager
def tls_in_front_of(postgres: str, signer: Authority) -> Iterator[str]:
    """PostgreSQL's own way into TLS, ended here and passed on in plain: the address."""
    place = urlsplit(postgres)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*signer.signed("postgres"))
    listener = socket.create_server(("127.0.0.1", 0))

    def pump(source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
        for end in (source, target):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def serve(client: socket.socket) -> None:
        with ExitStack() as stack, suppress(OSError):
            stack.enter_context(client)
            if client.recv(8) != bytes.fromhex("0000000804d2162f"):  # SSLRequest
                return
            client.sendall(b"S")
            inside = stack.enter_context(context.wrap_socket(client, server_side=True))
            server = stack.enter_context(socket.create_connection((place.hostname or "", place.port or 5432)))
            back = threading.Thread(target=pump, args=(server, inside), daemon=True)
            back.start()
            pump(inside, server)
            back.join(10)

    def accept() -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield f"127.0.0.1:{listener.getsockname()[1]}"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def url(postgres: str, address: str, **parameters: str) -> str:
    place = urlsplit(postgres)
    netloc = f"{place.netloc.rpartition('@')[0]}@{address}"
    return urlunsplit(place._replace(netloc=netloc, query=urlencode(parameters)))


def test_everything_talks_to_postgresql_by_its_url(kafka: str, database: str, topic_prefix: str, signer: Authority) -> None:
    with tls_in_front_of(database, signer) as address:
        secure = url(database, address, sslmode="verify-full", sslrootcert=str(signer.file))
        with connect(secure, "test") as connection:
            assert connection.pgconn.ssl_in_use
        goes_through(prepared(kafka, secure, topic_prefix))


def test_postgresql_that_cannot_be_trusted_is_unreachable(database: str, signer: Authority, tmp_path: Path) -> None:
    another = authority(tmp_path, "another")
    with tls_in_front_of(database, signer) as address, pytest.raises(Unreachable, match="certificate"):
        connect(url(database, address, sslmode="verify-full", sslrootcert=str(another.file)), "test")


def test_postgresql_without_tls_is_unreachable_where_tls_is_asked_for(database: str, signer: Authority) -> None:
    plain = urlsplit(database).netloc.rpartition("@")[2]
    with pytest.raises(Unreachable, match="SSL"):
        connect(url(database, plain, sslmode="verify-full", sslrootcert=str(signer.file)), "test")
