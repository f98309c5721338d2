"""A gateway whose clock is set back answers what it has begun, and ends."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from foldline.embedded.processes import until
from foldline.settings import Settings
from producers.gateway.server import END_SECONDS
from tests.clock import HOUR_SECONDS, WAYS, OwnClock
from tests.producers.conftest import NewOrg
from tests.producers.test_commands import accepts, client_of, environment


@pytest.mark.parametrize("way", WAYS)
def test_it_drains_and_ends(stage: Settings, new_org: NewOrg, way: str, tmp_path: Path) -> None:
    clock, org = OwnClock(tmp_path, way), new_org()
    variables = {**clock.environment, **environment(stage, gateway_port=0)}
    with (
        (tmp_path / "log").open("w") as log,
        subprocess.Popen(clock.command("gateway"), env=variables, stderr=log) as gateway,
    ):
        lines = lambda: [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]  # noqa: E731
        assert until(lambda: bool(lines()), 30)
        url = f"http://127.0.0.1:{lines()[0]['port']}"
        with client_of(url, org.secret_key) as client:
            # From here on the gateway has all of Kafka's client that it needs: under libfaketime none is made an hour ago.
            assert client.post("/v1/ingest/items/upsert", json={"item_id": "B", "item_type": "t"}).status_code == 202

            def body() -> Iterator[bytes]:
                yield b'{"item_id":"A",'
                clock.set(-HOUR_SECONDS)
                assert until(lambda: not accepts(url), 10)
                yield b'"item_type":"t"}'

            answer = client.post("/v1/ingest/items/upsert", content=body())
            assert answer.status_code in (202, 503)  # what Kafka's client does then is for nobody to say
        assert gateway.wait(END_SECONDS + 5) == 1
    said = [line["event"] for line in lines()]
    assert len([event for event in said if event.startswith("the clock was set back")]) == 1, said
