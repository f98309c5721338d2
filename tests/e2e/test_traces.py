"""A trace from a client's request to the commit that made it readable, through the whole stack."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.outside import Stack, eventually
from tests.otlp import receiver

pytestmark = pytest.mark.server

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


def test_from_the_request_to_the_commit(tmp_path: Path) -> None:
    with receiver() as found:
        stack = Stack(tmp_path / "data", OTEL_EXPORTER_OTLP_ENDPOINT=found.url, OTEL_BSP_SCHEDULE_DELAY="100")
        try:
            stack.start()
            org = stack.organisation()
            with org.client as client:
                answer = client.post(
                    "/v1/ingest/items/upsert",
                    json=[{"item_id": "A", "item_type": "p"}] * 5,
                    headers={"traceparent": f"00-{TRACE}-{SPAN}-01", "Prefer": "wait=30"},
                )
                assert answer.status_code == 200
            assert eventually(lambda: len(found.of(TRACE)) == 2, 30), found.spans
        finally:
            stack.close()
    request, fold = sorted(found.of(TRACE), key=lambda span: span.service)
    assert (request.service, request.name) == ("foldline-gateway", "POST /v1/ingest/items/upsert")
    assert (fold.service, fold.name) == ("foldline-processor", "fold items.upserts.v1")
    assert (request.parent_id, fold.parent_id) == (SPAN, request.span_id)
    assert request.attributes["foldline.request_id"] == answer.headers["X-Request-Id"]
    assert request.attributes["foldline.operation_id"] == answer.json()["data"]["operation_id"]
    assert fold.attributes["messaging.batch.message_count"] == 5
    assert request.began <= fold.began <= fold.ended
    (commit,) = (span for span in found.spans if (span.trace_id, span.span_id) in fold.links)
    assert (commit.service, commit.name) == ("foldline-processor", "commit")
    assert fold.began <= commit.ended == fold.ended
    # Nothing of FastAPI's own besides.
    assert {span.name.split(" ")[0] for span in found.spans} <= {"POST", "GET", "HEAD", "fold", "commit"}
