-- Roles for services that log in as their own users: members of one may do what that service does, and make or drop nothing.

DO $$
DECLARE
    service text;
BEGIN
    FOREACH service IN ARRAY ARRAY['foldline_gateway', 'foldline_processor'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = service) THEN
            BEGIN
                EXECUTE format('CREATE ROLE %I NOLOGIN', service);
            EXCEPTION WHEN duplicate_object OR unique_violation THEN
                NULL;  -- roles belong to the server, not to the database
            END;
        END IF;
    END LOOP;
END
$$;

GRANT USAGE ON SCHEMA foldline, foldline_control TO foldline_gateway, foldline_processor;
GRANT SELECT ON ALL TABLES IN SCHEMA foldline TO foldline_gateway, foldline_processor;

-- What was migrated is no secret, and `foldline doctor` asks for it.
GRANT SELECT ON public.foldline_migrations TO foldline_gateway, foldline_processor;

-- The gateway, with the dashboard and its importer: what people and programs own, and nothing of what the fold has made.
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA foldline_control TO foldline_gateway;
REVOKE INSERT, UPDATE, DELETE ON foldline_control.secrets, foldline_control.keyring, foldline_control.generations,
    foldline_control.positions, foldline_control.dead_letters, foldline_control.erasures, foldline_control.generation_ends,
    foldline_control.pending_publications FROM foldline_gateway;

-- A processor: what the fold makes; of people and their keys nothing.
GRANT SELECT ON foldline_control.generations, foldline_control.positions, foldline_control.dead_letters,
    foldline_control.pending_publications, foldline_control.redrives, foldline_control.keyring, foldline_control.user_keys,
    foldline_control.key_ends, foldline_control.generation_ends, foldline_control.erasures, foldline_control.imports,
    foldline_control.import_files TO foldline_processor;
GRANT INSERT, UPDATE, DELETE ON foldline_control.dead_letters, foldline_control.pending_publications,
    foldline_control.erasures, foldline_control.generation_ends TO foldline_processor;
GRANT UPDATE ON foldline_control.positions, foldline_control.user_keys, foldline_control.imports, foldline_control.redrives
    TO foldline_processor;
GRANT DELETE ON foldline_control.import_files, foldline_control.user_keys TO foldline_processor;

DO $$
DECLARE
    generation integer;
BEGIN
    FOR generation IN SELECT g.generation FROM foldline_control.generations g LOOP
        EXECUTE format('GRANT USAGE ON SCHEMA gen_%s TO foldline_gateway, foldline_processor', generation);
        EXECUTE format('GRANT SELECT ON ALL TABLES IN SCHEMA gen_%s TO foldline_gateway, foldline_processor', generation);
        EXECUTE format('GRANT INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA gen_%s TO foldline_processor', generation);
    END LOOP;
END
$$;
