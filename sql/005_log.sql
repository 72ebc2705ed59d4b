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


-- Of an older generation all that is left is settled.
CREATE OR REPLACE VIEW sluice.upload_mismatch AS
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
         WHERE u.generation < p.generation
            OR u.window_start <= p.closed_through
         GROUP BY 1, 2, 3, 4, 5, 6) u
       USING (pipeline, topic, partition, window_start, customer, sha256)
 WHERE coalesce(s.count, 0) <> coalesce(u.uploads, 0);


-- new_generation(...): what was counted of open windows is given up or settled,
-- and the partition begins again, all of it or nothing.
--
-- p_generation, p_closed  what the caller saw; false when it is no longer so
-- p_how     'fresh'   the log is another one, and what the older held is gone:
--                     its rows are final as they are, all of the new counts
--           'copy'    the log holds what was counted, at other offsets, or
--                     only a part of it: closed windows stay, open ones are
--                     counted again
--           'window'  the log is the same; from the end of the last closed
--                     window on it is counted in windows of another size
-- p_new_closed, p_next, p_window_ms, p_lateness_ms   of the new generation
-- p_lost_from   first offset of the older log that was not read; NULL
--
-- A lane that still works on the older generation is refused by its fence: the
-- update below waits for its transaction, and the next one finds another
-- generation.
--
-- A name in first_seen is the older generation's, so a record of the new one
-- that has it is a repeat.  Where records are counted again, the names they
-- had are forgotten with their rows.
CREATE FUNCTION sluice.new_generation(p_pipeline text, p_topic text,
    p_partition integer, p_generation integer, p_closed timestamptz,
    p_how text, p_new_closed timestamptz, p_next bigint, p_window_ms integer,
    p_lateness_ms integer, p_lost_from bigint) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    size  integer;
    over  timestamptz;               -- end of the last closed window
BEGIN
    IF p_how NOT IN ('fresh', 'copy', 'window') OR p_how IS NULL THEN
        RAISE EXCEPTION 'no such way: %', p_how
            USING ERRCODE = 'invalid_parameter_value';
    END IF;

    SELECT window_ms INTO size FROM sluice.progress
     WHERE pipeline = p_pipeline AND topic = p_topic
       AND partition = p_partition AND generation = p_generation
       AND closed_through IS NOT DISTINCT FROM p_closed
       FOR UPDATE;
    IF NOT FOUND THEN
        RETURN false;
    END IF;

    over := p_closed + size * interval '1 millisecond';

    UPDATE sluice.progress
       SET generation = generation + 1, closed_through = p_new_closed,
           next_offset = p_next, window_ms = p_window_ms,
           lateness_ms = p_lateness_ms, updated_at = now(),
           last_id = CASE WHEN p_how = 'window' THEN last_id END,
           low_offset = CASE WHEN p_how = 'window' THEN low_offset END,
           ledger_next = 0
     WHERE pipeline = p_pipeline AND topic = p_topic
       AND partition = p_partition;

    IF p_lost_from IS NOT NULL THEN
        INSERT INTO sluice.gaps (pipeline, topic, partition, generation,
            first_offset, first_window, last_window, reason)
        VALUES (p_pipeline, p_topic, p_partition, p_generation, p_lost_from,
            over, now(), 'replaced')
        ON CONFLICT DO NOTHING;
    END IF;

    IF p_how = 'fresh' THEN
        UPDATE sluice.summary SET final = true, updated_at = now()
         WHERE pipeline = p_pipeline AND topic = p_topic
           AND partition = p_partition AND generation = p_generation
           AND NOT final;
        RETURN true;
    END IF;

    DELETE FROM sluice.summary
     WHERE pipeline = p_pipeline AND topic = p_topic
       AND partition = p_partition AND generation = p_generation
       AND NOT final;
    DELETE FROM sluice.uploads
     WHERE pipeline = p_pipeline AND topic = p_topic
       AND partition = p_partition
       AND (over IS NULL OR window_start >= over);

    DELETE FROM sluice.first_seen
     WHERE pipeline = p_pipeline AND topic = p_topic
       AND partition = p_partition AND (over IS NULL OR seen_at >= over);

    RETURN true;
END
$$;

REVOKE ALL ON FUNCTION sluice.new_generation(text, text, integer, integer,
    timestamptz, text, timestamptz, bigint, integer, integer, bigint)
    FROM PUBLIC;

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'sluice_writer') THEN
        GRANT SELECT, INSERT, UPDATE ON sluice.gaps TO sluice_writer;
        GRANT EXECUTE ON FUNCTION sluice.new_generation(text, text, integer,
            integer, timestamptz, text, timestamptz, bigint, integer, integer,
            bigint) TO sluice_writer;
    END IF;
END
$$;
