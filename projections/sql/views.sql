-- The stable views over the live generation, whose schema is {schema}; its number, {generation}.

CREATE OR REPLACE VIEW foldline.known_items AS
SELECT org_id, item_id, item_type, status, attributes, version, first_seen_at, updated_at, partition, "offset"
FROM {schema}.items;

CREATE OR REPLACE VIEW foldline.known_users AS
SELECT org_id, user_id, created_at, status, attributes, version, first_seen_at, updated_at, partition, "offset"
FROM {schema}.users;

CREATE OR REPLACE VIEW foldline.items AS
SELECT org_id, item_id, item_type, status, attributes, version, first_seen_at, updated_at
FROM {schema}.items WHERE status <> 'deleted';

CREATE OR REPLACE VIEW foldline.users AS
SELECT org_id, user_id, created_at, status, attributes, version, first_seen_at, updated_at
FROM {schema}.users WHERE status <> 'deleted';

CREATE OR REPLACE VIEW foldline.active_items AS
SELECT org_id, item_id, item_type, status, attributes, version, first_seen_at, updated_at
FROM {schema}.items WHERE status = 'active';

CREATE OR REPLACE VIEW foldline.active_users AS
SELECT org_id, user_id, created_at, status, attributes, version, first_seen_at, updated_at
FROM {schema}.users WHERE status = 'active';

CREATE OR REPLACE VIEW foldline.positions AS
SELECT generation, topic, partition, applied, published
FROM foldline_control.positions WHERE generation = {generation};

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

COMMENT ON VIEW foldline.items IS 'Active and inactive items.';
COMMENT ON COLUMN foldline.items.org_id IS 'The organisation that owns the record.';
COMMENT ON COLUMN foldline.items.item_id IS 'The item''s id as its owner knows it, compared exactly.';
COMMENT ON COLUMN foldline.items.item_type IS 'What kind of thing the item is.';
COMMENT ON COLUMN foldline.items.status IS 'active or inactive (hidden, history kept).';
COMMENT ON COLUMN foldline.items.attributes IS 'What the owner sent about the record, a JSON object; keeps neither the order of keys nor the spelling of numbers.';
COMMENT ON COLUMN foldline.items.version IS 'How many upserts are folded into the record.';
COMMENT ON COLUMN foldline.items.first_seen_at IS 'The time of the first upsert folded.';
COMMENT ON COLUMN foldline.items.updated_at IS 'The time of the last upsert folded.';

COMMENT ON VIEW foldline.users IS 'Active and inactive users.';
COMMENT ON COLUMN foldline.users.org_id IS 'The organisation that owns the record.';
COMMENT ON COLUMN foldline.users.user_id IS 'The user''s id as its owner knows it, compared exactly.';
COMMENT ON COLUMN foldline.users.created_at IS 'When the user came to be.';
COMMENT ON COLUMN foldline.users.status IS 'active or inactive (hidden, history kept).';
COMMENT ON COLUMN foldline.users.attributes IS 'What the owner sent about the record, a JSON object; keeps neither the order of keys nor the spelling of numbers.';
COMMENT ON COLUMN foldline.users.version IS 'How many upserts are folded into the record.';
COMMENT ON COLUMN foldline.users.first_seen_at IS 'The time of the first upsert folded.';
COMMENT ON COLUMN foldline.users.updated_at IS 'The time of the last upsert folded.';

COMMENT ON VIEW foldline.active_items IS 'Items that may be recommended.';
COMMENT ON COLUMN foldline.active_items.org_id IS 'The organisation that owns the record.';
COMMENT ON COLUMN foldline.active_items.item_id IS 'The item''s id as its owner knows it, compared exactly.';
COMMENT ON COLUMN foldline.active_items.item_type IS 'What kind of thing the item is.';
COMMENT ON COLUMN foldline.active_items.status IS 'Always active.';
COMMENT ON COLUMN foldline.active_items.attributes IS 'What the owner sent about the record, a JSON object; keeps neither the order of keys nor the spelling of numbers.';
COMMENT ON COLUMN foldline.active_items.version IS 'How many upserts are folded into the record.';
COMMENT ON COLUMN foldline.active_items.first_seen_at IS 'The time of the first upsert folded.';
COMMENT ON COLUMN foldline.active_items.updated_at IS 'The time of the last upsert folded.';

COMMENT ON VIEW foldline.active_users IS 'Users who may be recommended to.';
COMMENT ON COLUMN foldline.active_users.org_id IS 'The organisation that owns the record.';
COMMENT ON COLUMN foldline.active_users.user_id IS 'The user''s id as its owner knows it, compared exactly.';
COMMENT ON COLUMN foldline.active_users.created_at IS 'When the user came to be.';
COMMENT ON COLUMN foldline.active_users.status IS 'Always active.';
COMMENT ON COLUMN foldline.active_users.attributes IS 'What the owner sent about the record, a JSON object; keeps neither the order of keys nor the spelling of numbers.';
COMMENT ON COLUMN foldline.active_users.version IS 'How many upserts are folded into the record.';
COMMENT ON COLUMN foldline.active_users.first_seen_at IS 'The time of the first upsert folded.';
COMMENT ON COLUMN foldline.active_users.updated_at IS 'The time of the last upsert folded.';

COMMENT ON VIEW foldline.positions IS 'How far each partition of the log is folded into the state behind these views.';
COMMENT ON COLUMN foldline.positions.generation IS 'The generation of the state, which a rebuild replaces by another.';
COMMENT ON COLUMN foldline.positions.topic IS 'The topic of upserts, with its prefix.';
COMMENT ON COLUMN foldline.positions.partition IS 'The partition of that topic.';
COMMENT ON COLUMN foldline.positions.applied IS 'The offset of the next record to be folded.';
COMMENT ON COLUMN foldline.positions.published IS 'The offset of the next record whose state is to be published on the state topic.';

DO $$
BEGIN
    CREATE ROLE foldline_reader NOLOGIN;
EXCEPTION WHEN duplicate_object OR unique_violation THEN
    NULL;  -- roles belong to the server, not to the database
END
$$;
GRANT USAGE ON SCHEMA foldline TO foldline_reader;
GRANT SELECT ON ALL TABLES IN SCHEMA foldline TO foldline_reader;
