-- name: member
-- Who is signed in by a session, as a member of its organisation, and whether it is a minute since they were last seen.
SELECT a.account_id, a.email, a.name, o.org_id, o.name, m.role, o.suspended_at IS NOT NULL,
    s.last_seen_at < now() - interval '1 minute'
FROM foldline_control.sessions s
JOIN foldline_control.accounts a USING (account_id)
JOIN foldline_control.memberships m USING (org_id, account_id)
JOIN foldline_control.organisations o USING (org_id)
WHERE s.session_hash = %(session_hash)s AND s.expires_at > now();

-- name: seen
-- That a session was just used.
UPDATE foldline_control.sessions SET last_seen_at = now() WHERE session_hash = %(session_hash)s RETURNING org_id;

-- name: record
-- An entry of the audit log.
INSERT INTO foldline_control.audit_log (org_id, actor, action, subject, detail)
VALUES (%(org_id)s, %(actor)s, %(action)s, %(subject)s, %(detail)s);

-- name: entries
-- Entries of the audit log, newest first, where they are below `before`, and of an action and an actor where they are given.
SELECT audit_id, at, actor, action, subject, detail FROM foldline_control.audit_log
WHERE org_id = %(org_id)s AND audit_id < coalesce(%(before)s, 9223372036854775807)
    AND (%(action)s::text = '' OR action = %(action)s) AND (%(actor)s::text = '' OR actor = %(actor)s)
ORDER BY audit_id DESC LIMIT %(limit)s;

-- name: askers_of_erasures
-- Who asked for users to be erased, by request.
SELECT detail ->> 'request_id', actor FROM foldline_control.audit_log
WHERE org_id = %(org_id)s AND action = %(action)s AND detail ->> 'request_id' = ANY (%(requests)s::text[]);

-- name: actions
-- The actions in the audit log of an organisation, each found by one step in the index.
WITH RECURSIVE found (action) AS (
    (SELECT action FROM foldline_control.audit_log WHERE org_id = %(org_id)s ORDER BY action LIMIT 1)
    UNION ALL
    SELECT (SELECT l.action FROM foldline_control.audit_log l
        WHERE l.org_id = %(org_id)s AND l.action > found.action ORDER BY l.action LIMIT 1)
    FROM found WHERE found.action IS NOT NULL
)
SELECT action FROM found WHERE action IS NOT NULL LIMIT 200;

-- name: actors
-- The actors in the audit log of an organisation, each found by one step in the index.
WITH RECURSIVE found (actor) AS (
    (SELECT actor FROM foldline_control.audit_log WHERE org_id = %(org_id)s ORDER BY actor LIMIT 1)
    UNION ALL
    SELECT (SELECT l.actor FROM foldline_control.audit_log l
        WHERE l.org_id = %(org_id)s AND l.actor > found.actor ORDER BY l.actor LIMIT 1)
    FROM found WHERE found.actor IS NOT NULL
)
SELECT actor FROM found WHERE actor IS NOT NULL LIMIT 200;

-- name: account_of
-- The account with an e-mail address.
SELECT account_id, email, name, password_hash FROM foldline_control.accounts WHERE email = %(email)s;

-- name: account
-- An account.
SELECT account_id, email, name, password_hash FROM foldline_control.accounts WHERE account_id = %(account_id)s;

-- name: lock_account
-- An account's password as it is, and stays until the transaction ends.
SELECT password_hash FROM foldline_control.accounts WHERE account_id = %(account_id)s FOR NO KEY UPDATE;

-- name: insert_account
-- A new account, unless the address has one.
INSERT INTO foldline_control.accounts (account_id, email, name, password_hash)
VALUES (%(account_id)s, %(email)s, %(name)s, %(password_hash)s)
ON CONFLICT (email) DO NOTHING RETURNING account_id;

-- name: rename
-- Another name for an account.
UPDATE foldline_control.accounts SET name = %(name)s WHERE account_id = %(account_id)s;

-- name: set_password
-- Another password for an account.
UPDATE foldline_control.accounts SET password_hash = %(password_hash)s WHERE account_id = %(account_id)s;

-- name: memberships
-- The organisations of an account: the one that its last session looked at first, then the oldest membership.
SELECT m.org_id, o.name, m.role
FROM foldline_control.memberships m JOIN foldline_control.organisations o USING (org_id)
WHERE m.account_id = %(account_id)s
ORDER BY (SELECT max(s.last_seen_at) FROM foldline_control.sessions s
    WHERE s.account_id = m.account_id AND s.org_id = m.org_id) DESC NULLS LAST, m.created_at, m.org_id;

-- name: insert_membership
-- Lets an account belong to an organisation; no row where it did.
INSERT INTO foldline_control.memberships (org_id, account_id, role) VALUES (%(org_id)s, %(account_id)s, %(role)s)
ON CONFLICT DO NOTHING RETURNING org_id;

-- name: insert_session
-- A new session.
INSERT INTO foldline_control.sessions (session_hash, account_id, org_id, client, expires_at)
VALUES (%(session_hash)s, %(account_id)s, %(org_id)s, %(client)s, now() + %(seconds)s * interval '1 second');

-- name: sessions
-- The sessions of an account, the last used first.
SELECT encode(s.session_hash, 'hex'), s.client, o.name, s.created_at, s.last_seen_at
FROM foldline_control.sessions s JOIN foldline_control.organisations o USING (org_id)
WHERE s.account_id = %(account_id)s AND s.expires_at > now() ORDER BY s.last_seen_at DESC, s.session_hash;

-- name: end_session
-- Ends a session: where it was, and whose.
DELETE FROM foldline_control.sessions s USING foldline_control.accounts a
WHERE s.session_hash = %(session_hash)s AND a.account_id = s.account_id RETURNING s.org_id, a.email;

-- name: end_own_session
-- Ends a session of an account by its digest.
DELETE FROM foldline_control.sessions s USING foldline_control.accounts a
WHERE s.account_id = %(account_id)s AND encode(s.session_hash, 'hex') = %(digest)s AND a.account_id = s.account_id
RETURNING s.org_id, a.email, s.client;

-- name: end_other_sessions
-- Ends all sessions of an account but one.
DELETE FROM foldline_control.sessions s USING foldline_control.accounts a
WHERE s.account_id = %(account_id)s AND s.session_hash <> %(session_hash)s AND a.account_id = s.account_id
RETURNING s.org_id, a.email, s.client;

-- name: end_sessions_in
-- Ends the sessions of an account that look at an organisation.
DELETE FROM foldline_control.sessions WHERE account_id = %(account_id)s AND org_id = %(org_id)s;

-- name: look_at
-- Lets a session look at another organisation of its account.
UPDATE foldline_control.sessions s SET org_id = m.org_id FROM foldline_control.memberships m
WHERE s.session_hash = %(session_hash)s AND s.account_id = %(account_id)s
    AND m.account_id = s.account_id AND m.org_id = %(org_id)s
RETURNING s.org_id;

-- name: sweep_sessions
-- Removes sessions that have expired.
DELETE FROM foldline_control.sessions WHERE session_hash IN (
    SELECT session_hash FROM foldline_control.sessions WHERE expires_at < now() LIMIT 1000 FOR UPDATE SKIP LOCKED);

-- name: sweep_links
-- Removes links that have expired.
DELETE FROM foldline_control.links WHERE link_hash IN (
    SELECT link_hash FROM foldline_control.links WHERE expires_at < now() LIMIT 1000 FOR UPDATE SKIP LOCKED);

-- name: sweep_attempts
-- Removes counts whose window is over.
DELETE FROM foldline_control.attempts WHERE subject IN (
    SELECT subject FROM foldline_control.attempts WHERE began_at < now() - %(window)s * interval '1 second'
    LIMIT 1000 FOR UPDATE SKIP LOCKED);

-- name: count_attempt
-- Counts a failure in the window of a subject, which begins with its first: how many there are now, counting no more than one
-- beyond the limit, and the seconds until the window ends.
INSERT INTO foldline_control.attempts AS a (subject, failures) VALUES (%(subject)s, 1)
ON CONFLICT (subject) DO UPDATE SET
    began_at = CASE WHEN a.began_at + %(window)s * interval '1 second' > now() THEN a.began_at ELSE now() END,
    failures = CASE WHEN a.began_at + %(window)s * interval '1 second' > now()
        THEN least(a.failures, %(limit)s) + 1 ELSE 1 END
RETURNING failures, extract(epoch FROM began_at + %(window)s * interval '1 second' - now())::float8;

-- name: take_back_attempt
-- What was counted last did not fail.
UPDATE foldline_control.attempts SET failures = greatest(failures - 1, 0) WHERE subject = %(subject)s;

-- name: clear_attempts
-- Nothing has failed.
DELETE FROM foldline_control.attempts WHERE subject = %(subject)s;

-- name: insert_link
-- A new link.
INSERT INTO foldline_control.links (link_hash, purpose, account_id, org_id, email, role, created_by, expires_at)
VALUES (%(link_hash)s, %(purpose)s, %(account_id)s, %(org_id)s, %(email)s, %(role)s, %(created_by)s,
    now() + %(seconds)s * interval '1 second');

-- name: replace_links
-- Removes open links of a purpose for an account, or for an address in an organisation.
DELETE FROM foldline_control.links
WHERE purpose = %(purpose)s AND used_at IS NULL AND (account_id = %(account_id)s::text
    OR (org_id = %(org_id)s::text AND email = %(email)s::text));

-- name: link
-- What an open link is for.
SELECT l.purpose, l.account_id, l.org_id, coalesce(l.email, a.email), l.role, o.name, l.created_by, l.expires_at,
    a.account_id IS NOT NULL, a.password_hash IS NOT NULL
FROM foldline_control.links l
LEFT JOIN foldline_control.accounts a ON a.account_id = l.account_id OR a.email = l.email
LEFT JOIN foldline_control.organisations o ON o.org_id = l.org_id
WHERE l.link_hash = %(link_hash)s AND l.used_at IS NULL AND l.expires_at > now();

-- name: use_link
-- Uses an open link up; no row where somebody else did.
UPDATE foldline_control.links SET used_at = now()
WHERE link_hash = %(link_hash)s AND used_at IS NULL AND expires_at > now() RETURNING purpose;

-- name: void_links_of_account
-- Ends the open links for an account; or those by which somebody else of an organisation could become it.
DELETE FROM foldline_control.links WHERE account_id = %(account_id)s AND used_at IS NULL
    AND (NOT %(only_of_organisations)s OR (purpose = 'reset' AND org_id IS NOT NULL));

-- name: void_links_by
-- Ends the open links that somebody made for an organisation.
DELETE FROM foldline_control.links WHERE org_id = %(org_id)s AND created_by = %(created_by)s AND used_at IS NULL;

-- name: lock_organisation
-- Keeps others from changing the people of an organisation meanwhile.
SELECT org_id FROM foldline_control.organisations WHERE org_id = %(org_id)s FOR NO KEY UPDATE;

-- name: members
-- The people of an organisation, the highest role first, and when they last looked at it.
SELECT a.account_id, a.email, a.name, m.role, m.created_at,
    (SELECT max(s.last_seen_at) FROM foldline_control.sessions s
        WHERE s.account_id = m.account_id AND s.org_id = m.org_id)
FROM foldline_control.memberships m JOIN foldline_control.accounts a USING (account_id)
WHERE m.org_id = %(org_id)s
ORDER BY array_position('{OWNER,ADMIN,DEVELOPER,MEMBER}', m.role), lower(a.name), a.email;

-- name: membership
-- One person of an organisation.
SELECT a.account_id, a.email, m.role FROM foldline_control.memberships m JOIN foldline_control.accounts a USING (account_id)
WHERE m.org_id = %(org_id)s AND m.account_id = %(account_id)s;

-- name: owners
-- How many owners an organisation has.
SELECT count(*) FROM foldline_control.memberships WHERE org_id = %(org_id)s AND role = 'OWNER';

-- name: set_role
-- Another role for somebody.
UPDATE foldline_control.memberships SET role = %(role)s WHERE org_id = %(org_id)s AND account_id = %(account_id)s;

-- name: delete_membership
-- Ends a membership.
DELETE FROM foldline_control.memberships WHERE org_id = %(org_id)s AND account_id = %(account_id)s;

-- name: invitations
-- The open invitations of an organisation, newest first.
SELECT email, role, coalesce(created_by, ''), created_at, expires_at FROM foldline_control.links
WHERE org_id = %(org_id)s AND purpose = 'invitation' AND used_at IS NULL AND expires_at > now()
ORDER BY created_at DESC, email;

-- name: withdraw_invitation
-- Ends the open invitation of an address.
DELETE FROM foldline_control.links
WHERE org_id = %(org_id)s AND purpose = 'invitation' AND email = %(email)s AND used_at IS NULL AND expires_at > now()
RETURNING role;
