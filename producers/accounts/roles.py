"""What the people of an organisation may do.

1. A member reads. A developer also imports and makes keys. An admin also manages people, but no owners. An owner does all.
2. Each role may do all that the ones before it may.
"""

from __future__ import annotations

from typing import Final, Literal, TypeAlias, cast

Role: TypeAlias = Literal["MEMBER", "DEVELOPER", "ADMIN", "OWNER"]
ROLES: Final[tuple[Role, ...]] = ("MEMBER", "DEVELOPER", "ADMIN", "OWNER")
MEANING: Final[dict[Role, str]] = {
    "MEMBER": "sees everything but the audit log, and changes nothing",
    "DEVELOPER": "also imports files, erases users, makes keys and reads the audit log",
    "ADMIN": "also manages people, but not owners",
    "OWNER": "does everything",
}


def known_role(text: str) -> Role | None:
    """The role of that name; None for none."""
    return text if text in ROLES else None


def has(role: str, wanted: str) -> bool:
    """Whether the role may do what the wanted one may."""
    return ROLES.index(cast(Role, role)) >= ROLES.index(cast(Role, wanted))


def manages(role: str, other: str) -> bool:
    """Whether who has the role may invite, change and remove people who have the other."""
    return has(role, "ADMIN") and has(role, other)


def changes(role: str, before: str, after: str) -> bool:
    """Whether who has the role may give `after` to somebody who has `before`."""
    return manages(role, before) and manages(role, after)
