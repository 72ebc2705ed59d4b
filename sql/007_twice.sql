-- 007_twice.sql: a record that the log holds twice counts once.
--
-- A producer that asks again for what it got no answer to may store a record a
-- second time, at another offset of the same partition.  So a row of uploads
-- is named by what the record is and no longer by where it lies: its id, and
-- its customer and content, as an id is one only as far as its producer keeps
-- to that.  The timestamp is the same, hence so is the window.  "offset" says
-- which of the places counts.
--
-- Of records that were counted twice before this, the history keeps the first
-- place.  Their counts stay as they are, final rows don't move:
-- upload_mismatch names them until retention takes them away.
--
-- Makes the indexes of all days anew.  Lanes wait meanwhile; those of an older
-- version work on with this table.

DO $$
DECLARE
    gone  bigint;
BEGIN
    LOCK TABLE sluice.uploads IN ACCESS EXCLUSIVE MODE;

    DELETE FROM sluice.uploads u USING (
        SELECT tableoid AS day, ctid AS at, row_number() OVER (
                   PARTITION BY pipeline, topic, partition, generation,
                                window_start, id, customer, sha256
                   ORDER BY "offset") AS n
          FROM sluice.uploads) d
     WHERE d.n > 1 AND u.tableoid = d.day AND u.ctid = d.at;
    GET DIAGNOSTICS gone = ROW_COUNT;

    IF gone > 0 THEN
        RAISE NOTICE '% records were counted twice', gone;
    END IF;
END
$$;

ALTER TABLE sluice.uploads DROP CONSTRAINT uploads_pkey;

-- Compared as bytes, as the rest of the key is.
DROP VIEW sluice.upload_history;
ALTER TABLE sluice.uploads ALTER COLUMN id TYPE text COLLATE "C";
CREATE VIEW sluice.upload_history AS
SELECT pipeline, id, customer, name, sha256, type, size, window_start, time
  FROM sluice.uploads;

ALTER TABLE sluice.uploads
    ADD PRIMARY KEY (pipeline, topic, partition, generation, window_start,
                     id, customer, sha256);

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'sluice_reader') THEN
        GRANT SELECT ON sluice.upload_history TO sluice_reader;
    END IF;
END
$$;
