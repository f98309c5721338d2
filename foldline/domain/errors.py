"""The one exception tree. The message says what failed, where, and what to do; the class, what kind of answer it is."""

from __future__ import annotations


class FoldlineError(Exception):
    """A negative answer: a check that does not hold, a record unknown. The command line exits with 1."""


class Unreachable(FoldlineError):
    """A component did not answer, or the caller asked for something impossible. The command line exits with 2."""


class MasterKeyMissing(Unreachable):
    """There is no master key, or another one than the database's. Nothing works without it."""


class MasterKeyChanged(FoldlineError):
    """The database's keys are wrapped by another master key now: what is new is to be wrapped by that one."""


class Conflict(FoldlineError):
    """Another worker moved the position first. Everything in memory is dropped, positions are read again."""


class LogReplaced(FoldlineError):
    """The log is not the one that was folded. Nothing is folded until a person has looked."""


class KeysLost(FoldlineError):
    """The log has seals whose keys the database does not know. Nothing is folded until a person has looked."""


class BadData(FoldlineError):
    """The database refused the data itself (SQLSTATE classes 22, 23, 54), not the connection or the moment."""


class SchemaUnknown(FoldlineError):
    """A message names a schema id that neither the bundle nor the registry knows."""
