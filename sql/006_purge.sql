-- 006_purge.sql: what retention and an erasure remove, and by whom.
--
-- The role sluice_purger owns nothing.  It may read, and call the functions
-- here, which run with the owner's rights and refuse what is not theirs to
-- remove: a day's table until it has been over for a day, an erased customer's
-- rows until they are final.  So whatever a setting says, no window that is
-- open can be touched.
--
-- A day's table is first detached and then dropped, in two transactions.
-- Only the first needs all readers and writers of the parent to stand aside,
-- and it is over in a moment; the second, which throws the pages away, holds
-- up nobody.  The first waits for its lock 200 ms at most, since all who come
-- later wait behind it; the caller tries again.  A crash in between leaves a
-- table that stands alone under its old name: the next run drops it.

-- What was removed and when.  The customer's name stays here: that it was
-- erased has to be shown, too.
CREATE TABLE sluice.jobs (
    id          bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    pipeline    text        COLLATE "C" NOT NULL,
    job         text        NOT NULL,       -- 'purge', 'erase'
    customer    text        COLLATE "C",    -- of an erasure
    before      timestamptz NOT NULL,       -- nothing younger was removed
    started_at  timestamptz NOT NULL DEFAULT now(),
    ended_at    timestamptz,                -- NULL: at work, or it was killed
    figures     jsonb,

    CONSTRAINT jobs_job CHECK (job IN ('purge', 'erase')),
    CONSTRAINT jobs_customer CHECK ((customer IS NULL) = (job <> 'erase'))
);

-- Rows whose object lies in another day's folder than their own: references,
-- whose bytes were stored before they were announced.  Such a row may outlive
-- its object's folder, which therefore must not be emptied blindly.  They are
-- few, and this finds them without reading the others.  An object's path ends
-- in YYYY/MM/DD/HH/MM:SS/NAME.
CREATE INDEX summary_elsewhere ON sluice.summary (pipeline)
    WHERE split_part(object, '/', -6) || split_part(object, '/', -5)
              || split_part(object, '/', -4)
          <> (extract(year FROM window_start AT TIME ZONE 'UTC') * 10000
              + extract(month FROM window_start AT TIME ZONE 'UTC') * 100
              + extract(day FROM window_start AT TIME ZONE 'UTC'))::text;


-- day_tables(): the tables of days, attached or left behind by a crash.
CREATE FUNCTION sluice.day_tables(OUT name text, OUT day date,
    OUT attached boolean) RETURNS SETOF record
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT c.relname::text, to_date(right(c.relname, 8), 'YYYYMMDD'),
           c.relispartition
      FROM pg_class c
     WHERE c.relnamespace = 'sluice'::regnamespace AND c.relkind = 'r'
       AND c.relname ~ '^(summary|uploads)_[0-9]{8}$'
     ORDER BY 2, 1
$$;


-- purge_day(p_name, p_pipeline, p_before): one step towards the end of a
-- day's table.  Answers what was done:
--
-- 'detached'  call again
-- 'dropped'   it is gone, or was already
-- 'shared'    other pipelines have rows in it: purge_rows() takes ours out
--
-- SQLSTATE 55P03 when somebody was in the way: try again.
CREATE FUNCTION sluice.purge_day(p_name text, p_pipeline text,
    p_before timestamptz) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET lock_timeout = '200ms'
AS $$
DECLARE
    parent  text := split_part(p_name, '_', 1);
    t       record;
    least   text;
    most    text;
BEGIN
    SELECT * INTO t FROM sluice.day_tables() d WHERE d.name = p_name;
    IF NOT FOUND THEN
        RETURN 'dropped';
    END IF;

    IF p_before IS NULL OR p_before > now() - interval '1 day'
       OR (t.day + 1)::timestamp AT TIME ZONE 'UTC' > p_before
    THEN
        RAISE EXCEPTION '% is younger than %', p_name, p_before
            USING ERRCODE = 'invalid_parameter_value';
    END IF;

    IF NOT t.attached THEN
        EXECUTE format('DROP TABLE IF EXISTS sluice.%I', p_name);
        RETURN 'dropped';
    END IF;

    -- The parent first, as those who write do; then nobody adds a row.
    EXECUTE format('LOCK TABLE ONLY sluice.%I IN ACCESS EXCLUSIVE MODE',
                   parent);
    EXECUTE format('SELECT min(pipeline), max(pipeline) FROM sluice.%I',
                   p_name) INTO least, most;
    IF least <> p_pipeline OR most <> p_pipeline THEN
        RETURN 'shared';
    END IF;

    EXECUTE format('ALTER TABLE sluice.%I DETACH PARTITION sluice.%I',
                   parent, p_name);
    RETURN 'detached';
END
$$;


-- purge_rows(p_name, p_pipeline, p_before, p_limit): takes up to p_limit rows
-- of one pipeline out of a day's table; how many they were.
CREATE FUNCTION sluice.purge_rows(p_name text, p_pipeline text,
    p_before timestamptz, p_limit integer) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    day   date;
    gone  bigint;
BEGIN
    SELECT d.day INTO day FROM sluice.day_tables() d WHERE d.name = p_name;
    IF NOT FOUND THEN
        RETURN 0;
    END IF;

    IF p_before IS NULL OR p_before > now() - interval '1 day'
       OR (day + 1)::timestamp AT TIME ZONE 'UTC' > p_before
    THEN
        RAISE EXCEPTION '% is younger than %', p_name, p_before
            USING ERRCODE = 'invalid_parameter_value';
    END IF;

    EXECUTE format('DELETE FROM sluice.%I WHERE ctid = ANY (ARRAY('
                   'SELECT ctid FROM sluice.%I WHERE pipeline = $1'
                   ' LIMIT $2))', p_name, p_name)
        USING p_pipeline, p_limit;
    GET DIAGNOSTICS gone = ROW_COUNT;
    RETURN gone;
END
$$;


-- kept_objects(p_pipeline, p_prefix, p_day, p_before): the objects in a day's
-- folders that something still refers to although the day is over: rows of
-- p_pipeline from p_before on, and rows of other pipelines that keep theirs
-- longer, below the same prefix.
CREATE FUNCTION sluice.kept_objects(p_pipeline text, p_prefix text,
    p_day date, p_before timestamptz) RETURNS SETOF text
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_custom_plan
AS $$
BEGIN
    RETURN QUERY
    SELECT s.object
      FROM sluice.summary s
     WHERE split_part(s.object, '/', -6) || split_part(s.object, '/', -5)
               || split_part(s.object, '/', -4)
           <> (extract(year FROM s.window_start AT TIME ZONE 'UTC') * 10000
               + extract(month FROM s.window_start AT TIME ZONE 'UTC') * 100
               + extract(day FROM s.window_start AT TIME ZONE 'UTC'))::text
       AND split_part(s.object, '/', -6) || split_part(s.object, '/', -5)
               || split_part(s.object, '/', -4) = to_char(p_day, 'YYYYMMDD')
       AND (s.pipeline <> p_pipeline OR s.window_start >= p_before)
    UNION ALL
    SELECT s.object
      FROM sluice.summary s
     WHERE s.window_start >= p_day::timestamp AT TIME ZONE 'UTC'
       AND s.window_start < (p_day + 1)::timestamp AT TIME ZONE 'UTC'
       AND s.pipeline <> p_pipeline
       AND (starts_with(s.object, p_prefix || '/')
            OR (p_prefix = '' AND s.object ~ '^(c-[^/]*/)?[0-9]{4}/'));
END
$$;


-- purge_first_seen(p_pipeline, p_before, p_limit): takes out up to p_limit
-- entries older than p_before; how many they were.
CREATE FUNCTION sluice.purge_first_seen(p_pipeline text,
    p_before timestamptz, p_limit integer) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    gone  bigint;
BEGIN
    IF p_before IS NULL OR p_before > now() - interval '1 day' THEN
        RAISE EXCEPTION 'not to be purged'
            USING ERRCODE = 'invalid_parameter_value';
    END IF;

    DELETE FROM sluice.first_seen f
     WHERE f.ctid = ANY (ARRAY(
               SELECT ctid FROM sluice.first_seen
                WHERE seen_at < p_before AND pipeline = p_pipeline
                ORDER BY seen_at LIMIT p_limit))
       AND f.seen_at < p_before AND f.pipeline = p_pipeline;
    GET DIAGNOSTICS gone = ROW_COUNT;
    RETURN gone;
END
$$;


-- erase_window(p_pipeline, p_customer, p_before): removes the customer's final
-- rows and its uploads of the oldest window that has some and began before
-- p_before; how many they were, and false when no such window is left.
CREATE FUNCTION sluice.erase_window(p_pipeline text, p_customer text,
    p_before timestamptz, OUT had_some boolean, OUT files bigint,
    OUT uploads bigint)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_custom_plan
AS $$
DECLARE
    oldest  timestamptz;
BEGIN
    IF p_customer = '' OR p_before IS NULL OR p_before > now() THEN
        RAISE EXCEPTION 'not to be erased' USING
            ERRCODE = 'invalid_parameter_value';
    END IF;

    SELECT least(
        (SELECT s.window_start FROM sluice.summary s
          WHERE s.customer = p_customer AND s.window_start < p_before
            AND s.pipeline = p_pipeline AND s.final
          ORDER BY s.window_start LIMIT 1),
        (SELECT u.window_start FROM sluice.uploads u
          WHERE u.customer = p_customer AND u.window_start < p_before
            AND u.pipeline = p_pipeline
          ORDER BY u.window_start LIMIT 1)) INTO oldest;
    had_some := oldest IS NOT NULL;

    DELETE FROM sluice.summary s
     WHERE s.customer = p_customer AND s.window_start = oldest
       AND s.pipeline = p_pipeline AND s.final;
    GET DIAGNOSTICS files = ROW_COUNT;

    DELETE FROM sluice.uploads u
     WHERE u.customer = p_customer AND u.window_start = oldest
       AND u.pipeline = p_pipeline;
    GET DIAGNOSTICS uploads = ROW_COUNT;
END
$$;


-- erase_first_seen(p_pipeline, p_customer, p_before, p_limit): the same for
-- what was told apart by its name; how many they were.
CREATE FUNCTION sluice.erase_first_seen(p_pipeline text, p_customer text,
    p_before timestamptz, p_limit integer) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    gone  bigint;
BEGIN
    IF p_customer = '' OR p_before IS NULL OR p_before > now() THEN
        RAISE EXCEPTION 'not to be erased' USING
            ERRCODE = 'invalid_parameter_value';
    END IF;

    DELETE FROM sluice.first_seen f
     WHERE f.ctid = ANY (ARRAY(
               SELECT ctid FROM sluice.first_seen
                WHERE pipeline = p_pipeline AND customer = p_customer
                  AND seen_at < p_before LIMIT p_limit))
       AND f.pipeline = p_pipeline AND f.customer = p_customer;
    GET DIAGNOSTICS gone = ROW_COUNT;
    RETURN gone;
END
$$;


REVOKE ALL ON FUNCTION sluice.day_tables(),
    sluice.purge_day(text, text, timestamptz),
    sluice.purge_rows(text, text, timestamptz, integer),
    sluice.kept_objects(text, text, date, timestamptz),
    sluice.purge_first_seen(text, timestamptz, integer),
    sluice.erase_window(text, text, timestamptz),
    sluice.erase_first_seen(text, text, timestamptz, integer) FROM PUBLIC;

DO $$
BEGIN
    -- verify leaves out who was erased.
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'sluice_writer') THEN
        GRANT SELECT ON sluice.jobs TO sluice_writer;
    END IF;
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'sluice_purger') THEN
        GRANT SELECT ON sluice.summary, sluice.uploads, sluice.first_seen,
            sluice.progress TO sluice_purger;
        GRANT SELECT, INSERT, UPDATE (ended_at, figures) ON sluice.jobs
            TO sluice_purger;
        GRANT EXECUTE ON FUNCTION sluice.day_tables(),
            sluice.purge_day(text, text, timestamptz),
            sluice.purge_rows(text, text, timestamptz, integer),
            sluice.kept_objects(text, text, date, timestamptz),
            sluice.purge_first_seen(text, timestamptz, integer),
            sluice.erase_window(text, text, timestamptz),
            sluice.erase_first_seen(text, text, timestamptz, integer)
            TO sluice_purger;
    END IF;
END
$$;
