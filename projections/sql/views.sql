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

DO $$
BEGIN
    CREATE ROLE foldline_reader NOLOGIN;
EXCEPTION WHEN duplicate_object OR unique_violation THEN
    NULL;  -- roles belong to the server, not to the database
END
$$;
GRANT USAGE ON SCHEMA foldline TO foldline_reader;
GRANT SELECT ON ALL TABLES IN SCHEMA foldline TO foldline_reader;
