"""How services log: JSON lines on stderr, with a time and a level, and with what names the request that they are about.
Secrets and attribute values are never logged."""

from __future__ import annotations

import logging
import sys
from collections.abc import MutableMapping
from contextvars import ContextVar
from typing import Any, Protocol

import structlog

REPEAT_SECONDS, REMEMBERED = 10.0, 1000


class Named(Protocol):
    """What lines of the log may be about."""

    def names(self) -> dict[str, str]:
        """What it is called by, as fields of the line."""


# What is being done here and now, if that has a name.
ABOUT: ContextVar[Named | None] = ContextVar("ABOUT", default=None)

library = structlog.get_logger("foldline.library")


def log_to_stderr(level: str) -> None:
    """Sets up structlog for a service, which says what is of that level or a higher one."""
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(level),
        processors=[
            name_what_it_is_about,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )


def name_what_it_is_about(_logger: object, _method: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A structlog processor: adds the names of what is done here and now, where the line does not have them."""
    about = ABOUT.get()
    return line if about is None else {**about.names(), **line}


class Forward(logging.Handler):
    """Says in our log what a library says in Python's, and the same once in a while."""

    def __init__(self, level: int) -> None:
        super().__init__(level)
        self._said: dict[tuple[str, str], float] = {}

    def emit(self, record: logging.LogRecord) -> None:
        what = record.name, str(record.msg)
        if record.created - self._said.get(what, 0.0) >= REPEAT_SECONDS:
            if len(self._said) >= REMEMBERED:
                self._said.clear()
            self._said[what] = record.created
            library.log(record.levelno, record.getMessage(), library=record.name)


def log_libraries(*names: str) -> None:
    """Forwards the warnings and errors of libraries, by the names of their loggers."""
    for logger in map(logging.getLogger, names):
        if not any(isinstance(handler, Forward) for handler in logger.handlers):
            logger.addHandler(Forward(logging.WARNING))
