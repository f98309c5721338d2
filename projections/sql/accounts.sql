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
