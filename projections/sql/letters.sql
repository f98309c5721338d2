-- name: letters
-- Dead letters of the live generation with the newest redrive of each, and the letter that each is a redrive of. The filters are
-- some of those below.
SELECT d.topic, d.partition, d."offset", d.org_id, d.entity_id, d.request_id, d.record_index, d.code, d.field, d.message,
    (extract(epoch FROM d.logged_at) * 1000000)::bigint, coalesce(octet_length(d.value), 0),
    r.attempt, r.asked_by, (extract(epoch FROM r.asked_at) * 1000000)::bigint, r.to_partition, r.log_end, r.landed_offset,
    o.topic || ':' || o.partition || ':' || o."offset",
    CASE WHEN %(raw)s THEN d.key END, CASE WHEN %(raw)s THEN d.value END
FROM (
    SELECT * FROM foldline_control.dead_letters d
    WHERE d.generation = (SELECT generation FROM foldline_control.generations WHERE live)
        AND d.topic = ANY(%(topics)s::text[]) {filters}
    ORDER BY d.logged_at {order}, d.topic {order}, d.partition {order}, d."offset" {order} LIMIT %(limit)s
) AS d
LEFT JOIN LATERAL (
    SELECT * FROM foldline_control.redrives r
    WHERE r.topic = d.topic AND r.partition = d.partition AND r."offset" = d."offset" ORDER BY r.attempt DESC LIMIT 1
) AS r ON true
LEFT JOIN LATERAL (
    SELECT * FROM foldline_control.redrives o
    WHERE o.topic = d.topic AND o.to_partition = d.partition AND o.landed_offset = d."offset" LIMIT 1
) AS o ON true
ORDER BY d.logged_at {order}, d.topic {order}, d.partition {order}, d."offset" {order};

-- name: places
-- Where those dead letters lie and how large they are, oldest first.
SELECT d.topic, d.partition, d."offset", coalesce(octet_length(d.value), 0)
FROM foldline_control.dead_letters d
WHERE d.generation = (SELECT generation FROM foldline_control.generations WHERE live)
    AND d.topic = ANY(%(topics)s::text[]) {filters}
ORDER BY d.logged_at, d.topic, d.partition, d."offset" LIMIT %(limit)s;

-- name: groups
-- Those dead letters by reason: how many, how many of them were not redriven, when the first and the last came.
SELECT d.code, count(*), count(*) - count(r.topic),
    (extract(epoch FROM min(d.logged_at)) * 1000000)::bigint, (extract(epoch FROM max(d.logged_at)) * 1000000)::bigint
FROM foldline_control.dead_letters d
LEFT JOIN (
    SELECT DISTINCT topic, partition, "offset" FROM foldline_control.redrives WHERE landed_offset IS NOT NULL
) AS r ON r.topic = d.topic AND r.partition = d.partition AND r."offset" = d."offset"
WHERE d.generation = (SELECT generation FROM foldline_control.generations WHERE live)
    AND d.topic = ANY(%(topics)s::text[]) {filters}
GROUP BY d.code ORDER BY 3 DESC, 2 DESC, 1;

-- name: filter_org_id
-- An organisation's.
AND d.org_id = %(org_id)s

-- name: filter_code
-- Of one reason.
AND d.code = %(code)s

-- name: filter_entity_id
-- Of one record.
AND d.entity_id = %(entity_id)s

-- name: filter_since
-- That came then or later.
AND d.logged_at >= to_timestamp(%(since)s / 1000000) + (%(since)s %% 1000000) * interval '1 microsecond'

-- name: filter_until
-- That came then or earlier.
AND d.logged_at <= to_timestamp(%(until)s / 1000000) + (%(until)s %% 1000000) * interval '1 microsecond'

-- name: filter_waiting
-- That were not redriven, as far as is known.
AND NOT EXISTS (
    SELECT 1 FROM foldline_control.redrives w
    WHERE w.topic = d.topic AND w.partition = d.partition AND w."offset" = d."offset" AND w.landed_offset IS NOT NULL
)

-- name: filter_redriven
-- That were redriven.
AND EXISTS (
    SELECT 1 FROM foldline_control.redrives w
    WHERE w.topic = d.topic AND w.partition = d.partition AND w."offset" = d."offset" AND w.landed_offset IS NOT NULL
)

-- name: filter_places
-- That lie there.
AND (d.topic, d.partition, d."offset") IN
    (SELECT * FROM unnest(%(at_topics)s::text[], %(at_partitions)s::integer[], %(at_offsets)s::bigint[]))

-- name: filter_before
-- Older than a letter. The first condition is for the index.
AND d.logged_at <= to_timestamp(%(before_at)s / 1000000) + (%(before_at)s %% 1000000) * interval '1 microsecond'
AND (d.logged_at, d.topic, d.partition, d."offset") < (
    to_timestamp(%(before_at)s / 1000000) + (%(before_at)s %% 1000000) * interval '1 microsecond',
    %(before_topic)s, %(before_partition)s, %(before_offset)s
)

-- name: states_items
-- The items of a JSON array of [organisation, id] pairs.
SELECT t.org_id, t.item_id, t.item_type, t.status, t.attributes::text, t.version,
    (extract(epoch FROM t.first_seen_at) * 1000000)::bigint, (extract(epoch FROM t.updated_at) * 1000000)::bigint,
    t.partition, t."offset"
FROM json_array_elements(%s::json) AS pair JOIN foldline.known_items t ON t.org_id = pair ->> 0 AND t.item_id = pair ->> 1;

-- name: states_users
-- The users of a JSON array of [organisation, id] pairs.
SELECT t.org_id, t.user_id, (extract(epoch FROM t.created_at) * 1000000)::bigint, t.status, t.attributes::text, t.version,
    (extract(epoch FROM t.first_seen_at) * 1000000)::bigint, (extract(epoch FROM t.updated_at) * 1000000)::bigint,
    t.partition, t."offset"
FROM json_array_elements(%s::json) AS pair JOIN foldline.known_users t ON t.org_id = pair ->> 0 AND t.user_id = pair ->> 1;

-- name: organisations
-- Those of a list of organisations that there are.
SELECT org_id FROM foldline_control.organisations WHERE org_id = ANY(%s::text[]);

-- name: lock_redrives
-- One session at a time redrives.
SELECT pg_try_advisory_lock(5119437728091366107);

-- name: begin_redrives
-- Letters that may lie in the log again from now on.
INSERT INTO foldline_control.redrives (topic, partition, "offset", attempt, asked_by, to_partition, log_end)
SELECT x.topic, x.partition, x.at, x.attempt, %(asked_by)s, x.to_partition, x.log_end
FROM unnest(
    %(topics)s::text[], %(partitions)s::integer[], %(offsets)s::bigint[], %(attempts)s::integer[], %(to_partitions)s::integer[],
    %(log_ends)s::bigint[]
) AS x (topic, partition, at, attempt, to_partition, log_end)
ON CONFLICT (topic, partition, "offset", attempt) DO UPDATE SET
    asked_by = excluded.asked_by, asked_at = now(), to_partition = excluded.to_partition, log_end = excluded.log_end;

-- name: redrives_landed
-- Letters that lie in the log again.
UPDATE foldline_control.redrives r SET landed_offset = x.landed_offset
FROM unnest(
    %(topics)s::text[], %(partitions)s::integer[], %(offsets)s::bigint[], %(attempts)s::integer[], %(landed_offsets)s::bigint[]
) AS x (topic, partition, at, attempt, landed_offset)
WHERE r.topic = x.topic AND r.partition = x.partition AND r."offset" = x.at AND r.attempt = x.attempt;

-- name: seconds_in_doubt
-- How long ago the newest of some redrives was begun that nothing is known of.
SELECT extract(epoch FROM now() - max(asked_at))::float8 FROM foldline_control.redrives
WHERE landed_offset IS NULL AND (topic, partition, "offset") IN
    (SELECT * FROM unnest(%(topics)s::text[], %(partitions)s::integer[], %(offsets)s::bigint[]));
