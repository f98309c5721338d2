"""The ways in: signing up, signing in, and what each kind of link leads to. Each returns the value of a session's cookie."""

from __future__ import annotations

from contextlib import suppress
from typing import Final

from foldline.adapters.postgres import Connection, translated
from foldline.domain.errors import FoldlineError
from foldline.domain.values import printable
from foldline.settings import Settings
from producers import tenants
from producers.accounts import attempts, directory, links, passwords, sessions
from producers.accounts.audit import COMMAND_LINE, record
from producers.accounts.errors import NotAllowed, Unfit
from producers.accounts.sessions import Browser
from producers.accounts.statements import execute

WRONG: Final = "The e-mail address or the password is wrong."
CLOSED: Final = "Accounts are made by invitation here: ask somebody who has one, or whoever runs this service."
TAKEN: Final = "There is an account with this address already: sign in instead."


def sign_up(
    connection: Connection, settings: Settings, organisation: str, email: str, password: str, browser: Browser
) -> str:
    """Makes an account and the organisation that it owns, in one commit. An address that is taken counts as a failed attempt
    from where it was sent. Raises `NotAllowed` where that is closed, `Unfit` and `TooMany`."""
    if settings.signup == "closed":
        raise NotAllowed(CLOSED)
    kept = _fit(email=email, password=password, organisation=organisation)["email"]
    with translated():
        attempts.count(connection, settings, attempts.of_address(browser.address))
        if directory.account_of(connection, kept) is not None:
            raise Unfit({"email": TAKEN})
        attempts.count(connection, settings, attempts.of_sign_ups(browser.address), settings.sign_ups)
        password_hash = passwords.hashed(password)
        with connection.transaction():
            org_id = tenants.insert_organisation(connection, organisation)
            account_id = directory.insert_account(connection, kept, kept.rpartition("@")[0], password_hash)
            if account_id is None:
                raise Unfit({"email": TAKEN})
            directory.insert_membership(connection, org_id, account_id, "OWNER")
            record(connection, org_id, kept, "account.signed_up", kept)
            token = sessions.insert_session(connection, settings, account_id, kept, browser)
        attempts.take_back(connection, attempts.of_address(browser.address))
    return token


def sign_in(connection: Connection, settings: Settings, email: str, password: str, browser: Browser) -> str:
    """A session for an address and its password. Raises `Unfit`, the same and after the same time whichever is wrong,
    `TooMany`, and `NotAllowed` for an account that belongs to no organisation."""
    kept = email.strip().lower()
    with suppress(Unfit):
        kept = directory.normal_email(email)
    with translated():
        sessions.sweep(connection, settings)
        attempts.count(connection, settings, attempts.of_address(browser.address))
        attempts.count(connection, settings, attempts.of_account(kept))
        account = directory.account_of(connection, kept)
        if not passwords.verified(password, account and account.password_hash) or account is None:
            raise Unfit({"password": WRONG})
        with connection.transaction():
            _still(connection, account)
            if account.password_hash and passwords.outdated(account.password_hash):
                execute(
                    connection,
                    "set_password",
                    account_id=account.account_id,
                    password_hash=passwords.hashed(password),
                )
            attempts.take_back(connection, attempts.of_address(browser.address))
            attempts.clear(connection, attempts.of_account(kept))
            return sessions.insert_session(connection, settings, account.account_id, account.email, browser)


def look(connection: Connection, settings: Settings, token: str, address: str) -> links.Link:
    """What a link is for. One that does not work counts as a failed attempt from the address. Raises `LinkGone` and
    `TooMany`."""
    with translated():
        attempts.count(connection, settings, attempts.of_links(address))
        link = links.look(connection, token)
        attempts.take_back(connection, attempts.of_links(address))
    return link


def enter(connection: Connection, settings: Settings, token: str, browser: Browser) -> str:
    """A session by a sign-in link. Raises `LinkGone` and `NotAllowed`."""
    with translated(), connection.transaction():
        link = links.use(connection, token, "sign_in")
        assert link.account_id is not None
        return sessions.insert_session(connection, settings, link.account_id, link.email, browser, link.org_id)


def reset(connection: Connection, settings: Settings, token: str, password: str, browser: Browser) -> str | None:
    """Sets the password of a reset link's account, ends its sessions and other links, and begins a session; None for an
    account that belongs to no organisation. Raises `LinkGone`, and `Unfit`, which does not use the link up."""
    _fit(password=password)
    with translated(), connection.transaction():
        link = links.use(connection, token, "reset")
        assert link.account_id is not None
        directory.insert_password(connection, link.account_id, password)
        execute(connection, "end_other_sessions", account_id=link.account_id, session_hash=b"")
        attempts.clear(connection, attempts.of_account(link.email))
        directory.record_everywhere(connection, link.account_id, link.email, "password.reset", link.email)
        if not directory.memberships(connection, link.account_id):
            return None
        return sessions.insert_session(connection, settings, link.account_id, link.email, browser, link.org_id)


def join(connection: Connection, settings: Settings, token: str, account_id: str, session: bytes) -> None:
    """Takes who is signed in into the organisation that invites them, and lets their session look at it. Raises `LinkGone`,
    and `NotAllowed` for whom it is not meant."""
    with translated(), connection.transaction():
        link = links.use(connection, token, "invitation")
        account = directory.account(connection, account_id)
        if account.email != link.email:
            raise NotAllowed(f"This invitation is for {link.email}, and you are signed in as {account.email}.")
        _join(connection, link, account_id)
        assert link.org_id is not None
        sessions.look_at(connection, account_id, session, link.org_id)


def join_anew(connection: Connection, settings: Settings, token: str, name: str, password: str, browser: Browser) -> str:
    """Makes the account of an invitation, takes it into the organisation, and begins a session. Raises `LinkGone`,
    `NotAllowed` where there is an account already, and `Unfit`, which does not use the link up."""
    kept = _fit(name=name, password=password)
    password_hash = passwords.hashed(password)
    with translated(), connection.transaction():
        link = links.use(connection, token, "invitation")
        account_id = directory.insert_account(connection, link.email, kept["name"], password_hash)
        if account_id is None:
            raise NotAllowed(f"{link.email} has an account already: sign in first, then open this link again.")
        _join(connection, link, account_id)
        return sessions.insert_session(connection, settings, account_id, link.email, browser, link.org_id)


def change_password(
    connection: Connection, settings: Settings, account_id: str, session: bytes, current: str, password: str
) -> None:
    """Sets another password, or the first one, and ends all other sessions. A wrong current password counts as a failed
    sign-in. Raises `Unfit` and `TooMany`."""
    if fault := passwords.fault(password):
        raise Unfit({"password": fault})
    with translated():
        account = directory.account(connection, account_id)
        if account.password_hash is not None:
            attempts.count(connection, settings, attempts.of_account(account.email))
            if not passwords.verified(current, account.password_hash):
                raise Unfit({"current": "This is not your password."})
            attempts.clear(connection, attempts.of_account(account.email))
        with connection.transaction():
            _still(connection, account)
            directory.insert_password(connection, account_id, password)
            execute(connection, "end_other_sessions", account_id=account_id, session_hash=session)
            directory.record_everywhere(connection, account_id, account.email, "password.changed", account.email)


def insert_owner(connection: Connection, settings: Settings, org_id: str, email: str) -> str:
    """Makes an account, new or not, an owner of an organisation, in the transaction that is open. Returns the token of a
    link to sign in once. Raises `Unfit`."""
    kept = directory.normal_email(email)
    found = directory.account_of(connection, kept)
    account_id = found.account_id if found else directory.insert_account(connection, kept, kept.rpartition("@")[0], None)
    assert account_id is not None
    directory.insert_membership(connection, org_id, account_id, "OWNER")
    record(connection, org_id, COMMAND_LINE, "member.joined", kept, role="OWNER")
    return links.insert_link(connection, settings, "sign_in", COMMAND_LINE, account_id=account_id, org_id=org_id)


def reset_link(connection: Connection, settings: Settings, email: str) -> str:
    """The token of a link by which an account is given another password. Raises `FoldlineError` where there is none."""
    with translated(), connection.transaction():
        account = None
        with suppress(Unfit):
            account = directory.account_of(connection, directory.normal_email(email))
        if account is None:
            raise FoldlineError(f"there is no account {printable(email)}")
        directory.record_everywhere(connection, account.account_id, COMMAND_LINE, "password.reset_link_made", account.email)
        return links.insert_link(connection, settings, "reset", COMMAND_LINE, account_id=account.account_id)


def _join(connection: Connection, link: links.Link, account_id: str) -> None:
    assert link.org_id is not None
    assert link.role is not None
    execute(connection, "lock_organisation", org_id=link.org_id)
    if not directory.insert_membership(connection, link.org_id, account_id, link.role):
        raise NotAllowed(f"You belong to {link.org_name} already.")
    record(connection, link.org_id, link.email, "member.joined", link.email, role=link.role, invited_by=link.created_by)


def _still(connection: Connection, account: directory.Account) -> None:
    """Nobody has set another password meanwhile; and nobody does until the transaction ends."""
    ((password_hash,),) = execute(connection, "lock_account", account_id=account.account_id)
    if password_hash != account.password_hash:
        raise Unfit({"password": WRONG})


_CHECKS: Final = {
    "email": directory.normal_email,
    "name": directory.normal_name,
    "organisation": tenants.normal_name,
}


def _fit(**fields: str) -> dict[str, str]:
    """The fields as they are kept. Raises `Unfit` with the faults of all."""
    kept: dict[str, str] = {}
    errors: dict[str, str] = {}
    for field, text in fields.items():
        if field == "password":
            if fault := passwords.fault(text):
                errors[field] = fault
            continue
        try:
            kept[field] = _CHECKS[field](text)
        except Unfit as error:
            errors |= error.errors
        except FoldlineError as error:
            errors[field] = f"{str(error)[0].upper()}{str(error)[1:]}."
    if errors:
        raise Unfit(errors)
    return kept
