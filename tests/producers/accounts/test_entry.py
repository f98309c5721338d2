"""Signing up and in, and what the links lead to."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from pwdlib.hashers.argon2 import Argon2Hasher

from foldline.adapters.postgres import Connection, connect
from foldline.domain.errors import FoldlineError
from foldline.settings import Settings
from producers import tenants
from producers.accounts import directory, entry, links, passwords, sessions, team
from producers.accounts.clients import described
from producers.accounts.errors import LinkGone, NotAllowed, TooMany, Unfit
from producers.accounts.sessions import Browser, digest_of
from producers.accounts.statements import execute
from tests.producers.accounts.conftest import PASSWORD, People, Person

OTHER_PASSWORD = "staple tractor nine"
Log = Callable[[str], list[tuple[str, str, str]]]


def signed_in(connection: Connection, token: str | None) -> tuple[str, str, str] | None:
    """The e-mail address, organisation and role of a cookie's value."""
    rows = execute(connection, "member", session_hash=digest_of(token or ""))
    return (rows[0][1], rows[0][3], rows[0][5]) if rows else None


def alive(connection: Connection, person: Person) -> bool:
    return bool(execute(connection, "member", session_hash=person.session))


def expire(connection: Connection, token: str) -> None:
    connection.execute(
        "UPDATE foldline_control.links SET expires_at = now() - interval '1 second' WHERE link_hash = %s",
        (digest_of(token),),
    )


def test_signing_up_makes_an_organisation_without_keys_and_its_owner(
    settings: Settings, connection: Connection, log: Log
) -> None:
    browser = Browser("sign-up", "")
    token = entry.sign_up(connection, settings, "  Café  ", " Ann.Lee@Example.COM ", PASSWORD, browser)
    found = signed_in(connection, token)
    assert found is not None
    assert (found[0], found[2]) == ("ann.lee@example.com", "OWNER")
    assert tenants.organisation(connection, found[1]).name == "Café"
    assert tenants.keys(connection, found[1]) == []
    assert log(found[1]) == [
        ("ann.lee@example.com", "account.signed_up", "ann.lee@example.com"),
        ("ann.lee@example.com", "session.signed_in", "ann.lee@example.com"),
    ]
    account = directory.account_of(connection, "ann.lee@example.com")
    assert account is not None
    assert account.name == "ann.lee"
    assert PASSWORD not in str(account)
    assert (account.password_hash or "").startswith("$argon2id$v=19$m=19456,t=2,p=1$")


def test_all_that_does_not_hold_is_told_at_once_and_nothing_is_made(settings: Settings, connection: Connection) -> None:
    before = len(tenants.organisations(connection))
    with pytest.raises(Unfit) as raised:
        entry.sign_up(connection, settings, " ", "no address", "short", Browser("unfit"))
    assert raised.value.errors == {
        "organisation": "An organisation's name has 1 to 200 printable characters.",
        "email": "This is not an e-mail address.",
        "password": "A password has at least 12 characters.",
    }
    assert len(tenants.organisations(connection)) == before


def test_an_address_has_one_account(settings: Settings, connection: Connection, people: People) -> None:
    taken, browser = people.owner().email, Browser("taken")
    before = len(tenants.organisations(connection))
    for _ in range(settings.sign_in_failures):
        with pytest.raises(Unfit, match="There is an account with this address already"):
            entry.sign_up(connection, settings, "Acme", taken.upper(), PASSWORD, browser)
    with pytest.raises(TooMany):
        entry.sign_up(connection, settings, "Acme", taken, PASSWORD, browser)
    assert len(tenants.organisations(connection)) == before


def test_nobody_signs_up_where_that_is_closed(settings: Settings, connection: Connection) -> None:
    closed = settings.model_copy(update={"signup": "closed"})
    with pytest.raises(NotAllowed, match="by invitation"):
        entry.sign_up(connection, closed, "Acme", "closed@example.com", PASSWORD, Browser("closed"))
    assert directory.account_of(connection, "closed@example.com") is None


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("a@b", "a@b"),
        (" Jo+x@Sub.Example.org\n", "jo+x@sub.example.org"),
        ("e\u0301@example.com", "\u00e9@example.com"),
        ("", None),
        ("a", None),
        ("@b", None),
        ("a@", None),
        ("a@b@c", None),
        ("a b@c", None),
        ("a\u0000@b", None),
        ("<a@b>", None),
        ("a,b@c", None),
        ("x" * 250 + "@b.c", "x" * 250 + "@b.c"),
        ("x" * 251 + "@b.c", None),
    ],
)
def test_what_an_address_is(text: str, kept: str | None) -> None:
    if kept is None:
        with pytest.raises(Unfit):
            directory.normal_email(text)
    else:
        assert directory.normal_email(text) == kept


@pytest.mark.parametrize(
    ("password", "good"),
    [
        ("twelve chars", True),
        ("eleven char", False),
        ("pässwörter!!", True),
        ("aaaaaaaaaaaa", False),
        ("abcabcabcabc", False),
        ("ab" * 500, False),
        ("abcd" * 250, True),
        ("abcd" * 250 + "e", False),
    ],
)
def test_what_a_password_is(password: str, good: bool) -> None:
    assert (passwords.fault(password) == "") is good


def test_a_password_is_the_same_however_it_was_typed() -> None:
    assert passwords.verified("cafe\u0301 au lait!", passwords.hashed("caf\u00e9 au lait!"))
    assert not passwords.verified("cafe au lait!", passwords.hashed("caf\u00e9 au lait!"))


def test_signing_in(settings: Settings, connection: Connection, people: People, log: Log) -> None:
    owner = people.owner()
    token = entry.sign_in(connection, settings, f" {owner.email.upper()} ", PASSWORD, owner.browser._replace(session=None))
    assert signed_in(connection, token) == (owner.email, owner.org_id, "OWNER")
    assert log(owner.org_id)[-1] == (owner.email, "session.signed_in", owner.email)
    assert alive(connection, owner), "another browser's session goes on"
    stored = connection.execute(
        "SELECT * FROM foldline_control.sessions WHERE account_id = %s", (owner.account_id,)
    ).fetchall()
    assert token not in str(stored)


def test_a_sign_in_begins_another_session_and_ends_the_one_that_came_with_it(
    settings: Settings, connection: Connection, people: People
) -> None:
    owner, victim = people.owner(), people.owner()
    token = entry.sign_in(connection, settings, victim.email, PASSWORD, owner.browser)
    assert digest_of(token) != owner.session
    assert signed_in(connection, token) == (victim.email, victim.org_id, "OWNER")
    assert not alive(connection, owner)


def test_unknown_and_wrong_are_the_same_answer_after_the_same_time(
    settings: Settings, connection: Connection, people: People
) -> None:
    # In seconds of this thread, the least of several: what else the machine does is not in them.
    many = settings.model_copy(update={"sign_in_failures": 1000})
    passwordless = directory.insert_account(connection, "passwordless@example.com", "No One", None)
    assert passwordless is not None
    subjects = {
        "wrong": people.owner().email,
        "unknown": "nobody@example.com",
        "none": "passwordless@example.com",
        "odd": "x",
    }
    seconds: dict[str, list[float]] = {name: [] for name in subjects}
    for _ in range(8):
        for name, email in subjects.items():
            began = time.thread_time()
            with pytest.raises(Unfit) as raised:
                entry.sign_in(connection, many, email, "not the password", Browser("timing"))
            seconds[name].append(time.thread_time() - began)
            assert raised.value.errors == {"password": "The e-mail address or the password is wrong."}
    least = {name: min(found) for name, found in seconds.items()}
    assert max(least.values()) < 1.3 * min(least.values()), least
    assert not passwords.outdated(passwords.NOBODYS)


def test_a_hash_with_other_parameters_is_replaced_when_its_password_is_seen(
    settings: Settings, connection: Connection, people: People
) -> None:
    owner = people.owner()
    old = Argon2Hasher(time_cost=1, memory_cost=8192, parallelism=1).hash(PASSWORD)
    execute(connection, "set_password", account_id=owner.account_id, password_hash=old)
    entry.sign_in(connection, settings, owner.email, PASSWORD, owner.browser)
    kept = directory.account(connection, owner.account_id).password_hash
    assert kept is not None
    assert kept != old
    assert not passwords.outdated(kept)
    assert passwords.verified(PASSWORD, kept)


def test_an_account_may_fail_so_often_and_not_once_more_however_many_try_at_once(settings: Settings, people: People) -> None:
    owner = people.owner()

    def attempt(number: int) -> str:
        with connect(settings.database_url, "test") as own:
            try:
                entry.sign_in(own, settings, owner.email, "not the password", Browser(f"{owner.email} {number}"))
            except FoldlineError as error:
                return type(error).__name__
        raise AssertionError

    with ThreadPoolExecutor(8) as threads:
        outcomes = list(threads.map(attempt, range(12)))
    assert (outcomes.count("Unfit"), outcomes.count("TooMany")) == (3, 9)


def test_while_an_account_waits_its_password_is_not_looked_at(
    settings: Settings, connection: Connection, people: People
) -> None:
    owner = people.owner()
    for number in range(3):
        entry_fails(connection, settings, owner.email, f"{owner.email} {number}")
    with pytest.raises(TooMany) as raised:
        entry.sign_in(connection, settings, owner.email, PASSWORD, Browser(f"{owner.email} right"))
    assert 890 < raised.value.seconds <= 900
    assert str(raised.value) == "Too many failed attempts. Try again in 15 minutes."


def test_an_account_that_nobody_has_waits_as_any_other(settings: Settings, connection: Connection) -> None:
    for number in range(3):
        entry_fails(connection, settings, "waits@example.com", f"waits {number}")
    with pytest.raises(TooMany):
        entry.sign_in(connection, settings, "waits@example.com", PASSWORD, Browser("waits"))


def entry_fails(connection: Connection, settings: Settings, email: str, address: str) -> None:
    with pytest.raises(Unfit):
        entry.sign_in(connection, settings, email, "not the password", Browser(address))


def test_an_address_may_fail_so_often_whatever_accounts_it_tries(
    settings: Settings, connection: Connection, people: People
) -> None:
    owner = people.owner()
    for number in range(3):
        entry_fails(connection, settings, f"no{number}.{owner.email}", "one address")
    with pytest.raises(TooMany):
        entry.sign_in(connection, settings, owner.email, PASSWORD, Browser("one address"))
    assert entry.sign_in(connection, settings, owner.email, PASSWORD, Browser("another address"))


def test_a_success_clears_what_the_account_failed_and_not_what_the_address_did(
    settings: Settings, connection: Connection, people: People
) -> None:
    owner = people.owner()
    for round_ in range(2):
        for number in range(2):
            entry_fails(connection, settings, owner.email, f"{owner.email} {round_} {number}")
        entry.sign_in(connection, settings, owner.email, PASSWORD, owner.browser)
    for number in range(2):
        entry_fails(connection, settings, f"no{number}.{owner.email}", owner.browser.address)
    entry.sign_in(connection, settings, owner.email, PASSWORD, owner.browser)
    entry_fails(connection, settings, f"no.{owner.email}", owner.browser.address)
    with pytest.raises(TooMany):
        entry.sign_in(connection, settings, owner.email, PASSWORD, owner.browser)


def test_a_window_that_is_over_begins_anew(settings: Settings, connection: Connection, people: People) -> None:
    owner = people.owner()
    for number in range(3):
        entry_fails(connection, settings, owner.email, f"{owner.email} {number}")
    connection.execute("UPDATE foldline_control.attempts SET began_at = began_at - interval '900 seconds'")
    assert entry.sign_in(connection, settings, owner.email, PASSWORD, owner.browser)


def test_what_has_expired_holds_no_more_and_is_swept(settings: Settings, connection: Connection, people: People) -> None:
    owner, other = people.owner(), people.owner()
    connection.execute(
        "UPDATE foldline_control.sessions SET expires_at = now() - interval '1 second' WHERE session_hash = %s",
        (owner.session,),
    )
    assert not alive(connection, owner)
    assert sessions.sessions(connection, owner.account_id) == []
    token = team.invite(connection, settings, other.org_id, other.account_id, "swept@example.com", "MEMBER")
    expire(connection, token)
    sessions.sweep(connection, settings)
    for query, value in (
        ("SELECT count(*) FROM foldline_control.sessions WHERE session_hash = %s", owner.session),
        ("SELECT count(*) FROM foldline_control.links WHERE link_hash = %s", digest_of(token)),
    ):
        assert connection.execute(query.encode(), (value,)).fetchall() == [(0,)]
    assert alive(connection, other)


def test_a_session_lasts_as_long_as_the_setting_says(settings: Settings, connection: Connection, people: People) -> None:
    owner = people.owner()
    brief = settings.model_copy(update={"session_seconds": 60})
    token = entry.sign_in(connection, brief, owner.email, PASSWORD, owner.browser)
    ((seconds,),) = connection.execute(
        "SELECT extract(epoch FROM expires_at - now())::float8 FROM foldline_control.sessions WHERE session_hash = %s",
        (digest_of(token),),
    ).fetchall()
    assert 50 < seconds <= 60


def test_changing_a_password_ends_all_other_sessions_and_open_links(
    settings: Settings, connection: Connection, people: People, log: Log
) -> None:
    owner = people.owner()
    elsewhere = entry.sign_in(connection, settings, owner.email, PASSWORD, Browser("elsewhere"))
    link = entry.reset_link(connection, settings, owner.email)
    entry.change_password(connection, settings, owner.account_id, owner.session, PASSWORD, OTHER_PASSWORD)
    assert alive(connection, owner)
    assert signed_in(connection, elsewhere) is None
    with pytest.raises(LinkGone):
        links.look(connection, link)
    assert log(owner.org_id)[-1] == (owner.email, "password.changed", owner.email)
    with pytest.raises(Unfit):
        entry.sign_in(connection, settings, owner.email, PASSWORD, Browser("old"))
    assert entry.sign_in(connection, settings, owner.email, OTHER_PASSWORD, Browser("new"))


def test_changing_a_password_asks_for_the_current_one_so_often(
    settings: Settings, connection: Connection, people: People
) -> None:
    owner = people.owner()
    for _ in range(3):
        with pytest.raises(Unfit) as raised:
            entry.change_password(connection, settings, owner.account_id, owner.session, "not the password", OTHER_PASSWORD)
        assert raised.value.errors == {"current": "This is not your password."}
    with pytest.raises(TooMany):
        entry.change_password(connection, settings, owner.account_id, owner.session, PASSWORD, OTHER_PASSWORD)


def test_a_reset_works_once_and_ends_every_session(
    settings: Settings, connection: Connection, people: People, log: Log
) -> None:
    owner = people.owner()
    for number in range(3):
        entry_fails(connection, settings, owner.email, f"{owner.email} {number}")
    link = entry.reset_link(connection, settings, owner.email.upper())
    with pytest.raises(Unfit):
        entry.reset(connection, settings, link, "short", Browser("reset"))
    token = entry.reset(connection, settings, link, OTHER_PASSWORD, Browser("reset"))
    assert signed_in(connection, token) == (owner.email, owner.org_id, "OWNER")
    assert not alive(connection, owner)
    assert [row[:2] for row in log(owner.org_id)[-3:]] == [
        ("command line", "password.reset_link_made"),
        (owner.email, "password.reset"),
        (owner.email, "session.signed_in"),
    ]
    with pytest.raises(LinkGone, match="used already"):
        entry.reset(connection, settings, link, PASSWORD, Browser("reset"))
    assert entry.sign_in(connection, settings, owner.email, OTHER_PASSWORD, Browser("cleared"))


def test_a_link_that_was_looked_at_still_works_and_one_that_expired_does_not(
    settings: Settings, connection: Connection, people: People
) -> None:
    owner = people.owner()
    link = entry.reset_link(connection, settings, owner.email)
    for _ in range(3):
        assert links.look(connection, link).email == owner.email
    expire(connection, link)
    with pytest.raises(LinkGone):
        links.look(connection, link)
    with pytest.raises(LinkGone):
        entry.reset(connection, settings, link, OTHER_PASSWORD, Browser("late"))
    assert alive(connection, owner)


def test_a_link_is_used_by_one_of_many(settings: Settings, connection: Connection, people: People) -> None:
    owner = people.owner()
    link = entry.reset_link(connection, settings, owner.email)

    def use(_: int) -> bool:
        with connect(settings.database_url, "test") as own:
            try:
                return entry.reset(own, settings, link, OTHER_PASSWORD, Browser("race")) is not None
            except LinkGone:
                return False

    with ThreadPoolExecutor(6) as threads:
        assert sum(threads.map(use, range(6))) == 1


def test_a_link_does_only_what_it_is_for(settings: Settings, connection: Connection, people: People) -> None:
    owner = people.owner()
    reset = entry.reset_link(connection, settings, owner.email)
    invitation = team.invite(connection, settings, owner.org_id, owner.account_id, "purpose@example.com", "ADMIN")
    for token in (invitation, "nope", "", "x" * 1000):
        with pytest.raises(LinkGone):
            entry.reset(connection, settings, token, OTHER_PASSWORD, Browser("foreign"))
    for token in (reset, invitation, "nope"):
        with pytest.raises(LinkGone):
            entry.enter(connection, settings, token, Browser("foreign"))
    with pytest.raises(LinkGone):
        entry.join(connection, settings, reset, owner.account_id, owner.session)
    assert links.look(connection, reset).purpose == "reset"
    assert links.look(connection, invitation).purpose == "invitation"
    stored = connection.execute("SELECT * FROM foldline_control.links").fetchall()
    assert reset not in str(stored)


def test_a_newer_link_replaces_the_older(settings: Settings, connection: Connection, people: People) -> None:
    owner = people.owner()
    first, second = (entry.reset_link(connection, settings, owner.email) for _ in range(2))
    with pytest.raises(LinkGone):
        links.look(connection, first)
    assert links.look(connection, second).email == owner.email


def test_no_reset_without_an_account(settings: Settings, connection: Connection) -> None:
    for email in ("nobody@example.com", "no address", "a\x00@b"):
        with pytest.raises(FoldlineError, match="there is no account"):
            entry.reset_link(connection, settings, email)


def test_a_new_owner_signs_in_by_a_link_and_sets_a_password(
    settings: Settings, connection: Connection, people: People, log: Log
) -> None:
    org_id = people.organisation()
    with connection.transaction():
        link = entry.insert_owner(connection, settings, org_id, "First@Example.com")
    token = entry.enter(connection, settings, link, Browser("first"))
    assert signed_in(connection, token) == ("first@example.com", org_id, "OWNER")
    with pytest.raises(LinkGone):
        entry.enter(connection, settings, link, Browser("first"))
    account = directory.account_of(connection, "first@example.com")
    assert account is not None
    assert account.password_hash is None
    entry.change_password(connection, settings, account.account_id, digest_of(token), "", OTHER_PASSWORD)
    assert entry.sign_in(connection, settings, "first@example.com", OTHER_PASSWORD, Browser("first"))
    assert log(org_id)[0] == ("command line", "member.joined", "first@example.com")


def test_an_owner_of_two_organisations(settings: Settings, connection: Connection, people: People) -> None:
    owner, second = people.owner(), people.organisation()
    with connection.transaction():
        link = entry.insert_owner(connection, settings, second, owner.email)
    assert [one.org_id for one in directory.memberships(connection, owner.account_id)] == [owner.org_id, second]
    token = entry.enter(connection, settings, link, Browser("second"))
    assert signed_in(connection, token) == (owner.email, second, "OWNER")
    sessions.look_at(connection, owner.account_id, digest_of(token), owner.org_id)
    assert signed_in(connection, token) == (owner.email, owner.org_id, "OWNER")
    with pytest.raises(NotAllowed):
        sessions.look_at(connection, owner.account_id, digest_of(token), people.owner().org_id)
    assert signed_in(connection, token) == (owner.email, owner.org_id, "OWNER")


def test_an_invitation_makes_an_account_or_takes_in_who_has_one(
    settings: Settings, connection: Connection, people: People, log: Log
) -> None:
    owner, other = people.owner(), people.owner()
    closed = settings.model_copy(update={"signup": "closed"})
    for_new = team.invite(connection, settings, owner.org_id, owner.account_id, f"new.{owner.email}", "DEVELOPER")
    token = entry.join_anew(connection, closed, for_new, "New One", PASSWORD, Browser("new"))
    assert signed_in(connection, token) == (f"new.{owner.email}", owner.org_id, "DEVELOPER")
    assert log(owner.org_id)[-2] == (f"new.{owner.email}", "member.joined", f"new.{owner.email}")

    for_other = team.invite(connection, settings, owner.org_id, owner.account_id, other.email.upper(), "ADMIN")
    assert links.look(connection, for_other).has_account
    with pytest.raises(NotAllowed, match="has an account already"):
        entry.join_anew(connection, settings, for_other, "Other", PASSWORD, Browser("other"))
    third = people.owner()
    with pytest.raises(NotAllowed, match=f"This invitation is for {other.email}"):
        entry.join(connection, settings, for_other, third.account_id, third.session)
    entry.join(connection, settings, for_other, other.account_id, other.session)
    rows = execute(connection, "member", session_hash=other.session)
    assert (rows[0][3], rows[0][5]) == (owner.org_id, "ADMIN")
    assert {one.org_id for one in directory.memberships(connection, other.account_id)} == {owner.org_id, other.org_id}


def test_an_account_without_an_organisation_cannot_sign_in_and_says_why(
    settings: Settings, connection: Connection, people: People
) -> None:
    owner = people.owner()
    member = people.joined(owner.org_id, "MEMBER")
    team.remove(connection, owner.org_id, owner.account_id, member.account_id)
    with pytest.raises(NotAllowed, match="belongs to no organisation"):
        entry.sign_in(connection, settings, member.email, PASSWORD, member.browser)
    link = entry.reset_link(connection, settings, member.email)
    assert entry.reset(connection, settings, link, OTHER_PASSWORD, member.browser) is None


def test_sessions_are_listed_and_ended(settings: Settings, connection: Connection, people: People, log: Log) -> None:
    owner, stranger = people.owner(), people.owner()
    agent = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605 Version/18.0 Mobile Safari/604.1"
    tokens = [entry.sign_in(connection, settings, owner.email, PASSWORD, Browser("x", agent)) for _ in range(3)]
    found = sessions.sessions(connection, owner.account_id)
    assert [one.client for one in found] == ["Safari on iPhone"] * 3 + ["Firefox on Linux"]
    sessions.end_one(connection, stranger.account_id, digest_of(tokens[0]).hex())
    assert signed_in(connection, tokens[0]) is not None, "a session ends by its own account only"
    sessions.end_one(connection, owner.account_id, digest_of(tokens[0]).hex())
    assert signed_in(connection, tokens[0]) is None
    assert sessions.end_others(connection, owner.account_id, owner.session) == 2
    assert [one.digest for one in sessions.sessions(connection, owner.account_id)] == [owner.session.hex()]
    sessions.sign_out(connection, owner.session)
    sessions.sign_out(connection, owner.session)
    assert [row[1] for row in log(owner.org_id)][-4:] == ["session.ended"] * 3 + ["session.signed_out"]


@pytest.mark.parametrize(
    ("user_agent", "client"),
    [
        ("Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0", "Firefox on Linux"),
        ("Mozilla/5.0 (Windows NT 10.0) AppleWebKit/537.36 Chrome/142.0 Safari/537.36 Edg/142.0", "Edge on Windows"),
        ("Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 Chrome/142.0 Safari/537.36", "Chrome on macOS"),
        ("Mozilla/5.0 (Linux; Android 15) AppleWebKit/537.36 Chrome/142.0 Mobile Safari/537.36", "Chrome on Android"),
        ("curl/8.5.0", "Another program"),
        ("", "Another program"),
    ],
)
def test_what_a_browser_is_recognised_by(user_agent: str, client: str) -> None:
    assert described(user_agent) == client


def test_a_name_is_changed(connection: Connection, people: People, log: Log) -> None:
    owner = people.owner()
    directory.rename(connection, owner.account_id, "  Ann Lee ")
    assert directory.account(connection, owner.account_id).name == "Ann Lee"
    assert log(owner.org_id)[-1] == (owner.email, "account.renamed", owner.email)
    for name in (" ", "a\nb", "x" * 201):
        with pytest.raises(Unfit):
            directory.rename(connection, owner.account_id, name)
