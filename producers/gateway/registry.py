"""The read side of Confluent's Schema Registry over the bundled schemas, so that ordinary Avro consumers work.

Where a registry is configured, the ids on the topics are that one's, and every path here answers that nothing is here.

Source: https://docs.confluent.io/platform/current/schema-registry/develop/api.html
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

import schemas
from producers.gateway.parts import parts_of

COMPATIBILITY = "FULL_TRANSITIVE"
ELSEWHERE, SUBJECT_NOT_FOUND, VERSION_NOT_FOUND, SCHEMA_NOT_FOUND, INVALID_VERSION = 40400, 40401, 40402, 40403, 42202


class RegistryJson(Response):
    """JSON as a registry's clients expect it."""

    media_type = "application/vnd.schemaregistry.v1+json"

    def render(self, content: Any) -> bytes:
        return orjson.dumps(content)


class NotThere(Exception):
    """What was asked for does not exist. `code` is the registry's; its first three digits are the status."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


async def not_there(_: Request, error: Exception) -> Response:
    """The answer to `NotThere`."""
    assert isinstance(error, NotThere)
    return RegistryJson({"error_code": error.code, "message": str(error)}, error.code // 100)


async def root(request: Request) -> Response:
    return RegistryJson({})


async def schema_by_id(request: Request) -> Response:
    return RegistryJson({"schema": _by_id(request).text})


async def schema_text_by_id(request: Request) -> Response:
    return RegistryJson(_by_id(request).definition)


async def versions_of_id(request: Request) -> Response:
    found = _by_id(request)
    return RegistryJson([{"subject": _subject(request, found), "version": _versions_of(found).index(found) + 1}])


async def subjects(request: Request) -> Response:
    return RegistryJson(sorted(_subjects(request)))


async def versions(request: Request) -> Response:
    return RegistryJson([number for number, _ in enumerate(_of_subject(request), start=1)])


async def version(request: Request) -> Response:
    number, found = _version(request)
    subject = request.path_params["subject"]
    return RegistryJson({"subject": subject, "version": number, "id": found.id, "schema": found.text})


async def schema_text_of_version(request: Request) -> Response:
    return RegistryJson(_version(request)[1].definition)


async def config_of_subject(request: Request) -> Response:
    _of_subject(request)
    return RegistryJson({"compatibilityLevel": COMPATIBILITY})


def _fixed(content: Any) -> Callable[[Request], Any]:
    async def answer(request: Request) -> Response:
        return RegistryJson(content)

    return answer


def _bundled(endpoint: Callable[[Request], Any]) -> Callable[[Request], Any]:
    """The endpoint, where the bundle has the ids."""

    async def answer(request: Request) -> Response:
        if parts_of(request).settings.schema_registry_url is not None:
            raise NotThere(
                ELSEWHERE,
                "The schemas of these topics are in the schema registry that FOLDLINE_SCHEMA_REGISTRY_URL names; "
                "ids from anywhere else are not theirs",
            )
        found: Response = await endpoint(request)
        return found

    return answer


def _by_id(request: Request) -> schemas.Schema:
    text, bundle = request.path_params["id"], schemas.bundle()
    if not (text.isascii() and text.isdecimal() and len(text) < 10 and 1 <= int(text) <= len(bundle)):
        raise NotThere(SCHEMA_NOT_FOUND, f"Schema {text[:20]} not found")
    return bundle[int(text) - 1]


def _subject(request: Request, schema: schemas.Schema) -> str:
    return f"{parts_of(request).settings.topic_prefix}{schema.topic}-value"


def _subjects(request: Request) -> dict[str, list[schemas.Schema]]:
    return {_subject(request, schema): _versions_of(schema) for schema in schemas.bundle()}


def _versions_of(schema: schemas.Schema) -> list[schemas.Schema]:
    return [other for other in schemas.bundle() if other.topic == schema.topic]


def _of_subject(request: Request) -> list[schemas.Schema]:
    subject = request.path_params["subject"]
    found = _subjects(request).get(subject)
    if found is None:
        raise NotThere(SUBJECT_NOT_FOUND, f"Subject '{subject[:300]}' not found.")
    return found


def _version(request: Request) -> tuple[int, schemas.Schema]:
    found, text = _of_subject(request), request.path_params["version"]
    if text in ("latest", "-1"):
        return len(found), found[-1]
    if not (text.isascii() and text.isdecimal() and len(text) < 10 and int(text) >= 1):
        raise NotThere(
            INVALID_VERSION, f"The specified version '{text[:20]}' is not a valid version id: a number from 1, or latest"
        )
    if int(text) > len(found):
        raise NotThere(VERSION_NOT_FOUND, f"Version {text} not found.")
    return int(text), found[int(text) - 1]


_LEVEL = _fixed({"compatibilityLevel": COMPATIBILITY})
_PATHS: dict[str, Callable[[Request], Any]] = {
    "": root,
    "/": root,
    "/schemas/types": _fixed(["AVRO"]),
    "/schemas/ids/{id}": schema_by_id,
    "/schemas/ids/{id}/schema": schema_text_by_id,
    "/schemas/ids/{id}/versions": versions_of_id,
    "/subjects": subjects,
    "/subjects/{subject}/versions": versions,
    "/subjects/{subject}/versions/{version}": version,
    "/subjects/{subject}/versions/{version}/schema": schema_text_of_version,
    "/config": _LEVEL,
    "/config/{subject}": config_of_subject,
    "/mode": _fixed({"mode": "READONLY"}),
}
ROUTES = [Route(f"/registry{path}", _bundled(endpoint), methods=["GET"]) for path, endpoint in _PATHS.items()]
