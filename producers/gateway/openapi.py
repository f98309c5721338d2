"""The OpenAPI document: what FastAPI knows of its routes, and the two upserts, which are plain routes, beside it.

OpenAPI 3.0, because the Swagger UI that ships with the program reads no newer one.
"""

from __future__ import annotations

import json
import sys
from copy import copy
from types import SimpleNamespace
from typing import Any, cast

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema
from starlette.routing import BaseRoute

from foldline.domain.records import ID_FIELD, KINDS, Kind
from producers.gateway import models
from producers.gateway.parts import Parts
from producers.gateway.routes import GetRoute

VERSION = "3.0.3"
DESCRIPTION = """Items and users of a recommendation engine, kept in step with the business that owns them.

Upserts are queued durably and folded into state in order; a field that is left out stays as it is, and `attributes` merge
one level deep. Send your secret key in `X-API-KEY`, from a server of yours. Every answer has the same envelope, and tells in
`RateLimit-Limit`, `RateLimit-Remaining` and `RateLimit-Reset` (seconds) what is left of the organisation's requests; a limit
of 0 is none. `X-Request-Id` is the answer's name in the log: send it along when you report that something went wrong."""
SECURITY = {"ApiKey": {"type": "apiKey", "in": "header", "name": "X-API-KEY"}}
UPSERTS: dict[Kind, type[BaseModel]] = {"items": models.ItemUpsert, "users": models.UserUpsert}
_ANSWERS: tuple[type[BaseModel], ...] = (models.AcceptedAnswer, models.OperationAnswer, models.Refusal)


def document(app: FastAPI) -> dict[str, Any]:
    """The document, made once for an application."""
    if app.openapi_schema is None:
        made = get_openapi(
            title=app.title,
            version=app.version,
            openapi_version=VERSION,
            description=DESCRIPTION,
            routes=[_documented(route) for route in app.routes],
        )
        _, definitions = models_json_schema(
            [(model, "validation") for model in (*UPSERTS.values(), *_ANSWERS)], ref_template="#/components/schemas/{model}"
        )
        components = made.setdefault("components", {})
        components["schemas"] = components.get("schemas", {}) | definitions["$defs"]
        components["securitySchemes"] = SECURITY
        for methods in made["paths"].values():
            for method in methods.values():
                method.get("responses", {}).pop("422", None)  # FastAPI's own; ours is 400
        made["paths"] = {f"/v1/ingest/{kind}/upsert": {"post": _upsert(kind)} for kind in KINDS} | made["paths"]
        for path, methods in made["paths"].items():
            for method in methods.values():
                if path.startswith("/v1/"):
                    method["security"] = [{name: []} for name in SECURITY]
        app.openapi_schema = _as_3_0(made)
    return app.openapi_schema


def _documented(route: BaseRoute) -> BaseRoute:
    """A route as the document has it: HEAD is not mentioned."""
    if not isinstance(route, GetRoute):
        return route
    shown = copy(route)
    shown.methods = {"GET"}
    return shown


def _upsert(kind: Kind) -> dict[str, Any]:
    one = _ref(UPSERTS[kind])
    return {
        "tags": ["Ingest"],
        "summary": f"Upsert {kind}",
        "description": f"One record, or an array of up to 10,000, in order. `{ID_FIELD[kind]}` is required.",
        "operationId": f"upsert_{kind}",
        "parameters": [
            _header("Prefer", "`wait=N`: answer 200 once it is applied, within N seconds (at most 30), else 202."),
            {
                **_header(
                    "Idempotency-Key",
                    "Send the same key again with the same body, and within 24 h the first answer comes again.",
                ),
                "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[ -~]+$"},
            },
            _header("traceparent", "W3C Trace Context; goes with every event."),
        ],
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {
                    "schema": {"oneOf": [one, {"type": "array", "items": one, "minItems": 1, "maxItems": 10_000}]}
                }
            },
        },
        "responses": {
            "200": _answer("Applied within the time asked for.", models.OperationAnswer) | _links(kind),
            "202": _answer("Durably queued.", models.AcceptedAnswer) | _links(kind),
            **{
                str(status): _answer(models.DESCRIPTIONS[status], models.Refusal)
                for status in (400, 401, 403, 408, 409, 413, 415, 422, 429, 431, 503)
            },
        },
    }


def _links(kind: Kind) -> dict[str, Any]:
    """What a client can ask for next, by the ids of its request and of the answer."""
    one, operation, record = kind[:-1], "$response.body#/data/operation_id", f"$request.body#/{ID_FIELD[kind]}"
    targets = {
        "Operation": ("operation_v1_ingest_operations__operation_id__get", {"operation_id": operation}),
        "Record": (f"{one}_v1_{kind}__{one}_id__get", {f"{one}_id": record, "min_operation": operation}),
        "Listing": (f"{kind}_v1_{kind}_get", {"min_operation": operation}),
    }
    return {"links": {name: {"operationId": to, "parameters": values} for name, (to, values) in targets.items()}}


def _header(name: str, description: str) -> dict[str, Any]:
    return {"name": name, "in": "header", "required": False, "description": description, "schema": {"type": "string"}}


def _answer(description: str, model: type[BaseModel]) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": _ref(model)}}}


def _ref(model: type[BaseModel]) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{model.__name__}"}


def _as_3_0(schema: Any) -> Any:
    """The same in the words of OpenAPI 3.0: `nullable` for a type null, `enum` for `const`, `example` for `examples`."""
    if isinstance(schema, list):
        return [_as_3_0(member) for member in schema]
    if not isinstance(schema, dict):
        return schema
    mapped = {key: _as_3_0(member) for key, member in schema.items()}
    if mapped.get("type") == "null":
        return {key: member for key, member in mapped.items() if key != "type"} | {"nullable": True, "enum": [None]}
    if "const" in mapped and not isinstance(mapped["const"], dict):
        mapped["enum"] = [mapped.pop("const")]
    choices = mapped.get("anyOf")
    if isinstance(choices, list) and any(choice.get("nullable") for choice in choices):
        others = [choice for choice in choices if not choice.get("nullable")]
        del mapped["anyOf"]
        mapped |= {"nullable": True} | (others[0] if len(others) == 1 else {"anyOf": others})
    return mapped


def text() -> str:
    """The document of an application that has no parts, which it does not depend on."""
    from producers.gateway.app import application  # which needs this module

    return (
        json.dumps(document(application(cast(Parts, SimpleNamespace(requests=None)))), ensure_ascii=False, indent=2) + "\n"
    )


if __name__ == "__main__":
    sys.stdout.write(text())
