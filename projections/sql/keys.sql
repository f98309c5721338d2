-- name: keys_for
-- The current keys of an organisation's users, made of the candidates where there are none.
SELECT user_id, key_id, wrapped, deleting FROM foldline_control.keys_for(%s, %s, %s, %s, %s);

-- name: begin_deletions
-- Retires the keys of users that are about to be deleted; the users that another request is deleting now.
SELECT user_id FROM foldline_control.begin_deletions(
    %(org_id)s, %(request_id)s, %(seconds)s, %(users)s::text[], %(events)s::text[],
    %(own_users)s::text[], %(own_keys)s::bytea[], %(own_wrapped)s::bytea[], %(own_events)s::text[]
);

-- name: end_deletions
-- The deletions of a request are in the log, or nothing of them is: how many were still this request's.
WITH ended AS (
    DELETE FROM foldline_control.deletions WHERE org_id = %s AND user_id = ANY (%s) AND request_id = %s AND until > now() RETURNING 1
)
SELECT count(*) FROM ended;

-- name: retired
-- Which of these keys seal nothing more.
SELECT key_id FROM foldline_control.user_keys WHERE key_id = ANY (%s) AND retired_at IS NOT NULL;

-- name: make_keyring
-- Makes the keyring, unless there is one.
INSERT INTO foldline_control.keyring (ids_secret) VALUES (%s) ON CONFLICT DO NOTHING;

-- name: keyring
-- What tells whether the id of a key was given here.
SELECT ids_secret FROM foldline_control.keyring;

-- name: keys
-- Users' keys by id; what was destroyed is NULL.
SELECT key_id, wrapped FROM foldline_control.user_keys WHERE key_id = ANY (%s);
