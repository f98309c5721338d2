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
    "offset" bigint NOT NULL
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
    "offset" bigint NOT NULL
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
CREATE TABLE foldline_control.api_keys (
    key_id text NOT NULL,
    key_hash bytea NOT NULL,
    org_id text NOT NULL COLLATE pg_catalog."C",
    role text NOT NULL,
    hint text NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    revoked_at timestamp with time zone,
    CONSTRAINT api_keys_role_check CHECK ((role = ANY (ARRAY['publishable'::text, 'secret'::text])))
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
CREATE TABLE foldline_control.generations (
    generation integer NOT NULL,
    live boolean NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL
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
CREATE UNLOGGED TABLE foldline_control.rate_windows (
    org_id text NOT NULL COLLATE pg_catalog."C",
    started_at timestamp with time zone NOT NULL,
    used bigint NOT NULL
)
WITH (fillfactor='50');
CREATE TABLE foldline_control.secrets (
    name text NOT NULL,
    value bytea NOT NULL
);
CREATE TABLE public.foldline_migrations (
    name text NOT NULL,
    digest text NOT NULL,
    migrated_at timestamp with time zone DEFAULT now() NOT NULL
);
INSERT INTO foldline_control.api_keys VALUES
	('key_old', '\xb67700401e5bd3bd0898603c46de9b1ad00857041511e8c6965cd023200adb2d', 'org_old', 'secret', 'lehnz_sk_…aaaa', '2026-11-24 02:42:32.261913+00', NULL),
	('key_gone', '\x83a667472ec1e6554981817127dabb9908ebbf96c3d3aa491688a597dff6cfb8', 'org_old', 'secret', 'lehnz_sk_…bbbb', '2026-11-24 02:42:32.261913+00', '2026-11-24 02:42:32.261913+00');
INSERT INTO foldline_control.dead_letters VALUES
	(1, 'items.upserts.v1', 0, 7, 'org_old', 'new', 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa', 0, 'item_type_required', 'item_type', 'a new item needs an item_type', '\x6f72675f6f6c643a6e6577', '\x00', '2026-11-24 02:42:32.261913+00');
INSERT INTO foldline_control.generations VALUES
	(1, true, '2026-11-24 02:42:31.903143+00');
INSERT INTO foldline_control.organisations VALUES
	('org_old', 'Old shop', 0, NULL, '2026-11-24 02:42:32.261913+00'),
	('org_other', 'Other shop', NULL, NULL, '2026-11-24 02:42:32.261913+00');
INSERT INTO foldline_control.positions VALUES
	(1, 'items.upserts.v1', 0, 'topic-id', 0, 0, NULL, NULL, false),
	(1, 'items.upserts.v1', 1, 'topic-id', 0, 0, NULL, NULL, false),
	(1, 'items.upserts.v1', 2, 'topic-id', 0, 0, NULL, NULL, false),
	(1, 'users.upserts.v1', 0, 'topic-id', 0, 0, NULL, NULL, false),
	(1, 'users.upserts.v1', 1, 'topic-id', 0, 0, NULL, NULL, false),
	(1, 'users.upserts.v1', 2, 'topic-id', 0, 0, NULL, NULL, false);
INSERT INTO foldline_control.rate_windows VALUES
	('org_other', '2026-11-24 02:42:32.261913+00', 5);
INSERT INTO foldline_control.secrets VALUES
	('operations', '\x18fbd221b085ade37a68a44bfeddc6d99c7e14d498a772e0969190c98e51f979');
INSERT INTO gen_1.items VALUES
	('org_old', 'item-1', 'product', 'inactive', '{"n": 1, "name": "Item 1"}', 1, '2025-01-12 09:00:00+00', '2025-01-13 09:00:00+00', 0, 1),
	('org_old', 'item-2', 'product', 'deleted', '{"n": 2, "name": "Item 2"}', 2, '2025-01-12 09:00:00+00', '2025-01-13 09:00:00+00', 0, 2),
	('org_old', 'item-3', 'product', 'active', '{"n": 3, "name": "Item 3"}', 3, '2025-01-12 09:00:00+00', '2025-01-13 09:00:00+00', 0, 3),
	('org_old', 'item-4', 'product', 'inactive', '{"n": 4, "name": "Item 4"}', 4, '2025-01-12 09:00:00+00', '2025-01-13 09:00:00+00', 0, 4),
	('org_old', 'item-5', 'product', 'deleted', '{"n": 5, "name": "Item 5"}', 5, '2025-01-12 09:00:00+00', '2025-01-13 09:00:00+00', 0, 5),
	('org_old', 'item-6', 'product', 'active', '{"n": 6, "name": "Item 6"}', 6, '2025-01-12 09:00:00+00', '2025-01-13 09:00:00+00', 0, 6),
	('org_old', 'item-7', 'product', 'inactive', '{"n": 7, "name": "Item 7"}', 7, '2025-01-12 09:00:00+00', '2025-01-13 09:00:00+00', 0, 7),
	('org_old', 'item-8', 'product', 'deleted', '{"n": 8, "name": "Item 8"}', 8, '2025-01-12 09:00:00+00', '2025-01-13 09:00:00+00', 0, 8),
	('org_old', 'item-9', 'product', 'active', '{"n": 9, "name": "Item 9"}', 9, '2025-01-12 09:00:00+00', '2025-01-13 09:00:00+00', 0, 9),
	('org_old', 'item-10', 'product', 'inactive', '{"n": 10, "name": "Item 10"}', 10, '2025-01-12 09:00:00+00', '2025-01-13 09:00:00+00', 0, 10),
	('org_old', 'item-11', 'product', 'deleted', '{"n": 11, "name": "Item 11"}', 11, '2025-01-12 09:00:00+00', '2025-01-13 09:00:00+00', 0, 11),
	('org_old', 'item-12', 'product', 'active', '{"n": 12, "name": "Item 12"}', 12, '2025-01-12 09:00:00+00', '2025-01-13 09:00:00+00', 0, 12),
	('org_old', 'item-13', 'product', 'inactive', '{"n": 13, "name": "Item 13"}', 13, '2025-01-12 09:00:00+00', '2025-01-13 09:00:00+00', 0, 13),
	('org_old', 'item-14', 'product', 'deleted', '{"n": 14, "name": "Item 14"}', 14, '2025-01-12 09:00:00+00', '2025-01-13 09:00:00+00', 0, 14),
	('org_old', 'item-15', 'product', 'active', '{"n": 15, "name": "Item 15"}', 15, '2025-01-12 09:00:00+00', '2025-01-13 09:00:00+00', 0, 15),
	('org_old', 'item-16', 'product', 'inactive', '{"n": 16, "name": "Item 16"}', 16, '2025-01-12 09:00:00+00', '2025-01-13 09:00:00+00', 0, 16),
	('org_old', 'item-17', 'product', 'deleted', '{"n": 17, "name": "Item 17"}', 17, '2025-01-12 09:00:00+00', '2025-01-13 09:00:00+00', 0, 17),
	('org_old', 'item-18', 'product', 'active', '{"n": 18, "name": "Item 18"}', 18, '2025-01-12 09:00:00+00', '2025-01-13 09:00:00+00', 0, 18),
	('org_old', 'item-19', 'product', 'inactive', '{"n": 19, "name": "Item 19"}', 19, '2025-01-12 09:00:00+00', '2025-01-13 09:00:00+00', 0, 19),
	('org_old', 'item-20', 'product', 'deleted', '{"n": 20, "name": "Item 20"}', 20, '2025-01-12 09:00:00+00', '2025-01-13 09:00:00+00', 0, 20),
	('org_old', 'item-21', 'product', 'active', '{"n": 21, "name": "Item 21"}', 21, '2025-01-12 09:00:00+00', '2025-01-13 09:00:00+00', 0, 21),
	('org_old', 'item-22', 'product', 'inactive', '{"n": 22, "name": "Item 22"}', 22, '2025-01-12 09:00:00+00', '2025-01-13 09:00:00+00', 0, 22),
	('org_old', 'item-23', 'product', 'deleted', '{"n": 23, "name": "Item 23"}', 23, '2025-01-12 09:00:00+00', '2025-01-13 09:00:00+00', 0, 23),
	('org_old', 'item-24', 'product', 'active', '{"n": 24, "name": "Item 24"}', 24, '2025-01-12 09:00:00+00', '2025-01-13 09:00:00+00', 0, 24),
	('org_old', 'item-25', 'product', 'inactive', '{"n": 25, "name": "Item 25"}', 25, '2025-01-12 09:00:00+00', '2025-01-13 09:00:00+00', 0, 25),
	('org_old', 'item-26', 'product', 'deleted', '{"n": 26, "name": "Item 26"}', 26, '2025-01-12 09:00:00+00', '2025-01-13 09:00:00+00', 0, 26),
	('org_old', 'item-27', 'product', 'active', '{"n": 27, "name": "Item 27"}', 27, '2025-01-12 09:00:00+00', '2025-01-13 09:00:00+00', 0, 27),
	('org_old', 'item-28', 'product', 'inactive', '{"n": 28, "name": "Item 28"}', 28, '2025-01-12 09:00:00+00', '2025-01-13 09:00:00+00', 0, 28),
	('org_old', 'item-29', 'product', 'deleted', '{"n": 29, "name": "Item 29"}', 29, '2025-01-12 09:00:00+00', '2025-01-13 09:00:00+00', 0, 29),
	('org_old', 'item-30', 'product', 'active', '{"n": 30, "name": "Item 30"}', 30, '2025-01-12 09:00:00+00', '2025-01-13 09:00:00+00', 0, 30),
	('org_old', 'item-31', 'product', 'inactive', '{"n": 31, "name": "Item 31"}', 31, '2025-01-12 09:00:00+00', '2025-01-13 09:00:00+00', 0, 31),
	('org_old', 'item-32', 'product', 'deleted', '{"n": 32, "name": "Item 32"}', 32, '2025-01-12 09:00:00+00', '2025-01-13 09:00:00+00', 0, 32),
	('org_old', 'item-33', 'product', 'active', '{"n": 33, "name": "Item 33"}', 33, '2025-01-12 09:00:00+00', '2025-01-13 09:00:00+00', 0, 33),
	('org_old', 'item-34', 'product', 'inactive', '{"n": 34, "name": "Item 34"}', 34, '2025-01-12 09:00:00+00', '2025-01-13 09:00:00+00', 0, 34),
	('org_old', 'item-35', 'product', 'deleted', '{"n": 35, "name": "Item 35"}', 35, '2025-01-12 09:00:00+00', '2025-01-13 09:00:00+00', 0, 35),
	('org_old', 'item-36', 'product', 'active', '{"n": 36, "name": "Item 36"}', 36, '2025-01-12 09:00:00+00', '2025-01-13 09:00:00+00', 0, 36),
	('org_old', 'item-37', 'product', 'inactive', '{"n": 37, "name": "Item 37"}', 37, '2025-01-12 09:00:00+00', '2025-01-13 09:00:00+00', 0, 37),
	('org_old', 'item-38', 'product', 'deleted', '{"n": 38, "name": "Item 38"}', 38, '2025-01-12 09:00:00+00', '2025-01-13 09:00:00+00', 0, 38),
	('org_old', 'item-39', 'product', 'active', '{"n": 39, "name": "Item 39"}', 39, '2025-01-12 09:00:00+00', '2025-01-13 09:00:00+00', 0, 39),
	('org_old', 'item-40', 'product', 'inactive', '{"n": 40, "name": "Item 40"}', 40, '2025-01-12 09:00:00+00', '2025-01-13 09:00:00+00', 0, 40),
	('org_old', 'item-41', 'product', 'deleted', '{"n": 41, "name": "Item 41"}', 41, '2025-01-12 09:00:00+00', '2025-01-13 09:00:00+00', 0, 41),
	('org_old', 'item-42', 'product', 'active', '{"n": 42, "name": "Item 42"}', 42, '2025-01-12 09:00:00+00', '2025-01-13 09:00:00+00', 0, 42),
	('org_old', 'item-43', 'product', 'inactive', '{"n": 43, "name": "Item 43"}', 43, '2025-01-12 09:00:00+00', '2025-01-13 09:00:00+00', 0, 43),
	('org_old', 'item-44', 'product', 'deleted', '{"n": 44, "name": "Item 44"}', 44, '2025-01-12 09:00:00+00', '2025-01-13 09:00:00+00', 0, 44),
	('org_old', 'item-45', 'product', 'active', '{"n": 45, "name": "Item 45"}', 45, '2025-01-12 09:00:00+00', '2025-01-13 09:00:00+00', 0, 45),
	('org_old', 'item-46', 'product', 'inactive', '{"n": 46, "name": "Item 46"}', 46, '2025-01-12 09:00:00+00', '2025-01-13 09:00:00+00', 0, 46),
	('org_old', 'item-47', 'product', 'deleted', '{"n": 47, "name": "Item 47"}', 47, '2025-01-12 09:00:00+00', '2025-01-13 09:00:00+00', 0, 47),
	('org_old', 'item-48', 'product', 'active', '{"n": 48, "name": "Item 48"}', 48, '2025-01-12 09:00:00+00', '2025-01-13 09:00:00+00', 0, 48),
	('org_old', 'item-49', 'product', 'inactive', '{"n": 49, "name": "Item 49"}', 49, '2025-01-12 09:00:00+00', '2025-01-13 09:00:00+00', 0, 49),
	('org_old', 'item-50', 'product', 'deleted', '{"n": 50, "name": "Item 50"}', 50, '2025-01-12 09:00:00+00', '2025-01-13 09:00:00+00', 0, 50);
INSERT INTO gen_1.users VALUES
	('org_old', 'user-1', '2024-01-01 00:00:00+00', 'inactive', '{"n": 1}', 1, '2025-01-12 09:00:00+00', '2025-01-13 09:00:00+00', 0, 1),
	('org_old', 'user-2', '2024-01-01 00:00:00+00', 'deleted', '{}', 2, '2025-01-12 09:00:00+00', '2025-01-13 09:00:00+00', 0, 2),
	('org_old', 'user-3', '2024-01-01 00:00:00+00', 'active', '{"n": 3}', 3, '2025-01-12 09:00:00+00', '2025-01-13 09:00:00+00', 0, 3),
	('org_old', 'user-4', '2024-01-01 00:00:00+00', 'inactive', '{"n": 4}', 4, '2025-01-12 09:00:00+00', '2025-01-13 09:00:00+00', 0, 4),
	('org_old', 'user-5', '2024-01-01 00:00:00+00', 'deleted', '{}', 5, '2025-01-12 09:00:00+00', '2025-01-13 09:00:00+00', 0, 5),
	('org_old', 'user-6', '2024-01-01 00:00:00+00', 'active', '{"n": 6}', 6, '2025-01-12 09:00:00+00', '2025-01-13 09:00:00+00', 0, 6),
	('org_old', 'user-7', '2024-01-01 00:00:00+00', 'inactive', '{"n": 7}', 7, '2025-01-12 09:00:00+00', '2025-01-13 09:00:00+00', 0, 7),
	('org_old', 'user-8', '2024-01-01 00:00:00+00', 'deleted', '{}', 8, '2025-01-12 09:00:00+00', '2025-01-13 09:00:00+00', 0, 8),
	('org_old', 'user-9', '2024-01-01 00:00:00+00', 'active', '{"n": 9}', 9, '2025-01-12 09:00:00+00', '2025-01-13 09:00:00+00', 0, 9),
	('org_old', 'user-10', '2024-01-01 00:00:00+00', 'inactive', '{"n": 10}', 10, '2025-01-12 09:00:00+00', '2025-01-13 09:00:00+00', 0, 10),
	('org_old', 'user-11', '2024-01-01 00:00:00+00', 'deleted', '{}', 11, '2025-01-12 09:00:00+00', '2025-01-13 09:00:00+00', 0, 11),
	('org_old', 'user-12', '2024-01-01 00:00:00+00', 'active', '{"n": 12}', 12, '2025-01-12 09:00:00+00', '2025-01-13 09:00:00+00', 0, 12),
	('org_old', 'user-13', '2024-01-01 00:00:00+00', 'inactive', '{"n": 13}', 13, '2025-01-12 09:00:00+00', '2025-01-13 09:00:00+00', 0, 13),
	('org_old', 'user-14', '2024-01-01 00:00:00+00', 'deleted', '{}', 14, '2025-01-12 09:00:00+00', '2025-01-13 09:00:00+00', 0, 14),
	('org_old', 'user-15', '2024-01-01 00:00:00+00', 'active', '{"n": 15}', 15, '2025-01-12 09:00:00+00', '2025-01-13 09:00:00+00', 0, 15),
	('org_old', 'user-16', '2024-01-01 00:00:00+00', 'inactive', '{"n": 16}', 16, '2025-01-12 09:00:00+00', '2025-01-13 09:00:00+00', 0, 16),
	('org_old', 'user-17', '2024-01-01 00:00:00+00', 'deleted', '{}', 17, '2025-01-12 09:00:00+00', '2025-01-13 09:00:00+00', 0, 17),
	('org_old', 'user-18', '2024-01-01 00:00:00+00', 'active', '{"n": 18}', 18, '2025-01-12 09:00:00+00', '2025-01-13 09:00:00+00', 0, 18),
	('org_old', 'user-19', '2024-01-01 00:00:00+00', 'inactive', '{"n": 19}', 19, '2025-01-12 09:00:00+00', '2025-01-13 09:00:00+00', 0, 19),
	('org_old', 'user-20', '2024-01-01 00:00:00+00', 'deleted', '{}', 20, '2025-01-12 09:00:00+00', '2025-01-13 09:00:00+00', 0, 20);
INSERT INTO public.foldline_migrations VALUES
	('0001_initial', '818554f25182399d3b64059859b1393c35d18361da4b21697758f4a1127f3851', '2026-11-24 02:42:31.903143+00');
ALTER TABLE ONLY foldline_control.api_keys
    ADD CONSTRAINT api_keys_key_hash_key UNIQUE (key_hash);
ALTER TABLE ONLY foldline_control.api_keys
    ADD CONSTRAINT api_keys_pkey PRIMARY KEY (key_id);
ALTER TABLE ONLY foldline_control.dead_letters
    ADD CONSTRAINT dead_letters_pkey PRIMARY KEY (generation, topic, partition, "offset");
ALTER TABLE ONLY foldline_control.generations
    ADD CONSTRAINT generations_pkey PRIMARY KEY (generation);
ALTER TABLE ONLY foldline_control.organisations
    ADD CONSTRAINT organisations_pkey PRIMARY KEY (org_id);
ALTER TABLE ONLY foldline_control.positions
    ADD CONSTRAINT positions_pkey PRIMARY KEY (generation, topic, partition);
ALTER TABLE ONLY foldline_control.rate_windows
    ADD CONSTRAINT rate_windows_pkey PRIMARY KEY (org_id);
ALTER TABLE ONLY foldline_control.secrets
    ADD CONSTRAINT secrets_pkey PRIMARY KEY (name);
ALTER TABLE ONLY gen_1.items
    ADD CONSTRAINT items_pkey PRIMARY KEY (org_id, item_id);
ALTER TABLE ONLY gen_1.users
    ADD CONSTRAINT users_pkey PRIMARY KEY (org_id, user_id);
ALTER TABLE ONLY public.foldline_migrations
    ADD CONSTRAINT foldline_migrations_pkey PRIMARY KEY (name);
CREATE INDEX api_keys_org_id_idx ON foldline_control.api_keys USING btree (org_id);
CREATE INDEX dead_letters_request_id_idx ON foldline_control.dead_letters USING btree (request_id);
CREATE UNIQUE INDEX generations_live_idx ON foldline_control.generations USING btree (live) WHERE live;
ALTER TABLE ONLY foldline_control.api_keys
    ADD CONSTRAINT api_keys_org_id_fkey FOREIGN KEY (org_id) REFERENCES foldline_control.organisations(org_id);
ALTER TABLE ONLY foldline_control.dead_letters
    ADD CONSTRAINT dead_letters_generation_fkey FOREIGN KEY (generation) REFERENCES foldline_control.generations(generation);
ALTER TABLE ONLY foldline_control.positions
    ADD CONSTRAINT positions_generation_fkey FOREIGN KEY (generation) REFERENCES foldline_control.generations(generation);
GRANT USAGE ON SCHEMA foldline TO foldline_reader;
GRANT SELECT ON TABLE foldline.active_items TO foldline_reader;
GRANT SELECT ON TABLE foldline.active_users TO foldline_reader;
GRANT SELECT ON TABLE foldline.items TO foldline_reader;
GRANT SELECT ON TABLE foldline.known_items TO foldline_reader;
GRANT SELECT ON TABLE foldline.known_users TO foldline_reader;
GRANT SELECT ON TABLE foldline.positions TO foldline_reader;
GRANT SELECT ON TABLE foldline.users TO foldline_reader;
