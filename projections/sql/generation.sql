-- A generation of state: {schema} is its schema. Times are timestamptz; partition and offset name the last event folded.

CREATE SCHEMA {schema};

CREATE TABLE {schema}.items (
    org_id text COLLATE "C" NOT NULL,
    item_id text COLLATE "C" NOT NULL,
    item_type text COLLATE "C" NOT NULL,
    status text COLLATE "C" NOT NULL,
    attributes jsonb NOT NULL,
    version bigint NOT NULL,
    first_seen_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    partition integer NOT NULL,
    "offset" bigint NOT NULL,
    ids bytea NOT NULL DEFAULT '',  -- the idempotency ids that it has folded lately, each with its time
    PRIMARY KEY (org_id, item_id)
) WITH (fillfactor = 70);

CREATE TABLE {schema}.users (
    org_id text COLLATE "C" NOT NULL,
    user_id text COLLATE "C" NOT NULL,
    created_at timestamptz NOT NULL,
    status text COLLATE "C" NOT NULL,
    attributes jsonb NOT NULL,
    version bigint NOT NULL,
    first_seen_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    partition integer NOT NULL,
    "offset" bigint NOT NULL,
    keys bytea[] NOT NULL DEFAULT '{{}}',  -- under which its events were folded since its last erasure
    ids bytea NOT NULL DEFAULT '',
    PRIMARY KEY (org_id, user_id)
) WITH (fillfactor = 70);

-- Listings of a status, and of a type and a status, by key; counts by status, and the types that there are.
CREATE INDEX ON {schema}.items (org_id, status, item_id);
CREATE INDEX ON {schema}.items (org_id, item_type, status, item_id);
CREATE INDEX ON {schema}.users (org_id, status, user_id);
