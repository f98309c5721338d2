"""How clients reach Kafka: where it is, whether they encrypt, and who they say that they are."""

from __future__ import annotations

import ssl
from typing import Any

from pydantic import SecretStr

from foldline.settings import Settings


def client_config(settings: Settings) -> dict[str, Any]:
    """Where Kafka is and how it is reached, as librdkafka has it. What is not set is left to librdkafka: the system's
    certificate authorities, say."""
    config: dict[str, Any] = {"bootstrap.servers": settings.kafka_bootstrap}
    if settings.kafka_security_protocol == "PLAINTEXT":
        return config
    config["security.protocol"] = settings.kafka_security_protocol
    if settings.kafka_security_protocol.startswith("SASL"):
        config |= {
            "sasl.mechanism": settings.kafka_sasl_mechanism,
            "sasl.username": settings.kafka_sasl_username or "",
            "sasl.password": _plain(settings.kafka_sasl_password) or "",
        }
    if settings.kafka_security_protocol.endswith("SSL"):
        files = {
            "ssl.ca.location": settings.kafka_ssl_ca_file,
            "ssl.certificate.location": settings.kafka_ssl_certificate_file,
            "ssl.key.location": settings.kafka_ssl_key_file,
            "ssl.key.password": _plain(settings.kafka_ssl_key_password),
        }
        config |= {name: value for name, value in files.items() if value}
    return config


def aiokafka_config(settings: Settings) -> dict[str, Any]:
    """The same, but for where Kafka is, as aiokafka has it."""
    protocol = settings.kafka_security_protocol
    config: dict[str, Any] = {"security_protocol": protocol}
    if protocol.startswith("SASL"):
        config |= {
            "sasl_mechanism": settings.kafka_sasl_mechanism,
            "sasl_plain_username": settings.kafka_sasl_username or "",
            "sasl_plain_password": _plain(settings.kafka_sasl_password) or "",
        }
    if protocol.endswith("SSL"):
        context = ssl.create_default_context(cafile=settings.kafka_ssl_ca_file)
        if settings.kafka_ssl_certificate_file:
            password = _plain(settings.kafka_ssl_key_password)
            context.load_cert_chain(settings.kafka_ssl_certificate_file, settings.kafka_ssl_key_file, password)
        config["ssl_context"] = context
    return config


def _plain(secret: SecretStr | None) -> str | None:
    return secret.get_secret_value() if secret else None
