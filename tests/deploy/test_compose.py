"""compose.yaml: what is long-running says when it is ready, waits for what it needs, and may be there more than once."""

from __future__ import annotations

import os
import re
from functools import cache
from typing import Any

import pytest

from foldline.embedded.kafka import BROKER, MESSAGE_BYTES
from foldline.embedded.services import GATEWAY_GRACE_SECONDS, PROCESSOR_GRACE_SECONDS
from foldline.settings import Settings
from tests.deploy.files import DEPLOY, ROOT, documents, lines

OWN = ("init", "gateway", "processor")
ONE_SHOT = ("init",)
MANY = ("gateway", "processor")


@cache
def compose() -> dict[str, Any]:
    (document,) = documents(ROOT / "compose.yaml")
    return document


def services() -> dict[str, dict[str, Any]]:
    return dict(compose()["services"])


def settings_of(name: str) -> dict[str, str]:
    """What a service of ours is told, with the defaults of what .env may change."""
    return {key: _filled(str(value)) for key, value in services()[name]["environment"].items()}


def _filled(text: str) -> str:
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text)


@pytest.mark.parametrize("name", services())
def test_each_service_says_when_it_is_ready_or_ends(name: str) -> None:
    check = services()[name]["healthcheck"]
    if name in ONE_SHOT:
        assert check == {"disable": True}
    else:
        assert {"interval", "timeout", "retries", "start_period"} <= check.keys()
        assert "test" in check or "request('GET', '/readyz')" in (ROOT / "Dockerfile").read_text()


@pytest.mark.parametrize("name", services())
def test_each_service_waits_for_what_it_needs(name: str) -> None:
    for needed, how in services()[name].get("depends_on", {}).items():
        assert how == {"condition": "service_completed_successfully" if needed in ONE_SHOT else "service_healthy"}
        assert set(services()[needed].get("profiles", ())) <= set(services()[name].get("profiles", ()))


def test_services_wait_for_everything_that_they_are_told_of() -> None:
    for name in MANY:
        hosts = set(re.findall(r"(?<![\w.-])(kafka|postgres|registry)(?=[:/]|$)", " ".join(settings_of(name).values())))
        assert {*hosts, "init"} == services()[name]["depends_on"].keys()


@pytest.mark.parametrize("name", OWN)
def test_settings_are_taken(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for key, value in settings_of(name).items():
        monkeypatch.setenv(key, value)
    settings = Settings()
    assert settings.kafka_bootstrap in _filled(services()["kafka"]["environment"]["KAFKA_ADVERTISED_LISTENERS"])
    assert settings.database_url == "postgresql://foldline@postgres/foldline"
    assert os.environ["PGPASSWORD"] == _filled(services()["postgres"]["environment"]["POSTGRES_PASSWORD"])


@pytest.mark.parametrize("name", MANY)
def test_there_may_be_more_than_one(name: str) -> None:
    service = services()[name]
    assert "container_name" not in service
    assert "hostname" not in service
    for port in service.get("ports", ()):
        assert re.fullmatch(r"127\.0\.0\.1:(\d+)-(\d+):\d+", _filled(port))


def test_only_the_gateway_is_published_to_whom_env_says() -> None:
    for name, service in services().items():
        for port in service.get("ports", ()):
            assert name == "gateway" or port.startswith("127.0.0.1:")


def test_nothing_is_published_twice() -> None:
    published: list[int] = []
    for service in services().values():
        for port in service.get("ports", ()):
            first, _, last = _filled(port).split(":")[1].partition("-")
            published += range(int(first), int(last or first) + 1)
    assert len(published) == len(set(published))


@pytest.mark.parametrize("name", OWN)
def test_services_of_ours_may_nothing_that_they_need_not(name: str) -> None:
    service = services()[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]


def test_whoever_is_stopped_has_the_time_to_drain() -> None:
    needed = {"gateway": GATEWAY_GRACE_SECONDS, "processor": PROCESSOR_GRACE_SECONDS}
    needed["processor"] = max(needed["processor"], Settings().transaction_timeout_seconds)
    for name, seconds in needed.items():
        assert int(services()[name]["stop_grace_period"].removesuffix("s")) > seconds


def test_kafka_is_what_the_embedded_one_is() -> None:
    environment = services()["kafka"]["environment"]
    told = {key.removeprefix("KAFKA_").lower().replace("_", "."): str(value) for key, value in environment.items()}
    assert int(told["message.max.bytes"]) == MESSAGE_BYTES > Settings().message_max_bytes
    for name in ("auto.create.topics.enable", "replica.fetch.max.bytes", "process.roles", "transaction.state.log.min.isr"):
        assert told[name] == str(BROKER[name])


def test_every_image_has_a_version() -> None:
    for name, service in services().items():
        image, _, tag = service["image"].rpartition(":")
        assert name in OWN or (image and re.search(r"\d", tag)), f"{name}: {service['image']}"


def test_every_volume_is_named_and_every_file_is_there() -> None:
    for service in services().values():
        for volume in service.get("volumes", ()):
            source, target, *_ = volume.split(":")
            assert target.startswith("/")
            assert (ROOT / source).exists() if source.startswith(".") else source in compose()["volumes"]


def test_env_example_has_what_may_be_set_with_its_default() -> None:
    text = (ROOT / "compose.yaml").read_text()
    used = dict(re.findall(r"\$\{(\w+):-([^}]*)\}", text))
    offered = {name: value for name, value in lines(ROOT / ".env.example").items() if not name.startswith("FOLDLINE_")}
    offered.pop("COMPOSE_PROFILES")
    assert offered == used


def test_the_profiles_that_env_example_offers_are_those_there_are() -> None:
    profiles = {profile for service in services().values() for profile in service.get("profiles", ())}
    assert set(lines(ROOT / ".env.example")["COMPOSE_PROFILES"].split(",")) == profiles


def test_secrets_replace_the_volume_of_the_master_key() -> None:
    (override,) = documents(DEPLOY / "compose" / "secrets.yaml")
    assert override["services"].keys() == set(OWN)
    for name, service in override["services"].items():
        assert service["environment"] == {"FOLDLINE_MASTER_KEY_FILE": f"/run/secrets/{service['secrets'][0]}"}
        assert service["secrets"] == list(override["secrets"]), name
