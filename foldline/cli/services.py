"""What a service looks at before it begins: whether `foldline init` has run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from foldline.adapters.codec import UPSERTS_TOPIC
from foldline.adapters.postgres import connect, translated
from foldline.adapters.seals import MasterKeys
from foldline.domain.errors import FoldlineError, MasterKeyMissing, Unreachable
from foldline.settings import Settings
from projections.keys import check_keyring
from projections.sql import queries

LOOK_SECONDS = 1.0


def assert_initialised(settings: Settings) -> None:
    """Raises `FoldlineError` where `foldline init` has not run, `MasterKeyMissing` without the database's master key. A
    database that is away is waited for later."""
    masters = MasterKeys(settings)
    with _unless_away(), connect(settings.database_url, "foldline", LOOK_SECONDS) as connection, translated():
        known = {topic for _, topic, *_ in connection.execute(queries("reads")["status"].encode()).fetchall()}
        for topic in UPSERTS_TOPIC.values():
            if settings.topic_prefix + topic not in known:
                raise FoldlineError(f"the database has no positions of {settings.topic_prefix}{topic}: run `foldline init`")
        check_keyring(connection, masters)


@contextmanager
def _unless_away() -> Iterator[None]:
    try:
        yield
    except MasterKeyMissing:
        raise
    except Unreachable:
        pass
