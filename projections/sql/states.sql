-- name: stage
-- Where a batch is copied to before it is committed; emptied by the server at the end of each transaction.
CREATE TEMPORARY TABLE stage_items (
    org_id text, item_id text, item_type text, status text, attributes jsonb, version bigint,
    first_seen_at bigint, updated_at bigint, partition integer, "offset" bigint, ids bytea
) ON COMMIT DELETE ROWS;
CREATE TEMPORARY TABLE stage_users (
    org_id text, user_id text, created_at bigint, status text, attributes jsonb, version bigint,
    first_seen_at bigint, updated_at bigint, partition integer, "offset" bigint, keys bytea[], ids bytea
) ON COMMIT DELETE ROWS;
CREATE TEMPORARY TABLE stage_letters (
    org_id text, entity_id text, request_id text, record_index integer, code text, field text, message text,
    topic text, partition integer, "offset" bigint, key bytea, value bytea, logged_at bigint
) ON COMMIT DELETE ROWS;
-- STABLE, as what it calls: only then is it inlined.
CREATE FUNCTION pg_temp.instant(micros bigint) RETURNS timestamptz LANGUAGE sql STABLE AS
    $$ SELECT to_timestamp(micros / 1000000) + (micros % 1000000) * interval '1 microsecond' $$;
-- A function, so that it is one statement, which ends by itself: no transaction waits for its client with positions locked.
-- Rows are locked in key order, as by `advance`, so that a commit and a publication cannot deadlock.
CREATE FUNCTION pg_temp.move_published(
    of_generation integer, topics text[], partitions integer[], expected bigint[], ends bigint[]
) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    moved integer;
BEGIN
    SET LOCAL synchronous_commit = off;  -- to lose this one is to publish again: it need not wait for the disk
    PERFORM FROM foldline_control.positions p JOIN unnest(topics, partitions) AS x (topic, partition) USING (topic, partition)
    WHERE p.generation = of_generation ORDER BY p.topic, p.partition FOR UPDATE OF p;
    UPDATE foldline_control.positions p SET published = x.published_end
    FROM unnest(topics, partitions, expected, ends) AS x (topic, partition, published_before, published_end)
    WHERE p.generation = of_generation AND p.topic = x.topic AND p.partition = x.partition
        AND p.published = x.published_before AND NOT p.closed;
    GET DIAGNOSTICS moved = ROW_COUNT;
    IF moved <> cardinality(topics) THEN
        RAISE EXCEPTION 'what is published is not where this worker left it' USING ERRCODE = 'FL001';
    END IF;
END
$$;

-- name: copy_items
-- Items of a batch, as text.
COPY pg_temp.stage_items FROM STDIN;

-- name: copy_users
-- Users of a batch, as text.
COPY pg_temp.stage_users FROM STDIN;

-- name: copy_letters
-- Dead letters of a batch.
COPY pg_temp.stage_letters FROM STDIN;

-- name: advance
-- The compare-and-set. Raises FL001.
SELECT foldline_control.advance(
    %(generation)s, %(topics)s::text[], %(partitions)s::integer[], %(starts)s::bigint[], %(ends)s::bigint[],
    %(last_offsets)s::bigint[], %(last_digests)s::bytea[]
);

-- name: upsert_items
-- Every staged item in place of what was there.
INSERT INTO {schema}.items AS t
SELECT org_id, item_id, item_type, status, attributes, version,
    pg_temp.instant(first_seen_at), pg_temp.instant(updated_at), partition, "offset", ids
FROM pg_temp.stage_items
ON CONFLICT (org_id, item_id) DO UPDATE SET
    item_type = excluded.item_type, status = excluded.status, attributes = excluded.attributes,
    version = excluded.version, updated_at = excluded.updated_at, partition = excluded.partition,
    "offset" = excluded."offset", ids = excluded.ids;

-- name: upsert_users
-- Every staged user in place of what was there.
INSERT INTO {schema}.users AS t
SELECT org_id, user_id, pg_temp.instant(created_at), status, attributes, version,
    pg_temp.instant(first_seen_at), pg_temp.instant(updated_at), partition, "offset", keys, ids
FROM pg_temp.stage_users
ON CONFLICT (org_id, user_id) DO UPDATE SET
    created_at = excluded.created_at, status = excluded.status, attributes = excluded.attributes,
    version = excluded.version, updated_at = excluded.updated_at, partition = excluded.partition,
    "offset" = excluded."offset", keys = excluded.keys, ids = excluded.ids;

-- name: lock_erasures
-- Whoever folds a generation that is not live writes no states while a key is destroyed, nor the other way round; and whoever
-- writes dead letters sees the erasures of meanwhile, or is seen by them.
SELECT pg_advisory_xact_lock_shared(7022868215640286822);

-- name: scrub_erased
-- What was erased while it was on its way into a generation that is not live.
UPDATE {schema}.users t SET attributes = '{}' FROM pg_temp.stage_users s
WHERE t.org_id = s.org_id AND t.user_id = s.user_id AND t.attributes <> '{}' AND EXISTS (
    SELECT FROM foldline_control.user_keys k WHERE k.key_id = ANY (s.keys) AND k.wrapped IS NULL
);

-- name: erase
-- Destroys keys, and does what belongs to it.
SELECT foldline_control.erase(%(generation)s, %(users_topic)s, %(erased)s::jsonb, %(lag_seconds)s);

-- name: erase_late
-- Dead letters that come after the erasure of whom they name, though they lie before it: those on a partition that is not the
-- user's, and those of a generation that is behind.
UPDATE foldline_control.dead_letters d SET value = NULL, field = '', message = %(erased_message)s
FROM jsonb_array_elements(%(named)s::jsonb) AS n
JOIN foldline_control.erasures e ON e.org_id = n ->> 2 AND e.user_id = n ->> 3 AND e.topic = %(users_topic)s
WHERE d.generation = %(generation)s AND d.topic = e.topic AND d.partition = (n -> 0)::integer
    AND d."offset" = (n -> 1)::bigint AND d.value IS NOT NULL
    AND CASE WHEN d.partition = e.partition THEN d."offset" <= e."offset" ELSE d.logged_at <= e.erased_at END;

-- name: keys
-- The keys of these ids that there are. One that this generation has ended is empty; of the live one those are all that are
-- destroyed. Any other that is destroyed is NULL.
SELECT k.key_id, CASE WHEN e.key_id IS NOT NULL OR (k.wrapped IS NULL AND g.live) THEN '' ELSE k.wrapped END
FROM foldline_control.user_keys k
LEFT JOIN foldline_control.generations g ON g.generation = %(generation)s
LEFT JOIN foldline_control.generation_ends e ON e.generation = g.generation AND e.key_id = k.key_id
WHERE k.key_id = ANY (%(key_ids)s);

-- name: key_ends
-- The keys that delete events end.
SELECT event_id, key_id FROM foldline_control.key_ends WHERE event_id = ANY (%s);

-- name: keyring
-- What tells whether a key's id was given here, and since when.
SELECT ids_secret, (extract(epoch FROM made_at) * 1000000)::bigint FROM foldline_control.keyring;

-- name: insert_letters
-- Every staged dead letter.
INSERT INTO foldline_control.dead_letters (
    generation, topic, partition, "offset", org_id, entity_id, request_id, record_index, code, field, message, key, value,
    logged_at
)
SELECT %(generation)s, topic, partition, "offset", org_id, entity_id, request_id, record_index, code, field, message, key,
    value, pg_temp.instant(logged_at)
FROM pg_temp.stage_letters;

-- name: load_items
-- The items of a JSON array of [organisation, id] pairs, which is made faster than arrays of text.
SELECT t.org_id, t.item_id, t.item_type, t.status, t.attributes::text, t.version,
    (extract(epoch FROM t.first_seen_at) * 1000000)::bigint, (extract(epoch FROM t.updated_at) * 1000000)::bigint,
    t.partition, t."offset", t.ids
FROM json_array_elements(%s::json) AS pair JOIN {schema}.items t ON t.org_id = pair ->> 0 AND t.item_id = pair ->> 1;

-- name: load_users
-- The users of a JSON array of [organisation, id] pairs.
SELECT t.org_id, t.user_id, (extract(epoch FROM t.created_at) * 1000000)::bigint, t.status, t.attributes::text, t.version,
    (extract(epoch FROM t.first_seen_at) * 1000000)::bigint, (extract(epoch FROM t.updated_at) * 1000000)::bigint,
    t.partition, t."offset", t.keys, t.ids
FROM json_array_elements(%s::json) AS pair JOIN {schema}.users t ON t.org_id = pair ->> 0 AND t.user_id = pair ->> 1;

-- name: ensure_position
-- A partition that nothing has been folded of yet.
INSERT INTO foldline_control.positions (generation, topic, partition, topic_id)
VALUES (%s, %s, %s, %s) ON CONFLICT DO NOTHING;

-- name: positions
-- Every position of a generation that is open.
SELECT topic, partition, applied, published, topic_id, last_offset, last_digest
FROM foldline_control.positions WHERE generation = %s AND NOT closed ORDER BY topic, partition;

-- name: move_published
-- The compare-and-set of what is published. Raises FL001.
SELECT pg_temp.move_published(
    %(generation)s, %(topics)s::text[], %(partitions)s::integer[], %(starts)s::bigint[], %(ends)s::bigint[]
);

-- name: letters
-- The dead letters of a partition between two offsets.
SELECT org_id, entity_id, request_id, record_index, code, field, message, partition, "offset", key, value,
    (extract(epoch FROM logged_at) * 1000000)::bigint
FROM foldline_control.dead_letters
WHERE generation = %s AND topic = %s AND partition = %s AND "offset" >= %s AND "offset" < %s ORDER BY "offset";

-- name: pending
-- Records of a partition that are to be published though no event changed them.
SELECT org_id, entity_id FROM foldline_control.pending_publications
WHERE generation = %s AND topic = %s AND partition = %s AND due_at <= now() ORDER BY org_id, entity_id;

-- name: remove_pending
-- Those of a JSON array of [organisation, id] pairs are published. Not those that an erasure has made due at a later time since
-- they were looked for, or is about to: nor is that waited for, so that the two cannot deadlock.
DELETE FROM foldline_control.pending_publications WHERE ctid = ANY (ARRAY(
    SELECT p.ctid FROM json_array_elements(%s::json) AS pair
    JOIN foldline_control.pending_publications p ON p.org_id = pair ->> 0 AND p.entity_id = pair ->> 1
    WHERE p.generation = %s AND p.topic = %s AND p.partition = %s AND p.due_at <= now() FOR UPDATE OF p SKIP LOCKED
));
