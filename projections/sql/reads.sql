-- name: item
-- One item, deleted included.
SELECT item_id, item_type, status, attributes::text, version,
    (extract(epoch FROM first_seen_at) * 1000000)::bigint, (extract(epoch FROM updated_at) * 1000000)::bigint
FROM foldline.known_items WHERE org_id = %(org_id)s AND item_id = %(entity_id)s;

-- name: user
-- One user, deleted included.
SELECT user_id, (extract(epoch FROM created_at) * 1000000)::bigint, status, attributes::text, version,
    (extract(epoch FROM first_seen_at) * 1000000)::bigint, (extract(epoch FROM updated_at) * 1000000)::bigint
FROM foldline.known_users WHERE org_id = %(org_id)s AND user_id = %(entity_id)s;

-- name: items
-- A page of items in the order of their ids; {filters} are some of those below. A page ends early where it grows too large.
SELECT id, detail, status, attributes, version, first_seen_at, updated_at, total FROM (
    SELECT *, row_number() OVER page AS place, sum(octet_length(attributes)) OVER page AS bytes, count(*) OVER () AS total
    FROM (
        SELECT item_id AS id, item_type AS detail, status, attributes::text AS attributes, version,
            (extract(epoch FROM first_seen_at) * 1000000)::bigint AS first_seen_at,
            (extract(epoch FROM updated_at) * 1000000)::bigint AS updated_at
        FROM foldline.known_items WHERE org_id = %(org_id)s AND item_id > %(after)s {filters}
        ORDER BY item_id LIMIT %(limit)s + 1
    ) AS found WINDOW page AS (ORDER BY id)
) AS measured WHERE place = 1 OR (place <= %(limit)s AND bytes <= %(page_bytes)s) ORDER BY id;

-- name: users
-- A page of users in the order of their ids; {filters} are some of those below. A page ends early where it grows too large.
SELECT id, detail, status, attributes, version, first_seen_at, updated_at, total FROM (
    SELECT *, row_number() OVER page AS place, sum(octet_length(attributes)) OVER page AS bytes, count(*) OVER () AS total
    FROM (
        SELECT user_id AS id, (extract(epoch FROM created_at) * 1000000)::bigint AS detail, status,
            attributes::text AS attributes, version,
            (extract(epoch FROM first_seen_at) * 1000000)::bigint AS first_seen_at,
            (extract(epoch FROM updated_at) * 1000000)::bigint AS updated_at
        FROM foldline.known_users WHERE org_id = %(org_id)s AND user_id > %(after)s {filters}
        ORDER BY user_id LIMIT %(limit)s + 1
    ) AS found WINDOW page AS (ORDER BY id)
) AS measured WHERE place = 1 OR (place <= %(limit)s AND bytes <= %(page_bytes)s) ORDER BY id;

-- name: filter_not_deleted
-- Leaves out what is deleted.
AND status <> 'deleted'

-- name: filter_status
-- One status.
AND status = %(status)s

-- name: filter_item_type
-- One type of item.
AND item_type = %(item_type)s

-- name: filter_items_ids
-- Some ids.
AND item_id = ANY(%(ids)s::text[])

-- name: filter_users_ids
-- Some ids.
AND user_id = ANY(%(ids)s::text[])

-- name: positions
-- How far the live generation has folded the log.
SELECT p.topic, p.partition, p.topic_id, p.applied
FROM foldline_control.positions p JOIN foldline_control.generations g USING (generation) WHERE g.live;

-- name: operation
-- How far the live generation has folded one request, and what of it was rejected: the number of its partitions that are
-- done, the records on those, the rejected on those, all rejected, and the first rejected.
WITH asked AS (
    SELECT * FROM unnest(%(partitions)s::integer[], %(records)s::bigint[], %(last_offsets)s::bigint[])
        AS a (partition, records, last_offset)
), live AS (
    SELECT generation FROM foldline_control.generations WHERE live
), done AS (
    SELECT partition, a.records FROM asked a JOIN foldline_control.positions p USING (partition) JOIN live USING (generation)
    WHERE p.topic = %(topic)s AND p.topic_id = %(topic_id)s AND p.applied > a.last_offset
), rejected AS (
    -- Once each: a redrive may be rejected, too, while an import goes on.
    SELECT DISTINCT ON (d.record_index) d.partition, d.record_index, d.entity_id, d.field, d.code, d.message
    FROM foldline_control.dead_letters d JOIN live USING (generation) JOIN asked a USING (partition)
    WHERE d.request_id = %(request_id)s AND d.org_id = %(org_id)s AND d.topic = %(topic)s AND d."offset" <= a.last_offset
    ORDER BY d.record_index, d."offset"
)
SELECT
    (SELECT count(*) FROM done),
    (SELECT coalesce(sum(records), 0)::bigint FROM done),
    (SELECT count(*) FROM rejected JOIN done USING (partition)),
    (SELECT count(*) FROM rejected),
    (SELECT json_agg(json_build_array(record_index, entity_id, field, code, message))::text
     FROM (SELECT * FROM rejected ORDER BY record_index LIMIT %(max_listed)s) AS first);

-- name: secret
-- A random value that all services share.
SELECT value FROM foldline_control.secrets WHERE name = %(name)s;

-- name: status
-- The generation in use, and how far it has folded and published each partition of the log.
SELECT generation, topic, partition, applied, published FROM foldline.positions ORDER BY topic, partition;

-- name: import_of
-- The import whose rows carry a request's id.
SELECT import_id FROM foldline_control.imports WHERE org_id = %(org_id)s AND request_id = %(request_id)s;
