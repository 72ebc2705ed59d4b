/*
 * close.c: when a window is due, and how it closes.
 *
 * Owns the close: read under the fence, one transaction in PostgreSQL, then
 * Redis forgets.  Does not decide what is late: that is the log's order, in
 * apply.lua.
 *
 * Rows that know more of the log than this lane does are another lane's, or
 * from before Redis lost something.  Final rows without what they count would
 * take it back, so the close waits until the lane has read as far.
 *
 * An idle window is one whose time has passed on the clock, and of which
 * Kafka says AFTERWARDS that nothing more is there.  Asked the other way
 * round, a record that came between the two would be missing in final rows.
 */

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "lane/close.h"
#include "lane/state.h"

#define CLOSE_ASK_MS  250            /* how often the leader is asked */


/* All rows of the window, as pages of one unmoving state. */
static rc_t
close_write(links_t *l, partition_t *p, lane_window_t *win, rows_t *rows,
    size_t *nrows, err_t *err)
{
    const redis_value_t  *triples;
    size_t                ntriples;
    rc_t                  rc;

    *nrows = 0;
    win->cursor[0] = '\0';

    do {
        rc = state_page(l, p, win, &triples, &ntriples, err);
        if (rc != RC_OK) {
            return rc;
        }

        rc = rows_write_final(rows, l, p, win->start_ms, triples, ntriples,
                              err);
        if (rc != RC_OK) {
            return rc;
        }

        *nrows += ntriples;
    } while (strcmp(win->cursor, "0") != 0);

    /* The last page is no proof for those before it. */
    return state_check(l, p, 0, err);
}


/* RC_OK and p->closed_ms unchanged: not yet. */
static rc_t
close_window(links_t *l, partition_t *p, lane_window_t *win, rows_t *rows,
    const char *why, err_t *err)
{
    int64_t  was_closed = p->closed_ms, start = win->start_ms, known;
    size_t   nrows;
    rc_t     rc;

    assert(p->closed_ms == WINDOW_NONE || start > p->closed_ms);

    rc = rows_ensure_day(l, start, err);
    if (rc != RC_OK) {
        return rc;
    }

    rc = rows_close_begin(l, p, start, &known, err);

    if (rc == RC_OK && known > p->next) {
        pg_rollback(l->pg);
        p->close_from = known;
        log_info("window", "waits", LI("lane", l->number), LI("part", p->id),
                 LS("window", win->label), LI("next", p->next),
                 LI("known", known));
        return RC_OK;
    }

    if (rc == RC_OK) {
        rc = close_write(l, p, win, rows, &nrows, err);
    }

    if (rc == RC_OK) {
        rc = rows_close_commit(l, p, start, err);
    }

    if (rc != RC_OK) {
        pg_rollback(l->pg);
        return rc;
    }

    log_info("window", "closed", LI("lane", l->number), LI("part", p->id),
             LS("window", win->label), LI("rows", nrows),
             LI("through", p->next), LS("why", why));

    rc = state_close(l, p, was_closed, start, err);
    if (rc != RC_OK) {
        return rc;
    }

    p->closed_ms = start;
    p->closed_next = p->next > p->closed_next ? p->next : p->closed_next;

    return RC_OK;
}


/*
 * Nothing more is in the log than what was applied.  The position may be past
 * next: control records and gaps are nothing that could be applied.
 */
static rc_t
close_is_idle(links_t *l, partition_t *p, int64_t now_ms, int *idle,
    err_t *err)
{
    int64_t  first, end, position;
    rc_t     rc;

    *idle = 0;
    position = kafka_position(l->kafka, p->id);

    if (position < p->next || now_ms < p->idle_at_ms) {
        return RC_OK;
    }

    p->idle_at_ms = now_ms + CLOSE_ASK_MS;

    rc = kafka_bounds(l->kafka, p->id, &first, &end, err);
    if (rc != RC_OK) {
        return rc;
    }

    *idle = end == position;

    return RC_OK;
}


rc_t
close_due(links_t *l, partition_t *p, rows_t *rows, int64_t wall_ms,
    int64_t now_ms, err_t *err)
{
    int   idle = 0;
    rc_t  rc;

    while (p->nwindows > 0 && p->next != PARTITION_NONE
           && p->next >= p->close_from)
    {
        lane_window_t *win = &p->windows[0];

        if (win->first == PARTITION_NONE) {
            partition_forget(p, win);          /* all its records were dead */
            continue;
        }

        int due = window_is_due(&l->wc, win->start_ms, p->watermark_ms);

        if (!due && !window_is_due(&l->wc, win->start_ms, wall_ms)) {
            return RC_OK;
        }

        if (!due && !idle) {
            rc = close_is_idle(l, p, now_ms, &idle, err);
            if (rc != RC_OK || !idle) {
                return rc;
            }
        }

        rc = close_window(l, p, win, rows, due ? "watermark" : "idle", err);
        if (rc != RC_OK) {
            return rc;
        }
    }

    return RC_OK;
}
