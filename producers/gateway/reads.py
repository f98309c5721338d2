"""The read routes: one record, or a page of them. Deleted records are left out unless they are asked for."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import unquote_to_bytes

from fastapi import Depends, Query, Request
from starlette.responses import Response
from starlette.routing import Match
from starlette.types import Scope

from foldline.domain.fold import item_type_fault
from foldline.domain.keys import id_fault
from foldline.domain.records import Kind
from foldline.domain.values import printable
from producers.gateway import models
from producers.gateway.access import Caller
from producers.gateway.envelope import Refusal, done, wrong_fields
from producers.gateway.operations import Admitted, wait_for
from producers.gateway.parts import Parts, parts_of
from producers.gateway.routes import GetRoute
from producers.gateway.tokens import cursor as make_cursor
from producers.gateway.tokens import read_cursor
from producers.validation import FieldError
from projections.reader import Filter, state_json

MAX_IDS = 100
MAX_LIMIT = 1000
DEFAULT_LIMIT = 100

IncludeDeleted = Annotated[bool, Query(description="Also records whose status is deleted.")]
MinOperation = Annotated[
    str | None, Query(description="Wait, up to 30 s, until this operation is applied: read your own writes.")
]
StatusIs = Annotated[models.Status | None, Query(description="Only this status; `deleted` is asking for the deleted.")]
TypeIs = Annotated[str | None, Query(description="Only this type.")]
Ids = Annotated[list[str] | None, Query(description="Only these; repeatable.", max_length=MAX_IDS)]
Limit = Annotated[int, Query(ge=1, le=MAX_LIMIT, description="At most so many; a page of large records may have fewer.")]
Cursor = Annotated[str | None, Query(description="`next_cursor` of the page before.")]


class RecordRoute(GetRoute):
    """A route whose last part is an id: everything after the third slash, percent-decoded once. Slashes, dots and what
    looks like an escape after that belong to the id. What is not UTF-8 is no route."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        match, child = super().matches(scope)
        if match is not Match.NONE:
            *_, name = self.param_convertors
            prefix = self.path_format.partition("{")[0]
            entity_id = _decoded(scope.get("raw_path") or b"", prefix.encode())
            if entity_id is None:
                return Match.NONE, {}
            child["path_params"] = {name: entity_id}
        return match, child


async def known_parameters(request: Request, _: Admitted) -> None:
    """Dependency: a parameter that does not exist is an error. Passed over, a misspelt filter would widen a listing."""
    known = {parameter.alias for parameter in request.scope["route"].dependant.query_params}
    errors = [
        FieldError(0, None, printable(name), "unknown_field", f"there is no query parameter {printable(name)}")
        for name in request.query_params
        if name not in known
    ]
    if errors:
        raise wrong_fields(errors[:100], len(errors))


async def item(
    request: Request,
    caller: Admitted,
    item_id: str,
    include_deleted: IncludeDeleted = False,
    min_operation: MinOperation = None,
) -> Response:
    """The state of one item."""
    return await _one("items", request, caller, item_id, include_deleted, min_operation)


async def user(
    request: Request,
    caller: Admitted,
    user_id: str,
    include_deleted: IncludeDeleted = False,
    min_operation: MinOperation = None,
) -> Response:
    """The state of one user."""
    return await _one("users", request, caller, user_id, include_deleted, min_operation)


async def items(
    request: Request,
    caller: Admitted,
    status: StatusIs = None,
    item_type: TypeIs = None,
    ids: Ids = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
    include_deleted: IncludeDeleted = False,
    min_operation: MinOperation = None,
) -> Response:
    """Items in the order of their ids."""
    wanted = Filter(status, item_type, ids, include_deleted)
    return await _page("items", request, caller, wanted, limit, cursor, min_operation)


async def users(
    request: Request,
    caller: Admitted,
    status: StatusIs = None,
    ids: Ids = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
    include_deleted: IncludeDeleted = False,
    min_operation: MinOperation = None,
) -> Response:
    """Users in the order of their ids."""
    wanted = Filter(status, None, ids, include_deleted)
    return await _page("users", request, caller, wanted, limit, cursor, min_operation)


async def _one(
    kind: Kind, request: Request, caller: Caller, entity_id: str, include_deleted: bool, min_operation: str | None
) -> Response:
    parts = parts_of(request)
    await wait_for(parts, caller, min_operation)
    found = await parts.reader.state(kind, caller.org_id, entity_id) if id_fault(entity_id) is None else None
    if found is None or (found.status == "deleted" and not include_deleted):
        raise Refusal(404, f"There is no {kind[:-1]} with this id")
    return done("Found", state_json(kind, found))


async def _page(
    kind: Kind, request: Request, caller: Caller, wanted: Filter, limit: int, cursor: str | None, min_operation: str | None
) -> Response:
    parts = parts_of(request)
    after = await _after(parts, caller, kind, cursor)
    errors = _faults(wanted)
    if after is None:
        errors.append(FieldError(0, None, "cursor", "invalid_cursor", "cursor is not one of this listing's"))
    if errors or after is None:
        raise wrong_fields(errors, len(errors))
    await wait_for(parts, caller, min_operation)
    page = await parts.reader.page(kind, caller.org_id, wanted, after, limit)
    next_cursor = None
    if page.more:
        next_cursor = make_cursor(await parts.secret(), caller.org_id, kind, page.states[-1].entity_id)
    states = [state_json(kind, state) for state in page.states]
    return done(f"{len(states)} found", {kind: states, "next_cursor": next_cursor})


async def _after(parts: Parts, caller: Caller, kind: Kind, cursor: str | None) -> str | None:
    return "" if cursor is None else read_cursor(await parts.secret(), caller.org_id, kind, cursor)


def _faults(wanted: Filter) -> list[FieldError]:
    errors = []
    if wanted.item_type is not None and (fault := item_type_fault(wanted.item_type)):
        errors.append(FieldError(0, None, "item_type", fault.code, fault.message))
    for place, entity_id in enumerate(wanted.ids or ()):
        if bad := id_fault(entity_id):
            errors.append(FieldError(0, None, f"ids[{place}]", *bad))
    return errors


def _decoded(raw_path: bytes, prefix: bytes) -> str | None:
    if not raw_path.startswith(prefix):
        return None
    try:
        return unquote_to_bytes(raw_path[len(prefix) :]).decode() or None
    except UnicodeDecodeError:
        return None


def _route(route: type[GetRoute], path: str, endpoint: Any, summary: str, answer: Any, *refusals: int) -> GetRoute:
    return route(
        path,
        endpoint,
        tags=["Read"],
        summary=summary,
        dependencies=[Depends(known_parameters)],
        responses=models.responses(answer, 400, 401, 403, *refusals, 429, 503),
    )


ROUTES = [
    _route(GetRoute, "/v1/items", items, "List items", models.ItemPageAnswer, 404),
    _route(GetRoute, "/v1/users", users, "List users", models.UserPageAnswer, 404),
    _route(RecordRoute, "/v1/items/{item_id:path}", item, "Read an item", models.ItemAnswer, 404),
    _route(RecordRoute, "/v1/users/{user_id:path}", user, "Read a user", models.UserAnswer, 404),
]
