"""What has become of an upsert, without a table of operations: its id says where it lies in the log."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Depends, Request
from starlette.responses import Response

from producers.gateway import models
from producers.gateway.access import Caller
from producers.gateway.envelope import Refusal, done, unavailable
from producers.gateway.parts import Parts, parts_of
from producers.gateway.routes import GetRoute
from producers.gateway.tokens import Operation, read_operation_id
from producers.validation import FieldError

_MESSAGES = {"queued": "Queued", "applied": "Applied", "applied_with_errors": "Applied, but for what was rejected"}


async def admitted(request: Request) -> Caller:
    """Dependency: the caller, known and counted."""
    return await parts_of(request).admit(request.scope, request.headers.get("x-api-key"))


Admitted = Annotated[Caller, Depends(admitted)]


async def operation(request: Request, operation_id: str, caller: Admitted) -> Response:
    """Whether an upsert is applied, and what of it was rejected."""
    parts = parts_of(request)
    found = await find_operation(parts, caller, operation_id)
    data = await operation_data(parts, operation_id, found)
    return done(_MESSAGES[data["status"]], data)


async def find_operation(parts: Parts, caller: Caller, operation_id: str) -> Operation:
    """The operation with that id. Raises `Refusal` 404 for one that is malformed, forged or another organisation's."""
    found = read_operation_id(await parts.secret(), caller.org_id, operation_id)
    if found is None:
        raise Refusal(404, "There is no such operation")
    return found


async def operation_data(parts: Parts, operation_id: str, operation: Operation) -> dict[str, Any]:
    """The answer's `data` for an operation as it stands now."""
    progress = await parts.reader.progress(operation.org_id, operation.kind, operation.request_id, operation.appended)
    status = "queued" if not progress.done else "applied_with_errors" if progress.rejected else "applied"
    errors = [FieldError(*rejected) for rejected in progress.first_rejected]
    return {
        "operation_id": operation_id,
        "status": status,
        "accepted": operation.accepted,
        "applied": progress.applied,
        "rejected": progress.rejected,
        "errors": [error.as_json() for error in errors],
    }


async def wait_for(parts: Parts, caller: Caller, operation_id: str | None) -> None:
    """Returns when the operation is applied; at once where none is named. Raises `Refusal`: 404, or 503 if it takes long."""
    if operation_id is None:
        return
    found = await find_operation(parts, caller, operation_id)
    seconds = parts.settings.max_wait_seconds
    if not await parts.watcher.wait(found, seconds):
        raise unavailable(f"The operation was not applied within {seconds:g} s: ask again")


ROUTES = [
    GetRoute(
        "/v1/ingest/operations/{operation_id}",
        operation,
        tags=["Ingest"],
        summary="What has become of an upsert",
        responses=models.responses(models.OperationAnswer, 401, 403, 404, 429, 503),
    )
]
