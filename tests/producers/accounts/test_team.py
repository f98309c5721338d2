"""What each role may do to whom, and what never happens to an organisation."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from foldline.adapters.postgres import Connection, connect
from foldline.settings import Settings
from producers.accounts import directory, entry, links, roles, sessions, team
from producers.accounts.errors import LinkGone, NotAllowed, Unfit
from producers.accounts.roles import Role
from producers.accounts.statements import execute
from tests.producers.accounts.conftest import PASSWORD, People, Person

Log = Callable[[str], list[tuple[str, str, str]]]

# Who may do it to whom: for each actor, the roles of the others.
MANAGES: dict[Role, set[Role]] = {
    "OWNER": {"OWNER", "ADMIN", "DEVELOPER", "MEMBER"},
    "ADMIN": {"ADMIN", "DEVELOPER", "MEMBER"},
    "DEVELOPER": set(),
    "MEMBER": set(),
}
PAIRS = [(actor, other) for actor in roles.ROLES for other in roles.ROLES]


def somebody(people: People, org_id: str, role: Role) -> Person:
    return people.joined(org_id, role)


def role_of(connection: Connection, person: Person, org_id: str) -> str | None:
    rows = execute(connection, "membership", org_id=org_id, account_id=person.account_id)
    return rows[0][2] if rows else None


def alive(connection: Connection, person: Person) -> bool:
    return bool(execute(connection, "member", session_hash=person.session))


@pytest.mark.parametrize(("role", "wanted"), PAIRS)
def test_a_role_may_what_the_ones_before_it_may(role: Role, wanted: Role) -> None:
    assert roles.has(role, wanted) == (PAIRS.index((role, role)) >= PAIRS.index((wanted, wanted)))
    assert roles.manages(role, wanted) == (wanted in MANAGES[role])


@pytest.mark.parametrize(("actor_role", "other_role"), PAIRS)
def test_who_invites_changes_resets_and_removes_whom(
    settings: Settings, connection: Connection, people: People, actor_role: Role, other_role: Role
) -> None:
    org_id = people.owner().org_id
    actor, other = somebody(people, org_id, actor_role), somebody(people, org_id, other_role)
    allowed = other_role in MANAGES[actor_role]

    def attempt(act: Callable[[], object]) -> None:
        if allowed:
            act()
        else:
            with pytest.raises(NotAllowed):
                act()

    invited = f"invited.{other.email}"
    attempt(lambda: team.invite(connection, settings, org_id, actor.account_id, invited, other_role))
    assert [one.role for one in team.invitations(connection, org_id)] == ([other_role] if allowed else [])
    attempt(lambda: team.reset_link(connection, settings, org_id, actor.account_id, other.account_id))
    assert role_of(connection, other, org_id) == other_role
    attempt(lambda: team.remove(connection, org_id, actor.account_id, other.account_id))
    assert role_of(connection, other, org_id) == (None if allowed else other_role)
    assert alive(connection, other) is not allowed


@pytest.mark.parametrize("actor_role", roles.ROLES)
@pytest.mark.parametrize(("before", "after"), PAIRS)
def test_who_gives_which_role_to_whom(
    connection: Connection, people: People, actor_role: Role, before: Role, after: Role
) -> None:
    org_id = people.owner().org_id
    actor, other = somebody(people, org_id, actor_role), somebody(people, org_id, before)
    if {before, after} <= MANAGES[actor_role]:
        team.change_role(connection, org_id, actor.account_id, other.account_id, after)
        assert role_of(connection, other, org_id) == after
    elif before == after and actor_role in ("OWNER", "ADMIN"):
        team.change_role(connection, org_id, actor.account_id, other.account_id, after)  # nothing to change
    else:
        with pytest.raises(NotAllowed):
            team.change_role(connection, org_id, actor.account_id, other.account_id, after)
        assert role_of(connection, other, org_id) == before


@pytest.mark.parametrize("role", roles.ROLES)
def test_everybody_may_leave_and_is_signed_out(connection: Connection, people: People, role: Role, log: Log) -> None:
    org_id = people.owner().org_id
    person = somebody(people, org_id, role)
    team.leave(connection, org_id, person.account_id)
    assert role_of(connection, person, org_id) is None
    assert not alive(connection, person)
    assert log(org_id)[-1] == (person.email, "member.left", person.email)


def test_the_last_owner_stays_one(connection: Connection, people: People) -> None:
    owner = people.owner()
    second = somebody(people, owner.org_id, "ADMIN")
    only = "is the only owner: make somebody else an owner first"
    with pytest.raises(NotAllowed, match=only):
        team.leave(connection, owner.org_id, owner.account_id)
    with pytest.raises(NotAllowed, match=only):
        team.remove(connection, owner.org_id, owner.account_id, owner.account_id)
    for role in ("ADMIN", "DEVELOPER", "MEMBER"):
        with pytest.raises(NotAllowed, match=only):
            team.change_role(connection, owner.org_id, owner.account_id, owner.account_id, role)
    assert role_of(connection, owner, owner.org_id) == "OWNER"
    team.change_role(connection, owner.org_id, owner.account_id, second.account_id, "OWNER")
    team.change_role(connection, owner.org_id, owner.account_id, owner.account_id, "ADMIN")
    with pytest.raises(NotAllowed, match=only):
        team.leave(connection, owner.org_id, second.account_id)
    team.leave(connection, owner.org_id, owner.account_id)


def test_of_owners_who_leave_at_once_one_stays(settings: Settings, connection: Connection, people: People) -> None:
    owner = people.owner()
    owners = [owner, *(somebody(people, owner.org_id, "OWNER") for _ in range(3))]

    def go(person: Person) -> bool:
        with connect(settings.database_url, "test") as own:
            try:
                team.leave(own, owner.org_id, person.account_id)
            except NotAllowed:
                return False
        return True

    with ThreadPoolExecutor(4) as threads:
        gone = list(threads.map(go, owners))
    assert gone.count(False) == 1
    assert [one.role for one in team.members(connection, owner.org_id)] == ["OWNER"]


def test_a_role_holds_from_the_moment_it_is_changed(settings: Settings, connection: Connection, people: People) -> None:
    owner = people.owner()
    admin, member = somebody(people, owner.org_id, "ADMIN"), somebody(people, owner.org_id, "MEMBER")
    team.change_role(connection, owner.org_id, owner.account_id, admin.account_id, "DEVELOPER")
    with pytest.raises(NotAllowed, match="This needs the role Admin; yours is Developer"):
        team.remove(connection, owner.org_id, admin.account_id, member.account_id)
    ((role,),) = [row[5:6] for row in execute(connection, "member", session_hash=admin.session)]
    assert role == "DEVELOPER"


def test_another_organisation_is_out_of_reach(settings: Settings, connection: Connection, people: People) -> None:
    own, other = people.owner(), people.owner()
    member = somebody(people, other.org_id, "MEMBER")
    acts: list[Callable[[], object]] = [
        lambda: team.invite(connection, settings, other.org_id, own.account_id, "x@example.com", "MEMBER"),
        lambda: team.remove(connection, other.org_id, own.account_id, member.account_id),
        lambda: team.remove(connection, own.org_id, own.account_id, member.account_id),
        lambda: team.change_role(connection, own.org_id, own.account_id, member.account_id, "ADMIN"),
        lambda: team.reset_link(connection, settings, own.org_id, own.account_id, member.account_id),
        lambda: team.leave(connection, other.org_id, own.account_id),
        lambda: team.withdraw(connection, other.org_id, own.account_id, "x@example.com"),
    ]
    for act in acts:
        with pytest.raises(NotAllowed, match="There is nobody like that in this organisation"):
            act()
    assert role_of(connection, member, other.org_id) == "MEMBER"
    assert [one.account_id for one in team.members(connection, own.org_id)] == [own.account_id]


def test_people_are_listed_by_role_and_name(connection: Connection, people: People) -> None:
    owner = people.owner()
    for role in ("MEMBER", "ADMIN", "DEVELOPER", "ADMIN"):
        somebody(people, owner.org_id, role)
    found = team.members(connection, owner.org_id)
    assert [one.role for one in found] == ["OWNER", "ADMIN", "ADMIN", "DEVELOPER", "MEMBER"]
    assert all(one.last_seen_at for one in found)


def test_an_invitation_is_replaced_withdrawn_and_not_made_for_who_is_there(
    settings: Settings, connection: Connection, people: People, log: Log
) -> None:
    owner = people.owner()
    admin, email = somebody(people, owner.org_id, "ADMIN"), f"guest.{owner.email}"
    with pytest.raises(Unfit, match="is in the team already"):
        team.invite(connection, settings, owner.org_id, owner.account_id, admin.email.upper(), "MEMBER")
    with pytest.raises(Unfit, match="This is not an e-mail address"):
        team.invite(connection, settings, owner.org_id, owner.account_id, "nobody", "MEMBER")
    first = team.invite(connection, settings, owner.org_id, owner.account_id, email, "OWNER")
    with pytest.raises(NotAllowed, match="Only an owner"):
        team.invite(connection, settings, owner.org_id, admin.account_id, email, "MEMBER")
    with pytest.raises(NotAllowed, match="Only an owner"):
        team.withdraw(connection, owner.org_id, admin.account_id, email)
    assert links.look(connection, first).role == "OWNER"
    second = team.invite(connection, settings, owner.org_id, owner.account_id, email, "MEMBER")
    with pytest.raises(LinkGone):
        links.look(connection, first)
    team.withdraw(connection, owner.org_id, admin.account_id, email)
    with pytest.raises(LinkGone):
        links.look(connection, second)
    assert team.invitations(connection, owner.org_id) == []
    assert [row[1:] for row in log(owner.org_id)[-3:]] == [
        ("member.invited", email),
        ("member.invited", email),
        ("invitation.withdrawn", email),
    ]


def test_links_that_somebody_made_end_with_their_role(settings: Settings, connection: Connection, people: People) -> None:
    owner = people.owner()
    for end in ("remove", "lower", "leave"):
        admin, member = somebody(people, owner.org_id, "ADMIN"), somebody(people, owner.org_id, "MEMBER")
        made = [
            team.invite(connection, settings, owner.org_id, admin.account_id, f"{end}.{owner.email}", "ADMIN"),
            team.reset_link(connection, settings, owner.org_id, admin.account_id, member.account_id),
        ]
        if end == "remove":
            team.remove(connection, owner.org_id, owner.account_id, admin.account_id)
        elif end == "lower":
            team.change_role(connection, owner.org_id, owner.account_id, admin.account_id, "MEMBER")
        else:
            team.leave(connection, owner.org_id, admin.account_id)
        for token in made:
            with pytest.raises(LinkGone):
                links.look(connection, token)


def test_no_admin_becomes_somebody_who_is_more_by_a_link(settings: Settings, connection: Connection, people: People) -> None:
    """Neither who has risen since, nor who has come to belong elsewhere, nor who belonged there all along."""
    owner, elsewhere = people.owner(), people.owner()
    admin = somebody(people, owner.org_id, "ADMIN")
    risen, gone, both = (somebody(people, owner.org_id, "MEMBER") for _ in range(3))
    for_risen, for_gone = (
        team.reset_link(connection, settings, owner.org_id, admin.account_id, one.account_id) for one in (risen, gone)
    )
    team.change_role(connection, owner.org_id, owner.account_id, risen.account_id, "OWNER")
    for person in (gone, both):
        token = team.invite(connection, settings, elsewhere.org_id, elsewhere.account_id, person.email, "OWNER")
        entry.join(connection, settings, token, person.account_id, person.session)
    for token in (for_risen, for_gone):
        with pytest.raises(LinkGone):
            links.look(connection, token)
    with pytest.raises(NotAllowed, match="belongs to another organisation, too"):
        team.reset_link(connection, settings, owner.org_id, admin.account_id, both.account_id)
    with pytest.raises(NotAllowed, match="Your own password"):
        team.reset_link(connection, settings, owner.org_id, admin.account_id, admin.account_id)


def test_a_removal_ends_the_sessions_in_that_organisation_only(
    settings: Settings, connection: Connection, people: People
) -> None:
    owner, elsewhere = people.owner(), people.owner()
    person = somebody(people, owner.org_id, "DEVELOPER")
    token = team.invite(connection, settings, elsewhere.org_id, elsewhere.account_id, person.email, "MEMBER")
    entry.join(connection, settings, token, person.account_id, person.session)
    second = entry.sign_in(connection, settings, person.email, PASSWORD, person.browser._replace(session=None))
    sessions.look_at(connection, person.account_id, sessions.digest_of(second), owner.org_id)
    team.remove(connection, owner.org_id, owner.account_id, person.account_id)
    assert alive(connection, person)
    assert execute(connection, "member", session_hash=sessions.digest_of(second)) == []
    with pytest.raises(NotAllowed):
        sessions.look_at(connection, person.account_id, person.session, owner.org_id)
    assert [one.org_id for one in directory.memberships(connection, person.account_id)] == [elsewhere.org_id]


def test_what_fails_is_not_in_the_log(settings: Settings, connection: Connection, people: People, log: Log) -> None:
    owner = people.owner()
    before = log(owner.org_id)
    with pytest.raises(NotAllowed):
        team.leave(connection, owner.org_id, owner.account_id)
    with pytest.raises(Unfit):
        team.invite(connection, settings, owner.org_id, owner.account_id, owner.email, "MEMBER")
    assert log(owner.org_id) == before
