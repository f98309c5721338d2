"""Schemas and their ids from a registry that speaks Confluent's API, where one is configured; else from the bundle.

1. Subjects are TopicNameStrategy's: the topic's name with prefix, and `-value`.
2. `foldline init` registers the schemas, at FULL_TRANSITIVE; services only look them up.
3. What the registry has said holds for as long as the process lives: it is asked once for each id and each schema. That an
   id does not exist holds for `UNKNOWN_SECONDS` only, since it may be registered.
4. Only the registry's own word that an id does not exist (40403) is `SchemaUnknown`. Whatever else goes wrong between here
   and there is no fault of a record.

Source: https://docs.confluent.io/platform/current/schema-registry/develop/api.html
"""

from __future__ import annotations

import json
import time
from base64 import b64encode
from functools import lru_cache
from http.client import HTTPException
from typing import Any, Final
from urllib.error import HTTPError
from urllib.parse import quote, unquote, urlsplit, urlunsplit
from urllib.request import ProxyHandler, Request, build_opener

import schemas
from foldline.adapters.codec import BundledRegistry, Registry
from foldline.domain.errors import FoldlineError, SchemaUnknown, Unreachable
from foldline.settings import Settings, masked_url
from schemas import Schema

COMPATIBILITY: Final = "FULL_TRANSITIVE"
MEDIA_TYPE: Final = "application/vnd.schemaregistry.v1+json"
SUBJECT_NOT_FOUND, SCHEMA_NOT_FOUND, LEVEL_NOT_FOUND = 40401, 40403, 40408
# Who may not ask, asks too much or asks a server that is not well may ask again.
NOT_NOW: Final = (401, 403, 408, 429)
UNKNOWN_SECONDS: Final = 0.2
UNKNOWN_IDS: Final = 10_000
LARGEST_ID: Final = 2**31 - 1
REGISTRIES: Final = 16


class Refused(FoldlineError):
    """The registry understood what it was asked, and its answer is no. `code` is its own, such as 40403."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


class ConfluentRegistry:
    """`Registry` over HTTP. Connects when it is first asked; may be shared between threads."""

    def __init__(self, url: str, topic_prefix: str, timeout_seconds: float) -> None:
        """`url` is what Confluent's clients take, perhaps with a user and a password."""
        parts = urlsplit(url.rstrip("/"))
        self._url = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
        self._name = f"the schema registry at {masked_url(url)}"
        self._headers = {"Accept": f"{MEDIA_TYPE}, application/json", "Content-Type": MEDIA_TYPE}
        if parts.username is not None:
            user = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            self._headers["Authorization"] = f"Basic {b64encode(user.encode()).decode()}"
        self._topic_prefix = topic_prefix
        self._timeout_seconds = timeout_seconds
        self._opener = build_opener(ProxyHandler({}))
        self._ids: dict[Schema, int] = {}
        self._definitions: dict[int, dict[str, Any]] = {}
        self._unknown: dict[int, tuple[float, str]] = {}

    def id_of(self, topic: str) -> int:
        """The id of the newest schema of a topic's values. Raises `Unreachable`, `FoldlineError` before `foldline init`."""
        schema = schemas.latest(topic)
        found = self._find(schema)
        if found is None:
            subject = self._subject(topic)
            raise FoldlineError(
                f"{self._name} does not have {schema.record}.v{schema.version} under {subject}: run `foldline init`"
            )
        return found

    def schema_of(self, schema_id: int) -> dict[str, Any]:
        """The schema of an id. Raises `SchemaUnknown` for an id that has none of ours to read, `Unreachable`."""
        known = self._definitions.get(schema_id)
        if known is None:
            until, reason = self._unknown.get(schema_id, (0.0, ""))
            if time.monotonic() < until:
                raise SchemaUnknown(reason)
            try:
                known = self._definitions[schema_id] = self._fetch(schema_id)
            except SchemaUnknown as unknown:
                if len(self._unknown) >= UNKNOWN_IDS:
                    self._unknown.clear()
                self._unknown[schema_id] = time.monotonic() + UNKNOWN_SECONDS, str(unknown)
                raise
        return known

    def ensure(self) -> list[str]:
        """Sets FULL_TRANSITIVE, registers what is missing and asserts both; returns what was registered. Safe to repeat.

        Raises `Unreachable`, and `FoldlineError` where the registry refuses.
        """
        registered = []
        for topic in dict.fromkeys(schema.topic for schema in schemas.bundle()):
            subject = self._subject(topic)
            self._ensure_level(subject)
            for schema in schemas.bundle():
                if schema.topic == topic and self._find(schema) is None:
                    self._register(subject, schema)
                    registered.append(f"{schema.record}.v{schema.version}")
        return registered

    def lacking(self) -> list[str]:
        """What `ensure` would mend, a sentence each; changes nothing. Raises `Unreachable`, and `FoldlineError` where the
        registry refuses."""
        found = []
        for topic in dict.fromkeys(schema.topic for schema in schemas.bundle()):
            subject = self._subject(topic)
            names = [f"{s.record}.v{s.version}" for s in schemas.versions(topic) if self._find(s) is None]
            if names:
                found.append(f"{self._name} does not have {', '.join(names)} under {subject}")
            if (level := self._level(subject)) != COMPATIBILITY:
                found.append(f"the compatibility level of {subject} is {level or 'not set'}, it must be {COMPATIBILITY}")
        return found

    def _subject(self, topic: str) -> str:
        return f"{self._topic_prefix}{topic}-value"

    def _find(self, schema: Schema) -> int | None:
        known = self._ids.get(schema)
        if known is not None:
            return known
        try:
            answer = self._ask("POST", self._path("subjects", self._subject(schema.topic)), {"schema": schema.text})
        except Refused as refusal:
            if refusal.code in (SUBJECT_NOT_FOUND, SCHEMA_NOT_FOUND):
                return None
            raise
        return self._noted(schema, answer)

    def _register(self, subject: str, schema: Schema) -> None:
        try:
            answer = self._ask("POST", self._path("subjects", subject, "versions"), {"schema": schema.text})
        except Refused as refusal:
            name = f"{schema.record}.v{schema.version}"
            raise FoldlineError(f"{name} cannot be registered under {subject}: {refusal}") from refusal
        self._noted(schema, answer)

    def _noted(self, schema: Schema, answer: Any) -> int:
        found = answer.get("id") if isinstance(answer, dict) else None
        if not isinstance(found, int):
            raise self._no_registry()
        self._ids[schema] = found
        self._definitions[found] = schema.definition
        return found

    def _ensure_level(self, subject: str) -> None:
        if self._level(subject) == COMPATIBILITY:
            return
        must = f"the compatibility level of {subject} must be {COMPATIBILITY}"
        try:
            self._ask("PUT", self._path("config", subject), {"compatibility": COMPATIBILITY})
        except Refused as refusal:
            raise FoldlineError(f"{must}, and cannot be set: {refusal}") from refusal
        if (level := self._level(subject)) != COMPATIBILITY:
            raise FoldlineError(f"{must}: {self._name} leaves it at {level}")

    def _level(self, subject: str) -> str | None:
        try:
            answer = self._ask("GET", self._path("config", subject))
        except Refused as refusal:
            if refusal.code in (SUBJECT_NOT_FOUND, LEVEL_NOT_FOUND):
                return None
            raise
        if not isinstance(answer, dict):
            raise self._no_registry()
        return answer.get("compatibilityLevel")

    def _fetch(self, schema_id: int) -> dict[str, Any]:
        name = f"the schema with the id {schema_id}"
        if not 0 < schema_id <= LARGEST_ID:
            raise SchemaUnknown(f"no schema registry has {name}: ids go from 1 to {LARGEST_ID}")
        try:
            answer = self._ask("GET", f"/schemas/ids/{schema_id}")
        except Refused as refusal:
            if refusal.code != SCHEMA_NOT_FOUND:
                raise
            raise SchemaUnknown(f"the schema registry has no schema with the id {schema_id}") from refusal
        if not isinstance(answer, dict) or not isinstance(answer.get("schema"), str):
            raise self._no_registry()
        if (kind := answer.get("schemaType") or "AVRO") != "AVRO":
            raise SchemaUnknown(f"{name} is of type {kind}, not Avro")
        if answer.get("references"):
            raise SchemaUnknown(f"{name} refers to other schemas, which are not read")
        try:
            definition = json.loads(answer["schema"])
        except (ValueError, RecursionError) as error:
            raise SchemaUnknown(f"{name} is not JSON: {error}") from error
        if not isinstance(definition, dict) or definition.get("type") != "record":
            raise SchemaUnknown(f"{name} is not one of a record")
        return definition

    @staticmethod
    def _path(*segments: str) -> str:
        return "".join(f"/{quote(segment, safe='')}" for segment in segments)

    def _ask(self, method: str, path: str, content: object = None) -> Any:
        body = None if content is None else json.dumps(content).encode()
        request = Request(self._url + path, body, self._headers, method=method)
        try:
            with self._opener.open(request, timeout=self._timeout_seconds) as response:
                text = response.read()
        except HTTPError as error:
            with error:
                raise self._refusal(error) from error
        except (OSError, HTTPException) as error:
            reason = getattr(error, "reason", error)
            raise Unreachable(f"{self._name} does not answer: {getattr(reason, 'strerror', None) or reason}") from error
        try:
            return json.loads(text)
        except ValueError as error:
            raise self._no_registry() from error

    def _refusal(self, error: HTTPError) -> FoldlineError:
        try:
            said = json.loads(error.read())
            code, message = int(said["error_code"]), " ".join(str(said["message"]).split())[:500]
        except (OSError, HTTPException, ValueError, TypeError, KeyError):
            code, message = 0, str(error.reason)
        if error.code >= 500 or error.code in NOT_NOW:
            return Unreachable(f"{self._name} answers {error.code}: {message}")
        return Refused(f"{self._name} answers {error.code}: {message}", code) if code else self._no_registry()

    def _no_registry(self) -> Unreachable:
        return Unreachable(
            f"{self._name} does not answer as one: FOLDLINE_SCHEMA_REGISTRY_URL must be the URL that Confluent's clients"
            " take, such as http://registry:8081, or http://registry:8080/apis/ccompat/v7"
        )


def registry_of(settings: Settings) -> Registry:
    """The registry that the settings name, one object for the same settings; the bundle without one. Does not connect."""
    if settings.schema_registry_url is None:
        return BundledRegistry()
    return _confluent(settings.schema_registry_url, settings.topic_prefix, settings.schema_registry_timeout_seconds)


def ensure_schemas(settings: Settings) -> list[str]:
    """Registers the schemas where a registry is configured, as `foldline init` does; returns what was registered now.

    Raises `Unreachable`, and `FoldlineError` where the registry refuses.
    """
    registry = registry_of(settings)
    return registry.ensure() if isinstance(registry, ConfluentRegistry) else []


@lru_cache(REGISTRIES)
def _confluent(url: str, topic_prefix: str, timeout_seconds: float) -> ConfluentRegistry:
    return ConfluentRegistry(url, topic_prefix, timeout_seconds)
