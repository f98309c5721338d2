-- What readers may rely on (views) is in the schema foldline; what belongs to the services in foldline_control;
-- the state itself in gen_N, made by generation.sql.

CREATE SCHEMA foldline;
CREATE SCHEMA foldline_control;

-- Random values that all services share, by name: the key that authenticates operation ids.
CREATE TABLE foldline_control.secrets (
    name text PRIMARY KEY,
    value bytea NOT NULL
);

CREATE TABLE foldline_control.organisations (
    org_id text COLLATE "C" PRIMARY KEY CHECK (org_id ~ '^[A-Za-z0-9_-]{1,64}$'),
    name text NOT NULL CHECK (name <> ''),
    rate_limit integer CHECK (rate_limit >= 0),  -- requests a window; 0 is unlimited, NULL the setting's default
    suspended_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE foldline_control.api_keys (
    key_id text PRIMARY KEY,
    key_hash bytea NOT NULL UNIQUE,  -- SHA-256 of the whole key, which is stored nowhere
    org_id text COLLATE "C" NOT NULL REFERENCES foldline_control.organisations,
    role text NOT NULL CHECK (role IN ('publishable', 'secret')),
    hint text NOT NULL,  -- what a person may see of the key
    created_at timestamptz NOT NULL DEFAULT now(),
    revoked_at timestamptz
);
CREATE INDEX ON foldline_control.api_keys (org_id);

-- How many requests an organisation has made since its window began; shared by all gateways, worth nothing after a crash.
CREATE UNLOGGED TABLE foldline_control.rate_windows (
    org_id text COLLATE "C" PRIMARY KEY,
    started_at timestamptz NOT NULL,
    used bigint NOT NULL
) WITH (fillfactor = 50);

CREATE TABLE foldline_control.generations (
    generation integer PRIMARY KEY,
    live boolean NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX ON foldline_control.generations (live) WHERE live;

-- How far each partition of the log has been folded (applied) and published, by generation. Both are the offset of the
-- next record. last_offset and last_digest name the last record folded: a log that has another one there is another log.
CREATE TABLE foldline_control.positions (
    generation integer NOT NULL REFERENCES foldline_control.generations,
    topic text COLLATE "C" NOT NULL,
    partition integer NOT NULL,
    topic_id text NOT NULL,
    applied bigint NOT NULL DEFAULT 0,
    published bigint NOT NULL DEFAULT 0 CHECK (published <= applied),
    last_offset bigint,
    last_digest bytea,
    closed boolean NOT NULL DEFAULT false,
    PRIMARY KEY (generation, topic, partition)
) WITH (fillfactor = 20);

CREATE TABLE foldline_control.dead_letters (
    generation integer NOT NULL REFERENCES foldline_control.generations,
    topic text COLLATE "C" NOT NULL,
    partition integer NOT NULL,
    "offset" bigint NOT NULL,
    org_id text COLLATE "C",  -- this and the next three: NULL where the record could not be decoded
    entity_id text COLLATE "C",
    request_id text COLLATE "C",
    record_index integer,
    code text NOT NULL,
    field text NOT NULL,
    message text NOT NULL,
    key bytea,
    value bytea,
    logged_at timestamptz NOT NULL,  -- when the log took the record
    PRIMARY KEY (generation, topic, partition, "offset")
);
CREATE INDEX ON foldline_control.dead_letters (request_id);

-- Moves positions from where the caller's memory is valid to where its batch ends, or raises FL001 and changes nothing.
-- Rows are locked in key order, so that two callers cannot deadlock.
CREATE FUNCTION foldline_control.advance(
    of_generation integer, topics text[], partitions integer[],
    expected bigint[], ends bigint[], last_offsets bigint[], last_digests bytea[]
) RETURNS void LANGUAGE plpgsql AS $$
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
