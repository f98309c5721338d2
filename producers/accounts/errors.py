"""What people are told when something cannot be done. The message is a sentence for them."""

from __future__ import annotations

from collections.abc import Mapping

from foldline.domain.errors import FoldlineError


class Unfit(FoldlineError):
    """What was filled in does not hold: `errors` has a sentence for each field at fault."""

    def __init__(self, errors: Mapping[str, str]) -> None:
        super().__init__("; ".join(errors.values()))
        self.errors = dict(errors)


class NotAllowed(FoldlineError):
    """Their role, or the state of things, does not let them."""


class TooMany(FoldlineError):
    """Too many failed attempts: the next may be made in so many seconds."""

    def __init__(self, seconds: int) -> None:
        minutes = -(-seconds // 60)
        super().__init__(f"Too many failed attempts. Try again in {minutes} minute{'s' if minutes > 1 else ''}.")
        self.seconds = seconds


class LinkGone(FoldlineError):
    """The link does nothing: it was used, has expired, was withdrawn, or never was."""
