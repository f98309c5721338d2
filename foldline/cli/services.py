"""What a service looks at before it begins: whether `foldline init` has run."""

from __future__ import annotations

from contextlib import suppress

from foldline.adapters.codec import UPSERTS_TOPIC
from foldline.adapters.postgres import connect, translated
from foldline.domain.errors import FoldlineError, Unreachable
from foldline.settings import Settings
from projections.sql import queries

LOOK_SECONDS = 1.0


def assert_initialised(settings: Settings) -> None:
    """Raises `FoldlineError` where `foldline init` has not run. A database that is away is waited for later."""
    with suppress(Unreachable), connect(settings.database_url, "foldline", LOOK_SECONDS) as connection, translated():
        known = {topic for _, topic, *_ in connection.execute(queries("reads")["status"].encode()).fetchall()}
        for topic in UPSERTS_TOPIC.values():
            if settings.topic_prefix + topic not in known:
                raise FoldlineError(f"the database has no positions of {settings.topic_prefix}{topic}: run `foldline init`")
