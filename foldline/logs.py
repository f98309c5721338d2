"""How services log: JSON lines on stderr, with a time and a level. Secrets and attribute values are never logged."""

from __future__ import annotations

import sys

import structlog


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
