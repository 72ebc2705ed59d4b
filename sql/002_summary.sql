-- 002_summary.sql: what the processor writes.
--
-- A row of summary is one file of one window, as one partition of the topic
-- saw it.  The writer sends absolute counts, so writing a row twice changes
-- nothing; through_offset lets it refuse to go back, and a final row is not
-- written again.  Rows lie in one table per UTC day of window_start, so that
-- retention drops a table and deletes no row.
--
-- Every CHECK here is also checked by the processor before it counts a
-- record: a row that PostgreSQL refuses would hold up its whole window.

CREATE TABLE sluice.summary (
    pipeline        text        COLLATE "C" NOT NULL,
    topic           text        COLLATE "C" NOT NULL,
    partition       integer     NOT NULL,
    window_start    timestamptz NOT NULL,
    customer        text        COLLATE "C" NOT NULL,   -- '': none
    sha256          text        COLLATE "C" NOT NULL,
    id              uuid        NOT NULL,       -- of pipeline, window,
                                                -- customer and sha256
    name            text        NOT NULL,       -- the first one seen
    type            text        NOT NULL,
    size            bigint      NOT NULL,
    count           bigint      NOT NULL,       -- of uploads
    object          text        NOT NULL,       -- path within the store
    first_seen      timestamptz NOT NULL,
    first_offset    bigint      NOT NULL,
    upload          text        NOT NULL,       -- ce_id of the first
    through_offset  bigint      NOT NULL,       -- the count holds up to here
    final           boolean     NOT NULL DEFAULT false,
    updated_at      timestamptz NOT NULL DEFAULT now(),

    PRIMARY KEY (pipeline, topic, partition, window_start, customer, sha256),
    CONSTRAINT summary_pipeline CHECK (octet_length(pipeline) BETWEEN 1
                                                              AND 255),
    CONSTRAINT summary_topic    CHECK (octet_length(topic) BETWEEN 1 AND 249),
    CONSTRAINT summary_partition CHECK (partition >= 0),
    CONSTRAINT summary_window   CHECK (isfinite(window_start)),
    CONSTRAINT summary_customer CHECK (octet_length(customer) <= 128),
    CONSTRAINT summary_sha256   CHECK (sha256 ~ '^[0-9a-f]{64}$'),
    CONSTRAINT summary_name     CHECK (octet_length(name) <= 255),
    CONSTRAINT summary_type     CHECK (octet_length(type) <= 255),
    CONSTRAINT summary_size     CHECK (size >= 0),
    CONSTRAINT summary_count    CHECK (count >= 1),
    CONSTRAINT summary_object   CHECK (octet_length(object) <= 1024),
    CONSTRAINT summary_upload   CHECK (octet_length(upload) <= 255),
    CONSTRAINT summary_offsets  CHECK (first_offset >= 0
                                       AND through_offset >= first_offset)
) PARTITION BY RANGE (window_start);

-- A tenant's page and everybody's page, each read backwards from its newest
-- row without a sort.
CREATE INDEX summary_by_customer
    ON sluice.summary (customer, window_start, sha256, pipeline);
CREATE INDEX summary_by_window
    ON sluice.summary (window_start, customer, sha256, pipeline);


-- How far a partition's windows are closed.  closed_through is the START of
-- the last closed window; NULL before the first close.
CREATE TABLE sluice.progress (
    pipeline        text        COLLATE "C" NOT NULL,
    topic           text        COLLATE "C" NOT NULL,
    partition       integer     NOT NULL,
    closed_through  timestamptz,
    window_ms       integer     NOT NULL,
    next_offset     bigint      NOT NULL,
    updated_at      timestamptz NOT NULL DEFAULT now(),

    PRIMARY KEY (pipeline, topic, partition),
    CONSTRAINT progress_pipeline CHECK (octet_length(pipeline) BETWEEN 1
                                                               AND 255),
    CONSTRAINT progress_topic    CHECK (octet_length(topic) BETWEEN 1
                                                            AND 249),
    CONSTRAINT progress_partition CHECK (partition >= 0),
    CONSTRAINT progress_window   CHECK (window_ms > 0),
    CONSTRAINT progress_next     CHECK (next_offset >= 0)
);


-- What the views need to know of the installation: public_url, the scheme and
-- host that clients see, without a slash at the end.
CREATE TABLE sluice.settings (
    name    text PRIMARY KEY,
    value   text NOT NULL
);

INSERT INTO sluice.settings VALUES ('public_url', '');


-- ensure_day(at): make the table of at's UTC day unless it is there.
--
-- Cheap when it is.  Attached rather than created as a partition: that takes
-- SHARE UPDATE EXCLUSIVE on summary, so nobody who reads or writes waits.
-- The advisory lock is held to the end of the transaction: call it in one of
-- its own.
CREATE FUNCTION sluice.ensure_day(at timestamptz) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    day   date;
    name  text;
BEGIN
    IF at IS NULL OR at NOT BETWEEN '1970-01-01Z' AND '9999-12-30Z' THEN
        RAISE EXCEPTION 'no such day: %', at
            USING ERRCODE = 'invalid_parameter_value';
    END IF;

    day := (at AT TIME ZONE 'UTC')::date;
    name := 'summary_' || to_char(day, 'YYYYMMDD');

    IF to_regclass('sluice.' || name) IS NOT NULL THEN
        RETURN;
    END IF;

    PERFORM pg_advisory_xact_lock(hashtext('sluice.ensure_day'));

    -- to_regclass() may remember that there was none a moment ago
    PERFORM FROM pg_class c
      WHERE c.relnamespace = 'sluice'::regnamespace AND c.relname = name;
    IF FOUND THEN
        RETURN;
    END IF;

    -- Room on each page, so that the count's updates touch no index.
    EXECUTE format('CREATE TABLE sluice.%I (LIKE sluice.summary INCLUDING ALL)'
                   ' WITH (fillfactor = 85)', name);
    EXECUTE format('ALTER TABLE sluice.summary ATTACH PARTITION sluice.%I'
                   ' FOR VALUES FROM (%L) TO (%L)', name,
                   day::timestamp AT TIME ZONE 'UTC',
                   (day + 1)::timestamp AT TIME ZONE 'UTC');
END
$$;

REVOKE ALL ON FUNCTION sluice.ensure_day(timestamptz) FROM PUBLIC;

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'sluice_writer') THEN
        GRANT SELECT, INSERT, UPDATE ON sluice.summary, sluice.progress
            TO sluice_writer;
        GRANT EXECUTE ON FUNCTION sluice.ensure_day(timestamptz)
            TO sluice_writer;
    END IF;
END
$$;
