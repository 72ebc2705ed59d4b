-- 004_ledger.sql: what counts once, and what was counted.
--
-- first_seen: a record that can come twice by right (an Idempotency-Key, a
-- reference, a letter put back) counts only if the row of its name is its
-- own: same topic, partition, generation and offset.  The row is written before the
-- record is counted, so whoever reads the log again finds its own row and
-- decides the same.
--
-- The key must be unique over all days, so this table can't be partitioned by
-- day.  What retention has overtaken is deleted by seen_at, in slices, each a
-- transaction of its own:
--
--   DELETE FROM sluice.first_seen WHERE (pipeline, customer, id, sha256) IN (
--       SELECT pipeline, customer, id, sha256 FROM sluice.first_seen
--        WHERE seen_at < now() - interval '8 days'
--        ORDER BY seen_at LIMIT 5000 FOR UPDATE SKIP LOCKED);
--
-- until it deletes nothing.  The index finds them without a scan; only records
-- that need it are in here at all, so it stays small.
--
-- uploads: a row for each record that was counted, one table per UTC day of
-- window_start as summary has.
--
-- progress.ledger_next goes up with each write to either.  Redis remembers
-- what it was when the state was last moved: a PostgreSQL that holds less has
-- lost rows of records that were counted, and the log is read again.

ALTER TABLE sluice.progress
    ADD COLUMN ledger_next bigint NOT NULL DEFAULT 0,
    ADD CONSTRAINT progress_ledger CHECK (ledger_next >= 0);

CREATE TABLE sluice.first_seen (
    pipeline    text        COLLATE "C" NOT NULL,
    customer    text        COLLATE "C" NOT NULL,
    id          text        COLLATE "C" NOT NULL,   -- key:… or id:…
    sha256      text        COLLATE "C" NOT NULL,
    topic       text        COLLATE "C" NOT NULL,
    partition   integer     NOT NULL,
    generation  integer     NOT NULL DEFAULT 0,     -- of the log: see 005
    "offset"    bigint      NOT NULL,
    seen_at     timestamptz NOT NULL,       -- the record's timestamp

    PRIMARY KEY (pipeline, customer, id, sha256),
    CONSTRAINT first_seen_customer CHECK (octet_length(customer) <= 128),
    CONSTRAINT first_seen_id       CHECK (octet_length(id) BETWEEN 4 AND 259),
    CONSTRAINT first_seen_sha256   CHECK (sha256 ~ '^[0-9a-f]{64}$'),
    CONSTRAINT first_seen_offset   CHECK (partition >= 0 AND "offset" >= 0)
);

CREATE INDEX first_seen_by_time ON sluice.first_seen (seen_at);


CREATE TABLE sluice.uploads (
    pipeline      text        COLLATE "C" NOT NULL,
    id            text        NOT NULL,             -- ce_id
    topic         text        COLLATE "C" NOT NULL,
    partition     integer     NOT NULL,
    generation    integer     NOT NULL DEFAULT 0,
    "offset"      bigint      NOT NULL,
    customer      text        COLLATE "C" NOT NULL,
    name          text        NOT NULL,
    sha256        text        COLLATE "C" NOT NULL,
    window_start  timestamptz NOT NULL,
    size          bigint      NOT NULL,
    type          text        NOT NULL,
    time          timestamptz NOT NULL,             -- the record's timestamp

    PRIMARY KEY (pipeline, topic, partition, generation, window_start,
                 "offset"),
    CONSTRAINT uploads_id       CHECK (octet_length(id) <= 255),
    CONSTRAINT uploads_customer CHECK (octet_length(customer) <= 128),
    CONSTRAINT uploads_name     CHECK (octet_length(name) <= 255),
    CONSTRAINT uploads_sha256   CHECK (sha256 ~ '^[0-9a-f]{64}$'),
    CONSTRAINT uploads_type     CHECK (octet_length(type) <= 255),
    CONSTRAINT uploads_size     CHECK (size >= 0),
    CONSTRAINT uploads_offset   CHECK (partition >= 0 AND "offset" >= 0)
) PARTITION BY RANGE (window_start);

CREATE INDEX uploads_by_customer ON sluice.uploads (customer, window_start);


-- One day's table of one parent: see ensure_day() in 002.
CREATE FUNCTION sluice.make_day(parent text, day date, fill integer)
RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    name  text := parent || '_' || to_char(day, 'YYYYMMDD');
BEGIN
    -- to_regclass() may remember that there was none a moment ago
    PERFORM FROM pg_class c
      WHERE c.relnamespace = 'sluice'::regnamespace AND c.relname = name;
    IF FOUND THEN
        RETURN;
    END IF;

    EXECUTE format('CREATE TABLE sluice.%I (LIKE sluice.%I INCLUDING ALL)'
                   ' WITH (fillfactor = %s)', name, parent, fill);
    EXECUTE format('ALTER TABLE sluice.%I ATTACH PARTITION sluice.%I'
                   ' FOR VALUES FROM (%L) TO (%L)', parent, name,
                   day::timestamp AT TIME ZONE 'UTC',
                   (day + 1)::timestamp AT TIME ZONE 'UTC');
END
$$;

REVOKE ALL ON FUNCTION sluice.make_day(text, date, integer) FROM PUBLIC;

CREATE OR REPLACE FUNCTION sluice.ensure_day(at timestamptz) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    day     date;
    suffix  text;
BEGIN
    IF at IS NULL OR at NOT BETWEEN '1970-01-01Z' AND '9999-12-30Z' THEN
        RAISE EXCEPTION 'no such day: %', at
            USING ERRCODE = 'invalid_parameter_value';
    END IF;

    day := (at AT TIME ZONE 'UTC')::date;
    suffix := to_char(day, 'YYYYMMDD');

    IF to_regclass('sluice.summary_' || suffix) IS NOT NULL
       AND to_regclass('sluice.uploads_' || suffix) IS NOT NULL
    THEN
        RETURN;
    END IF;

    PERFORM pg_advisory_xact_lock(hashtext('sluice.ensure_day'));

    -- Room on each page of summary, so that the count's updates touch no
    -- index.  A row of uploads is never updated.
    PERFORM sluice.make_day('summary', day, 85);
    PERFORM sluice.make_day('uploads', day, 100);
END
$$;


-- What was counted, for who reads: an upload's place in the log stays inside.
CREATE VIEW sluice.upload_history AS
SELECT pipeline, id, customer, name, sha256, type, size, window_start, time
  FROM sluice.uploads;

-- Do rows and history agree?  A row here is a file whose final count is not
-- the number of its uploads.  Empty, unless uploads_table was off for a time.
CREATE VIEW sluice.upload_mismatch AS
SELECT pipeline, topic, partition, window_start, customer, sha256,
       coalesce(s.count, 0) AS count, coalesce(u.uploads, 0) AS uploads
  FROM (SELECT pipeline, topic, partition, window_start, customer, sha256,
               sum(count)::bigint AS count
          FROM sluice.summary WHERE final
         GROUP BY 1, 2, 3, 4, 5, 6) s
  FULL JOIN (
        SELECT u.pipeline, u.topic, u.partition, u.window_start, u.customer,
               u.sha256, count(*) AS uploads
          FROM sluice.uploads u
          JOIN sluice.progress p USING (pipeline, topic, partition)
         WHERE u.window_start <= p.closed_through
         GROUP BY 1, 2, 3, 4, 5, 6) u
       USING (pipeline, topic, partition, window_start, customer, sha256)
 WHERE coalesce(s.count, 0) <> coalesce(u.uploads, 0);

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'sluice_writer') THEN
        GRANT SELECT, INSERT, UPDATE, DELETE ON sluice.first_seen
            TO sluice_writer;
        GRANT SELECT, INSERT, DELETE ON sluice.uploads TO sluice_writer;
        GRANT SELECT ON sluice.upload_mismatch TO sluice_writer;
    END IF;
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'sluice_reader') THEN
        GRANT SELECT ON sluice.upload_history TO sluice_reader;
    END IF;
END
$$;
