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
