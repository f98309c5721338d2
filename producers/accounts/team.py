"""The people of an organisation, and what one of them may do to the others.

1. Who acts, and in what role, is read in the transaction that acts, with the organisation locked.
2. An organisation always has an owner.
3. A link that somebody has made, or that was made for them, ends when they are removed or their role is changed.
4. Only a person who belongs to no other organisation can be given a link to reset their password: it opens all of them.
"""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from foldline.adapters.postgres import Connection, translated
from foldline.settings import Settings
from producers.accounts import directory, links, roles
from producers.accounts.audit import record
from producers.accounts.errors import NotAllowed, Unfit
from producers.accounts.roles import Role
from producers.accounts.statements import execute


class Colleague(NamedTuple):
    """A person of an organisation. `last_seen_at` is when they last looked at it, None for not lately."""

    account_id: str
    email: str
    name: str
    role: Role
    joined_at: datetime
    last_seen_at: datetime | None


class Invitation(NamedTuple):
    """An invitation that is open."""

    email: str
    role: Role
    created_by: str
    created_at: datetime
    expires_at: datetime


class _Person(NamedTuple):
    account_id: str
    email: str
    role: Role


def members(connection: Connection, org_id: str) -> list[Colleague]:
    """The people of an organisation, the highest role first, then by name."""
    with translated():
        return [Colleague(*row) for row in execute(connection, "members", org_id=org_id)]


def invitations(connection: Connection, org_id: str) -> list[Invitation]:
    """The open invitations of an organisation, newest first."""
    with translated():
        return [Invitation(*row) for row in execute(connection, "invitations", org_id=org_id)]


def invite(connection: Connection, settings: Settings, org_id: str, actor_id: str, email: str, role: Role) -> str:
    """Invites somebody, and returns the token of the link that is for them; an earlier invitation of theirs ends. Raises
    `NotAllowed` and `Unfit`."""
    with translated(), connection.transaction():
        actor = _acting(connection, org_id, actor_id, "ADMIN")
        kept = directory.normal_email(email)
        _managing(actor, role)
        if any(member.email == kept for member in members(connection, org_id)):
            raise Unfit({"email": f"{kept} is in the team already."})
        for earlier in (one for one in invitations(connection, org_id) if one.email == kept):
            _managing(actor, earlier.role)
        record(connection, org_id, actor.email, "member.invited", kept, role=role)
        return links.insert_link(connection, settings, "invitation", actor.email, org_id=org_id, email=kept, role=role)


def withdraw(connection: Connection, org_id: str, actor_id: str, email: str) -> None:
    """Ends the open invitation of an address, if there is one. Raises `NotAllowed`."""
    with translated(), connection.transaction():
        actor = _acting(connection, org_id, actor_id, "ADMIN")
        for (role,) in execute(connection, "withdraw_invitation", org_id=org_id, email=email):
            _managing(actor, role)
            record(connection, org_id, actor.email, "invitation.withdrawn", email, role=role)


def change_role(connection: Connection, org_id: str, actor_id: str, account_id: str, role: Role) -> None:
    """Gives somebody another role. Raises `NotAllowed`, also for the last owner."""
    with translated(), connection.transaction():
        actor, other = _acting(connection, org_id, actor_id, "ADMIN"), _person(connection, org_id, account_id)
        if other.role == role:
            return
        if not roles.changes(actor.role, other.role, role):
            raise NotAllowed("Only an owner changes who is an owner.")
        _leaves_an_owner(connection, org_id, other)
        execute(connection, "set_role", org_id=org_id, account_id=account_id, role=role)
        _void_links(connection, org_id, other)
        record(connection, org_id, actor.email, "member.role_changed", other.email, before=other.role, after=role)


def remove(connection: Connection, org_id: str, actor_id: str, account_id: str) -> None:
    """Ends somebody's membership, with their sessions in it. Raises `NotAllowed`, also for the last owner."""
    with translated(), connection.transaction():
        actor, other = _acting(connection, org_id, actor_id, "ADMIN"), _person(connection, org_id, account_id)
        _managing(actor, other.role)
        _end(connection, org_id, other)
        record(connection, org_id, actor.email, "member.removed", other.email, role=other.role)


def leave(connection: Connection, org_id: str, actor_id: str) -> None:
    """Ends one's own membership, with the sessions in it. Raises `NotAllowed` for the last owner."""
    with translated(), connection.transaction():
        actor = _acting(connection, org_id, actor_id, "MEMBER")
        _end(connection, org_id, actor)
        record(connection, org_id, actor.email, "member.left", actor.email, role=actor.role)


def reset_link(connection: Connection, settings: Settings, org_id: str, actor_id: str, account_id: str) -> str:
    """The token of a link by which somebody else sets another password. Raises `NotAllowed`."""
    with translated(), connection.transaction():
        actor, other = _acting(connection, org_id, actor_id, "ADMIN"), _person(connection, org_id, account_id)
        _managing(actor, other.role)
        if actor.account_id == other.account_id:
            raise NotAllowed("Your own password is changed on the page of your account.")
        if len(directory.memberships(connection, account_id)) > 1:
            raise NotAllowed(
                f"{other.email} belongs to another organisation, too: whoever runs this service can make the link, by "
                f"`foldline accounts reset {other.email}`."
            )
        record(connection, org_id, actor.email, "password.reset_link_made", other.email)
        return links.insert_link(connection, settings, "reset", actor.email, account_id=account_id, org_id=org_id)


def _acting(connection: Connection, org_id: str, account_id: str, role: Role) -> _Person:
    execute(connection, "lock_organisation", org_id=org_id)
    actor = _person(connection, org_id, account_id)
    if not roles.has(actor.role, role):
        raise NotAllowed(f"This needs the role {role.capitalize()}; yours is {actor.role.capitalize()}.")
    return actor


def _person(connection: Connection, org_id: str, account_id: str) -> _Person:
    rows = execute(connection, "membership", org_id=org_id, account_id=account_id)
    if not rows:
        raise NotAllowed("There is nobody like that in this organisation.")
    return _Person(*rows[0])


def _managing(actor: _Person, role: Role) -> None:
    if not roles.manages(actor.role, role):
        raise NotAllowed("Only an owner manages owners.")


def _leaves_an_owner(connection: Connection, org_id: str, other: _Person) -> None:
    ((owners,),) = execute(connection, "owners", org_id=org_id)
    if other.role == "OWNER" and owners == 1:
        raise NotAllowed(f"{other.email} is the only owner: make somebody else an owner first.")


def _end(connection: Connection, org_id: str, other: _Person) -> None:
    _leaves_an_owner(connection, org_id, other)
    execute(connection, "delete_membership", org_id=org_id, account_id=other.account_id)
    execute(connection, "end_sessions_in", org_id=org_id, account_id=other.account_id)
    _void_links(connection, org_id, other)


def _void_links(connection: Connection, org_id: str, person: _Person) -> None:
    execute(connection, "void_links_by", org_id=org_id, created_by=person.email)
    execute(connection, "void_links_of_account", account_id=person.account_id, only_of_organisations=True)
