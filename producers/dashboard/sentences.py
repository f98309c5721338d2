"""What the entries of the audit log say, as sentences about their actor."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

from foldline.domain.values import printable
from producers.accounts.audit import Entry

Sentence: TypeAlias = Callable[[str, Mapping[str, Any]], str]

_GRACES: Final = {3600: "1 hour", 86_400: "24 hours", 604_800: "7 days"}


def sentence(entry: Entry) -> str:
    """What was done, to follow the actor's name. An action that is not known here is told by its name."""
    known = _SENTENCES.get(entry.action)
    if known is None:
        return f"{label(entry.action).lower()}: {printable(entry.subject)}"
    return known(printable(entry.subject), _Detail(entry.detail))


def label(action: str) -> str:
    """An action's name for a filter: `key.created` is `Key created`."""
    text = action.replace(".", " ").replace("_", " ")
    return text[:1].upper() + text[1:]


class _Detail(dict[str, Any]):
    """What an entry that was written by another version lacks reads as a dash."""

    def __missing__(self, _: str) -> str:
        return "–"


def _replaced(subject: str, detail: Mapping[str, Any]) -> str:
    seconds = detail["grace_seconds"]
    grace = f"; the old one works for {_GRACES.get(seconds, f'{seconds} seconds')} yet" if seconds else ""
    return f"replaced the {detail['role']} key {subject} by {detail['new']}{grace}"


def _joined(subject: str, detail: Mapping[str, Any]) -> str:
    return f"joined as {_role(detail['role'])}" if "invited_by" in detail else f"made {subject} {_role(detail['role'])}"


def _submitted(subject: str, detail: Mapping[str, Any]) -> str:
    rows = detail.get("rows")
    return f"imported {subject}" + (f": {rows:,} row{'' if rows == 1 else 's'}" if isinstance(rows, int) else "")


def _rate_limit(_: str, detail: Mapping[str, Any]) -> str:
    limit = detail["rate_limit"]
    shown = "the default" if limit is None else "none" if limit == 0 else f"{limit:,} requests a window"
    return f"set the rate limit to {shown}"


def _role(role: str) -> str:
    return str(role).capitalize()


def _redriven(subject: str, detail: Mapping[str, Any]) -> str:
    codes = detail["codes"]
    why = f" ({', '.join(sorted(codes))})" if isinstance(codes, Mapping) else ""
    return f"redrove {'the dead letter ' if detail['letters'] == 1 else ''}{subject}{why}"


_SENTENCES: Final[dict[str, Sentence]] = {
    "organisation.created": lambda subject, _: f"created the organisation {subject}",
    "organisation.suspended": lambda *_: "suspended the organisation",
    "organisation.resumed": lambda *_: "resumed the organisation",
    "organisation.rate_limit_changed": _rate_limit,
    "account.signed_up": lambda *_: "created the account and the organisation",
    "account.renamed": lambda _, detail: f"changed their name to {detail['name']}",
    "session.signed_in": lambda _, detail: f"signed in: {detail['client']}",
    "session.signed_out": lambda *_: "signed out",
    "session.ended": lambda _, detail: f"ended another session of theirs: {detail['client']}",
    "password.changed": lambda *_: "changed their password",
    "password.reset": lambda *_: "set a new password by a link",
    "password.reset_link_made": lambda subject, _: f"made a link for {subject} to set a new password",
    "member.invited": lambda subject, detail: f"invited {subject} as {_role(detail['role'])}",
    "invitation.withdrawn": lambda subject, _: f"withdrew the invitation of {subject}",
    "member.joined": _joined,
    "member.role_changed": lambda subject, detail: (
        f"changed the role of {subject} from {_role(detail['before'])} to {_role(detail['after'])}"
    ),
    "member.removed": lambda subject, _: f"removed {subject}",
    "member.left": lambda *_: "left the organisation",
    "key.created": lambda subject, detail: f"created the {detail['role']} key {subject}",
    "key.rotated": _replaced,
    "key.revoked": lambda subject, detail: f"revoked the {detail['role']} key {subject}",
    "letters.redriven": _redriven,
    "user.erased": lambda subject, _: f"asked for the user {subject} to be erased",
    "import.uploaded": lambda subject, detail: f"uploaded {detail['file']} with {detail['kind']}: {subject}",
    "import.retyped": lambda subject, _: f"changed the types of columns of {subject}",
    "import.submitted": _submitted,
    "import.live": lambda subject, _: f"has the import {subject} live",
    "import.cancelled": lambda subject, _: f"cancelled {subject}",
}
