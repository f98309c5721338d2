"""Static files of the dashboard: a URL that names its content may be kept for ever, any other is asked for again."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path
from typing import Final
from urllib.parse import parse_qs

from starlette.responses import Response
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

FOLDER: Final = Path(__file__).parent / "assets"
FOR_EVER: Final = "public, max-age=31536000, immutable"
ASK_AGAIN: Final = "no-cache"


def asset(name: str) -> str:
    """The URL of a file in `assets/`, which changes with its content. Raises `FileNotFoundError`."""
    return f"/assets/{name}?v={_digest_of(name)}"


def _digest_of(name: str) -> str:
    status = (FOLDER / name).stat()
    return _digest(name, status.st_mtime_ns, status.st_size)


@lru_cache(256)
def _digest(name: str, modified_ns: int, size: int) -> str:
    return hashlib.sha256((FOLDER / name).read_bytes()).hexdigest()[:12]


class Assets(StaticFiles):
    """The files of `assets/`."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        asked = parse_qs(scope["query_string"].decode("latin-1")).get("v", [""])[0]
        found = response.status_code in (200, 304)
        response.headers["Cache-Control"] = FOR_EVER if found and asked == _digest_of(path) else ASK_AGAIN
        return response


ROUTES: Final = [Mount("/assets", Assets(directory=FOLDER), name="assets")]
