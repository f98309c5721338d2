-- name: hold
-- One rotation at a time: held until the session ends. False where another one is under way.
SELECT pg_try_advisory_lock(7022868215640286824);

-- name: durable
-- What this transaction commits is on the disk.
SET LOCAL synchronous_commit = on;

-- name: keep_out
-- Nobody makes keys until the transaction ends.
SELECT pg_advisory_xact_lock(7022868215640286823);

-- name: keyring
-- What tells whether the id of a key was given here.
SELECT ids_secret FROM foldline_control.keyring FOR UPDATE;

-- name: set_keyring
-- The same, wrapped by the master key that wraps what is new from here on.
UPDATE foldline_control.keyring SET ids_secret = %s;

-- name: masters
-- Which master keys wrap keys of users.
SELECT DISTINCT substr(wrapped, 1, 8) FROM foldline_control.user_keys WHERE wrapped IS NOT NULL;

-- name: left
-- How many keys are wrapped by another master key.
SELECT count(*) FROM foldline_control.user_keys WHERE substr(wrapped, 1, 8) <> %s;

-- name: batch
-- Some of them, those left out that somebody is at: who waits for nobody, and holds them briefly, stops nobody.
SELECT key_id, wrapped FROM foldline_control.user_keys
WHERE key_id > %s AND substr(wrapped, 1, 8) <> %s ORDER BY key_id LIMIT %s FOR NO KEY UPDATE SKIP LOCKED;

-- name: straggler
-- One of them, waited for: who waits holds nothing.
SELECT key_id, wrapped FROM foldline_control.user_keys WHERE substr(wrapped, 1, 8) <> %s LIMIT 1 FOR NO KEY UPDATE;

-- name: rewrap
-- Keys of users as they are wrapped now.
UPDATE foldline_control.user_keys k SET wrapped = x.wrapped
FROM unnest(%s::bytea[], %s::bytea[]) AS x (key_id, wrapped) WHERE k.key_id = x.key_id;
