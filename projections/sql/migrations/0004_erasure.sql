-- Users' attributes are sealed in the log, each user's under keys of its own. To destroy the keys is to erase.

-- What tells whether the id of a key was given here; wrapped by the master key. What is wrapped begins with the fingerprint of
-- its master key, and the master key of this row is the one that wraps what is new.
CREATE TABLE foldline_control.keyring (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    ids_secret bytea NOT NULL,
    made_at timestamptz NOT NULL DEFAULT now()
);

-- The keys of users, wrapped by the master key. A key that is retired seals nothing more; of one that was destroyed only the
-- id is left.
CREATE TABLE foldline_control.user_keys (
    key_id bytea PRIMARY KEY,
    org_id text COLLATE "C" NOT NULL,
    user_id text COLLATE "C" NOT NULL,
    wrapped bytea,
    made_at timestamptz NOT NULL DEFAULT now(),
    retired_at timestamptz,
    destroyed_at timestamptz,
    CHECK ((wrapped IS NULL) = (destroyed_at IS NOT NULL)),
    CHECK (destroyed_at IS NULL OR retired_at IS NOT NULL)
) WITH (fillfactor = 80);
CREATE UNIQUE INDEX user_keys_current ON foldline_control.user_keys (org_id, user_id) WHERE retired_at IS NULL;
CREATE INDEX ON foldline_control.user_keys (org_id, user_id);

-- The keys that the fold of a delete event destroys, whether or not an event under them was folded before it.
CREATE TABLE foldline_control.key_ends (
    event_id text COLLATE "C" NOT NULL,
    key_id bytea NOT NULL REFERENCES foldline_control.user_keys,
    PRIMARY KEY (event_id, key_id)
);

-- Keys that a generation has ended which was not live then. They are destroyed when it becomes live.
CREATE TABLE foldline_control.generation_ends (
    generation integer NOT NULL REFERENCES foldline_control.generations ON DELETE CASCADE,
    key_id bytea NOT NULL,
    PRIMARY KEY (generation, key_id)
);

-- Deletions of users on their way into the log. Nobody seals anything for these users until they have arrived, or cannot.
CREATE TABLE foldline_control.deletions (
    org_id text COLLATE "C" NOT NULL,
    user_id text COLLATE "C" NOT NULL,
    request_id text NOT NULL,
    until timestamptz NOT NULL,
    PRIMARY KEY (org_id, user_id)
);

-- What was erased, by the delete event that did it.
CREATE TABLE foldline_control.erasures (
    org_id text COLLATE "C" NOT NULL,
    user_id text COLLATE "C" NOT NULL,
    topic text COLLATE "C" NOT NULL,
    partition integer NOT NULL,
    "offset" bigint NOT NULL,
    request_id text COLLATE "C" NOT NULL,
    keys integer NOT NULL,
    erased_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (org_id, user_id, partition, "offset")
);
CREATE INDEX ON foldline_control.erasures (erased_at);
CREATE INDEX ON foldline_control.erasures (org_id, erased_at);

-- From when on a record is to be published without an event.
ALTER TABLE foldline_control.pending_publications ADD COLUMN due_at timestamptz NOT NULL DEFAULT now();

-- The dead letters of a user, by what they name and by their key; what was erased has no value. Hashes, since strangers write
-- longer names to a topic than an index takes.
CREATE INDEX dead_letters_named ON foldline_control.dead_letters (hashtextextended(org_id || ':' || entity_id, 0))
    WHERE value IS NOT NULL;
CREATE INDEX dead_letters_keyed ON foldline_control.dead_letters (hashtextextended(encode(key, 'hex'), 0))
    WHERE value IS NOT NULL;

-- When of an import that is checked the failed rows and the first rows were removed, because a user of its organisation was
-- erased.
ALTER TABLE foldline_control.imports ADD COLUMN scrubbed_at timestamptz;
CREATE INDEX imports_unscrubbed ON foldline_control.imports (org_id)
    WHERE kind = 'users' AND scrubbed_at IS NULL AND validated_at IS NOT NULL;

-- The keys under which the events of a user were folded since its last erasure.
DO $$
DECLARE
    of_generation integer;
BEGIN
    FOR of_generation IN SELECT generation FROM foldline_control.generations LOOP
        EXECUTE format('ALTER TABLE gen_%s.users ADD COLUMN keys bytea[] NOT NULL DEFAULT ''{}''', of_generation);
    END LOOP;
END
$$;

-- Raises FL002 unless new keys are wrapped by the master key that wraps what is new. Whoever changes it holds this lock alone:
-- so what was wrapped by the one before is committed, and seen, or is refused.
CREATE FUNCTION foldline_control.check_wrapped(new_keys bytea[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock_shared(7022868215640286823);
    IF EXISTS (
        SELECT FROM unnest(new_keys) AS k (wrapped), foldline_control.keyring r
        WHERE substr(k.wrapped, 1, 8) <> substr(r.ids_secret, 1, 8)
    ) THEN
        RAISE EXCEPTION 'keys are wrapped by another master key now' USING ERRCODE = 'FL002';
    END IF;
END
$$;

-- The advisory locks of users, in the order in which they are taken: no key is made while a deletion begins. Else a key could
-- be current that the deletion has not retired, and seal an event that lies before it: with that event it would be destroyed,
-- though what was acknowledged after the deletion is sealed with it too. They are few, so that a request cannot take all that
-- the server has.
CREATE FUNCTION foldline_control.deletion_locks(of_org text, users text[]) RETURNS bigint[] LANGUAGE sql IMMUTABLE AS $$
    SELECT array_agg(DISTINCT 7022868215640287000 + (hashtextextended(of_org || ':' || u, 0) & 15)) FROM unnest(users) u
$$;

-- The current keys of users, made of the candidates where there are none. `deleting` says that a deletion of the user by
-- another request is under way: then nothing may be sealed yet. Durable once the caller has committed.
CREATE FUNCTION foldline_control.keys_for(
    of_org text, users text[], candidates bytea[], candidates_wrapped bytea[], own_request text
) RETURNS TABLE (user_id text, key_id bytea, wrapped bytea, deleting boolean) LANGUAGE plpgsql AS $$
#variable_conflict use_column
BEGIN
    PERFORM set_config('synchronous_commit', 'on', true);
    PERFORM foldline_control.check_wrapped(candidates_wrapped);
    PERFORM pg_advisory_xact_lock_shared(b) FROM unnest(foldline_control.deletion_locks(of_org, users)) b;
    INSERT INTO foldline_control.user_keys (key_id, org_id, user_id, wrapped)
    SELECT x.key_id, of_org, x.user_id, x.wrapped FROM unnest(users, candidates, candidates_wrapped) AS x (user_id, key_id, wrapped)
    ORDER BY x.user_id
    ON CONFLICT DO NOTHING;
    RETURN QUERY SELECT k.user_id, k.key_id, k.wrapped, EXISTS (
        SELECT FROM foldline_control.deletions d
        WHERE d.org_id = of_org AND d.user_id = k.user_id AND d.until > clock_timestamp() AND d.request_id <> own_request
    ) FROM foldline_control.user_keys k
    WHERE k.org_id = of_org AND k.user_id = ANY (users) AND k.retired_at IS NULL;
END
$$;

-- Begins the deletion of users by a request: their keys are retired, and each of the request's delete events is noted to end
-- them, and keys of the request's own, with which it seals what comes before a deletion. Returns the users that another
-- request is deleting now; where there are any, nothing has begun.
CREATE FUNCTION foldline_control.begin_deletions(
    of_org text, of_request text, seconds double precision, users text[], events text[],
    own_users text[], own_keys bytea[], own_wrapped bytea[], own_events text[]
) RETURNS TABLE (user_id text) LANGUAGE plpgsql AS $$
#variable_conflict use_column
BEGIN
    PERFORM set_config('synchronous_commit', 'on', true);
    PERFORM foldline_control.check_wrapped(own_wrapped);
    PERFORM pg_advisory_xact_lock(b) FROM unnest(foldline_control.deletion_locks(of_org, users)) b;
    INSERT INTO foldline_control.deletions AS d (org_id, user_id, request_id, until)
    SELECT of_org, x.user_id, of_request, clock_timestamp() + seconds * interval '1 second'
    FROM (SELECT DISTINCT unnest(users) AS user_id ORDER BY 1) x
    ON CONFLICT (org_id, user_id) DO UPDATE SET request_id = excluded.request_id, until = excluded.until
    WHERE d.until <= clock_timestamp() OR d.request_id = excluded.request_id;
    RETURN QUERY SELECT d.user_id FROM foldline_control.deletions d
    WHERE d.org_id = of_org AND d.user_id = ANY (users) AND d.request_id <> of_request;
    IF FOUND THEN
        DELETE FROM foldline_control.deletions d
        WHERE d.org_id = of_org AND d.user_id = ANY (users) AND d.request_id = of_request;
        RETURN;
    END IF;
    INSERT INTO foldline_control.user_keys (key_id, org_id, user_id, wrapped, retired_at)
    SELECT x.key_id, of_org, x.user_id, x.wrapped, clock_timestamp()
    FROM unnest(own_users, own_keys, own_wrapped) AS x (user_id, key_id, wrapped);
    PERFORM FROM foldline_control.user_keys k
    WHERE k.org_id = of_org AND k.user_id = ANY (users) AND k.retired_at IS NULL ORDER BY k.user_id FOR UPDATE;
    UPDATE foldline_control.user_keys k SET retired_at = clock_timestamp()
    WHERE k.org_id = of_org AND k.user_id = ANY (users) AND k.retired_at IS NULL;
    INSERT INTO foldline_control.key_ends (event_id, key_id)
    SELECT x.event_id, k.key_id FROM unnest(users, events) AS x (user_id, event_id)
    JOIN foldline_control.user_keys k ON k.org_id = of_org AND k.user_id = x.user_id
    WHERE k.destroyed_at IS NULL AND k.key_id <> ALL (own_keys)
    UNION ALL SELECT x.event_id, x.key_id FROM unnest(own_events, own_keys) AS x (event_id, key_id);
END
$$;

CREATE FUNCTION foldline_control.destroy_keys(ended bytea[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM foldline_control.user_keys k WHERE k.key_id = ANY (ended) ORDER BY k.user_id, k.key_id FOR UPDATE;
    UPDATE foldline_control.user_keys k
    SET wrapped = NULL, destroyed_at = now(), retired_at = coalesce(k.retired_at, now())
    WHERE k.key_id = ANY (ended) AND k.wrapped IS NOT NULL;
END
$$;

-- What dead letters hold of erased users, in one generation, or in all where it is NULL: those that lie before the deletion,
-- and those that another program wrote to a partition that is not the user's.
CREATE FUNCTION foldline_control.erase_letters(of_generation integer, of_topic text, erased jsonb)
RETURNS void LANGUAGE sql AS $$
    WITH gone AS MATERIALIZED (
        SELECT name, convert_to(name, 'UTF8') AS key, partition, "offset"
        FROM (
            SELECT (e ->> 'org_id') || ':' || (e ->> 'user_id') AS name, (e -> 'partition')::integer AS partition,
                max((e -> 'offset')::bigint) AS "offset"
            FROM jsonb_array_elements(erased) e GROUP BY 1, 2
        ) AS x
    ), found AS (
        SELECT d.generation, d.partition, d."offset" FROM gone g JOIN foldline_control.dead_letters d
        ON hashtextextended(d.org_id || ':' || d.entity_id, 0) = hashtextextended(g.name, 0)
            AND d.org_id || ':' || d.entity_id = g.name
        WHERE d.value IS NOT NULL AND d.topic = of_topic AND (d.partition <> g.partition OR d."offset" <= g."offset")
        UNION
        SELECT d.generation, d.partition, d."offset" FROM gone g JOIN foldline_control.dead_letters d
        ON hashtextextended(encode(d.key, 'hex'), 0) = hashtextextended(encode(g.key, 'hex'), 0) AND d.key = g.key
        WHERE d.value IS NOT NULL AND d.topic = of_topic AND (d.partition <> g.partition OR d."offset" <= g."offset")
    )
    UPDATE foldline_control.dead_letters d SET value = NULL, field = '', message = 'it was erased with its user'
    FROM found f WHERE d.topic = of_topic AND d.generation = f.generation AND d.partition = f.partition
        AND d."offset" = f."offset" AND (of_generation IS NULL OR d.generation = of_generation)
$$;

-- What checked imports of users hold of an organisation's users beside the file: the first rows, and the failed ones.
CREATE FUNCTION foldline_control.scrub_imports(organisations text[]) RETURNS void LANGUAGE sql AS $$
    WITH scrubbed AS (
        UPDATE foldline_control.imports i SET scrubbed_at = now(), report = jsonb_set(i.report, '{preview}', '[]', false)
        WHERE i.org_id = ANY (organisations) AND i.kind = 'users' AND i.scrubbed_at IS NULL AND i.validated_at IS NOT NULL
            AND i.status NOT IN ('uploaded', 'validating')
        RETURNING i.import_id
    )
    DELETE FROM foldline_control.import_files f USING scrubbed s WHERE f.import_id = s.import_id AND f.name = 'failed'
$$;

-- What an erasing commit does besides scrubbing the row: destroys keys, scrubs the other generations, keeps that it did, and
-- has the state published again once the state topic may be compacted. A generation that is not live only keeps which keys
-- it has ended, and erases its own dead letters.
CREATE FUNCTION foldline_control.erase(of_generation integer, of_topic text, erased jsonb, lag_seconds double precision)
RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    other integer;
    ended bytea[];
BEGIN
    SELECT coalesce(array_agg(DISTINCT decode(k, 'hex')), '{}') INTO ended
    FROM jsonb_array_elements(erased) e, jsonb_array_elements_text(e -> 'keys') k;
    IF NOT EXISTS (SELECT FROM foldline_control.generations g WHERE g.generation = of_generation AND g.live) THEN
        INSERT INTO foldline_control.generation_ends (generation, key_id)
        SELECT of_generation, k FROM unnest(ended) k ON CONFLICT DO NOTHING;
        PERFORM foldline_control.erase_letters(of_generation, of_topic, erased);
        RETURN;
    END IF;
    -- Whoever folds another generation holds this lock, shared, while states are written.
    PERFORM pg_advisory_xact_lock(7022868215640286822);
    PERFORM foldline_control.destroy_keys(ended);
    FOR other IN SELECT g.generation FROM foldline_control.generations g WHERE g.generation <> of_generation LOOP
        EXECUTE format('UPDATE gen_%s.users u SET attributes = ''{}'' FROM jsonb_array_elements($1) e'
            ' WHERE u.org_id = e ->> ''org_id'' AND u.user_id = e ->> ''user_id'' AND u.keys && $2', other) USING erased, ended;
    END LOOP;
    PERFORM foldline_control.erase_letters(NULL, of_topic, erased);
    PERFORM foldline_control.scrub_imports(ARRAY(SELECT DISTINCT e ->> 'org_id' FROM jsonb_array_elements(erased) e ORDER BY 1));
    INSERT INTO foldline_control.erasures (org_id, user_id, topic, partition, "offset", request_id, keys)
    SELECT e ->> 'org_id', e ->> 'user_id', of_topic, (e -> 'partition')::integer, (e -> 'offset')::bigint,
        e ->> 'request_id', jsonb_array_length(e -> 'keys')
    FROM jsonb_array_elements(erased) e ON CONFLICT DO NOTHING;
    INSERT INTO foldline_control.pending_publications AS p (generation, topic, partition, org_id, entity_id, due_at)
    SELECT DISTINCT of_generation, of_topic, (e -> 'partition')::integer, e ->> 'org_id', e ->> 'user_id',
        now() + lag_seconds * interval '1 second'
    FROM jsonb_array_elements(erased) e
    ON CONFLICT (generation, topic, partition, org_id, entity_id) DO UPDATE SET due_at = greatest(p.due_at, excluded.due_at);
END
$$;
