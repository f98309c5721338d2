-- name: lock_migrations
-- One migration at a time, whoever runs it; held until the transaction ends.
SELECT pg_advisory_xact_lock(7022868215640286820);

-- name: make_migrations_table
-- The past of this database.
CREATE TABLE IF NOT EXISTS public.foldline_migrations (
    name text PRIMARY KEY,
    digest text NOT NULL,
    migrated_at timestamptz NOT NULL DEFAULT now()
);

-- name: past_migrations
-- What has been run, oldest first.
SELECT name, digest FROM public.foldline_migrations ORDER BY name;

-- name: record_migration
-- Remembers a migration that has just run.
INSERT INTO public.foldline_migrations (name, digest) VALUES (%s, %s);

-- name: make_secret
-- Keeps a random value, unless there is one of that name already.
INSERT INTO foldline_control.secrets (name, value) VALUES (%s, %s) ON CONFLICT DO NOTHING;

-- name: views
-- What readers read, the positions first.
SELECT format('%I.%I', schemaname, viewname) FROM pg_views WHERE schemaname = 'foldline'
ORDER BY viewname <> 'positions', viewname;

-- name: live_generation
-- The generation behind the views.
SELECT generation FROM foldline_control.generations WHERE live;

-- name: lock_generations
-- Generations are built and swapped by one at a time: held until the session ends. False where another one does.
SELECT pg_try_advisory_lock(7022868215640286821);

-- name: generations
-- Every generation, with how many records of the log it is folded from.
SELECT g.generation, g.status, g.purpose, g.created_at, g.live_at, g.retired_at,
    coalesce((SELECT sum(p.applied) FROM foldline_control.positions p WHERE p.generation = g.generation), 0)::bigint
FROM foldline_control.generations g ORDER BY g.generation;

-- name: next_generation
-- A number that no generation has had.
SELECT coalesce(max(generation), 0) + 1 FROM foldline_control.generations;

-- name: building
-- The generation that somebody began to build for this.
SELECT generation FROM foldline_control.generations WHERE status = 'building' AND purpose = %s ORDER BY generation DESC LIMIT 1;

-- name: record_generation
-- A generation that is not live yet.
INSERT INTO foldline_control.generations (generation, live, purpose) VALUES (%s, false, %s);

-- name: begin_positions
-- The beginning of every partition that the live generation has folded.
INSERT INTO foldline_control.positions (generation, topic, partition, topic_id)
SELECT %s, topic, partition, topic_id FROM foldline_control.positions p JOIN foldline_control.generations g USING (generation)
WHERE g.live;

-- name: set_live
-- Makes a generation the live one.
UPDATE foldline_control.generations SET live = true, status = 'live', live_at = now() WHERE generation = %s;

-- name: set_built
-- A generation is all there.
UPDATE foldline_control.generations SET status = 'built' WHERE generation = %s;

-- name: retire
-- The live generation is not live any more, and nothing is committed to it.
WITH closed AS (UPDATE foldline_control.positions SET closed = true WHERE generation = %(generation)s)
UPDATE foldline_control.generations SET live = false, status = 'old', retired_at = now() WHERE generation = %(generation)s;

-- name: lock_positions
-- How far the live generation is, and it goes no further until the transaction ends.
SELECT topic, partition, applied FROM foldline_control.positions
WHERE generation = %s AND NOT closed ORDER BY topic, partition FOR UPDATE;

-- name: take_published
-- What was published of one generation is published of the other.
UPDATE foldline_control.positions new SET published = old.published FROM foldline_control.positions old
WHERE new.generation = %(new)s AND old.generation = %(old)s AND old.topic = new.topic AND old.partition = new.partition;

-- name: applied
-- How far a generation is folded.
SELECT topic, partition, applied FROM foldline_control.positions WHERE generation = %s ORDER BY topic, partition;

-- name: rows_items
-- Every item of a generation by key, with a digest of all that its state has.
SELECT org_id, item_id, partition, hashtextextended(
    concat_ws(chr(1), item_type, status, attributes::text, version, first_seen_at, updated_at, partition, "offset", ids), 0),
    NULL
FROM {schema}.items ORDER BY org_id, item_id;

-- name: rows_users
-- Every user of a generation by key, with a digest of all that its state has.
SELECT org_id, user_id, partition, hashtextextended(
    concat_ws(chr(1), created_at, status, attributes::text, version, first_seen_at, updated_at, partition, "offset",
        keys::text, ids), 0),
    keys
FROM {schema}.users ORDER BY org_id, user_id;

-- name: moved_items
-- Items that either generation has changed since some positions, and that differ now.
SELECT coalesce(o.partition, n.partition), coalesce(o.org_id, n.org_id), coalesce(o.item_id, n.item_id)
FROM (SELECT * FROM {old}.items WHERE "offset" >= (%(since)s::bigint[])[partition + 1]) o
FULL JOIN (SELECT * FROM {new}.items WHERE "offset" >= (%(since)s::bigint[])[partition + 1]) n
    ON n.org_id = o.org_id AND n.item_id = o.item_id
WHERE (o.item_type, o.status, o.attributes, o.version, o.first_seen_at, o.updated_at, o.partition, o."offset", o.ids)
    IS DISTINCT FROM (n.item_type, n.status, n.attributes, n.version, n.first_seen_at, n.updated_at, n.partition, n."offset", n.ids);

-- name: moved_users
-- Users that either generation has changed since some positions, and that differ now.
SELECT coalesce(o.partition, n.partition), coalesce(o.org_id, n.org_id), coalesce(o.user_id, n.user_id)
FROM (SELECT * FROM {old}.users WHERE "offset" >= (%(since)s::bigint[])[partition + 1]) o
FULL JOIN (SELECT * FROM {new}.users WHERE "offset" >= (%(since)s::bigint[])[partition + 1]) n
    ON n.org_id = o.org_id AND n.user_id = o.user_id
WHERE (o.created_at, o.status, o.attributes, o.version, o.first_seen_at, o.updated_at, o.partition, o."offset", o.keys, o.ids)
    IS DISTINCT FROM
    (n.created_at, n.status, n.attributes, n.version, n.first_seen_at, n.updated_at, n.partition, n."offset", n.keys, n.ids);

-- name: destroyed
-- Those of some keys that were destroyed.
SELECT key_id FROM foldline_control.user_keys WHERE key_id = ANY (%s) AND wrapped IS NULL;

-- name: destroy_ended
-- Destroys what the generation has ended that is live from now on.
WITH gone AS (DELETE FROM foldline_control.generation_ends WHERE generation = %s RETURNING key_id)
SELECT foldline_control.destroy_keys(array_agg(key_id)) FROM gone HAVING count(*) > 0;

-- name: copy_pending
-- Records that are to be published from a generation's table.
COPY pg_temp.pending FROM STDIN;

-- name: make_pending
-- Where they are copied to.
CREATE TEMPORARY TABLE IF NOT EXISTS pending (topic text, partition integer, org_id text, entity_id text) ON COMMIT DELETE ROWS;

-- name: insert_pending
-- Keeps them.
INSERT INTO foldline_control.pending_publications (generation, topic, partition, org_id, entity_id)
SELECT %s, topic, partition, org_id, entity_id FROM pg_temp.pending ON CONFLICT DO NOTHING;

-- name: take_pending
-- What was to be published of one generation is to be published of the other.
INSERT INTO foldline_control.pending_publications AS p (generation, topic, partition, org_id, entity_id, due_at)
SELECT %(new)s, topic, partition, org_id, entity_id, due_at FROM foldline_control.pending_publications
WHERE generation = %(old)s
ON CONFLICT (generation, topic, partition, org_id, entity_id) DO UPDATE SET due_at = greatest(p.due_at, excluded.due_at);

-- name: drop_rows
-- Forgets a generation that is not live.
WITH a AS (DELETE FROM foldline_control.dead_letters WHERE generation = %(generation)s),
    b AS (DELETE FROM foldline_control.positions WHERE generation = %(generation)s)
DELETE FROM foldline_control.pending_publications WHERE generation = %(generation)s;

-- name: drop_generation
-- The last that is known of it.
DELETE FROM foldline_control.generations WHERE generation = %s AND NOT live;

-- name: expired
-- Generations that were live until more than a day ago, and all but the newest of those that were live.
SELECT generation FROM foldline_control.generations g WHERE status = 'old' AND (retired_at < now() - interval '1 day'
    OR EXISTS (SELECT 1 FROM foldline_control.generations o WHERE o.status = 'old' AND o.retired_at > g.retired_at));
