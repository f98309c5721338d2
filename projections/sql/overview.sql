-- name: counts_items
-- How many items an organisation has by status, and when they were counted: now where they are few, else when last sampled.
WITH few AS (
    SELECT status FROM foldline.known_items WHERE org_id = %(org_id)s LIMIT %(few)s + 1
)
SELECT active, inactive, deleted, at FROM (
    SELECT count(*) FILTER (WHERE status = 'active') AS active, count(*) FILTER (WHERE status = 'inactive') AS inactive,
        count(*) FILTER (WHERE status = 'deleted') AS deleted, now() AS at
    FROM few HAVING count(*) <= %(few)s
    UNION ALL
    (SELECT active, inactive, deleted, at FROM foldline_control.record_counts
     WHERE org_id = %(org_id)s AND kind = 'items' ORDER BY at DESC LIMIT 1)
) AS counted ORDER BY at DESC LIMIT 1;

-- name: counts_users
-- How many users an organisation has by status, and when they were counted: now where they are few, else when last sampled.
WITH few AS (
    SELECT status FROM foldline.known_users WHERE org_id = %(org_id)s LIMIT %(few)s + 1
)
SELECT active, inactive, deleted, at FROM (
    SELECT count(*) FILTER (WHERE status = 'active') AS active, count(*) FILTER (WHERE status = 'inactive') AS inactive,
        count(*) FILTER (WHERE status = 'deleted') AS deleted, now() AS at
    FROM few HAVING count(*) <= %(few)s
    UNION ALL
    (SELECT active, inactive, deleted, at FROM foldline_control.record_counts
     WHERE org_id = %(org_id)s AND kind = 'users' ORDER BY at DESC LIMIT 1)
) AS counted ORDER BY at DESC LIMIT 1;

-- name: pace
-- Events a second over the minute before a time, the lag as it was last sampled, and of the last hour the median and the 99th
-- percentile of the milliseconds until a write was readable.
SELECT
    (SELECT coalesce(sum(events), 0)::float8 / 60 FROM foldline_control.activity
     WHERE org_id = %(org_id)s AND at >= %(until)s - interval '60 s' AND at < %(until)s),
    l.at, l.records, l.seconds, f.times[1], f.times[2]
FROM (
    SELECT percentile_cont(ARRAY[0.5, 0.99]) WITHIN GROUP (ORDER BY freshness_ms) AS times FROM foldline_control.activity
    WHERE org_id = %(org_id)s AND at >= %(until)s - interval '1 hour'
) AS f LEFT JOIN (SELECT * FROM foldline_control.lag ORDER BY at DESC LIMIT 1) AS l ON true;

-- name: recent_imports
-- The newest imports of an organisation.
SELECT import_id, file_name, kind, status, CASE WHEN validated_at IS NOT NULL THEN rows END, created_by, created_at
FROM foldline_control.imports WHERE org_id = %(org_id)s ORDER BY created_at DESC, import_id LIMIT %(limit)s;

-- name: refused_count
-- How many records of an organisation the fold refused, counted up to a bound.
SELECT count(*) FROM (
    SELECT FROM foldline_control.dead_letters d JOIN foldline_control.generations g USING (generation)
    WHERE g.live AND d.org_id = %(org_id)s LIMIT %(most)s
) AS counted;

-- name: refused
-- The newest records of an organisation that the fold refused.
SELECT d.topic, d.entity_id, d.code, d.message, d.logged_at
FROM foldline_control.dead_letters d JOIN foldline_control.generations g USING (generation)
WHERE g.live AND d.org_id = %(org_id)s ORDER BY d.logged_at DESC LIMIT %(limit)s;

-- name: series_events
-- Events a second by kind, in buckets; the last one as far as it is over.
SELECT extract(epoch FROM b.at)::bigint, coalesce(items, 0) / over, coalesce(users, 0) / over
FROM (
    SELECT at, greatest(10, least(%(bucket)s, extract(epoch FROM %(until)s - at)))::float8 AS over
    FROM generate_series(%(begin)s, %(end)s, %(bucket)s * interval '1 s') AS at
) AS b
LEFT JOIN (
    SELECT date_bin(%(bucket)s * interval '1 s', at, 'epoch') AS at,
        sum(events) FILTER (WHERE kind = 'items')::float8 AS items, sum(events) FILTER (WHERE kind = 'users')::float8 AS users
    FROM foldline_control.activity WHERE org_id = %(org_id)s AND at >= %(begin)s AND at < %(until)s GROUP BY 1
) AS a ON a.at = b.at
ORDER BY b.at;

-- name: series_freshness
-- Milliseconds until a write was readable, median and 99th percentile, in buckets.
SELECT extract(epoch FROM b.at)::bigint, times[1], times[2]
FROM generate_series(%(begin)s, %(end)s, %(bucket)s * interval '1 s') AS b (at)
LEFT JOIN (
    SELECT date_bin(%(bucket)s * interval '1 s', at, 'epoch') AS at,
        percentile_cont(ARRAY[0.5, 0.99]) WITHIN GROUP (ORDER BY freshness_ms) AS times
    FROM foldline_control.activity WHERE org_id = %(org_id)s AND at >= %(begin)s AND freshness_ms IS NOT NULL GROUP BY 1
) AS f ON f.at = b.at
ORDER BY b.at;

-- name: series_lag
-- The most that the processors were behind, in records and in seconds, in buckets.
SELECT extract(epoch FROM b.at)::bigint, records, seconds
FROM generate_series(%(begin)s, %(end)s, %(bucket)s * interval '1 s') AS b (at)
LEFT JOIN (
    SELECT date_bin(%(bucket)s * interval '1 s', at, 'epoch') AS at, max(records) AS records, max(seconds) AS seconds
    FROM foldline_control.lag WHERE at >= %(begin)s GROUP BY 1
) AS l ON l.at = b.at
ORDER BY b.at;

-- name: series_records
-- Records by status at the end of each bucket, as last counted by then.
SELECT extract(epoch FROM b.at)::bigint, active, inactive, deleted
FROM generate_series(%(begin)s, %(end)s, %(bucket)s * interval '1 s') AS b (at)
LEFT JOIN LATERAL (
    SELECT active, inactive, deleted FROM foldline_control.record_counts
    WHERE org_id = %(org_id)s AND kind = %(kind)s AND record_counts.at < b.at + %(bucket)s * interval '1 s'
    ORDER BY at DESC LIMIT 1
) AS c ON true
ORDER BY b.at;
