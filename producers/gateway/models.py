"""The shapes of requests and answers, for the documentation. The checks themselves are `producers.validation`'s."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Status = Literal["active", "inactive", "deleted"]
Id = Annotated[
    str,
    Field(
        min_length=1,
        max_length=256,
        pattern=r"^[^\x00-\x1f\x7f-\x9f]*$",
        description="Compared exactly. No control characters.",
    ),
]
ItemType = Annotated[str, Field(min_length=1, max_length=128, description="What kind of thing the item is.")]
Attributes = Annotated[
    dict[str, Any],
    Field(description="A JSON object, merged one level deep: each key sent replaces that key's whole value, null included."),
]
# A field that may be left out, but is never null: the schema then has no default.
_LEFT_OUT: Any = Field(default_factory=lambda: None)


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class ItemUpsert(_Strict):
    """An item, or what is to change of it: a field that is left out stays as it is."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {"item_id": "PROD-001", "item_type": "product", "status": "active", "attributes": {"price": 79.99}}
        }
    )

    item_id: Id
    item_type: Annotated[ItemType, Field(description="Needed by a new item.")] = _LEFT_OUT
    status: Status = _LEFT_OUT
    attributes: Attributes = _LEFT_OUT


class UserUpsert(_Strict):
    """A user, or what is to change of it: what is left out stays as it is. Status `deleted` erases the attributes."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {"user_id": "usr_001", "created_at": "2025-01-12T09:00:00Z", "attributes": {"interests": ["tech"]}}
        }
    )

    user_id: Id
    status: Status = _LEFT_OUT
    created_at: Annotated[datetime, Field(description="RFC 3339 with Z or an offset.")] = _LEFT_OUT
    attributes: Attributes = _LEFT_OUT


class ItemState(BaseModel):
    """What all upserts of an item add up to. `version` counts them."""

    item_id: Id
    item_type: ItemType
    status: Status
    attributes: dict[str, Any]
    version: int
    first_seen_at: datetime
    updated_at: datetime


class UserState(BaseModel):
    """What all upserts of a user add up to. `version` counts them."""

    user_id: Id
    created_at: datetime
    status: Status
    attributes: dict[str, Any]
    version: int
    first_seen_at: datetime
    updated_at: datetime


class RecordError(BaseModel):
    """One thing that does not hold."""

    index: Annotated[int, Field(description="The record's place in the array, 0 for a single record.")]
    id: Annotated[str, Field(description="Only when it is known.")] = _LEFT_OUT
    field: Annotated[str, Field(description="A path, such as attributes.size.eu; empty for the whole record or body.")]
    code: Annotated[str, Field(description="Stable: required, unknown_field, invalid_type, …")]
    message: str


class Accepted(BaseModel):
    accepted: int
    operation_id: Annotated[str, Field(pattern=r"^op_[A-Za-z0-9_-]+$")]


class Operation(BaseModel):
    """An upsert as it stands."""

    operation_id: str
    status: Literal["queued", "applied", "applied_with_errors"]
    accepted: int
    applied: int
    rejected: int
    errors: list[RecordError]


class ItemPage(BaseModel):
    items: list[ItemState]
    next_cursor: Annotated[str | None, Field(description="Send it as `cursor` for the next page; null on the last.")]


class UserPage(BaseModel):
    users: list[UserState]
    next_cursor: Annotated[str | None, Field(description="Send it as `cursor` for the next page; null on the last.")]


class _Done(BaseModel):
    success: Literal[True]
    message: str


class AcceptedAnswer(_Done):
    data: Accepted


class OperationAnswer(_Done):
    data: Operation


class ItemAnswer(_Done):
    data: ItemState


class UserAnswer(_Done):
    data: UserState


class ItemPageAnswer(_Done):
    data: ItemPage


class UserPageAnswer(_Done):
    data: UserPage


class Health(BaseModel):
    status: str


class HealthAnswer(_Done):
    data: Health


class Refusal(BaseModel):
    """Every negative answer."""

    success: Literal[False]
    message: Annotated[str, Field(description="For a person.")]
    data: None
    error: str | list[RecordError]
    error_count: int


DESCRIPTIONS = {
    400: "Malformed JSON or gzip, an empty body or array, a wrong shape or value: nothing was accepted.",
    401: "No key, or an unknown or revoked one.",
    403: "A known key that may not do this: a publishable one, or a suspended organisation's.",
    404: "Unknown, or another organisation's.",
    408: "The head or the body did not arrive in time.",
    409: "A request with this Idempotency-Key is under way: ask again.",
    413: "More than 1 MiB or 10,000 records.",
    415: "Not JSON, or an encoding other than gzip.",
    422: "The Idempotency-Key was used with another body.",
    429: "The rate limit: 1000 requests in 15 minutes, unless the organisation's is another.",
    431: "The head of the request is larger than 64 KiB.",
    503: "The log or the database cannot be reached, or does not answer in time.",
}
ANYWHERE = (408, 431)


def responses(answer: type[BaseModel], *refusals: int) -> dict[int | str, dict[str, Any]]:
    """The answers of a route that reads, for FastAPI."""
    descriptions = DESCRIPTIONS | {400: "A parameter that is unknown, or a value that it cannot have."}
    negative: dict[int | str, dict[str, Any]] = {
        status: {"model": Refusal, "description": descriptions[status]} for status in sorted((*refusals, *ANYWHERE))
    }
    return {200: {"model": answer}, **negative}
