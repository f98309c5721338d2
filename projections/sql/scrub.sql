-- name: erased
-- Whether anything was erased in transactions that began then or later, and when the oldest one began that still runs here.
SELECT EXISTS (SELECT FROM foldline_control.erasures WHERE %(since)s::timestamptz IS NULL OR erased_at >= %(since)s),
    (SELECT least(now(), min(xact_start)) FROM pg_stat_activity WHERE datname = current_database());

-- name: tables
-- The tables in which an erasure leaves dead rows.
SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND (
    (n.nspname = 'foldline_control' AND c.relname IN ('user_keys', 'dead_letters', 'imports', 'import_files'))
    OR (c.relname = 'users' AND n.nspname IN (SELECT 'gen_' || generation FROM foldline_control.generations)))
ORDER BY 1;

-- name: vacuum
-- Removes the dead rows of a table, unless somebody else is at it.
VACUUM (SKIP_LOCKED) {table};
