"""What goes wrong with the embedded servers."""

from __future__ import annotations


class EmbeddedError(Exception):
    """The embedded stack cannot be started or reached; the message is one line for a person, log lines may follow it."""
