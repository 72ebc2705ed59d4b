/*
 * metrics_list.h: every metric there is, a line each.
 *
 * No guard: metrics.h reads it for the names in C, metrics.c for the table,
 * with other meanings of the macros below.  A name here is without the prefix
 * sluice_processor_ and without a counter's _total.  docs/processor.md has a
 * line for each; names are never changed.
 *
 *   METRICS_ROW(ID, TYPE, LABEL, "name", "help")
 *       METRIC_ID, for metrics_add() and metrics_time(); LABEL is a set
 *       in metrics_text.c, or NONE.  TYPE: COUNTER, GAUGE or TIMES.
 *   METRICS_FIELD(ID, TYPE, SCALE, "name", "help")
 *       METRICS_FIELD_ID, for metrics_set(): of one partition or lane,
 *       written as value / SCALE.  An empty name: kept, but not written.
 */

METRICS_ROW(BATCHES, COUNTER, NONE, "batches",
            "Batches applied.")
METRICS_ROW(RECORDS, COUNTER, VERDICT, "records",
            "Records applied, by what became of them; twice: the log holds "
            "it at another place too, which counts.")
METRICS_ROW(BYTES, COUNTER, NONE, "bytes",
            "Bytes of the values of records applied.")
METRICS_ROW(MEMBERS, COUNTER, SEEN, "members",
            "Counted records, by whether their file was new in its window.")
METRICS_ROW(STORED_BYTES, COUNTER, NONE, "stored_bytes",
            "Bytes of objects put into the store.")
METRICS_ROW(ROWS, COUNTER, NONE, "rows_written",
            "Rows given to PostgreSQL, final ones too.")
METRICS_ROW(FAILURES, COUNTER, STEP, "failures",
            "Steps that failed and are tried again.")
METRICS_ROW(FENCED, COUNTER, STEP, "fenced",
            "Steps refused because the stored state was another than "
            "believed.")
METRICS_ROW(STOPS, COUNTER, STEP, "stops",
            "Partitions that stopped and need an operator.")
METRICS_ROW(TAKEN, COUNTER, STATE_KEPT, "taken",
            "Partitions taken, by whether Redis had their state.")
METRICS_ROW(DROPPED, COUNTER, NONE, "states_dropped",
            "States dropped from Redis, after which the log is read again.")
METRICS_ROW(ASSIGNED, COUNTER, NONE, "assigned",
            "Partitions that the group gave to a lane.")
METRICS_ROW(REVOKED, COUNTER, LEAVING, "revoked",
            "Partitions taken from a lane, in order or lost.")
METRICS_ROW(CLOSED, COUNTER, WHY, "windows_closed",
            "Windows closed, by why they were due.")
METRICS_ROW(INCOMPLETE, COUNTER, NONE, "windows_incomplete",
            "Windows marked incomplete, since the log lacks records.")
METRICS_ROW(LOST, COUNTER, NONE, "lost_records",
            "Records deleted from the log before they were read, at most.")
METRICS_ROW(REDIS_CONNECTS, COUNTER, RESULT, "redis_connects",
            "Connections made to Redis.")
METRICS_ROW(PG_CONNECTS, COUNTER, RESULT, "postgres_connects",
            "Connections made to PostgreSQL.")
METRICS_ROW(LARGE_FILES, COUNTER, LARGE, "large_files",
            "Files that came in pieces, by how they ended.")
METRICS_ROW(CHUNK_BYTES, COUNTER, NONE, "chunk_bytes",
            "Bytes of pieces written to the spool.")
METRICS_ROW(SPOOL_DROPS, COUNTER, NONE, "spool_drops",
            "Unfinished files dropped from the spool, to be read again.")
METRICS_ROW(SPOOL_BYTES, GAUGE, NONE, "spool_bytes",
            "Bytes in the spool.")
METRICS_ROW(STEP, TIMES, STEP, "step_seconds",
            "How long a step took, failed ones too.")
METRICS_ROW(BATCH, TIMES, NONE, "batch_seconds",
            "How long a batch took, failed ones too.")

METRICS_FIELD(STATE, STATE, 1, "partition_state",
              "1 for the state that the partition is in.")
METRICS_FIELD(FAILED_STEP, CURRENT, 1, "partition_stalled",
              "1 for the step at which the partition stalls or stopped; no "
              "line when all is well.")
METRICS_FIELD(STALLED_MS, GAUGE, 1000, "partition_stalled_seconds",
              "Since when the partition stalls or is stopped; 0 when all is "
              "well.")
METRICS_FIELD(LAG, GAUGE, 1, "lag_messages",
              "Records in the log that are not applied.")
METRICS_FIELD(LAG_BYTES, GAUGE, 1, "lag_bytes",
              "Their bytes, by the average of those before.")
METRICS_FIELD(LAG_MS, GAUGE, 1000, "lag_seconds",
              "Age of the first of them.")
METRICS_FIELD(NEXT, GAUGE, 1, "next_offset",
              "Offset of the record to apply next.")
METRICS_FIELD(END, GAUGE, 1, "end_offset",
              "End of the log, as its leader said.")
METRICS_FIELD(COMMITTED, GAUGE, 1, "committed_offset",
              "Offset committed for the group: that of the first record whose "
              "window is open.")
METRICS_FIELD(WATERMARK_MS, GAUGE, 1000, "watermark_seconds",
              "The watermark, in seconds since the epoch.")
METRICS_FIELD(WINDOWS, GAUGE, 1, "windows_open",
              "Windows open.")
METRICS_FIELD(DIRTY, GAUGE, 1, "rows_waiting",
              "Rows of open windows that changed since they were written.")
METRICS_FIELD(TURN_MS, GAUGE, 1000, "lane_turn_seconds",
              "Since when the lane is at its present turn.")
METRICS_FIELD(OWNED, GAUGE, 1, "lane_partitions",
              "Partitions the group gave to the lane.")

METRICS_FIELD(REACHED, GAUGE, 1, "", "Next, and past what is no record.")
METRICS_FIELD(END_AT_MS, GAUGE, 1, "", "When the end was asked for: monotonic.")
METRICS_FIELD(END_WALL_MS, GAUGE, 1, "", "The same, by the clock.")
METRICS_FIELD(STALLED_AT_MS, GAUGE, 1, "", "Since when it stalls.")
METRICS_FIELD(HEAD, GAUGE, 1, "", "An offset, and its record's time:")
METRICS_FIELD(HEAD_MS, GAUGE, 1, "", "not set where none was seen.")
METRICS_FIELD(CAUGHT_UP_MS, GAUGE, 1, "", "When no record was left.")
METRICS_FIELD(SIZE, GAUGE, 1, "", "Bytes of a record, on average.")
METRICS_FIELD(TURN_AT_MS, GAUGE, 1, "", "When the turn began.")
METRICS_FIELD(JOINED, GAUGE, 1, "", "Whether the group gave anything yet.")
