/*
 * rows.h: summary rows on their way to PostgreSQL.
 *
 * Owns the SQL of sluice.summary and sluice.progress.  Many rows of one window
 * are one statement, sorted by key so that two lanes can't deadlock.
 *
 * unnest() of arrays, and not COPY into a temporary table: for 2,000 rows that
 * takes 3 to 9 % less CPU, but four round trips for one and a table for each
 * session.  Rows one by one in a pipeline take twice as much as either
 * (docs/performance.md).
 */

#ifndef SLUICE_LANE_ROWS_H
#define SLUICE_LANE_ROWS_H

#include "lane/partition.h"

typedef struct rows_s  rows_t;

rows_t *rows_new(void);
void rows_free(rows_t *rows);

/* As many rows as one statement takes, or a few more. */
#define ROWS_STATEMENT  2000

/*
 * Adds ntriples of member, count and row, as state_rows() and state_page()
 * lend them, to those to be written: of one window, and all of one p->next.
 * RC_FENCED, with p->broken, when they are no texts of ours; then, and after
 * a write, no row waits.
 */
rc_t rows_add(rows_t *rows, links_t *l, partition_t *p, int64_t start_ms,
    const redis_value_t *triples, size_t ntriples, err_t *err);
size_t rows_waiting(const rows_t *rows);
void rows_reset(rows_t *rows);       /* none waits */

/*
 * Upserts what waits: counts hold through p->next.  A row that is final or
 * knows a later count is left alone.  RC_FENCED when PostgreSQL's
 * closed_through or generation is not the one p was taken with: then this
 * lane's windows are not what is open.
 */
rc_t rows_write(rows_t *rows, links_t *l, partition_t *p, int64_t start_ms,
    err_t *err);

/*
 * The same as final rows, in the transaction of c, whose written it counts.
 * start does not wait: finish tells when it is done.
 */
rc_t rows_write_final(rows_t *rows, links_t *l, partition_t *p, closing_t *c,
    err_t *err);
rc_t rows_start_final(rows_t *rows, links_t *l, partition_t *p,
    const closing_t *c, err_t *err);
rc_t rows_finish_final(links_t *l, closing_t *c, int *done, err_t *err);

/*
 * Makes sure that rows of this window have a table to go to.  Cheap for the
 * last few days asked about.
 */
rc_t rows_ensure_day(links_t *l, int64_t start_ms, err_t *err);
void rows_forget_days(links_t *l);

/* What a take compares itself with. */
typedef struct {
    int64_t  window_ms;
    int64_t  lateness_ms;            /* -1: not known */
    int64_t  low;                    /* low_offset; PARTITION_NONE */
    int      has_last;
    char     last[PARTITION_LAST];   /* id of the record at closed_next - 1 */
} rows_progress_t;

/*
 * progress, made when it is not there, into p (closed_ms, closed_next,
 * generation) and into progress.
 */
rc_t rows_progress(links_t *l, partition_t *p, rows_progress_t *progress,
    err_t *err);

/* Stores the lane's lateness in progress. */
rc_t rows_lateness(links_t *l, partition_t *p, err_t *err);

/* Offsets first..last were lost; the windows they may have belonged to, or
 * WINDOW_NONE.  RC_FENCED as rows_write(). */
typedef struct {
    int64_t  first;
    int64_t  last;
    int64_t  first_window_ms;
    int64_t  last_window_ms;
} rows_gap_t;

rc_t rows_gap(links_t *l, partition_t *p, const rows_gap_t *gap, err_t *err);

/* Is closed_through still p's?  RC_FENCED when not. */
rc_t rows_check(links_t *l, partition_t *p, err_t *err);

/*
 * A close's transaction, on c->pg: begin refuses (RC_FENCED) when progress has
 * moved, and locks it with `lock`, so that no other lane does the same work;
 * without, statements may take longer, as start does not wait for them.
 * end moves progress to the window, and next_offset to p->next with the id
 * before it and the low water, which holds off all who would write rows of the
 * window; commit has an unknown outcome when it is RC_RETRY.
 */
rc_t rows_close_begin(links_t *l, partition_t *p, const closing_t *c, int lock,
    err_t *err);
rc_t rows_close_end(links_t *l, partition_t *p, const closing_t *c,
    err_t *err);
rc_t rows_close_commit(const closing_t *c, err_t *err);

/* In between: through which offset the window's rows hold; how many are final.
 * Both look at each row. */
rc_t rows_close_known(links_t *l, partition_t *p, const closing_t *c,
    int64_t *known, err_t *err);
rc_t rows_close_final(links_t *l, partition_t *p, const closing_t *c,
    int64_t *final, err_t *err);

/* For -t: the schema is there, we may write, and a day's table can be made. */
rc_t rows_probe(const pg_conf_t *conf, err_t *err);

#endif /* SLUICE_LANE_ROWS_H */
