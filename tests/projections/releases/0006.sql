SET check_function_bodies = false;
CREATE SCHEMA foldline;
CREATE SCHEMA foldline_control;
CREATE SCHEMA gen_1;
CREATE FUNCTION foldline_control.advance(of_generation integer, topics text[], partitions integer[], expected bigint[], ends bigint[], last_offsets bigint[], last_digests bytea[]) RETURNS void
    LANGUAGE plpgsql
    AS $$
DECLARE
    moved integer;
BEGIN
    PERFORM 1 FROM foldline_control.positions p
    JOIN unnest(topics, partitions) AS x (topic, partition) USING (topic, partition)
    WHERE p.generation = of_generation ORDER BY p.topic, p.partition FOR UPDATE OF p;
    UPDATE foldline_control.positions p
    SET applied = x.applied_end, last_offset = x.last_offset, last_digest = x.last_digest
    FROM unnest(topics, partitions, expected, ends, last_offsets, last_digests)
        AS x (topic, partition, applied_before, applied_end, last_offset, last_digest)
    WHERE p.generation = of_generation AND p.topic = x.topic AND p.partition = x.partition
        AND p.applied = x.applied_before AND NOT p.closed;
    GET DIAGNOSTICS moved = ROW_COUNT;
    IF moved <> cardinality(topics) THEN
        RAISE EXCEPTION 'a position is not where this worker left it' USING ERRCODE = 'FL001';
    END IF;
END
$$;
CREATE FUNCTION foldline_control.answer_idempotency_key(of_key bytea, of_request text, of_status integer, of_answer text) RETURNS boolean
    LANGUAGE plpgsql
    AS $$
BEGIN
    PERFORM set_config('synchronous_commit', 'on', true);
    UPDATE foldline_control.idempotency_keys k SET status = of_status, answer = of_answer
    WHERE k.key_hash = of_key AND k.holder = of_request;
    RETURN FOUND;
END
$$;
CREATE FUNCTION foldline_control.begin_deletions(of_org text, of_request text, seconds double precision, users text[], events text[], own_users text[], own_keys bytea[], own_wrapped bytea[], own_events text[]) RETURNS TABLE(user_id text)
    LANGUAGE plpgsql
    AS $$
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
    FROM unnest(own_users, own_keys, own_wrapped) AS x (user_id, key_id, wrapped)
    ON CONFLICT DO NOTHING;
    PERFORM FROM foldline_control.user_keys k
    WHERE k.org_id = of_org AND k.user_id = ANY (users) AND k.retired_at IS NULL ORDER BY k.user_id FOR UPDATE;
    UPDATE foldline_control.user_keys k SET retired_at = clock_timestamp()
    WHERE k.org_id = of_org AND k.user_id = ANY (users) AND k.retired_at IS NULL;
    INSERT INTO foldline_control.key_ends (event_id, key_id)
    SELECT x.event_id, k.key_id FROM unnest(users, events) AS x (user_id, event_id)
    JOIN foldline_control.user_keys k ON k.org_id = of_org AND k.user_id = x.user_id
    WHERE k.destroyed_at IS NULL AND k.key_id <> ALL (own_keys)
    UNION ALL SELECT x.event_id, x.key_id FROM unnest(own_events, own_keys) AS x (event_id, key_id)
    ON CONFLICT DO NOTHING;
END
$$;
CREATE FUNCTION foldline_control.check_wrapped(new_keys bytea[]) RETURNS void
    LANGUAGE plpgsql
    AS $$
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
CREATE FUNCTION foldline_control.claim_idempotency_key(of_key bytea, of_body bytea, of_request text, seconds double precision) RETURNS TABLE(outcome text, round integer, status integer, answer text)
    LANGUAGE plpgsql
    AS $$
#variable_conflict use_column
DECLARE
    moment timestamptz := clock_timestamp();
BEGIN
    DELETE FROM foldline_control.idempotency_keys o WHERE o.key_hash IN (
        SELECT k.key_hash FROM foldline_control.idempotency_keys k WHERE k.began_at < moment - interval '3 days'
        ORDER BY k.began_at LIMIT 2 FOR UPDATE SKIP LOCKED
    );
    RETURN QUERY INSERT INTO foldline_control.idempotency_keys AS k (key_hash, body_hash, began_at, holder, held_until)
    VALUES (of_key, of_body, moment, of_request, moment + seconds * interval '1 second')
    ON CONFLICT (key_hash) DO UPDATE SET
        body_hash = excluded.body_hash,
        round = CASE WHEN k.began_at <= moment - interval '1 day' THEN k.round + 1 ELSE k.round END,
        began_at = CASE WHEN k.began_at <= moment - interval '1 day' THEN moment ELSE k.began_at END,
        holder = excluded.holder, held_until = excluded.held_until, status = NULL, answer = NULL
    WHERE (k.status IS NOT NULL OR k.held_until <= moment OR k.holder = of_request)
        AND (k.began_at <= moment - interval '1 day' OR (k.status IS NULL AND k.body_hash = of_body))
    RETURNING 'claimed', k.round, NULL::integer, NULL::text;
    IF NOT FOUND THEN
        RETURN QUERY SELECT CASE WHEN k.body_hash <> of_body AND k.began_at > moment - interval '1 day' THEN 'other_body'
            WHEN k.status IS NULL THEN 'in_flight' ELSE 'answered' END, k.round, k.status, k.answer
        FROM foldline_control.idempotency_keys k WHERE k.key_hash = of_key;
    END IF;
END
$$;
CREATE FUNCTION foldline_control.deletion_locks(of_org text, users text[]) RETURNS bigint[]
    LANGUAGE sql IMMUTABLE
    AS $$
    SELECT array_agg(DISTINCT 7022868215640287000 + (hashtextextended(of_org || ':' || u, 0) & 15)) FROM unnest(users) u
$$;
CREATE FUNCTION foldline_control.destroy_keys(ended bytea[]) RETURNS void
    LANGUAGE plpgsql
    AS $$
BEGIN
    PERFORM FROM foldline_control.user_keys k WHERE k.key_id = ANY (ended) ORDER BY k.user_id, k.key_id FOR UPDATE;
    UPDATE foldline_control.user_keys k
    SET wrapped = NULL, destroyed_at = now(), retired_at = coalesce(k.retired_at, now())
    WHERE k.key_id = ANY (ended) AND k.wrapped IS NOT NULL;
END
$$;
CREATE FUNCTION foldline_control.erase(of_generation integer, of_topic text, erased jsonb, lag_seconds double precision) RETURNS void
    LANGUAGE plpgsql
    AS $_$
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
$_$;
CREATE FUNCTION foldline_control.erase_letters(of_generation integer, of_topic text, erased jsonb) RETURNS void
    LANGUAGE sql
    AS $$
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
CREATE FUNCTION foldline_control.keys_for(of_org text, users text[], candidates bytea[], candidates_wrapped bytea[], own_request text) RETURNS TABLE(user_id text, key_id bytea, wrapped bytea, deleting boolean)
    LANGUAGE plpgsql
    AS $$
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
CREATE FUNCTION foldline_control.scrub_imports(organisations text[]) RETURNS void
    LANGUAGE sql
    AS $$
    WITH scrubbed AS (
        UPDATE foldline_control.imports i SET scrubbed_at = now(), report = jsonb_set(i.report, '{preview}', '[]', false)
        WHERE i.org_id = ANY (organisations) AND i.kind = 'users' AND i.scrubbed_at IS NULL AND i.validated_at IS NOT NULL
            AND i.status NOT IN ('uploaded', 'validating')
        RETURNING i.import_id
    )
    DELETE FROM foldline_control.import_files f USING scrubbed s WHERE f.import_id = s.import_id AND f.name = 'failed'
$$;
CREATE TABLE gen_1.items (
    org_id text NOT NULL COLLATE pg_catalog."C",
    item_id text NOT NULL COLLATE pg_catalog."C",
    item_type text NOT NULL COLLATE pg_catalog."C",
    status text NOT NULL COLLATE pg_catalog."C",
    attributes jsonb NOT NULL,
    version bigint NOT NULL,
    first_seen_at timestamp with time zone NOT NULL,
    updated_at timestamp with time zone NOT NULL,
    partition integer NOT NULL,
    "offset" bigint NOT NULL,
    ids bytea DEFAULT '\x'::bytea NOT NULL
)
WITH (fillfactor='70');
CREATE VIEW foldline.active_items AS
 SELECT org_id,
    item_id,
    item_type,
    status,
    attributes,
    version,
    first_seen_at,
    updated_at
   FROM gen_1.items
  WHERE (status = 'active'::text);
COMMENT ON VIEW foldline.active_items IS 'Items that may be recommended.';
COMMENT ON COLUMN foldline.active_items.org_id IS 'The organisation that owns the record.';
COMMENT ON COLUMN foldline.active_items.item_id IS 'The item''s id as its owner knows it, compared exactly.';
COMMENT ON COLUMN foldline.active_items.item_type IS 'What kind of thing the item is.';
COMMENT ON COLUMN foldline.active_items.status IS 'Always active.';
COMMENT ON COLUMN foldline.active_items.attributes IS 'What the owner sent about the record, a JSON object; keeps neither the order of keys nor the spelling of numbers.';
COMMENT ON COLUMN foldline.active_items.version IS 'How many upserts are folded into the record.';
COMMENT ON COLUMN foldline.active_items.first_seen_at IS 'The time of the first upsert folded.';
COMMENT ON COLUMN foldline.active_items.updated_at IS 'The time of the last upsert folded.';
CREATE TABLE gen_1.users (
    org_id text NOT NULL COLLATE pg_catalog."C",
    user_id text NOT NULL COLLATE pg_catalog."C",
    created_at timestamp with time zone NOT NULL,
    status text NOT NULL COLLATE pg_catalog."C",
    attributes jsonb NOT NULL,
    version bigint NOT NULL,
    first_seen_at timestamp with time zone NOT NULL,
    updated_at timestamp with time zone NOT NULL,
    partition integer NOT NULL,
    "offset" bigint NOT NULL,
    keys bytea[] DEFAULT '{}'::bytea[] NOT NULL,
    ids bytea DEFAULT '\x'::bytea NOT NULL
)
WITH (fillfactor='70');
CREATE VIEW foldline.active_users AS
 SELECT org_id,
    user_id,
    created_at,
    status,
    attributes,
    version,
    first_seen_at,
    updated_at
   FROM gen_1.users
  WHERE (status = 'active'::text);
COMMENT ON VIEW foldline.active_users IS 'Users who may be recommended to.';
COMMENT ON COLUMN foldline.active_users.org_id IS 'The organisation that owns the record.';
COMMENT ON COLUMN foldline.active_users.user_id IS 'The user''s id as its owner knows it, compared exactly.';
COMMENT ON COLUMN foldline.active_users.created_at IS 'When the user came to be.';
COMMENT ON COLUMN foldline.active_users.status IS 'Always active.';
COMMENT ON COLUMN foldline.active_users.attributes IS 'What the owner sent about the record, a JSON object; keeps neither the order of keys nor the spelling of numbers.';
COMMENT ON COLUMN foldline.active_users.version IS 'How many upserts are folded into the record.';
COMMENT ON COLUMN foldline.active_users.first_seen_at IS 'The time of the first upsert folded.';
COMMENT ON COLUMN foldline.active_users.updated_at IS 'The time of the last upsert folded.';
CREATE VIEW foldline.items AS
 SELECT org_id,
    item_id,
    item_type,
    status,
    attributes,
    version,
    first_seen_at,
    updated_at
   FROM gen_1.items
  WHERE (status <> 'deleted'::text);
COMMENT ON VIEW foldline.items IS 'Active and inactive items.';
COMMENT ON COLUMN foldline.items.org_id IS 'The organisation that owns the record.';
COMMENT ON COLUMN foldline.items.item_id IS 'The item''s id as its owner knows it, compared exactly.';
COMMENT ON COLUMN foldline.items.item_type IS 'What kind of thing the item is.';
COMMENT ON COLUMN foldline.items.status IS 'active or inactive (hidden, history kept).';
COMMENT ON COLUMN foldline.items.attributes IS 'What the owner sent about the record, a JSON object; keeps neither the order of keys nor the spelling of numbers.';
COMMENT ON COLUMN foldline.items.version IS 'How many upserts are folded into the record.';
COMMENT ON COLUMN foldline.items.first_seen_at IS 'The time of the first upsert folded.';
COMMENT ON COLUMN foldline.items.updated_at IS 'The time of the last upsert folded.';
CREATE VIEW foldline.known_items AS
 SELECT org_id,
    item_id,
    item_type,
    status,
    attributes,
    version,
    first_seen_at,
    updated_at,
    partition,
    "offset"
   FROM gen_1.items;
COMMENT ON VIEW foldline.known_items IS 'Every item that was ever upserted, deleted ones included: the ids for joins with event history.';
COMMENT ON COLUMN foldline.known_items.org_id IS 'The organisation that owns the record.';
COMMENT ON COLUMN foldline.known_items.item_id IS 'The item''s id as its owner knows it, compared exactly.';
COMMENT ON COLUMN foldline.known_items.item_type IS 'What kind of thing the item is.';
COMMENT ON COLUMN foldline.known_items.status IS 'active, inactive (hidden, history kept) or deleted.';
COMMENT ON COLUMN foldline.known_items.attributes IS 'What the owner sent about the record, a JSON object; keeps neither the order of keys nor the spelling of numbers.';
COMMENT ON COLUMN foldline.known_items.version IS 'How many upserts are folded into the record.';
COMMENT ON COLUMN foldline.known_items.first_seen_at IS 'The time of the first upsert folded.';
COMMENT ON COLUMN foldline.known_items.updated_at IS 'The time of the last upsert folded.';
COMMENT ON COLUMN foldline.known_items.partition IS 'The partition of the log that holds the record''s upserts.';
COMMENT ON COLUMN foldline.known_items."offset" IS 'The offset of the last upsert folded.';
CREATE VIEW foldline.known_users AS
 SELECT org_id,
    user_id,
    created_at,
    status,
    attributes,
    version,
    first_seen_at,
    updated_at,
    partition,
    "offset"
   FROM gen_1.users;
COMMENT ON VIEW foldline.known_users IS 'Every user that was ever upserted, deleted ones included: the ids for joins with event history.';
COMMENT ON COLUMN foldline.known_users.org_id IS 'The organisation that owns the record.';
COMMENT ON COLUMN foldline.known_users.user_id IS 'The user''s id as its owner knows it, compared exactly.';
COMMENT ON COLUMN foldline.known_users.created_at IS 'When the user came to be.';
COMMENT ON COLUMN foldline.known_users.status IS 'active, inactive (hidden, history kept) or deleted.';
COMMENT ON COLUMN foldline.known_users.attributes IS 'What the owner sent about the record, a JSON object; keeps neither the order of keys nor the spelling of numbers.';
COMMENT ON COLUMN foldline.known_users.version IS 'How many upserts are folded into the record.';
COMMENT ON COLUMN foldline.known_users.first_seen_at IS 'The time of the first upsert folded.';
COMMENT ON COLUMN foldline.known_users.updated_at IS 'The time of the last upsert folded.';
COMMENT ON COLUMN foldline.known_users.partition IS 'The partition of the log that holds the record''s upserts.';
COMMENT ON COLUMN foldline.known_users."offset" IS 'The offset of the last upsert folded.';
CREATE TABLE foldline_control.positions (
    generation integer NOT NULL,
    topic text NOT NULL COLLATE pg_catalog."C",
    partition integer NOT NULL,
    topic_id text NOT NULL,
    applied bigint DEFAULT 0 NOT NULL,
    published bigint DEFAULT 0 NOT NULL,
    last_offset bigint,
    last_digest bytea,
    closed boolean DEFAULT false NOT NULL,
    CONSTRAINT positions_check CHECK ((published <= applied))
)
WITH (fillfactor='20');
CREATE VIEW foldline.positions AS
 SELECT generation,
    topic,
    partition,
    applied,
    published
   FROM foldline_control.positions
  WHERE (generation = 1);
COMMENT ON VIEW foldline.positions IS 'How far each partition of the log is folded into the state behind these views.';
COMMENT ON COLUMN foldline.positions.generation IS 'The generation of the state, which a rebuild replaces by another.';
COMMENT ON COLUMN foldline.positions.topic IS 'The topic of upserts, with its prefix.';
COMMENT ON COLUMN foldline.positions.partition IS 'The partition of that topic.';
COMMENT ON COLUMN foldline.positions.applied IS 'The offset of the next record to be folded.';
COMMENT ON COLUMN foldline.positions.published IS 'The offset of the next record whose state is to be published on the state topic.';
CREATE VIEW foldline.users AS
 SELECT org_id,
    user_id,
    created_at,
    status,
    attributes,
    version,
    first_seen_at,
    updated_at
   FROM gen_1.users
  WHERE (status <> 'deleted'::text);
COMMENT ON VIEW foldline.users IS 'Active and inactive users.';
COMMENT ON COLUMN foldline.users.org_id IS 'The organisation that owns the record.';
COMMENT ON COLUMN foldline.users.user_id IS 'The user''s id as its owner knows it, compared exactly.';
COMMENT ON COLUMN foldline.users.created_at IS 'When the user came to be.';
COMMENT ON COLUMN foldline.users.status IS 'active or inactive (hidden, history kept).';
COMMENT ON COLUMN foldline.users.attributes IS 'What the owner sent about the record, a JSON object; keeps neither the order of keys nor the spelling of numbers.';
COMMENT ON COLUMN foldline.users.version IS 'How many upserts are folded into the record.';
COMMENT ON COLUMN foldline.users.first_seen_at IS 'The time of the first upsert folded.';
COMMENT ON COLUMN foldline.users.updated_at IS 'The time of the last upsert folded.';
CREATE TABLE foldline_control.accounts (
    account_id text NOT NULL,
    email text NOT NULL COLLATE pg_catalog."C",
    name text NOT NULL,
    password_hash text,
    created_at timestamp with time zone DEFAULT now() NOT NULL
);
CREATE TABLE foldline_control.activity (
    org_id text NOT NULL COLLATE pg_catalog."C",
    at timestamp with time zone NOT NULL,
    kind text NOT NULL,
    events bigint NOT NULL,
    freshness_ms real,
    CONSTRAINT activity_kind_check CHECK ((kind = ANY (ARRAY['items'::text, 'users'::text])))
);
CREATE TABLE foldline_control.api_keys (
    key_id text NOT NULL,
    key_hash bytea NOT NULL,
    org_id text NOT NULL COLLATE pg_catalog."C",
    role text NOT NULL,
    hint text NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    revoked_at timestamp with time zone,
    created_by text,
    last_used_at timestamp with time zone,
    expires_at timestamp with time zone,
    CONSTRAINT api_keys_role_check CHECK ((role = ANY (ARRAY['publishable'::text, 'secret'::text])))
);
CREATE UNLOGGED TABLE foldline_control.attempts (
    subject bytea NOT NULL,
    began_at timestamp with time zone DEFAULT now() NOT NULL,
    failures integer NOT NULL
);
CREATE TABLE foldline_control.audit_log (
    audit_id bigint NOT NULL,
    org_id text NOT NULL COLLATE pg_catalog."C",
    at timestamp with time zone DEFAULT now() NOT NULL,
    actor text NOT NULL COLLATE pg_catalog."C",
    action text NOT NULL COLLATE pg_catalog."C",
    subject text NOT NULL,
    detail jsonb DEFAULT '{}'::jsonb NOT NULL
);
ALTER TABLE foldline_control.audit_log ALTER COLUMN audit_id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME foldline_control.audit_log_audit_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE foldline_control.dead_letters (
    generation integer NOT NULL,
    topic text NOT NULL COLLATE pg_catalog."C",
    partition integer NOT NULL,
    "offset" bigint NOT NULL,
    org_id text COLLATE pg_catalog."C",
    entity_id text COLLATE pg_catalog."C",
    request_id text COLLATE pg_catalog."C",
    record_index integer,
    code text NOT NULL,
    field text NOT NULL,
    message text NOT NULL,
    key bytea,
    value bytea,
    logged_at timestamp with time zone NOT NULL
);
CREATE TABLE foldline_control.deletions (
    org_id text NOT NULL COLLATE pg_catalog."C",
    user_id text NOT NULL COLLATE pg_catalog."C",
    request_id text NOT NULL,
    until timestamp with time zone NOT NULL
);
CREATE TABLE foldline_control.erasures (
    org_id text NOT NULL COLLATE pg_catalog."C",
    user_id text NOT NULL COLLATE pg_catalog."C",
    topic text NOT NULL COLLATE pg_catalog."C",
    partition integer NOT NULL,
    "offset" bigint NOT NULL,
    request_id text NOT NULL COLLATE pg_catalog."C",
    keys integer NOT NULL,
    erased_at timestamp with time zone DEFAULT now() NOT NULL
);
CREATE TABLE foldline_control.generation_ends (
    generation integer NOT NULL,
    key_id bytea NOT NULL
);
CREATE TABLE foldline_control.generations (
    generation integer NOT NULL,
    live boolean NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    status text DEFAULT 'building'::text NOT NULL,
    purpose text DEFAULT ''::text NOT NULL,
    live_at timestamp with time zone,
    retired_at timestamp with time zone,
    CONSTRAINT generations_status_check CHECK ((status = ANY (ARRAY['building'::text, 'built'::text, 'live'::text, 'old'::text])))
);
CREATE TABLE foldline_control.idempotency_keys (
    key_hash bytea NOT NULL,
    body_hash bytea NOT NULL,
    round integer DEFAULT 0 NOT NULL,
    began_at timestamp with time zone NOT NULL,
    holder text NOT NULL,
    held_until timestamp with time zone NOT NULL,
    status integer,
    answer text,
    CONSTRAINT idempotency_keys_check CHECK (((status IS NULL) = (answer IS NULL)))
)
WITH (fillfactor='50');
CREATE TABLE foldline_control.import_files (
    import_id text NOT NULL,
    name text NOT NULL,
    block integer NOT NULL,
    bytes bytea NOT NULL,
    CONSTRAINT import_files_name_check CHECK ((name = ANY (ARRAY['file'::text, 'failed'::text])))
);
ALTER TABLE ONLY foldline_control.import_files ALTER COLUMN bytes SET STORAGE EXTERNAL;
CREATE TABLE foldline_control.import_problems (
    import_id text NOT NULL,
    severity text NOT NULL,
    code text NOT NULL,
    block integer NOT NULL,
    problems bytea NOT NULL,
    CONSTRAINT import_problems_severity_check CHECK ((severity = ANY (ARRAY['error'::text, 'warning'::text])))
);
ALTER TABLE ONLY foldline_control.import_problems ALTER COLUMN problems SET STORAGE EXTERNAL;
CREATE TABLE foldline_control.imports (
    import_id text NOT NULL,
    request_id text NOT NULL,
    org_id text NOT NULL COLLATE pg_catalog."C",
    kind text NOT NULL,
    series_id text NOT NULL,
    part integer DEFAULT 1 NOT NULL,
    last_part boolean DEFAULT true NOT NULL,
    file_name text NOT NULL,
    file_bytes bigint DEFAULT 0 NOT NULL,
    has_file boolean DEFAULT true NOT NULL,
    created_by text NOT NULL,
    status text DEFAULT 'uploading'::text NOT NULL,
    cancelling boolean DEFAULT false NOT NULL,
    failure text,
    types jsonb DEFAULT '{}'::jsonb NOT NULL,
    attempts integer DEFAULT 0 NOT NULL,
    bytes_read bigint DEFAULT 0 NOT NULL,
    rows_read bigint DEFAULT 0 NOT NULL,
    rows bigint DEFAULT 0 NOT NULL,
    wrong_rows bigint DEFAULT 0 NOT NULL,
    errors bigint DEFAULT 0 NOT NULL,
    warnings bigint DEFAULT 0 NOT NULL,
    report jsonb,
    only_good boolean DEFAULT false NOT NULL,
    whole boolean DEFAULT false NOT NULL,
    log_ends bigint[],
    wrong_ids text[] DEFAULT '{}'::text[] NOT NULL COLLATE pg_catalog."C",
    wrong_without_id bigint DEFAULT 0 NOT NULL,
    next_row bigint DEFAULT 0 NOT NULL,
    queued bigint DEFAULT 0 NOT NULL,
    deleted bigint DEFAULT 0 NOT NULL,
    topic_id text,
    run_began bigint[],
    appended jsonb DEFAULT '[]'::jsonb NOT NULL,
    in_flight_at timestamp with time zone,
    refused bigint,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    uploaded_at timestamp with time zone,
    validating_at timestamp with time zone,
    validated_at timestamp with time zone,
    queueing_at timestamp with time zone,
    done_at timestamp with time zone,
    live_at timestamp with time zone,
    ended_at timestamp with time zone,
    scrubbed_at timestamp with time zone,
    CONSTRAINT imports_kind_check CHECK ((kind = ANY (ARRAY['items'::text, 'users'::text]))),
    CONSTRAINT imports_status_check CHECK ((status = ANY (ARRAY['uploading'::text, 'uploaded'::text, 'validating'::text, 'rejected'::text, 'ready'::text, 'queueing'::text, 'done'::text, 'live'::text, 'failed'::text, 'cancelled'::text])))
);
CREATE TABLE foldline_control.key_ends (
    event_id text NOT NULL COLLATE pg_catalog."C",
    key_id bytea NOT NULL
);
CREATE TABLE foldline_control.keyring (
    one boolean DEFAULT true NOT NULL,
    ids_secret bytea NOT NULL,
    made_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT keyring_one_check CHECK (one)
);
CREATE TABLE foldline_control.lag (
    at timestamp with time zone NOT NULL,
    records bigint NOT NULL,
    seconds real NOT NULL
);
CREATE TABLE foldline_control.links (
    link_hash bytea NOT NULL,
    purpose text NOT NULL,
    account_id text,
    org_id text COLLATE pg_catalog."C",
    email text COLLATE pg_catalog."C",
    role text,
    created_by text,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    used_at timestamp with time zone,
    CONSTRAINT links_purpose_check CHECK ((purpose = ANY (ARRAY['sign_in'::text, 'reset'::text, 'invitation'::text]))),
    CONSTRAINT links_role_check CHECK ((role = ANY (ARRAY['OWNER'::text, 'ADMIN'::text, 'DEVELOPER'::text, 'MEMBER'::text])))
);
CREATE TABLE foldline_control.memberships (
    org_id text NOT NULL COLLATE pg_catalog."C",
    account_id text NOT NULL,
    role text NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT memberships_role_check CHECK ((role = ANY (ARRAY['OWNER'::text, 'ADMIN'::text, 'DEVELOPER'::text, 'MEMBER'::text])))
);
CREATE TABLE foldline_control.organisations (
    org_id text NOT NULL COLLATE pg_catalog."C",
    name text NOT NULL,
    rate_limit integer,
    suspended_at timestamp with time zone,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT organisations_name_check CHECK ((name <> ''::text)),
    CONSTRAINT organisations_org_id_check CHECK ((org_id ~ '^[A-Za-z0-9_-]{1,64}$'::text)),
    CONSTRAINT organisations_rate_limit_check CHECK ((rate_limit >= 0))
);
CREATE TABLE foldline_control.pending_publications (
    generation integer NOT NULL,
    topic text NOT NULL COLLATE pg_catalog."C",
    partition integer NOT NULL,
    org_id text NOT NULL COLLATE pg_catalog."C",
    entity_id text NOT NULL COLLATE pg_catalog."C",
    due_at timestamp with time zone DEFAULT now() NOT NULL
);
CREATE UNLOGGED TABLE foldline_control.rate_windows (
    org_id text NOT NULL COLLATE pg_catalog."C",
    started_at timestamp with time zone NOT NULL,
    used bigint NOT NULL
)
WITH (fillfactor='50');
CREATE TABLE foldline_control.record_counts (
    org_id text NOT NULL COLLATE pg_catalog."C",
    at timestamp with time zone NOT NULL,
    kind text NOT NULL,
    active bigint NOT NULL,
    inactive bigint NOT NULL,
    deleted bigint NOT NULL,
    CONSTRAINT record_counts_kind_check CHECK ((kind = ANY (ARRAY['items'::text, 'users'::text])))
);
CREATE TABLE foldline_control.redrives (
    topic text NOT NULL COLLATE pg_catalog."C",
    partition integer NOT NULL,
    "offset" bigint NOT NULL,
    attempt integer NOT NULL,
    asked_by text NOT NULL,
    asked_at timestamp with time zone DEFAULT now() NOT NULL,
    to_partition integer NOT NULL,
    log_end bigint NOT NULL,
    landed_offset bigint
);
CREATE TABLE foldline_control.secrets (
    name text NOT NULL,
    value bytea NOT NULL
);
CREATE TABLE foldline_control.sessions (
    session_hash bytea NOT NULL,
    account_id text NOT NULL,
    org_id text NOT NULL COLLATE pg_catalog."C",
    client text NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    last_seen_at timestamp with time zone DEFAULT now() NOT NULL,
    expires_at timestamp with time zone NOT NULL
);
CREATE TABLE foldline_control.user_keys (
    key_id bytea NOT NULL,
    org_id text NOT NULL COLLATE pg_catalog."C",
    user_id text NOT NULL COLLATE pg_catalog."C",
    wrapped bytea,
    made_at timestamp with time zone DEFAULT now() NOT NULL,
    retired_at timestamp with time zone,
    destroyed_at timestamp with time zone,
    CONSTRAINT user_keys_check CHECK (((wrapped IS NULL) = (destroyed_at IS NOT NULL))),
    CONSTRAINT user_keys_check1 CHECK (((destroyed_at IS NULL) OR (retired_at IS NOT NULL)))
)
WITH (fillfactor='80');
CREATE TABLE public.foldline_migrations (
    name text NOT NULL,
    digest text NOT NULL,
    migrated_at timestamp with time zone DEFAULT now() NOT NULL
);
INSERT INTO foldline_control.accounts VALUES ('acc_old', 'ada@example.com', 'Ada', NULL, '2026-11-24 02:42:36.118673+00');
INSERT INTO foldline_control.activity VALUES ('org_old', '2025-01-12 09:00:00+00', 'items', 50, 18);
INSERT INTO foldline_control.api_keys VALUES ('key_old', '\xb67700401e5bd3bd0898603c46de9b1ad00857041511e8c6965cd023200adb2d', 'org_old', 'secret', 'lehnz_sk_…aaaa', '2026-11-24 02:42:36.0988+00', NULL, NULL, NULL, NULL);
INSERT INTO foldline_control.api_keys VALUES ('key_gone', '\x83a667472ec1e6554981817127dabb9908ebbf96c3d3aa491688a597dff6cfb8', 'org_old', 'secret', 'lehnz_sk_…bbbb', '2026-11-24 02:42:36.0988+00', '2026-11-24 02:42:36.0988+00', NULL, NULL, NULL);
INSERT INTO foldline_control.audit_log OVERRIDING SYSTEM VALUE VALUES (1, 'org_old', '2026-11-24 02:42:36.118673+00', 'ada@example.com', 'account.signed_up', 'ada@example.com', '{}');
INSERT INTO foldline_control.dead_letters VALUES (1, 'items.upserts.v1', 0, 7, 'org_old', 'new', 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa', 0, 'item_type_required', 'item_type', 'a new item needs an item_type', '\x6f72675f6f6c643a6e6577', '\x00', '2026-11-24 02:42:36.0988+00');
INSERT INTO foldline_control.generations VALUES (1, true, '2026-11-24 02:42:35.826465+00', 'live', '', '2026-11-24 02:42:35.826465+00', NULL);
INSERT INTO foldline_control.idempotency_keys VALUES ('\x01', '\x02', 0, '2026-11-24 05:00:34.508644+00', 'old', '2026-11-24 05:00:44.508644+00', 202, '["Queued",{"accepted":1}]');
INSERT INTO foldline_control.import_files VALUES ('imp_old', 'failed', 0, '\x61');
INSERT INTO foldline_control.imports VALUES ('imp_old', 'bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb', 'org_old', 'items', 'imp_old', 1, true, 'catalogue.csv', 0, true, 'ada@example.com', 'live', false, NULL, '{}', 0, 0, 0, 50, 0, 0, 0, NULL, false, false, NULL, '{}', 0, 0, 50, 0, NULL, NULL, '[]', NULL, NULL, '2026-11-24 02:42:36.118673+00', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO foldline_control.keyring VALUES (true, '\xd4657a6bd91b4543212a76cd80a30602e955289959745c3ff3bfbfacac9bd8476beb85d550e4dc854fac2ae12705616de1b49406867909ce1d0a144083453d41b1594a3c', '2026-11-24 02:42:35.950195+00');
INSERT INTO foldline_control.lag VALUES ('2025-01-12 09:00:00+00', 0, 0);
INSERT INTO foldline_control.links VALUES ('\x01', 'invitation', NULL, 'org_old', 'bob@example.com', 'MEMBER', 'ada@example.com', '2026-11-24 02:42:36.118673+00', '2026-11-24 02:42:36.118673+00', NULL);
INSERT INTO foldline_control.memberships VALUES ('org_old', 'acc_old', 'OWNER', '2026-11-24 02:42:36.118673+00');
INSERT INTO foldline_control.organisations VALUES ('org_old', 'Old shop', 0, NULL, '2026-11-24 02:42:36.0988+00');
INSERT INTO foldline_control.organisations VALUES ('org_other', 'Other shop', NULL, NULL, '2026-11-24 02:42:36.0988+00');
INSERT INTO foldline_control.pending_publications VALUES (1, 'items.upserts.v1', 0, 'org_old', 'item-1', '2026-11-24 02:42:36.130355+00');
INSERT INTO foldline_control.positions VALUES (1, 'items.upserts.v1', 0, 'topic-id', 0, 0, NULL, NULL, false);
INSERT INTO foldline_control.positions VALUES (1, 'items.upserts.v1', 1, 'topic-id', 0, 0, NULL, NULL, false);
INSERT INTO foldline_control.positions VALUES (1, 'items.upserts.v1', 2, 'topic-id', 0, 0, NULL, NULL, false);
INSERT INTO foldline_control.positions VALUES (1, 'users.upserts.v1', 0, 'topic-id', 0, 0, NULL, NULL, false);
INSERT INTO foldline_control.positions VALUES (1, 'users.upserts.v1', 1, 'topic-id', 0, 0, NULL, NULL, false);
INSERT INTO foldline_control.positions VALUES (1, 'users.upserts.v1', 2, 'topic-id', 0, 0, NULL, NULL, false);
INSERT INTO foldline_control.rate_windows VALUES ('org_other', '2026-11-24 02:42:36.0988+00', 5);
INSERT INTO foldline_control.record_counts VALUES ('org_old', '2025-01-12 09:00:00+00', 'items', 16, 17, 17);
INSERT INTO foldline_control.secrets VALUES ('operations', '\x35c9664f286752482a4d227822885d01ba2b6bc170e8da0d19ec6d7e6c6fe4b0');
INSERT INTO foldline_control.sessions VALUES ('\x13c49aa4e416f7a6e0f164f9aa999c65b7fbfb6d4d06329a2602997f8cf10985', 'acc_old', 'org_old', 'Firefox on Linux', '2026-11-24 02:42:36.118673+00', '2026-11-24 02:42:36.118673+00', '2099-01-01 00:00:00+00');
INSERT INTO foldline_control.user_keys VALUES ('\x00112233445566778899aabbccddeeff', 'org_old', 'user-2', NULL, '2026-11-24 02:42:36.13901+00', '2026-11-24 02:42:36.13901+00', '2026-11-24 02:42:36.13901+00');
INSERT INTO gen_1.items VALUES ('org_old', 'item-1', 'product', 'inactive', '{"n": 1, "name": "Item 1"}', 1, '2025-01-12 09:00:00+00', '2025-01-13 09:00:00+00', 0, 1, '\x');
INSERT INTO gen_1.items VALUES ('org_old', 'item-2', 'product', 'deleted', '{"n": 2, "name": "Item 2"}', 2, '2025-01-12 09:00:00+00', '2025-01-13 09:00:00+00', 0, 2, '\x');
INSERT INTO gen_1.items VALUES ('org_old', 'item-4', 'product', 'inactive', '{"n": 4, "name": "Item 4"}', 4, '2025-01-12 09:00:00+00', '2025-01-13 09:00:00+00', 0, 4, '\x');
INSERT INTO gen_1.items VALUES ('org_old', 'item-5', 'product', 'deleted', '{"n": 5, "name": "Item 5"}', 5, '2025-01-12 09:00:00+00', '2025-01-13 09:00:00+00', 0, 5, '\x');
INSERT INTO gen_1.items VALUES ('org_old', 'item-6', 'product', 'active', '{"n": 6, "name": "Item 6"}', 6, '2025-01-12 09:00:00+00', '2025-01-13 09:00:00+00', 0, 6, '\x');
INSERT INTO gen_1.items VALUES ('org_old', 'item-7', 'product', 'inactive', '{"n": 7, "name": "Item 7"}', 7, '2025-01-12 09:00:00+00', '2025-01-13 09:00:00+00', 0, 7, '\x');
INSERT INTO gen_1.items VALUES ('org_old', 'item-8', 'product', 'deleted', '{"n": 8, "name": "Item 8"}', 8, '2025-01-12 09:00:00+00', '2025-01-13 09:00:00+00', 0, 8, '\x');
INSERT INTO gen_1.items VALUES ('org_old', 'item-9', 'product', 'active', '{"n": 9, "name": "Item 9"}', 9, '2025-01-12 09:00:00+00', '2025-01-13 09:00:00+00', 0, 9, '\x');
INSERT INTO gen_1.items VALUES ('org_old', 'item-10', 'product', 'inactive', '{"n": 10, "name": "Item 10"}', 10, '2025-01-12 09:00:00+00', '2025-01-13 09:00:00+00', 0, 10, '\x');
INSERT INTO gen_1.items VALUES ('org_old', 'item-11', 'product', 'deleted', '{"n": 11, "name": "Item 11"}', 11, '2025-01-12 09:00:00+00', '2025-01-13 09:00:00+00', 0, 11, '\x');
INSERT INTO gen_1.items VALUES ('org_old', 'item-12', 'product', 'active', '{"n": 12, "name": "Item 12"}', 12, '2025-01-12 09:00:00+00', '2025-01-13 09:00:00+00', 0, 12, '\x');
INSERT INTO gen_1.items VALUES ('org_old', 'item-13', 'product', 'inactive', '{"n": 13, "name": "Item 13"}', 13, '2025-01-12 09:00:00+00', '2025-01-13 09:00:00+00', 0, 13, '\x');
INSERT INTO gen_1.items VALUES ('org_old', 'item-14', 'product', 'deleted', '{"n": 14, "name": "Item 14"}', 14, '2025-01-12 09:00:00+00', '2025-01-13 09:00:00+00', 0, 14, '\x');
INSERT INTO gen_1.items VALUES ('org_old', 'item-15', 'product', 'active', '{"n": 15, "name": "Item 15"}', 15, '2025-01-12 09:00:00+00', '2025-01-13 09:00:00+00', 0, 15, '\x');
INSERT INTO gen_1.items VALUES ('org_old', 'item-16', 'product', 'inactive', '{"n": 16, "name": "Item 16"}', 16, '2025-01-12 09:00:00+00', '2025-01-13 09:00:00+00', 0, 16, '\x');
INSERT INTO gen_1.items VALUES ('org_old', 'item-17', 'product', 'deleted', '{"n": 17, "name": "Item 17"}', 17, '2025-01-12 09:00:00+00', '2025-01-13 09:00:00+00', 0, 17, '\x');
INSERT INTO gen_1.items VALUES ('org_old', 'item-18', 'product', 'active', '{"n": 18, "name": "Item 18"}', 18, '2025-01-12 09:00:00+00', '2025-01-13 09:00:00+00', 0, 18, '\x');
INSERT INTO gen_1.items VALUES ('org_old', 'item-19', 'product', 'inactive', '{"n": 19, "name": "Item 19"}', 19, '2025-01-12 09:00:00+00', '2025-01-13 09:00:00+00', 0, 19, '\x');
INSERT INTO gen_1.items VALUES ('org_old', 'item-20', 'product', 'deleted', '{"n": 20, "name": "Item 20"}', 20, '2025-01-12 09:00:00+00', '2025-01-13 09:00:00+00', 0, 20, '\x');
INSERT INTO gen_1.items VALUES ('org_old', 'item-21', 'product', 'active', '{"n": 21, "name": "Item 21"}', 21, '2025-01-12 09:00:00+00', '2025-01-13 09:00:00+00', 0, 21, '\x');
INSERT INTO gen_1.items VALUES ('org_old', 'item-22', 'product', 'inactive', '{"n": 22, "name": "Item 22"}', 22, '2025-01-12 09:00:00+00', '2025-01-13 09:00:00+00', 0, 22, '\x');
INSERT INTO gen_1.items VALUES ('org_old', 'item-23', 'product', 'deleted', '{"n": 23, "name": "Item 23"}', 23, '2025-01-12 09:00:00+00', '2025-01-13 09:00:00+00', 0, 23, '\x');
INSERT INTO gen_1.items VALUES ('org_old', 'item-24', 'product', 'active', '{"n": 24, "name": "Item 24"}', 24, '2025-01-12 09:00:00+00', '2025-01-13 09:00:00+00', 0, 24, '\x');
INSERT INTO gen_1.items VALUES ('org_old', 'item-25', 'product', 'inactive', '{"n": 25, "name": "Item 25"}', 25, '2025-01-12 09:00:00+00', '2025-01-13 09:00:00+00', 0, 25, '\x');
INSERT INTO gen_1.items VALUES ('org_old', 'item-26', 'product', 'deleted', '{"n": 26, "name": "Item 26"}', 26, '2025-01-12 09:00:00+00', '2025-01-13 09:00:00+00', 0, 26, '\x');
INSERT INTO gen_1.items VALUES ('org_old', 'item-27', 'product', 'active', '{"n": 27, "name": "Item 27"}', 27, '2025-01-12 09:00:00+00', '2025-01-13 09:00:00+00', 0, 27, '\x');
INSERT INTO gen_1.items VALUES ('org_old', 'item-28', 'product', 'inactive', '{"n": 28, "name": "Item 28"}', 28, '2025-01-12 09:00:00+00', '2025-01-13 09:00:00+00', 0, 28, '\x');
INSERT INTO gen_1.items VALUES ('org_old', 'item-29', 'product', 'deleted', '{"n": 29, "name": "Item 29"}', 29, '2025-01-12 09:00:00+00', '2025-01-13 09:00:00+00', 0, 29, '\x');
INSERT INTO gen_1.items VALUES ('org_old', 'item-30', 'product', 'active', '{"n": 30, "name": "Item 30"}', 30, '2025-01-12 09:00:00+00', '2025-01-13 09:00:00+00', 0, 30, '\x');
INSERT INTO gen_1.items VALUES ('org_old', 'item-31', 'product', 'inactive', '{"n": 31, "name": "Item 31"}', 31, '2025-01-12 09:00:00+00', '2025-01-13 09:00:00+00', 0, 31, '\x');
INSERT INTO gen_1.items VALUES ('org_old', 'item-32', 'product', 'deleted', '{"n": 32, "name": "Item 32"}', 32, '2025-01-12 09:00:00+00', '2025-01-13 09:00:00+00', 0, 32, '\x');
INSERT INTO gen_1.items VALUES ('org_old', 'item-33', 'product', 'active', '{"n": 33, "name": "Item 33"}', 33, '2025-01-12 09:00:00+00', '2025-01-13 09:00:00+00', 0, 33, '\x');
INSERT INTO gen_1.items VALUES ('org_old', 'item-34', 'product', 'inactive', '{"n": 34, "name": "Item 34"}', 34, '2025-01-12 09:00:00+00', '2025-01-13 09:00:00+00', 0, 34, '\x');
INSERT INTO gen_1.items VALUES ('org_old', 'item-35', 'product', 'deleted', '{"n": 35, "name": "Item 35"}', 35, '2025-01-12 09:00:00+00', '2025-01-13 09:00:00+00', 0, 35, '\x');
INSERT INTO gen_1.items VALUES ('org_old', 'item-36', 'product', 'active', '{"n": 36, "name": "Item 36"}', 36, '2025-01-12 09:00:00+00', '2025-01-13 09:00:00+00', 0, 36, '\x');
INSERT INTO gen_1.items VALUES ('org_old', 'item-37', 'product', 'inactive', '{"n": 37, "name": "Item 37"}', 37, '2025-01-12 09:00:00+00', '2025-01-13 09:00:00+00', 0, 37, '\x');
INSERT INTO gen_1.items VALUES ('org_old', 'item-38', 'product', 'deleted', '{"n": 38, "name": "Item 38"}', 38, '2025-01-12 09:00:00+00', '2025-01-13 09:00:00+00', 0, 38, '\x');
INSERT INTO gen_1.items VALUES ('org_old', 'item-3', 'product', 'active', '{"n": 3, "name": "Item 3"}', 3, '2025-01-12 09:00:00+00', '2025-01-13 09:00:00+00', 0, 3, '\xabababababababababababababababab0000000000000001');
INSERT INTO gen_1.items VALUES ('org_old', 'item-39', 'product', 'active', '{"n": 39, "name": "Item 39"}', 39, '2025-01-12 09:00:00+00', '2025-01-13 09:00:00+00', 0, 39, '\x');
INSERT INTO gen_1.items VALUES ('org_old', 'item-40', 'product', 'inactive', '{"n": 40, "name": "Item 40"}', 40, '2025-01-12 09:00:00+00', '2025-01-13 09:00:00+00', 0, 40, '\x');
INSERT INTO gen_1.items VALUES ('org_old', 'item-41', 'product', 'deleted', '{"n": 41, "name": "Item 41"}', 41, '2025-01-12 09:00:00+00', '2025-01-13 09:00:00+00', 0, 41, '\x');
INSERT INTO gen_1.items VALUES ('org_old', 'item-42', 'product', 'active', '{"n": 42, "name": "Item 42"}', 42, '2025-01-12 09:00:00+00', '2025-01-13 09:00:00+00', 0, 42, '\x');
INSERT INTO gen_1.items VALUES ('org_old', 'item-43', 'product', 'inactive', '{"n": 43, "name": "Item 43"}', 43, '2025-01-12 09:00:00+00', '2025-01-13 09:00:00+00', 0, 43, '\x');
INSERT INTO gen_1.items VALUES ('org_old', 'item-44', 'product', 'deleted', '{"n": 44, "name": "Item 44"}', 44, '2025-01-12 09:00:00+00', '2025-01-13 09:00:00+00', 0, 44, '\x');
INSERT INTO gen_1.items VALUES ('org_old', 'item-45', 'product', 'active', '{"n": 45, "name": "Item 45"}', 45, '2025-01-12 09:00:00+00', '2025-01-13 09:00:00+00', 0, 45, '\x');
INSERT INTO gen_1.items VALUES ('org_old', 'item-46', 'product', 'inactive', '{"n": 46, "name": "Item 46"}', 46, '2025-01-12 09:00:00+00', '2025-01-13 09:00:00+00', 0, 46, '\x');
INSERT INTO gen_1.items VALUES ('org_old', 'item-47', 'product', 'deleted', '{"n": 47, "name": "Item 47"}', 47, '2025-01-12 09:00:00+00', '2025-01-13 09:00:00+00', 0, 47, '\x');
INSERT INTO gen_1.items VALUES ('org_old', 'item-48', 'product', 'active', '{"n": 48, "name": "Item 48"}', 48, '2025-01-12 09:00:00+00', '2025-01-13 09:00:00+00', 0, 48, '\x');
INSERT INTO gen_1.items VALUES ('org_old', 'item-49', 'product', 'inactive', '{"n": 49, "name": "Item 49"}', 49, '2025-01-12 09:00:00+00', '2025-01-13 09:00:00+00', 0, 49, '\x');
INSERT INTO gen_1.items VALUES ('org_old', 'item-50', 'product', 'deleted', '{"n": 50, "name": "Item 50"}', 50, '2025-01-12 09:00:00+00', '2025-01-13 09:00:00+00', 0, 50, '\x');
INSERT INTO gen_1.users VALUES ('org_old', 'user-1', '2024-01-01 00:00:00+00', 'inactive', '{"n": 1}', 1, '2025-01-12 09:00:00+00', '2025-01-13 09:00:00+00', 0, 1, '{}', '\x');
INSERT INTO gen_1.users VALUES ('org_old', 'user-2', '2024-01-01 00:00:00+00', 'deleted', '{}', 2, '2025-01-12 09:00:00+00', '2025-01-13 09:00:00+00', 0, 2, '{}', '\x');
INSERT INTO gen_1.users VALUES ('org_old', 'user-3', '2024-01-01 00:00:00+00', 'active', '{"n": 3}', 3, '2025-01-12 09:00:00+00', '2025-01-13 09:00:00+00', 0, 3, '{}', '\x');
INSERT INTO gen_1.users VALUES ('org_old', 'user-4', '2024-01-01 00:00:00+00', 'inactive', '{"n": 4}', 4, '2025-01-12 09:00:00+00', '2025-01-13 09:00:00+00', 0, 4, '{}', '\x');
INSERT INTO gen_1.users VALUES ('org_old', 'user-5', '2024-01-01 00:00:00+00', 'deleted', '{}', 5, '2025-01-12 09:00:00+00', '2025-01-13 09:00:00+00', 0, 5, '{}', '\x');
INSERT INTO gen_1.users VALUES ('org_old', 'user-6', '2024-01-01 00:00:00+00', 'active', '{"n": 6}', 6, '2025-01-12 09:00:00+00', '2025-01-13 09:00:00+00', 0, 6, '{}', '\x');
INSERT INTO gen_1.users VALUES ('org_old', 'user-7', '2024-01-01 00:00:00+00', 'inactive', '{"n": 7}', 7, '2025-01-12 09:00:00+00', '2025-01-13 09:00:00+00', 0, 7, '{}', '\x');
INSERT INTO gen_1.users VALUES ('org_old', 'user-8', '2024-01-01 00:00:00+00', 'deleted', '{}', 8, '2025-01-12 09:00:00+00', '2025-01-13 09:00:00+00', 0, 8, '{}', '\x');
INSERT INTO gen_1.users VALUES ('org_old', 'user-9', '2024-01-01 00:00:00+00', 'active', '{"n": 9}', 9, '2025-01-12 09:00:00+00', '2025-01-13 09:00:00+00', 0, 9, '{}', '\x');
INSERT INTO gen_1.users VALUES ('org_old', 'user-10', '2024-01-01 00:00:00+00', 'inactive', '{"n": 10}', 10, '2025-01-12 09:00:00+00', '2025-01-13 09:00:00+00', 0, 10, '{}', '\x');
INSERT INTO gen_1.users VALUES ('org_old', 'user-11', '2024-01-01 00:00:00+00', 'deleted', '{}', 11, '2025-01-12 09:00:00+00', '2025-01-13 09:00:00+00', 0, 11, '{}', '\x');
INSERT INTO gen_1.users VALUES ('org_old', 'user-12', '2024-01-01 00:00:00+00', 'active', '{"n": 12}', 12, '2025-01-12 09:00:00+00', '2025-01-13 09:00:00+00', 0, 12, '{}', '\x');
INSERT INTO gen_1.users VALUES ('org_old', 'user-13', '2024-01-01 00:00:00+00', 'inactive', '{"n": 13}', 13, '2025-01-12 09:00:00+00', '2025-01-13 09:00:00+00', 0, 13, '{}', '\x');
INSERT INTO gen_1.users VALUES ('org_old', 'user-14', '2024-01-01 00:00:00+00', 'deleted', '{}', 14, '2025-01-12 09:00:00+00', '2025-01-13 09:00:00+00', 0, 14, '{}', '\x');
INSERT INTO gen_1.users VALUES ('org_old', 'user-15', '2024-01-01 00:00:00+00', 'active', '{"n": 15}', 15, '2025-01-12 09:00:00+00', '2025-01-13 09:00:00+00', 0, 15, '{}', '\x');
INSERT INTO gen_1.users VALUES ('org_old', 'user-16', '2024-01-01 00:00:00+00', 'inactive', '{"n": 16}', 16, '2025-01-12 09:00:00+00', '2025-01-13 09:00:00+00', 0, 16, '{}', '\x');
INSERT INTO gen_1.users VALUES ('org_old', 'user-17', '2024-01-01 00:00:00+00', 'deleted', '{}', 17, '2025-01-12 09:00:00+00', '2025-01-13 09:00:00+00', 0, 17, '{}', '\x');
INSERT INTO gen_1.users VALUES ('org_old', 'user-18', '2024-01-01 00:00:00+00', 'active', '{"n": 18}', 18, '2025-01-12 09:00:00+00', '2025-01-13 09:00:00+00', 0, 18, '{}', '\x');
INSERT INTO gen_1.users VALUES ('org_old', 'user-19', '2024-01-01 00:00:00+00', 'inactive', '{"n": 19}', 19, '2025-01-12 09:00:00+00', '2025-01-13 09:00:00+00', 0, 19, '{}', '\x');
INSERT INTO gen_1.users VALUES ('org_old', 'user-20', '2024-01-01 00:00:00+00', 'deleted', '{}', 20, '2025-01-12 09:00:00+00', '2025-01-13 09:00:00+00', 0, 20, '{}', '\x');
INSERT INTO public.foldline_migrations VALUES ('0001_initial', '818554f25182399d3b64059859b1393c35d18361da4b21697758f4a1127f3851', '2026-11-24 02:42:35.826465+00');
INSERT INTO public.foldline_migrations VALUES ('0002_dashboard', '77952c7b871f2aa50715f5486c5d1afde7f0482821d53ec4173597ee1fcaeb8c', '2026-11-24 02:42:35.826465+00');
INSERT INTO public.foldline_migrations VALUES ('0003_generations', 'fab19d72541179e193c26001cab920717c946480e843d67a32260c8e390ad403', '2026-11-24 02:42:35.826465+00');
INSERT INTO public.foldline_migrations VALUES ('0004_erasure', 'a1ee425ce74261ae66d6a69cfc1765ad44b7d8415fe508c4bf2c23590bceef3c', '2026-11-24 02:42:35.826465+00');
INSERT INTO public.foldline_migrations VALUES ('0005_idempotency', '634b368b8c30d8343c1664ca80b669d78454b79726f12ea24cc874825946e8ef', '2026-11-24 05:00:34.496692+00');
INSERT INTO public.foldline_migrations VALUES ('0006_repeated_deletions', 'ddb5cd44482b0392fb88ec142cf44b8f026c54279683831cc243a121006ed628', '2026-11-30 01:04:37.464376+00');
SELECT pg_catalog.setval('foldline_control.audit_log_audit_id_seq', 1, true);
ALTER TABLE ONLY foldline_control.accounts
    ADD CONSTRAINT accounts_email_key UNIQUE (email);
ALTER TABLE ONLY foldline_control.accounts
    ADD CONSTRAINT accounts_pkey PRIMARY KEY (account_id);
ALTER TABLE ONLY foldline_control.activity
    ADD CONSTRAINT activity_pkey PRIMARY KEY (org_id, at, kind);
ALTER TABLE ONLY foldline_control.api_keys
    ADD CONSTRAINT api_keys_key_hash_key UNIQUE (key_hash);
ALTER TABLE ONLY foldline_control.api_keys
    ADD CONSTRAINT api_keys_pkey PRIMARY KEY (key_id);
ALTER TABLE ONLY foldline_control.attempts
    ADD CONSTRAINT attempts_pkey PRIMARY KEY (subject);
ALTER TABLE ONLY foldline_control.audit_log
    ADD CONSTRAINT audit_log_pkey PRIMARY KEY (audit_id);
ALTER TABLE ONLY foldline_control.dead_letters
    ADD CONSTRAINT dead_letters_pkey PRIMARY KEY (generation, topic, partition, "offset");
ALTER TABLE ONLY foldline_control.deletions
    ADD CONSTRAINT deletions_pkey PRIMARY KEY (org_id, user_id);
ALTER TABLE ONLY foldline_control.erasures
    ADD CONSTRAINT erasures_pkey PRIMARY KEY (org_id, user_id, partition, "offset");
ALTER TABLE ONLY foldline_control.generation_ends
    ADD CONSTRAINT generation_ends_pkey PRIMARY KEY (generation, key_id);
ALTER TABLE ONLY foldline_control.generations
    ADD CONSTRAINT generations_pkey PRIMARY KEY (generation);
ALTER TABLE ONLY foldline_control.idempotency_keys
    ADD CONSTRAINT idempotency_keys_pkey PRIMARY KEY (key_hash);
ALTER TABLE ONLY foldline_control.import_files
    ADD CONSTRAINT import_files_pkey PRIMARY KEY (import_id, name, block);
ALTER TABLE ONLY foldline_control.import_problems
    ADD CONSTRAINT import_problems_pkey PRIMARY KEY (import_id, severity, code, block);
ALTER TABLE ONLY foldline_control.imports
    ADD CONSTRAINT imports_pkey PRIMARY KEY (import_id);
ALTER TABLE ONLY foldline_control.imports
    ADD CONSTRAINT imports_request_id_key UNIQUE (request_id);
ALTER TABLE ONLY foldline_control.key_ends
    ADD CONSTRAINT key_ends_pkey PRIMARY KEY (event_id, key_id);
ALTER TABLE ONLY foldline_control.keyring
    ADD CONSTRAINT keyring_pkey PRIMARY KEY (one);
ALTER TABLE ONLY foldline_control.lag
    ADD CONSTRAINT lag_pkey PRIMARY KEY (at);
ALTER TABLE ONLY foldline_control.links
    ADD CONSTRAINT links_pkey PRIMARY KEY (link_hash);
ALTER TABLE ONLY foldline_control.memberships
    ADD CONSTRAINT memberships_pkey PRIMARY KEY (org_id, account_id);
ALTER TABLE ONLY foldline_control.organisations
    ADD CONSTRAINT organisations_pkey PRIMARY KEY (org_id);
ALTER TABLE ONLY foldline_control.pending_publications
    ADD CONSTRAINT pending_publications_pkey PRIMARY KEY (generation, topic, partition, org_id, entity_id);
ALTER TABLE ONLY foldline_control.positions
    ADD CONSTRAINT positions_pkey PRIMARY KEY (generation, topic, partition);
ALTER TABLE ONLY foldline_control.rate_windows
    ADD CONSTRAINT rate_windows_pkey PRIMARY KEY (org_id);
ALTER TABLE ONLY foldline_control.record_counts
    ADD CONSTRAINT record_counts_pkey PRIMARY KEY (org_id, kind, at);
ALTER TABLE ONLY foldline_control.redrives
    ADD CONSTRAINT redrives_pkey PRIMARY KEY (topic, partition, "offset", attempt);
ALTER TABLE ONLY foldline_control.secrets
    ADD CONSTRAINT secrets_pkey PRIMARY KEY (name);
ALTER TABLE ONLY foldline_control.sessions
    ADD CONSTRAINT sessions_pkey PRIMARY KEY (session_hash);
ALTER TABLE ONLY foldline_control.user_keys
    ADD CONSTRAINT user_keys_pkey PRIMARY KEY (key_id);
ALTER TABLE ONLY gen_1.items
    ADD CONSTRAINT items_pkey PRIMARY KEY (org_id, item_id);
ALTER TABLE ONLY gen_1.users
    ADD CONSTRAINT users_pkey PRIMARY KEY (org_id, user_id);
ALTER TABLE ONLY public.foldline_migrations
    ADD CONSTRAINT foldline_migrations_pkey PRIMARY KEY (name);
CREATE INDEX activity_at_idx ON foldline_control.activity USING btree (at);
CREATE INDEX api_keys_org_id_idx ON foldline_control.api_keys USING btree (org_id);
CREATE INDEX audit_log_org_id_action_audit_id_idx ON foldline_control.audit_log USING btree (org_id, action, audit_id DESC);
CREATE INDEX audit_log_org_id_actor_audit_id_idx ON foldline_control.audit_log USING btree (org_id, actor, audit_id DESC);
CREATE INDEX audit_log_org_id_audit_id_idx ON foldline_control.audit_log USING btree (org_id, audit_id DESC);
CREATE INDEX dead_letters_keyed ON foldline_control.dead_letters USING btree (hashtextextended(encode(key, 'hex'::text), (0)::bigint)) WHERE (value IS NOT NULL);
CREATE INDEX dead_letters_named ON foldline_control.dead_letters USING btree (hashtextextended(((org_id || ':'::text) || entity_id), (0)::bigint)) WHERE (value IS NOT NULL);
CREATE INDEX dead_letters_org_id_logged_at_idx ON foldline_control.dead_letters USING btree (org_id, logged_at DESC);
CREATE INDEX dead_letters_request_id_idx ON foldline_control.dead_letters USING btree (request_id);
CREATE INDEX erasures_erased_at_idx ON foldline_control.erasures USING btree (erased_at);
CREATE INDEX erasures_org_id_erased_at_idx ON foldline_control.erasures USING btree (org_id, erased_at);
CREATE UNIQUE INDEX generations_live_idx ON foldline_control.generations USING btree (live) WHERE live;
CREATE INDEX idempotency_keys_began_at_idx ON foldline_control.idempotency_keys USING btree (began_at);
CREATE INDEX imports_org_id_created_at_import_id_idx ON foldline_control.imports USING btree (org_id, created_at DESC, import_id);
CREATE INDEX imports_series_id_idx ON foldline_control.imports USING btree (series_id);
CREATE INDEX imports_status_idx ON foldline_control.imports USING btree (status) WHERE (status <> ALL (ARRAY['live'::text, 'failed'::text, 'cancelled'::text]));
CREATE INDEX imports_unscrubbed ON foldline_control.imports USING btree (org_id) WHERE ((kind = 'users'::text) AND (scrubbed_at IS NULL) AND (validated_at IS NOT NULL));
CREATE INDEX links_account_id_idx ON foldline_control.links USING btree (account_id);
CREATE INDEX links_org_id_idx ON foldline_control.links USING btree (org_id);
CREATE INDEX memberships_account_id_idx ON foldline_control.memberships USING btree (account_id);
CREATE INDEX record_counts_at_idx ON foldline_control.record_counts USING btree (at);
CREATE INDEX redrives_topic_to_partition_landed_offset_idx ON foldline_control.redrives USING btree (topic, to_partition, landed_offset);
CREATE INDEX sessions_account_id_idx ON foldline_control.sessions USING btree (account_id);
CREATE INDEX sessions_expires_at_idx ON foldline_control.sessions USING btree (expires_at);
CREATE UNIQUE INDEX user_keys_current ON foldline_control.user_keys USING btree (org_id, user_id) WHERE (retired_at IS NULL);
CREATE INDEX user_keys_org_id_user_id_idx ON foldline_control.user_keys USING btree (org_id, user_id);
CREATE INDEX items_org_id_item_type_status_item_id_idx ON gen_1.items USING btree (org_id, item_type, status, item_id);
CREATE INDEX items_org_id_status_item_id_idx ON gen_1.items USING btree (org_id, status, item_id);
CREATE INDEX users_org_id_status_user_id_idx ON gen_1.users USING btree (org_id, status, user_id);
ALTER TABLE ONLY foldline_control.activity
    ADD CONSTRAINT activity_org_id_fkey FOREIGN KEY (org_id) REFERENCES foldline_control.organisations(org_id);
ALTER TABLE ONLY foldline_control.api_keys
    ADD CONSTRAINT api_keys_org_id_fkey FOREIGN KEY (org_id) REFERENCES foldline_control.organisations(org_id);
ALTER TABLE ONLY foldline_control.audit_log
    ADD CONSTRAINT audit_log_org_id_fkey FOREIGN KEY (org_id) REFERENCES foldline_control.organisations(org_id);
ALTER TABLE ONLY foldline_control.dead_letters
    ADD CONSTRAINT dead_letters_generation_fkey FOREIGN KEY (generation) REFERENCES foldline_control.generations(generation);
ALTER TABLE ONLY foldline_control.generation_ends
    ADD CONSTRAINT generation_ends_generation_fkey FOREIGN KEY (generation) REFERENCES foldline_control.generations(generation) ON DELETE CASCADE;
ALTER TABLE ONLY foldline_control.import_files
    ADD CONSTRAINT import_files_import_id_fkey FOREIGN KEY (import_id) REFERENCES foldline_control.imports(import_id) ON DELETE CASCADE;
ALTER TABLE ONLY foldline_control.import_problems
    ADD CONSTRAINT import_problems_import_id_fkey FOREIGN KEY (import_id) REFERENCES foldline_control.imports(import_id) ON DELETE CASCADE;
ALTER TABLE ONLY foldline_control.imports
    ADD CONSTRAINT imports_org_id_fkey FOREIGN KEY (org_id) REFERENCES foldline_control.organisations(org_id);
ALTER TABLE ONLY foldline_control.imports
    ADD CONSTRAINT imports_series_id_fkey FOREIGN KEY (series_id) REFERENCES foldline_control.imports(import_id);
ALTER TABLE ONLY foldline_control.key_ends
    ADD CONSTRAINT key_ends_key_id_fkey FOREIGN KEY (key_id) REFERENCES foldline_control.user_keys(key_id);
ALTER TABLE ONLY foldline_control.links
    ADD CONSTRAINT links_account_id_fkey FOREIGN KEY (account_id) REFERENCES foldline_control.accounts(account_id);
ALTER TABLE ONLY foldline_control.links
    ADD CONSTRAINT links_org_id_fkey FOREIGN KEY (org_id) REFERENCES foldline_control.organisations(org_id);
ALTER TABLE ONLY foldline_control.memberships
    ADD CONSTRAINT memberships_account_id_fkey FOREIGN KEY (account_id) REFERENCES foldline_control.accounts(account_id);
ALTER TABLE ONLY foldline_control.memberships
    ADD CONSTRAINT memberships_org_id_fkey FOREIGN KEY (org_id) REFERENCES foldline_control.organisations(org_id);
ALTER TABLE ONLY foldline_control.pending_publications
    ADD CONSTRAINT pending_publications_generation_fkey FOREIGN KEY (generation) REFERENCES foldline_control.generations(generation) ON DELETE CASCADE;
ALTER TABLE ONLY foldline_control.positions
    ADD CONSTRAINT positions_generation_fkey FOREIGN KEY (generation) REFERENCES foldline_control.generations(generation);
ALTER TABLE ONLY foldline_control.record_counts
    ADD CONSTRAINT record_counts_org_id_fkey FOREIGN KEY (org_id) REFERENCES foldline_control.organisations(org_id);
ALTER TABLE ONLY foldline_control.sessions
    ADD CONSTRAINT sessions_account_id_fkey FOREIGN KEY (account_id) REFERENCES foldline_control.accounts(account_id);
ALTER TABLE ONLY foldline_control.sessions
    ADD CONSTRAINT sessions_org_id_fkey FOREIGN KEY (org_id) REFERENCES foldline_control.organisations(org_id);
GRANT USAGE ON SCHEMA foldline TO foldline_reader;
GRANT USAGE ON SCHEMA foldline TO foldline_gateway;
GRANT USAGE ON SCHEMA foldline TO foldline_processor;
GRANT USAGE ON SCHEMA foldline_control TO foldline_gateway;
GRANT USAGE ON SCHEMA foldline_control TO foldline_processor;
GRANT USAGE ON SCHEMA gen_1 TO foldline_gateway;
GRANT USAGE ON SCHEMA gen_1 TO foldline_processor;
GRANT SELECT ON TABLE gen_1.items TO foldline_gateway;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE gen_1.items TO foldline_processor;
GRANT SELECT ON TABLE foldline.active_items TO foldline_reader;
GRANT SELECT ON TABLE foldline.active_items TO foldline_gateway;
GRANT SELECT ON TABLE foldline.active_items TO foldline_processor;
GRANT SELECT ON TABLE gen_1.users TO foldline_gateway;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE gen_1.users TO foldline_processor;
GRANT SELECT ON TABLE foldline.active_users TO foldline_reader;
GRANT SELECT ON TABLE foldline.active_users TO foldline_gateway;
GRANT SELECT ON TABLE foldline.active_users TO foldline_processor;
GRANT SELECT ON TABLE foldline.items TO foldline_reader;
GRANT SELECT ON TABLE foldline.items TO foldline_gateway;
GRANT SELECT ON TABLE foldline.items TO foldline_processor;
GRANT SELECT ON TABLE foldline.known_items TO foldline_reader;
GRANT SELECT ON TABLE foldline.known_items TO foldline_gateway;
GRANT SELECT ON TABLE foldline.known_items TO foldline_processor;
GRANT SELECT ON TABLE foldline.known_users TO foldline_reader;
GRANT SELECT ON TABLE foldline.known_users TO foldline_gateway;
GRANT SELECT ON TABLE foldline.known_users TO foldline_processor;
GRANT SELECT ON TABLE foldline_control.positions TO foldline_gateway;
GRANT SELECT,UPDATE ON TABLE foldline_control.positions TO foldline_processor;
GRANT SELECT ON TABLE foldline.positions TO foldline_reader;
GRANT SELECT ON TABLE foldline.positions TO foldline_gateway;
GRANT SELECT ON TABLE foldline.positions TO foldline_processor;
GRANT SELECT ON TABLE foldline.users TO foldline_reader;
GRANT SELECT ON TABLE foldline.users TO foldline_gateway;
GRANT SELECT ON TABLE foldline.users TO foldline_processor;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE foldline_control.accounts TO foldline_gateway;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE foldline_control.activity TO foldline_gateway;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE foldline_control.api_keys TO foldline_gateway;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE foldline_control.attempts TO foldline_gateway;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE foldline_control.audit_log TO foldline_gateway;
GRANT SELECT ON TABLE foldline_control.dead_letters TO foldline_gateway;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE foldline_control.dead_letters TO foldline_processor;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE foldline_control.deletions TO foldline_gateway;
GRANT SELECT ON TABLE foldline_control.erasures TO foldline_gateway;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE foldline_control.erasures TO foldline_processor;
GRANT SELECT ON TABLE foldline_control.generation_ends TO foldline_gateway;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE foldline_control.generation_ends TO foldline_processor;
GRANT SELECT ON TABLE foldline_control.generations TO foldline_gateway;
GRANT SELECT ON TABLE foldline_control.generations TO foldline_processor;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE foldline_control.idempotency_keys TO foldline_gateway;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE foldline_control.import_files TO foldline_gateway;
GRANT SELECT,DELETE ON TABLE foldline_control.import_files TO foldline_processor;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE foldline_control.import_problems TO foldline_gateway;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE foldline_control.imports TO foldline_gateway;
GRANT SELECT,UPDATE ON TABLE foldline_control.imports TO foldline_processor;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE foldline_control.key_ends TO foldline_gateway;
GRANT SELECT ON TABLE foldline_control.key_ends TO foldline_processor;
GRANT SELECT ON TABLE foldline_control.keyring TO foldline_gateway;
GRANT SELECT ON TABLE foldline_control.keyring TO foldline_processor;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE foldline_control.lag TO foldline_gateway;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE foldline_control.links TO foldline_gateway;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE foldline_control.memberships TO foldline_gateway;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE foldline_control.organisations TO foldline_gateway;
GRANT SELECT ON TABLE foldline_control.pending_publications TO foldline_gateway;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE foldline_control.pending_publications TO foldline_processor;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE foldline_control.rate_windows TO foldline_gateway;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE foldline_control.record_counts TO foldline_gateway;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE foldline_control.redrives TO foldline_gateway;
GRANT SELECT,UPDATE ON TABLE foldline_control.redrives TO foldline_processor;
GRANT SELECT ON TABLE foldline_control.secrets TO foldline_gateway;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE foldline_control.sessions TO foldline_gateway;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE foldline_control.user_keys TO foldline_gateway;
GRANT SELECT,DELETE,UPDATE ON TABLE foldline_control.user_keys TO foldline_processor;
GRANT SELECT ON TABLE public.foldline_migrations TO foldline_gateway;
GRANT SELECT ON TABLE public.foldline_migrations TO foldline_processor;
