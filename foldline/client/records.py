"""What goes in and what comes out. Times that come out are aware `datetime`s in UTC."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Generic, Literal, NamedTuple, Required, TypeAlias, TypedDict, TypeVar

Status: TypeAlias = Literal["active", "inactive", "deleted"]
Json: TypeAlias = dict[str, Any]
State = TypeVar("State")


class ItemUpsert(TypedDict, total=False):
    """An item, or what is to change of it: a field that is left out stays as it is. A new item needs `item_type`."""

    item_id: Required[str]
    item_type: str
    status: Status
    attributes: Mapping[str, Any]


class UserUpsert(TypedDict, total=False):
    """A user, or what is to change of it. Status `deleted` erases the attributes. A `datetime` has to know its offset."""

    user_id: Required[str]
    status: Status
    created_at: str | datetime
    attributes: Mapping[str, Any]


class Item(NamedTuple):
    """What all upserts of an item add up to. `version` counts them."""

    item_id: str
    item_type: str
    status: Status
    attributes: Json
    version: int
    first_seen_at: datetime
    updated_at: datetime


class User(NamedTuple):
    """What all upserts of a user add up to. `version` counts them."""

    user_id: str
    created_at: datetime
    status: Status
    attributes: Json
    version: int
    first_seen_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class FieldError:
    """One thing that does not hold. `index` is the record's place among those given to the call; `id` is there only where it
    is known; `field` is a path such as `attributes.size.eu`, or empty; `code` is stable."""

    index: int
    id: str | None
    field: str
    code: str
    message: str

    def moved(self, places: int) -> FieldError:
        """The same of a record that has so many more before it."""
        return replace(self, index=self.index + places)


class Operation(NamedTuple):
    """One accepted request as it stood when it was asked for. `index` of its errors counts within the request."""

    operation_id: str
    status: Literal["queued", "applied", "applied_with_errors"]
    accepted: int
    applied: int = 0
    rejected: int = 0
    errors: tuple[FieldError, ...] = ()


class Upserted(NamedTuple):
    """An upsert of any number of records: the operations of its requests, in order."""

    operations: tuple[Operation, ...] = ()

    @property
    def accepted(self) -> int:
        """Records that are durably in the log."""
        return sum(operation.accepted for operation in self.operations)

    @property
    def applied(self) -> int:
        return sum(operation.applied for operation in self.operations)

    @property
    def rejected(self) -> int:
        """Records that were accepted, and that only the fold could refuse."""
        return sum(operation.rejected for operation in self.operations)

    @property
    def is_applied(self) -> bool:
        """Whether everything is applied, or rejected."""
        return all(operation.status != "queued" for operation in self.operations)

    @property
    def errors(self) -> tuple[FieldError, ...]:
        """Why records were rejected, up to 100 of each request."""
        found: list[FieldError] = []
        first = 0
        for operation in self.operations:
            found += (error.moved(first) for error in operation.errors)
            first += operation.accepted
        return tuple(found)


class Shape(NamedTuple, Generic[State]):
    """A kind of records: its name in paths and answers, and how a state of it is read."""

    kind: Literal["items", "users"]
    state: Callable[[Json], State]


def operation_of(data: Json) -> Operation:
    """The `data` of a 202, of a 200 to an upsert, or of an operation."""
    return Operation(
        data["operation_id"],
        data.get("status", "queued"),
        data["accepted"],
        data.get("applied", 0),
        data.get("rejected", 0),
        tuple(field_error_of(error) for error in data.get("errors", ())),
    )


def field_error_of(data: Json) -> FieldError:
    return FieldError(
        index=data["index"], id=data.get("id"), field=data["field"], code=data["code"], message=data["message"]
    )


def _item(data: Json) -> Item:
    return Item(*_values(data, Item._fields))


def _user(data: Json) -> User:
    return User(*_values(data, User._fields))


def _values(data: Json, names: tuple[str, ...]) -> list[Any]:
    """The fields that are known here: an answer may have more one day."""
    return [datetime.fromisoformat(data[name]) if name.endswith("_at") else data[name] for name in names]


ITEMS: Shape[Item] = Shape("items", _item)
USERS: Shape[User] = Shape("users", _user)
