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

-- name: live_generation
-- The generation behind the views.
SELECT generation FROM foldline_control.generations WHERE live;

-- name: record_generation
-- A generation that is not live yet.
INSERT INTO foldline_control.generations (generation, live) VALUES (%s, false);

-- name: set_live
-- Makes a generation the live one.
UPDATE foldline_control.generations SET live = true WHERE generation = %s;
