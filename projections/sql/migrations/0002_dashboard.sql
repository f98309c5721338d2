-- People and what they do: accounts, sessions, the audit log, imports of files, and figures over time.

-- A key that was replaced with a grace stays good until expires_at.
ALTER TABLE foldline_control.api_keys
    ADD COLUMN created_by text,
    ADD COLUMN last_used_at timestamptz,
    ADD COLUMN expires_at timestamptz;

CREATE TABLE foldline_control.accounts (
    account_id text PRIMARY KEY,
    email text COLLATE "C" NOT NULL UNIQUE,  -- lower case, trimmed
    name text NOT NULL,
    password_hash text,  -- argon2id; NULL until one is set
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE foldline_control.memberships (
    org_id text COLLATE "C" NOT NULL REFERENCES foldline_control.organisations,
    account_id text NOT NULL REFERENCES foldline_control.accounts,
    role text NOT NULL CHECK (role IN ('OWNER', 'ADMIN', 'DEVELOPER', 'MEMBER')),
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (org_id, account_id)
);
CREATE INDEX ON foldline_control.memberships (account_id);

CREATE TABLE foldline_control.sessions (
    session_hash bytea PRIMARY KEY,  -- SHA-256 of the cookie's value, which is stored nowhere
    account_id text NOT NULL REFERENCES foldline_control.accounts,
    org_id text COLLATE "C" NOT NULL REFERENCES foldline_control.organisations,
    client text NOT NULL,  -- what its person recognises the browser by
    created_at timestamptz NOT NULL DEFAULT now(),
    last_seen_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL
);
CREATE INDEX ON foldline_control.sessions (account_id);
CREATE INDEX ON foldline_control.sessions (expires_at);

-- What a person is given to copy: it works once, and for so long.
CREATE TABLE foldline_control.links (
    link_hash bytea PRIMARY KEY,  -- SHA-256 of the link's token, which is stored nowhere
    purpose text NOT NULL CHECK (purpose IN ('sign_in', 'reset', 'invitation')),
    account_id text REFERENCES foldline_control.accounts,  -- whose, but for an invitation
    org_id text COLLATE "C" REFERENCES foldline_control.organisations,
    email text COLLATE "C",  -- who is invited
    role text CHECK (role IN ('OWNER', 'ADMIN', 'DEVELOPER', 'MEMBER')),
    created_by text,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    used_at timestamptz
);
CREATE INDEX ON foldline_control.links (org_id);
CREATE INDEX ON foldline_control.links (account_id);

-- Failed attempts to sign in, by a digest of who tried; worth nothing after a crash.
CREATE UNLOGGED TABLE foldline_control.attempts (
    subject bytea PRIMARY KEY,
    began_at timestamptz NOT NULL DEFAULT now(),
    failures integer NOT NULL
);

CREATE TABLE foldline_control.audit_log (
    audit_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    org_id text COLLATE "C" NOT NULL REFERENCES foldline_control.organisations,
    at timestamptz NOT NULL DEFAULT now(),
    actor text COLLATE "C" NOT NULL,  -- an e-mail address, or `command line`
    action text COLLATE "C" NOT NULL,
    subject text NOT NULL,
    detail jsonb NOT NULL DEFAULT '{}'
);
CREATE INDEX ON foldline_control.audit_log (org_id, audit_id DESC);
CREATE INDEX ON foldline_control.audit_log (org_id, action, audit_id DESC);
CREATE INDEX ON foldline_control.audit_log (org_id, actor, audit_id DESC);

-- A file on its way into the log. Its events carry request_id, and the place of their row (from 0) as record_index.
CREATE TABLE foldline_control.imports (
    import_id text PRIMARY KEY,
    request_id text NOT NULL UNIQUE,
    org_id text COLLATE "C" NOT NULL REFERENCES foldline_control.organisations,
    kind text NOT NULL CHECK (kind IN ('items', 'users')),
    series_id text NOT NULL REFERENCES foldline_control.imports,  -- the import whose first part this is a part of: itself, mostly
    part integer NOT NULL DEFAULT 1,
    last_part boolean NOT NULL DEFAULT true,
    file_name text NOT NULL,
    file_bytes bigint NOT NULL DEFAULT 0,  -- inflated
    has_file boolean NOT NULL DEFAULT true,
    created_by text NOT NULL,
    status text NOT NULL DEFAULT 'uploading' CHECK (status IN (
        'uploading', 'uploaded', 'validating', 'rejected', 'ready', 'queueing', 'done', 'live', 'failed', 'cancelled')),
    cancelling boolean NOT NULL DEFAULT false,
    failure text,  -- why it failed, for a person

    types jsonb NOT NULL DEFAULT '{}',  -- what a person has chosen for columns, by name
    attempts integer NOT NULL DEFAULT 0,  -- how often validation was begun
    bytes_read bigint NOT NULL DEFAULT 0,  -- how far the first pass of validation is
    rows_read bigint NOT NULL DEFAULT 0,  -- how far the second is
    rows bigint NOT NULL DEFAULT 0,
    wrong_rows bigint NOT NULL DEFAULT 0,
    errors bigint NOT NULL DEFAULT 0,
    warnings bigint NOT NULL DEFAULT 0,
    report jsonb,  -- what validation found: format, columns, preview, counts by code, absences

    only_good boolean NOT NULL DEFAULT false,  -- import the good rows of a file with wrong ones
    whole boolean NOT NULL DEFAULT false,  -- the file is the whole catalogue: what it lacks becomes deleted
    log_ends bigint[],  -- where the log of items ended, by partition, when the first part came
    wrong_ids text[] COLLATE "C" NOT NULL DEFAULT '{}',  -- the ids of wrong rows, which are never taken for absent
    wrong_without_id bigint NOT NULL DEFAULT 0,

    next_row bigint NOT NULL DEFAULT 0,  -- rows before it are in the log, or wrong
    queued bigint NOT NULL DEFAULT 0,
    deleted bigint NOT NULL DEFAULT 0,  -- of these: absent items
    topic_id text,
    run_began bigint[],  -- where the log ended, by partition, when the rows began to be appended
    appended jsonb NOT NULL DEFAULT '[]',  -- [partition, records, last offset] of what was acknowledged
    in_flight_at timestamptz,  -- when the stretch was begun that may or may not be in the log
    refused bigint,  -- by the fold, once it is live

    created_at timestamptz NOT NULL DEFAULT now(),
    uploaded_at timestamptz,
    validating_at timestamptz,
    validated_at timestamptz,
    queueing_at timestamptz,
    done_at timestamptz,
    live_at timestamptz,
    ended_at timestamptz  -- failed or cancelled
);
CREATE INDEX ON foldline_control.imports (org_id, created_at DESC, import_id);
CREATE INDEX ON foldline_control.imports (series_id);
CREATE INDEX ON foldline_control.imports (status) WHERE status NOT IN ('live', 'failed', 'cancelled');

-- The bytes of an import: the file itself, until its run is over, and its wrong rows, to be mended.
CREATE TABLE foldline_control.import_files (
    import_id text NOT NULL REFERENCES foldline_control.imports ON DELETE CASCADE,
    name text NOT NULL CHECK (name IN ('file', 'failed')),
    block integer NOT NULL,
    bytes bytea STORAGE EXTERNAL NOT NULL,
    PRIMARY KEY (import_id, name, block)
);

-- What validation found, in blocks by code: each an array of problems as compressed JSON.
CREATE TABLE foldline_control.import_problems (
    import_id text NOT NULL REFERENCES foldline_control.imports ON DELETE CASCADE,
    severity text NOT NULL CHECK (severity IN ('error', 'warning')),
    code text NOT NULL,
    block integer NOT NULL,
    problems bytea STORAGE EXTERNAL NOT NULL,
    PRIMARY KEY (import_id, severity, code, block)
);

-- What organisations sent, in steps of ten seconds, and how long one of those writes took until it was readable.
CREATE TABLE foldline_control.activity (
    org_id text COLLATE "C" NOT NULL REFERENCES foldline_control.organisations,
    at timestamptz NOT NULL,
    kind text NOT NULL CHECK (kind IN ('items', 'users')),
    events bigint NOT NULL,
    freshness_ms real,
    PRIMARY KEY (org_id, at, kind)
);
CREATE INDEX ON foldline_control.activity (at);

-- How many records an organisation has by status, counted while it sends.
CREATE TABLE foldline_control.record_counts (
    org_id text COLLATE "C" NOT NULL REFERENCES foldline_control.organisations,
    at timestamptz NOT NULL,
    kind text NOT NULL CHECK (kind IN ('items', 'users')),
    active bigint NOT NULL,
    inactive bigint NOT NULL,
    deleted bigint NOT NULL,
    PRIMARY KEY (org_id, kind, at)
);
CREATE INDEX ON foldline_control.record_counts (at);

-- What the fold refused of an organisation, newest first.
CREATE INDEX ON foldline_control.dead_letters (org_id, logged_at DESC);

-- How far the processors were behind the log, all partitions together.
CREATE TABLE foldline_control.lag (
    at timestamptz PRIMARY KEY,
    records bigint NOT NULL,
    seconds real NOT NULL
);

-- Generations that were made before these indexes were.
DO $$
DECLARE
    of_generation integer;
BEGIN
    FOR of_generation IN SELECT generation FROM foldline_control.generations LOOP
        EXECUTE format('CREATE INDEX ON gen_%s.items (org_id, status, item_id)', of_generation);
        EXECUTE format('CREATE INDEX ON gen_%s.items (org_id, item_type, status, item_id)', of_generation);
        EXECUTE format('CREATE INDEX ON gen_%s.users (org_id, status, user_id)', of_generation);
    END LOOP;
END
$$;
