-- name: session
-- Where this connection is, as whom, and whether nothing can be written there.
SELECT current_database(), current_user, current_setting('transaction_read_only');

-- name: waits
-- How long a question may take, and how long it may wait for who holds what it reads.
SELECT set_config('statement_timeout', %s, false), set_config('lock_timeout', %s, false);

-- name: server
-- The server's version, whether it keeps what it has committed, and how many connections there are and may be.
SELECT current_setting('server_version_num')::integer, current_setting('fsync'), current_setting('full_page_writes'),
    (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'), current_setting('max_connections')::integer;

-- name: has_migrations
-- Whether `foldline init` has ever run here.
SELECT to_regclass('public.foldline_migrations') IS NOT NULL;

-- name: past_migrations
-- What has been run, oldest first.
SELECT name, digest FROM public.foldline_migrations ORDER BY name;

-- name: user
-- What decides whether this user may migrate.
SELECT rolname, rolsuper, rolcreaterole, has_database_privilege(current_database(), 'CREATE')
FROM pg_roles WHERE rolname = current_user;

-- name: memberships
-- Those of some roles that this user has.
SELECT rolname FROM pg_roles WHERE rolname = ANY (%s) AND pg_has_role(oid, 'USAGE') ORDER BY rolname;

-- name: size
-- How large this database is.
SELECT pg_database_size(current_database()), pg_size_pretty(pg_database_size(current_database()));

-- name: clock
-- What time it is there, in seconds since the epoch.
SELECT extract(epoch FROM clock_timestamp());

-- name: keyring
-- What the master key opens.
SELECT ids_secret FROM foldline_control.keyring;

-- name: masters
-- Which master keys wrap keys of users.
SELECT DISTINCT substr(wrapped, 1, 8) FROM foldline_control.user_keys WHERE wrapped IS NOT NULL;

-- name: keyless
-- How many organisations there are, how many of them are not suspended and have no secret key that works, and some of these.
SELECT (SELECT count(*) FROM foldline_control.organisations), count(*),
    (array_agg(o.org_id ORDER BY o.created_at, o.org_id))[1:100]
FROM foldline_control.organisations o
WHERE o.suspended_at IS NULL AND NOT EXISTS (
    SELECT FROM foldline_control.api_keys k
    WHERE k.org_id = o.org_id AND k.role = 'secret' AND k.revoked_at IS NULL AND coalesce(k.expires_at > now(), true)
);

-- name: claims
-- What the live generation says of the log that was folded.
SELECT p.topic, p.partition, p.topic_id, p.applied, p.last_offset, p.last_digest
FROM foldline_control.positions p JOIN foldline_control.generations g USING (generation)
WHERE g.live AND NOT p.closed ORDER BY p.topic, p.partition;

-- name: positions
-- How far the live generation is folded and published.
SELECT topic, partition, applied, published FROM foldline.positions ORDER BY topic, partition;

-- name: overdue
-- How many states were to be published, without an event, more than so many seconds ago.
SELECT count(*) FROM foldline_control.pending_publications p JOIN foldline_control.generations g USING (generation)
WHERE g.live AND p.due_at < now() - %s * interval '1 second';

-- name: rebuild_held
-- Whether somebody builds or swaps a generation now: the lock of `lock_generations`.
SELECT EXISTS (
    SELECT FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 1
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
        AND (classid::bigint << 32 | objid::bigint) = 7022868215640286821
);
