-- name: insert_organisation
-- A new organisation.
INSERT INTO foldline_control.organisations (org_id, name) VALUES (%(org_id)s, %(name)s);

-- name: insert_key
-- A new key, by its digest.
INSERT INTO foldline_control.api_keys (key_id, key_hash, org_id, role, hint, created_by)
VALUES (%(key_id)s, %(key_hash)s, %(org_id)s, %(role)s, %(hint)s, %(created_by)s);

-- name: organisations
-- All organisations, oldest first.
SELECT org_id, name, rate_limit, suspended_at, created_at FROM foldline_control.organisations ORDER BY created_at, org_id;

-- name: organisation
-- One organisation.
SELECT org_id, name, rate_limit, suspended_at, created_at FROM foldline_control.organisations WHERE org_id = %(org_id)s;

-- name: set_rate_limit
-- How many requests an organisation may make in a window; NULL is the setting's default.
UPDATE foldline_control.organisations SET rate_limit = %(rate_limit)s WHERE org_id = %(org_id)s RETURNING org_id;

-- name: suspend
-- Closes the API to an organisation.
UPDATE foldline_control.organisations SET suspended_at = coalesce(suspended_at, now())
WHERE org_id = %(org_id)s RETURNING org_id;

-- name: resume
-- Opens the API to an organisation again.
UPDATE foldline_control.organisations SET suspended_at = NULL WHERE org_id = %(org_id)s RETURNING org_id;

-- name: keys
-- The keys of an organisation, or of all where it is NULL, oldest first.
SELECT key_id, org_id, role, hint, created_at, revoked_at, expires_at, last_used_at, created_by,
    revoked_at IS NULL AND coalesce(expires_at > now(), true)
FROM foldline_control.api_keys
WHERE %(org_id)s::text IS NULL OR org_id = %(org_id)s ORDER BY created_at, key_id;

-- name: find_keys
-- The keys that a person may mean, of one organisation or, where it is NULL, of any: by id, by hint, or by the digest of the key
-- itself.
SELECT key_id, org_id, role, hint, created_at, revoked_at, expires_at, last_used_at, created_by,
    revoked_at IS NULL AND coalesce(expires_at > now(), true)
FROM foldline_control.api_keys
WHERE (key_id = %(named)s OR hint = %(named)s OR key_hash = %(key_hash)s)
    AND (%(org_id)s::text IS NULL OR org_id = %(org_id)s)
ORDER BY created_at, key_id FOR UPDATE;

-- name: revoke_key
-- Ends a key.
UPDATE foldline_control.api_keys SET revoked_at = coalesce(revoked_at, now()) WHERE key_id = %(key_id)s;

-- name: replace_key
-- Ends a key that was replaced, at once or after a grace.
UPDATE foldline_control.api_keys SET
    revoked_at = CASE WHEN %(grace_seconds)s = 0 THEN now() END,
    expires_at = CASE WHEN %(grace_seconds)s > 0 THEN now() + %(grace_seconds)s * interval '1 second' END
WHERE key_id = %(key_id)s RETURNING revoked_at, expires_at;

-- name: keys_used
-- When keys were last used, so many seconds ago.
UPDATE foldline_control.api_keys k
SET last_used_at = greatest(k.last_used_at, now() - used.seconds_ago * interval '1 second')
FROM unnest(%(key_ids)s::text[], %(seconds_ago)s::float8[]) AS used (key_id, seconds_ago)
WHERE k.key_id = used.key_id RETURNING k.key_id;

-- name: caller
-- Whose key has a digest, and what it may do.
SELECT k.key_id, k.org_id, k.role, k.revoked_at IS NOT NULL OR coalesce(k.expires_at <= now(), false), o.suspended_at IS NOT NULL, o.rate_limit
FROM foldline_control.api_keys k JOIN foldline_control.organisations o USING (org_id)
WHERE k.key_hash = %(key_hash)s;

-- name: spend
-- Counts requests in the window of an organisation, which begins with its first request: how many there are now, counting
-- no refused ones beyond the last call's, and the seconds until the window ends.
INSERT INTO foldline_control.rate_windows AS w (org_id, started_at, used)
VALUES (%(org_id)s, now(), %(requests)s)
ON CONFLICT (org_id) DO UPDATE SET
    started_at = CASE WHEN w.started_at + %(window)s * interval '1 second' > now() THEN w.started_at ELSE now() END,
    used = CASE WHEN w.started_at + %(window)s * interval '1 second' > now()
        THEN greatest(w.used, least(w.used, %(limit)s) + %(requests)s) ELSE %(requests)s END
RETURNING used, extract(epoch FROM started_at + %(window)s * interval '1 second' - now())::float8;

-- name: peek
-- The window of an organisation as it is.
SELECT used, extract(epoch FROM started_at + %(window)s * interval '1 second' - now())::float8
FROM foldline_control.rate_windows
WHERE org_id = %(org_id)s AND started_at + %(window)s * interval '1 second' > now();
