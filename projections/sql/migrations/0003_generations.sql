-- Generations come and go: one is built beside the live one, takes its place, and is kept for a while afterwards.

ALTER TABLE foldline_control.generations
    ADD COLUMN status text NOT NULL DEFAULT 'building' CHECK (status IN ('building', 'built', 'live', 'old')),
    ADD COLUMN purpose text NOT NULL DEFAULT '',  -- what it is built for, for a person
    ADD COLUMN live_at timestamptz,
    ADD COLUMN retired_at timestamptz;
UPDATE foldline_control.generations SET status = 'live', live_at = created_at WHERE live;

-- Records whose state another generation has made another: their partition's owner publishes them from the table.
CREATE TABLE foldline_control.pending_publications (
    generation integer NOT NULL REFERENCES foldline_control.generations ON DELETE CASCADE,
    topic text COLLATE "C" NOT NULL,
    partition integer NOT NULL,
    org_id text COLLATE "C" NOT NULL,
    entity_id text COLLATE "C" NOT NULL,
    PRIMARY KEY (generation, topic, partition, org_id, entity_id)
);

-- Dead letters that were sent into the log again. The log has the event at or after log_end of its partition; where landed_offset
-- is NULL it may or may not have it.
CREATE TABLE foldline_control.redrives (
    topic text COLLATE "C" NOT NULL,
    partition integer NOT NULL,
    "offset" bigint NOT NULL,  -- the dead letter's
    attempt integer NOT NULL,
    asked_by text NOT NULL,  -- an e-mail address, or `command line`
    asked_at timestamptz NOT NULL DEFAULT now(),
    to_partition integer NOT NULL,
    log_end bigint NOT NULL,
    landed_offset bigint,
    PRIMARY KEY (topic, partition, "offset", attempt)
);
CREATE INDEX ON foldline_control.redrives (topic, to_partition, landed_offset);
