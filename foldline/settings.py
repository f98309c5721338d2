"""Every setting of every service, read once from the environment and then frozen.

A setting `name` is the environment variable `FOLDLINE_NAME`. Durations are in seconds, sizes in bytes, as names say.
"""

from __future__ import annotations

from typing import Annotated, Literal
from urllib.parse import urlsplit, urlunsplit

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

PositiveInt = Annotated[int, Field(gt=0)]
PositiveSeconds = Annotated[float, Field(gt=0)]


class Settings(BaseSettings):
    """The environment of one service. Unknown variables are ignored; wrong values raise `ValidationError`."""

    model_config = SettingsConfigDict(env_prefix="FOLDLINE_", frozen=True, extra="ignore")

    # Where the servers are
    kafka_bootstrap: str = "127.0.0.1:9092"
    kafka_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    kafka_sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "SCRAM-SHA-512"
    kafka_sasl_username: str | None = None
    kafka_sasl_password: SecretStr | None = None
    kafka_ssl_ca_file: str | None = None
    kafka_ssl_certificate_file: str | None = None
    kafka_ssl_key_file: str | None = None
    kafka_ssl_key_password: SecretStr | None = None
    database_url: str = "postgresql://postgres@127.0.0.1:5432/postgres"
    schema_registry_url: Annotated[str | None, Field(pattern=r"^https?://[^/?#]+[^?#]*$")] = None
    schema_registry_timeout_seconds: PositiveSeconds = 5.0
    topic_prefix: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{0,64}$")] = ""

    # What users' attributes are sealed under: one of the two
    master_key: SecretStr | None = None
    master_key_file: str | None = None

    # Topics, as `foldline init` makes them
    partitions: PositiveInt = 12
    replication_factor: PositiveInt = 1
    min_insync_replicas: PositiveInt = 1
    message_max_bytes: PositiveInt = 4 * 1024 * 1024
    state_compaction_lag_seconds: PositiveInt = 86_400

    # The gateway
    gateway_host: str = "127.0.0.1"
    gateway_port: Annotated[int, Field(ge=0, le=65535)] = 8080
    key_prefix: Annotated[str, Field(pattern=r"^[a-z][a-z0-9]{1,15}$")] = "lehnz"
    key_cache_seconds: Annotated[float, Field(ge=0, le=2)] = 1.0
    rate_limit_requests: Annotated[int, Field(ge=0)] = 1000
    rate_limit_window_seconds: PositiveInt = 900
    unknown_keys_per_minute: PositiveInt = 600
    head_timeout_seconds: PositiveSeconds = 20.0
    body_timeout_seconds: PositiveSeconds = 30.0
    min_body_bytes_per_second: PositiveInt = 1024
    max_head_bytes: PositiveInt = 64 * 1024
    max_body_bytes: PositiveInt = 1024 * 1024
    max_drain_bytes: PositiveInt = 8 * 1024 * 1024
    max_pending_kilobytes: PositiveInt = 32 * 1024
    max_records: PositiveInt = 10_000
    max_wait_seconds: PositiveSeconds = 30.0
    delivery_timeout_seconds: PositiveSeconds = 10.0
    producer_queue_messages: PositiveInt = 200_000
    producer_queue_kilobytes: PositiveInt = 128 * 1024
    database_timeout_seconds: PositiveSeconds = 5.0
    database_pool_size: PositiveInt = 8

    # The dashboard
    public_url: Annotated[str | None, Field(pattern=r"^https?://[^/?#]+$")] = None
    signup: Literal["open", "closed"] = "open"
    session_seconds: PositiveInt = 14 * 86_400
    link_seconds: PositiveInt = 86_400
    sign_in_failures: PositiveInt = 10
    sign_ups: PositiveInt = 20
    sign_in_window_seconds: PositiveInt = 900

    # Imports of files
    max_file_bytes: PositiveInt = 50_000_000
    import_chunk_records: PositiveInt = 1000
    import_pending_records: PositiveInt = 4000
    import_absent_share: Annotated[float, Field(ge=0, le=1)] = 0.2
    import_retention_seconds: PositiveInt = 7 * 86_400
    activity_retention_seconds: PositiveInt = 30 * 86_400

    # The processors
    consumer_group: str = "foldline-processors"
    group_instance_id: str | None = None
    session_timeout_seconds: PositiveSeconds = 10.0
    compiled: bool = True
    batch_records: PositiveInt = 100_000
    batch_bytes: PositiveInt = 32 * 1024 * 1024
    cache_bytes: PositiveInt = 96 * 1024 * 1024
    pending_bytes: PositiveInt = 32 * 1024 * 1024
    publish_interval_seconds: PositiveSeconds = 0.2
    transaction_timeout_seconds: PositiveSeconds = 15.0
    retry_seconds: PositiveSeconds = 1.0

    # What services say of themselves
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    metrics_host: str = "127.0.0.1"
    metrics_port: Annotated[int | None, Field(ge=0, le=65535)] = None
    lag_interval_seconds: PositiveSeconds = 10.0
    stalled_seconds: PositiveSeconds = 60.0

    # What `foldline doctor` finds too much, or too little
    doctor_disk_free_percent: Annotated[float, Field(ge=0, le=100)] = 5.0
    doctor_clock_skew_seconds: PositiveSeconds = 1.0
    doctor_lag_seconds: PositiveSeconds = 60.0
    doctor_recent_seconds: PositiveInt = 86_400

    # The embedded stack
    embedded_partitions: PositiveInt = 4

    def masked(self) -> dict[str, object]:
        """Every setting by its environment variable, with passwords replaced by `***`, fit to be printed."""
        values: dict[str, object] = {}
        for name, value in self.model_dump().items():
            if isinstance(value, SecretStr):
                value = "***"
            values[f"FOLDLINE_{name.upper()}"] = masked_url(value) if name.endswith("_url") and value else value
        return values


def masked_url(url: str) -> str:
    """The URL with its password replaced by `***`."""
    parts = urlsplit(url)
    if parts.password is None:
        return url
    return urlunsplit(parts._replace(netloc=parts.netloc.replace(f":{parts.password}@", ":***@", 1)))
