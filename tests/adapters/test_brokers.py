"""What brokers say of themselves."""

from __future__ import annotations

import socket
from pathlib import Path

import psutil
import pytest

from foldline.adapters.brokers import log_directories, metadata_levels
from foldline.domain.errors import Unreachable
from foldline.settings import Settings

KAFKA_4_0 = 25


def test_every_broker_tells_its_version(kafka: str) -> None:
    levels = metadata_levels(Settings(kafka_bootstrap=kafka), 10)
    assert len(levels) == 1
    assert all(level >= KAFKA_4_0 for level in levels.values())


def test_every_broker_tells_how_full_its_disks_are(kafka: str) -> None:
    (found,) = log_directories(Settings(kafka_bootstrap=kafka), 10)
    assert (0 < found.usable_bytes <= found.total_bytes, found.failed) == (True, False)
    if Path(found.path).is_dir():  # no container
        assert found.total_bytes == psutil.disk_usage(found.path).total


def test_who_does_not_answer_is_unreachable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        settings = Settings(kafka_bootstrap=f"127.0.0.1:{silent.getsockname()[1]}")
        for ask in (metadata_levels, log_directories):
            with pytest.raises(Unreachable, match=settings.kafka_bootstrap):
                ask(settings, 0.5)
    with pytest.raises(Unreachable):
        metadata_levels(settings, 0.5)
