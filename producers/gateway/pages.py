"""What operators, tools and people read without a key: health, metrics and the documentation.

All of it works without a network: the documentation's scripts are served from the package that ships them.
"""

from __future__ import annotations

import asyncio
from base64 import b64encode
from hashlib import sha256
from pathlib import Path
from typing import Any

import swagger_ui_bundle
from fastapi import FastAPI, Request
from prometheus_client.exposition import choose_encoder
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from foldline.domain.errors import FoldlineError
from producers.gateway import models
from producers.gateway.envelope import Json, Refusal, done, unavailable
from producers.gateway.openapi import document
from producers.gateway.parts import Parts, parts_of
from producers.gateway.routes import GetRoute

_DOCS = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Foldline API</title>
<link rel="stylesheet" href="docs/assets/swagger-ui.css">
<link rel="icon" href="docs/assets/favicon-32x32.png">
</head>
<body>
<div id="swagger-ui"></div>
<script src="docs/assets/swagger-ui-bundle.js"></script>
<script>%s</script>
</body>
</html>
"""
_SCRIPT = 'SwaggerUIBundle({url: "openapi.json", dom_id: "#swagger-ui", deepLinking: true, validatorUrl: null})'
_DOCS_POLICY = (
    f"default-src 'self'; script-src 'self' 'sha256-{b64encode(sha256(_SCRIPT.encode()).digest()).decode()}'; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data:; object-src 'none'; base-uri 'none'; frame-ancestors 'none'; "
    "form-action 'self'"
)


async def healthz() -> Response:
    """Whether the process answers."""
    return done("Alive", {"status": "ok"})


async def readyz(request: Request) -> Response:
    """Whether the gateway can do its work: the database and Kafka answer, and are initialised."""
    missing = await _missing(parts_of(request))
    if missing:
        raise unavailable("; ".join(missing))
    return done("Ready", {"status": "ok"})


async def metrics(request: Request) -> Response:
    """Metrics in Prometheus' text format, or in OpenMetrics' where that is asked for."""
    found = parts_of(request).metrics
    await found.figures.refresh()
    encode, content_type = choose_encoder(request.headers.get("accept", ""))
    return Response(encode(found.registry), media_type=content_type)


async def openapi(request: Request) -> Response:
    assert isinstance(request.app, FastAPI)
    return Json(document(request.app))


async def docs(request: Request) -> Response:
    return HTMLResponse(_DOCS % _SCRIPT, headers={"Content-Security-Policy": _DOCS_POLICY})


async def _missing(parts: Parts) -> list[str]:
    outcomes = await asyncio.gather(parts.check_database(), parts.log.check(), return_exceptions=True)
    unexpected = [e for e in outcomes if isinstance(e, BaseException) and not isinstance(e, FoldlineError | Refusal)]
    if unexpected:
        raise unexpected[0]
    return [str(error) for error in outcomes if isinstance(error, FoldlineError)]


def _health(path: str, endpoint: Any, summary: str, *refusals: int) -> GetRoute:
    return GetRoute(
        path, endpoint, tags=["Operate"], summary=summary, responses=models.responses(models.HealthAnswer, *refusals)
    )


ROUTES: list[BaseRoute] = [
    _health("/healthz", healthz, "Is the process alive?"),
    _health("/readyz", readyz, "Can it do its work?", 503),
    Route("/metrics", metrics, methods=["GET"]),
    Route("/openapi.json", openapi, methods=["GET"]),
    Route("/docs", docs, methods=["GET"]),
    Mount("/docs/assets", StaticFiles(directory=Path(swagger_ui_bundle.swagger_ui_path)), name="docs_assets"),
]
