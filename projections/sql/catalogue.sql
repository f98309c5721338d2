-- name: in_order
-- The statements below read rows in the order of an index, and stop. Other plans read all and sort.
SET LOCAL enable_sort = off;
SET LOCAL enable_incremental_sort = off;
SET LOCAL enable_bitmapscan = off;
SET LOCAL enable_seqscan = off;

-- name: of_items
-- The first items of an organisation that have one status: a branch of the statements below. The status is given twice, as a
-- value that the planner does not see: it takes the index of statuses then, even where it believes that all have the same.
(SELECT item_id AS id, item_type AS detail, status, attributes, version, updated_at
FROM foldline.known_items
WHERE org_id = %(org_id)s AND status = (SELECT {status}::text) AND status >= (SELECT {status}::text) {narrowed}
ORDER BY item_id {direction} LIMIT {most})

-- name: of_users
-- The first users of an organisation that have one status: a branch of the statements below.
(SELECT user_id AS id, created_at AS detail, status, attributes, version, updated_at
FROM foldline.known_users
WHERE org_id = %(org_id)s AND status = (SELECT {status}::text) AND status >= (SELECT {status}::text) {narrowed}
ORDER BY user_id {direction} LIMIT {most})

-- name: page
-- Records in the order of their keys, or from the last to the first; the names of many large ones are left out.
SELECT id, detail, status,
    CASE WHEN clock_timestamp() < statement_timestamp() + %(milliseconds)s * interval '1 ms'
        THEN left(coalesce(attributes ->> 'name', attributes ->> 'title', attributes ->> 'email'), 200) END,
    version, updated_at
FROM (SELECT * FROM ({branches}) AS b ORDER BY id {direction} LIMIT %(limit)s) AS page ORDER BY id {direction};

-- name: search
-- Records whose attributes contain every one of the texts, as far as the time goes. Besides: the first that was not looked at
-- (hit is NULL), and the last of the stretch; `before` is the key before each.
SELECT id, detail, status, left(coalesce(attributes ->> 'name', attributes ->> 'title', attributes ->> 'email'), 200),
    version, updated_at, place, before, hit, match.key,
    CASE WHEN match.at > 41 THEN '…' ELSE '' END || substr(match.value, greatest(1, match.at - 40), 160)
FROM (
    SELECT * FROM (
        SELECT *, CASE WHEN place = 1 OR clock_timestamp() < statement_timestamp() + %(milliseconds)s * interval '1 ms'
            THEN attributes::text ILIKE ALL (%(patterns)s) END AS hit
        FROM (
            SELECT *, row_number() OVER (ORDER BY id) AS place, lag(id) OVER (ORDER BY id) AS before
            FROM (SELECT * FROM ({branches}) AS b ORDER BY id LIMIT %(stretch)s) AS stretch
        ) AS placed ORDER BY id
    ) AS tried
    WHERE hit IS NOT FALSE OR place = %(stretch)s ORDER BY id LIMIT %(limit)s
) AS found
LEFT JOIN LATERAL (
    SELECT key, value, strpos(lower(value), lower(%(text)s)) AS at FROM jsonb_each_text(attributes)
    WHERE hit AND (value ILIKE %(pattern)s OR key ILIKE %(pattern)s) ORDER BY value ILIKE %(pattern)s DESC LIMIT 1
) AS match ON true
ORDER BY id;

-- name: types
-- The types of an organisation's items, each found by one look into the index.
WITH RECURSIVE types AS (
    (SELECT item_type FROM foldline.known_items WHERE org_id = %(org_id)s ORDER BY item_type LIMIT 1)
    UNION ALL
    SELECT (SELECT item_type FROM foldline.known_items i WHERE i.org_id = %(org_id)s AND i.item_type > t.item_type
        ORDER BY item_type LIMIT 1)
    FROM types t WHERE t.item_type IS NOT NULL
)
SELECT item_type FROM types WHERE item_type IS NOT NULL LIMIT %(limit)s;

-- name: item
-- One item, deleted included, and where its last event lies in the log.
SELECT item_id, item_type, status, attributes::text, version,
    (extract(epoch FROM first_seen_at) * 1000000)::bigint, (extract(epoch FROM updated_at) * 1000000)::bigint,
    partition, "offset"
FROM foldline.known_items WHERE org_id = %(org_id)s AND item_id = %(entity_id)s;

-- name: user
-- One user, deleted included, and where its last event lies in the log.
SELECT user_id, (extract(epoch FROM created_at) * 1000000)::bigint, status, attributes::text, version,
    (extract(epoch FROM first_seen_at) * 1000000)::bigint, (extract(epoch FROM updated_at) * 1000000)::bigint,
    partition, "offset"
FROM foldline.known_users WHERE org_id = %(org_id)s AND user_id = %(entity_id)s;
