-- name: add_activity
-- What organisations sent, by steps, and how long one write of a step took until it was readable: added to what is there.
WITH added AS (
    INSERT INTO foldline_control.activity AS a (org_id, at, kind, events, freshness_ms)
    SELECT org_id, to_timestamp(s.at), s.kind, s.events, s.freshness_ms
    FROM unnest(%(org_ids)s::text[], %(ats)s::bigint[], %(kinds)s::text[], %(events)s::bigint[], %(freshness_ms)s::real[])
        AS s (org_id, at, kind, events, freshness_ms)
    JOIN foldline_control.organisations USING (org_id)
    ORDER BY org_id, s.at, s.kind
    ON CONFLICT (org_id, at, kind) DO UPDATE SET
        events = a.events + excluded.events, freshness_ms = coalesce(a.freshness_ms, excluded.freshness_ms)
    RETURNING 1
)
SELECT count(*) FROM added;

-- name: lock
-- One process samples at a time.
SELECT pg_try_advisory_lock(4846821007739151182);

-- name: unlock
-- Another may sample.
SELECT pg_advisory_unlock(4846821007739151182);

-- name: step
-- The step that has begun by the database's clock, and whether it was sampled.
SELECT step, EXISTS (SELECT FROM foldline_control.lag WHERE at = step)
FROM date_bin('10 s', now(), 'epoch') AS step;

-- name: insert_lag
-- How far the processors were behind.
INSERT INTO foldline_control.lag (at, records, seconds) VALUES (%(step)s, %(records)s, %(seconds)s) ON CONFLICT DO NOTHING;

-- name: due
-- What is to be counted: what was never counted, and what was sent since the last count or not yet applied at it. The
-- larger, the less often: a minute for each million of records.
WITH sent AS (
    SELECT org_id, kind, max(at) AS at FROM foldline_control.activity
    WHERE at >= coalesce(
        (SELECT at - seconds * interval '1 s' FROM foldline_control.lag WHERE at < %(step)s ORDER BY at DESC LIMIT 1),
        '-infinity'
    ) - interval '10 min'
    GROUP BY org_id, kind
)
SELECT o.org_id, k.kind
FROM foldline_control.organisations o CROSS JOIN unnest(ARRAY['items', 'users']) AS k (kind)
LEFT JOIN sent s ON s.org_id = o.org_id AND s.kind = k.kind
LEFT JOIN LATERAL (
    SELECT at, active + inactive + deleted AS records FROM foldline_control.record_counts c
    WHERE c.org_id = o.org_id AND c.kind = k.kind ORDER BY at DESC LIMIT 1
) AS c ON true
LEFT JOIN foldline_control.lag l ON l.at = c.at
WHERE c.at IS NULL OR (
    s.at + interval '10 s' >= coalesce(c.at - l.seconds * interval '1 s', '-infinity')
    AND c.at + greatest(10, least(300, c.records * 60 / 1000000)) * interval '1 s' <= %(step)s
)
ORDER BY c.at NULLS FIRST LIMIT %(limit)s;

-- name: count_items
-- How many items an organisation has by status.
INSERT INTO foldline_control.record_counts (org_id, at, kind, active, inactive, deleted)
SELECT %(org_id)s, %(step)s, 'items', count(*) FILTER (WHERE status = 'active'),
    count(*) FILTER (WHERE status = 'inactive'), count(*) FILTER (WHERE status = 'deleted')
FROM foldline.known_items WHERE org_id = %(org_id)s ON CONFLICT DO NOTHING;

-- name: count_users
-- How many users an organisation has by status.
INSERT INTO foldline_control.record_counts (org_id, at, kind, active, inactive, deleted)
SELECT %(org_id)s, %(step)s, 'users', count(*) FILTER (WHERE status = 'active'),
    count(*) FILTER (WHERE status = 'inactive'), count(*) FILTER (WHERE status = 'deleted')
FROM foldline.known_users WHERE org_id = %(org_id)s ON CONFLICT DO NOTHING;

-- name: thin_activity
-- Steps of a day ago become minutes: their events are added up, and of the times to readable one stands for all.
WITH span AS (
    SELECT date_bin('1 min', coalesce(
        (SELECT at FROM foldline_control.lag WHERE at < %(step)s ORDER BY at DESC LIMIT 1), '-infinity'
    ), 'epoch') - interval '1 day' AS begins, date_bin('1 min', %(step)s, 'epoch') - interval '1 day' AS ends
), steps AS (
    DELETE FROM foldline_control.activity a USING span WHERE a.at >= span.begins AND a.at < span.ends RETURNING a.*
)
INSERT INTO foldline_control.activity (org_id, at, kind, events, freshness_ms)
SELECT org_id, date_bin('1 min', at, 'epoch') AS at, kind, sum(events),
    (array_agg(freshness_ms ORDER BY freshness_ms IS NULL, at))[1]
FROM steps GROUP BY org_id, date_bin('1 min', at, 'epoch'), kind;

-- name: thin_lag
-- Steps of a day ago become minutes: the most that the processors were behind in them.
WITH span AS (
    SELECT date_bin('1 min', coalesce(
        (SELECT at FROM foldline_control.lag WHERE at < %(step)s ORDER BY at DESC LIMIT 1), '-infinity'
    ), 'epoch') - interval '1 day' AS begins, date_bin('1 min', %(step)s, 'epoch') - interval '1 day' AS ends
), steps AS (
    DELETE FROM foldline_control.lag l USING span WHERE l.at >= span.begins AND l.at < span.ends RETURNING l.*
)
INSERT INTO foldline_control.lag (at, records, seconds)
SELECT date_bin('1 min', at, 'epoch'), max(records), max(seconds) FROM steps GROUP BY 1;

-- name: forget_activity
-- What is older than it is kept.
DELETE FROM foldline_control.activity a WHERE a.at < %(step)s - %(seconds)s * interval '1 s';

-- name: forget_lag
-- What is older than it is kept.
DELETE FROM foldline_control.lag WHERE at < %(step)s - %(seconds)s * interval '1 s';

-- name: forget_counts
-- What is older than it is kept, but for the last of each, with which what is kept begins.
DELETE FROM foldline_control.record_counts c WHERE c.at < %(step)s - %(seconds)s * interval '1 s' AND EXISTS (
    SELECT FROM foldline_control.record_counts later WHERE later.org_id = c.org_id AND later.kind = c.kind
        AND later.at > c.at AND later.at <= %(step)s - %(seconds)s * interval '1 s'
);

-- name: watched
-- For the metrics: the lag as it was sampled in the last minute, the partitions of the log, imports that are not over by status,
-- and since when the importer has had the oldest of its work, in seconds.
SELECT l.records, l.seconds,
    (SELECT count(*) FROM foldline.positions),
    (
        SELECT coalesce(json_object_agg(status, imports), '{}')::text FROM (
            SELECT status, count(*) AS imports FROM foldline_control.imports
            WHERE status NOT IN ('live', 'failed', 'cancelled') GROUP BY status
        ) AS s
    ),
    (
        SELECT coalesce(extract(epoch FROM now() - min(coalesce(queueing_at, uploaded_at, created_at))), 0)::float8
        FROM foldline_control.imports WHERE status IN ('uploaded', 'validating', 'queueing')
    )
FROM (SELECT) AS one LEFT JOIN LATERAL (
    SELECT records, seconds FROM foldline_control.lag WHERE at > now() - interval '1 min' ORDER BY at DESC LIMIT 1
) AS l ON true;
