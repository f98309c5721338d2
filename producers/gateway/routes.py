"""Routes that read."""

from __future__ import annotations

from typing import Any

from fastapi.routing import APIRoute
from starlette.responses import Response


class GetRoute(APIRoute):
    """A route for GET, and for HEAD, which has the same head: the server leaves the body out. Only GET is documented.

    Source: https://www.rfc-editor.org/rfc/rfc9110#name-head
    """

    def __init__(self, path: str, endpoint: Any, **options: Any) -> None:
        super().__init__(path, endpoint, methods=["GET"], response_class=Response, **options)
        self.methods = {"GET", "HEAD"}
