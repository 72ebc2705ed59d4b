-- 001_roles.sql: the schema, its roles, and where names are looked up.
--
-- Roles are groups without login, one per kind of work: the owner holds the
-- tables, the writer is the processor, the reader is nginx, the purger drops
-- what retention has overtaken.  A role is made when it is missing and when
-- the one who migrates may make roles; without them everything belongs to who
-- migrates, and that user does all of it.
--
-- A statement timeout belongs to the role that logs in, a group does not pass
-- it on: it acts where sluice_reader itself is given LOGIN.  nginx asks for
-- one of its own besides.

DO $$
DECLARE
    r text;
BEGIN
    FOREACH r IN ARRAY ARRAY['sluice_owner', 'sluice_writer',
                             'sluice_reader', 'sluice_purger']
    LOOP
        CONTINUE WHEN EXISTS (SELECT FROM pg_roles WHERE rolname = r);
        BEGIN
            EXECUTE format('CREATE ROLE %I NOLOGIN', r);
            IF r = 'sluice_reader' THEN
                ALTER ROLE sluice_reader SET statement_timeout = '5s';
            END IF;
        EXCEPTION
            WHEN duplicate_object OR unique_violation THEN
                NULL;                   -- made at the same moment elsewhere
            WHEN insufficient_privilege THEN
                RAISE NOTICE 'role % is missing and may not be made here', r;
        END;
    END LOOP;
END
$$;

-- From PostgreSQL 16 on, who makes a role may not yet act as it.
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'sluice_owner') THEN
        IF NOT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user)
        THEN
            EXECUTE format('GRANT sluice_owner TO %I', current_user);
        END IF;
        ALTER SCHEMA sluice OWNER TO sluice_owner;
        ALTER TABLE sluice.migration OWNER TO sluice_owner;
    END IF;
EXCEPTION
    WHEN insufficient_privilege OR invalid_grant_operation THEN
        RAISE NOTICE 'the schema stays with %', current_user;
END
$$;

DO $$
BEGIN
    EXECUTE format('ALTER DATABASE %I SET search_path = sluice, public',
                   current_database());
EXCEPTION
    WHEN insufficient_privilege THEN
        RAISE NOTICE 'set search_path to "sluice, public" for your users';
END
$$;

REVOKE ALL ON SCHEMA sluice FROM PUBLIC;

DO $$
DECLARE
    r text;
BEGIN
    FOR r IN SELECT rolname FROM pg_roles
              WHERE rolname IN ('sluice_writer', 'sluice_reader',
                                'sluice_purger')
    LOOP
        EXECUTE format('GRANT USAGE ON SCHEMA sluice TO %I', r);
    END LOOP;
END
$$;
