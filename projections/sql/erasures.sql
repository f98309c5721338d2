-- name: erasures
-- What was erased, newest first, and when the state is to be published again. The filters are some of those below.
SELECT e.org_id, e.user_id, e.topic, e.partition, e."offset", e.request_id, e.keys, e.erased_at, p.due_at
FROM (
    SELECT * FROM foldline_control.erasures e WHERE true {filters}
    ORDER BY e.erased_at DESC, e.topic DESC, e.partition DESC, e."offset" DESC LIMIT %(limit)s
) AS e
LEFT JOIN foldline_control.pending_publications p
    ON p.generation = (SELECT generation FROM foldline_control.generations WHERE live)
    AND p.topic = e.topic AND p.partition = e.partition AND p.org_id = e.org_id AND p.entity_id = e.user_id
ORDER BY e.erased_at DESC, e.topic DESC, e.partition DESC, e."offset" DESC;

-- name: filter_org_id
-- An organisation's.
AND e.org_id = %(org_id)s

-- name: filter_user_id
-- Of one user.
AND e.user_id = %(user_id)s

-- name: filter_after
-- Older than one of them. The first condition is for the index.
AND e.erased_at <= %(erased_at)s
AND (e.erased_at, e.topic, e.partition, e."offset") < (%(erased_at)s, %(topic)s, %(partition)s, %(offset)s)

-- name: snapshot
-- What is read until the transaction ends is of one moment.
SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY;

-- name: standing
-- What time it is here, and how often the user was erased.
SELECT now(), (SELECT count(*) FROM foldline_control.erasures WHERE org_id = %s AND user_id = %s);

-- name: generations
-- Every generation, and whether it is live.
SELECT generation, live FROM foldline_control.generations ORDER BY generation;

-- name: row
-- A user in a generation.
SELECT status, attributes::text FROM {schema}.users WHERE org_id = %s AND user_id = %s;

-- name: keys
-- All keys of a user; what was destroyed is NULL.
SELECT key_id, wrapped FROM foldline_control.user_keys WHERE org_id = %s AND user_id = %s;

-- name: noted
-- Those of a user's keys that delete events were to end, and which.
SELECT e.event_id, e.key_id FROM foldline_control.user_keys k JOIN foldline_control.key_ends e USING (key_id)
WHERE k.org_id = %s AND k.user_id = %s;

-- name: letters
-- Dead letters of a user that lie before an erasure and still have their bytes, by what they name and by their key. On another
-- partition than the user's, where a stranger put them, they come before it by their time.
SELECT count(*) FROM foldline_control.dead_letters d
WHERE d.value IS NOT NULL AND d.topic = %(topic)s
    AND CASE WHEN d.partition = %(partition)s THEN d."offset" <= %(offset)s ELSE d.logged_at <= %(erased_at)s END
    AND (
        hashtextextended(d.org_id || ':' || d.entity_id, 0) = hashtextextended(%(name)s, 0)
            AND d.org_id || ':' || d.entity_id = %(name)s
        OR hashtextextended(encode(d.key, 'hex'), 0) = hashtextextended(encode(%(key)s, 'hex'), 0) AND d.key = %(key)s
    );

-- name: applied
-- How far the live generation has folded a partition.
SELECT p.applied FROM foldline_control.positions p JOIN foldline_control.generations g USING (generation)
WHERE g.live AND p.topic = %s AND p.partition = %s;
