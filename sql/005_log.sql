-- 005_log.sql: which log the rows were counted from.
--
-- A topic may be made anew, cut or mirrored: then offsets mean something else
-- than before, and a lane stops until an operator says how to go on.  Each
-- such answer begins a generation of the partition.  It is part of a row's
-- key, since offsets of two logs can't be compared, and of a lane's fence,
-- since who still works on the older log must change nothing.  Views sum over
-- generations as they do over partitions.

ALTER TABLE sluice.summary
    ADD COLUMN generation integer NOT NULL DEFAULT 0,
    ADD CONSTRAINT summary_generation CHECK (generation >= 0);

ALTER TABLE sluice.summary DROP CONSTRAINT summary_pkey;
ALTER TABLE sluice.summary
    ADD PRIMARY KEY (pipeline, topic, partition, window_start, customer,
                     sha256, generation);


-- last_id: ce_id of the record at next_offset - 1, '' where it has none to be
-- read; NULL when no close of this generation told.  low_offset: what a
-- replay needs at least, the first record of a window that was open at the
-- last close.  lateness_ms: NULL until a lane took the partition.
ALTER TABLE sluice.progress
    ADD COLUMN generation   integer NOT NULL DEFAULT 0,
    ADD COLUMN last_id      text,
    ADD COLUMN low_offset   bigint,
    ADD COLUMN lateness_ms  integer,
    ADD CONSTRAINT progress_generation CHECK (generation >= 0),
    ADD CONSTRAINT progress_last CHECK (octet_length(last_id) <= 255),
    ADD CONSTRAINT progress_low CHECK (low_offset >= 0),
    ADD CONSTRAINT progress_lateness CHECK (lateness_ms >= 0);


-- Records that were lost before they were read: retention overtook the lane,
-- or the log was replaced.  last_offset is NULL where nobody can know it, as
-- is a window's bound.  The windows in between may count too little.
CREATE TABLE sluice.gaps (
    pipeline      text        COLLATE "C" NOT NULL,
    topic         text        COLLATE "C" NOT NULL,
    partition     integer     NOT NULL,
    generation    integer     NOT NULL,
    first_offset  bigint      NOT NULL,
    last_offset   bigint,
    first_window  timestamptz,
    last_window   timestamptz,
    reason        text        NOT NULL,
    found_at      timestamptz NOT NULL DEFAULT now(),

    PRIMARY KEY (pipeline, topic, partition, generation, first_offset),
    CONSTRAINT gaps_offsets CHECK (first_offset >= 0
                                   AND last_offset >= first_offset),
    CONSTRAINT gaps_reason  CHECK (reason IN ('retention', 'replaced'))
);


-- incomplete: a gap lies in the row's window.
CREATE OR REPLACE VIEW sluice.files AS
SELECT s.pipeline, s.window_start, s.customer, s.sha256,
       (array_agg(s.id))[1] AS id,
       (array_agg(s.name ORDER BY s.first_seen, s.topic, s.partition))[1]
           AS name,
       (array_agg(s.type ORDER BY s.first_seen, s.topic, s.partition))[1]
           AS type,
       min(s.size) AS size,
       sum(s.count)::bigint AS count,
       min(s.first_seen) AS first_seen,
       (array_agg(s.upload ORDER BY s.first_seen, s.topic, s.partition))[1]
           AS upload,
       min(s.object) AS object,
       coalesce((SELECT rtrim(value, '/') FROM sluice.settings
                  WHERE settings.name = 'public_url'), '')
           || '/files/' || (array_agg(s.id))[1] AS url,
       bool_and(s.final) AS final,
       EXISTS (SELECT FROM sluice.gaps g
                WHERE g.pipeline = s.pipeline
                  AND s.window_start >= coalesce(g.first_window, '-infinity')
                  AND s.window_start <= coalesce(g.last_window, 'infinity'))
           AS incomplete
  FROM sluice.summary s
 GROUP BY s.pipeline, s.window_start, s.customer, s.sha256;


DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'sluice_writer') THEN
        GRANT SELECT, INSERT, UPDATE ON sluice.gaps TO sluice_writer;
    END IF;
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'sluice_reader') THEN
        GRANT SELECT ON sluice.gaps TO sluice_reader;
    END IF;
END
$$;
