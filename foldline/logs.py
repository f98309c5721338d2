"""How services log: JSON lines on stderr, with a time and a level. Secrets and attribute values are never logged."""

from __future__ import annotations

import logging
import sys

import structlog

REPEAT_SECONDS, REMEMBERED = 10.0, 1000

library = structlog.get_logger("foldline.library")


def log_to_stderr() -> None:
    """Sets up structlog for a service."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )


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
