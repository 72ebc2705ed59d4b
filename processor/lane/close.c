/*
 * close.c: when a window is due, and how it closes.
 *
 * Owns the close: pages under the fence, one transaction in PostgreSQL, then
 * Redis forgets.  Does not decide what is late: that is the log's order, in
 * apply.lua.
 *
 * A window that is due by the log does not change any more: whatever comes for
 * it is late.  So its pages are of one state although records are applied
 * between them, and a large close goes on over many turns of the lane, on a
 * connection of its own.  A window that is due by the clock is still open for
 * what comes, and its pages are of one `next`: when that moves, the close
 * begins again.
 *
 * Rows that know more of the log than this lane does are another lane's, or
 * from before Redis lost something.  Where more could have come, final rows
 * would take it back: the close waits until the lane has read as far.
 *
 * An idle window is one whose time has passed on the clock, and of which
 * Kafka says AFTERWARDS that nothing more is there.  Asked the other way
 * round, a record that came between the two would be missing in final rows.
 */

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/metrics.h"
#include "lane/close.h"
#include "lane/state.h"

#define CLOSE_ASK_MS   250           /* how often the leader is asked */
#define CLOSE_AT_ONCE  5000          /* rows of closes in one turn */
#define CLOSE_LOOK_MS  5             /* how often a statement is looked at */


static int
close_is_large(size_t size)
{
    return size > CLOSE_AT_ONCE;
}


static int
close_is_read(const lane_window_t *win)
{
    return strcmp(win->cursor, "0") == 0;
}


static rc_t
close_page(links_t *l, partition_t *p, lane_window_t *win, rows_t *rows,
    closing_t *c, err_t *err)
{
    const redis_value_t  *triples;
    size_t                ntriples;
    rc_t                  rc;

    rc = state_page(l, p, win, &triples, &ntriples, &win->size, err);
    if (rc != RC_OK) {
        return rc;
    }

    if (c->size != 0 && c->size != win->size) {
        p->broken = 1;
        return err_set(err, RC_FENCED, "a window that nothing comes into any "
                       "more had %zu members and has %zu", c->size, win->size);
    }

    c->size = win->size;

    return rows_add(rows, l, p, win->start_ms, triples, ntriples, err);
}


/* The pages to come, as many as one statement takes. */
static rc_t
close_read(links_t *l, partition_t *p, lane_window_t *win, rows_t *rows,
    closing_t *c, err_t *err)
{
    rc_t rc = RC_OK;

    while (rc == RC_OK && !close_is_read(win)
           && rows_waiting(rows) < ROWS_STATEMENT)
    {
        rc = close_page(l, p, win, rows, c, err);
    }

    return rc;
}


/*
 * A cursor means something to the one server that gave it: after a failover
 * in the middle, pages leave out members and have others twice.  Rows that are
 * final already are so when progress was deleted by hand.
 */
static rc_t
close_count(links_t *l, partition_t *p, const closing_t *c, err_t *err)
{
    int64_t  final;
    rc_t     rc;

    if (c->written == c->size) {
        return RC_OK;
    }

    rc = rows_close_final(l, p, c, &final, err);

    if (rc == RC_OK && (uint64_t) final < c->size) {
        rc = err_set(err, RC_FENCED, "the pages of a window held %" PRId64
                     " members of %zu", final, c->size);
    }

    return rc;
}


/* p->closed_ms unchanged, with RC_OK: not yet. */
static rc_t
close_end(links_t *l, partition_t *p, lane_window_t *win, closing_t *c,
    err_t *err)
{
    int64_t  was_closed = p->closed_ms, known = 0;
    rc_t     rc;

    /* The last page is no proof that this lane still is the one. */
    rc = state_check(l, p, 0, err);

    if (rc == RC_OK) {
        rc = rows_close_end(l, p, c, err);
    }

    /* After the end, or a row could come that it does not see. */
    if (rc == RC_OK && c->next != PARTITION_NONE) {
        rc = rows_close_known(l, p, c, &known, err);
    }

    if (rc == RC_OK && known > p->next) {
        pg_rollback(c->pg);
        p->close_from = known;
        log_info("window", "waits", LI("lane", l->number), LI("part", p->id),
                 LS("window", win->label), LI("next", p->next),
                 LI("known", known));
        return RC_OK;
    }

    if (rc == RC_OK) {
        rc = close_count(l, p, c, err);
    }

    if (rc == RC_OK) {
        rc = rows_close_commit(c, err);
    }

    if (rc != RC_OK) {
        return rc;
    }

    log_info("window", "closed", LI("lane", l->number), LI("part", p->id),
             LS("window", win->label), LI("rows", c->size),
             LI("through", p->next),
             LS("why", c->next == PARTITION_NONE ? "watermark" : "idle"));

    metrics_add(METRIC_CLOSED, c->next == PARTITION_NONE
                               ? METRICS_WHY_WATERMARK : METRICS_WHY_IDLE, 1);

    if (l->conf->notify && close_is_large(c->size)) {
        notify_everyone(&l->notify);
    }

    rc = state_close(l, p, was_closed, c->start_ms, err);
    if (rc != RC_OK) {
        return rc;
    }

    p->closed_ms = c->start_ms;
    p->closed_next = p->next > p->closed_next ? p->next : p->closed_next;

    return RC_OK;
}


void
close_abandon(links_t *l, partition_t *p)
{
    if (l->closing.p != p) {
        return;
    }

    for (size_t i = 0; i < p->nwindows; i++) {
        p->windows[i].closing = 0;
        p->windows[i].cursor[0] = '\0';
    }

    pg_disconnect(l->pg_close);
    memset(&l->closing, 0, sizeof(l->closing));
}


/* It takes many turns: the rest of them is close_turn()'s. */
static rc_t
close_begin_large(links_t *l, partition_t *p, lane_window_t *win,
    rows_t *rows, const closing_t *c, err_t *err)
{
    rc_t rc;

    l->closing = *c;
    win->closing = 1;

    rc = rows_close_begin(l, p, &l->closing, 0, err);

    if (rc == RC_OK) {
        rc = rows_start_final(rows, l, p, &l->closing, err);
    }

    if (rc != RC_OK) {
        close_abandon(l, p);
        return rc;
    }

    log_info("window", "closing", LI("lane", l->number), LI("part", p->id),
             LS("window", win->label), LI("rows", c->size),
             LI("next", p->next));

    return RC_OK;
}


static rc_t
close_begin(links_t *l, partition_t *p, lane_window_t *win, rows_t *rows,
    closing_t *c, err_t *err)
{
    rc_t rc;

    assert(p->closed_ms == WINDOW_NONE || c->start_ms > p->closed_ms);

    rc = rows_ensure_day(l, c->start_ms, err);
    if (rc != RC_OK) {
        return rc;
    }

    rows_reset(rows);
    win->cursor[0] = '\0';

    rc = close_page(l, p, win, rows, c, err);
    if (rc != RC_OK) {
        return rc;
    }

    if (close_is_large(c->size)) {
        c->pg = l->pg_close;

        if (l->closing.p == NULL) {
            return close_begin_large(l, p, win, rows, c, err);
        }

        win->cursor[0] = '\0';                   /* one after the other */
        return RC_OK;
    }

    c->pg = l->pg;
    rc = rows_close_begin(l, p, c, 1, err);

    while (rc == RC_OK && (rows_waiting(rows) > 0 || !close_is_read(win))) {
        rc = close_read(l, p, win, rows, c, err);

        if (rc == RC_OK) {
            rc = rows_write_final(rows, l, p, c, err);
        }
    }

    if (rc == RC_OK) {
        rc = close_end(l, p, win, c, err);
    }

    if (rc != RC_OK) {
        pg_rollback(c->pg);
    }

    return rc;
}


/*
 * Another turn of the large close that is under way for p.  PostgreSQL works
 * while the lane does other things.
 */
static rc_t
close_turn(links_t *l, partition_t *p, rows_t *rows, err_t *err)
{
    closing_t      *c = &l->closing;
    lane_window_t  *win = &p->windows[0];
    int             done;
    rc_t            rc;

    assert(win->closing && win->start_ms == c->start_ms);

    rc = rows_finish_final(l, c, &done, err);

    if (rc == RC_OK && !done) {
        p->work_in_ms = CLOSE_LOOK_MS;
        return RC_OK;
    }

    rows_reset(rows);

    if (rc == RC_OK && !close_is_read(win)) {
        rc = close_read(l, p, win, rows, c, err);

        if (rc == RC_OK) {
            rc = rows_start_final(rows, l, p, c, err);
        }

        if (rc == RC_OK) {
            p->work_in_ms = CLOSE_LOOK_MS;
            return RC_OK;
        }
    }

    if (rc == RC_OK) {
        rc = close_end(l, p, win, c, err);
    }

    p->work_in_ms = 0;
    close_abandon(l, p);

    return rc;
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


/*
 * The oldest window, when it is due; *found is NULL when it is not, or not yet.
 * *idle: the partition is known to be.
 */
static rc_t
close_find(links_t *l, partition_t *p, int64_t wall_ms, int64_t now_ms,
    int *idle, lane_window_t **found, closing_t *c, err_t *err)
{
    rc_t rc;

    *found = NULL;

    while (p->nwindows > 0 && p->windows[0].first == PARTITION_NONE) {
        partition_forget(p, &p->windows[0]);   /* all its records were dead */
    }

    if (p->nwindows == 0 || p->next == PARTITION_NONE
        || p->next < p->close_from)
    {
        return RC_OK;
    }

    lane_window_t *win = &p->windows[0];

    memset(c, 0, sizeof(*c));
    c->p = p;
    c->start_ms = win->start_ms;
    c->next = PARTITION_NONE;

    if (!window_is_due(&l->wc, win->start_ms, p->watermark_ms)) {
        if (!window_is_due(&l->wc, win->start_ms, wall_ms)) {
            return RC_OK;
        }

        rc = *idle ? RC_OK : close_is_idle(l, p, now_ms, idle, err);
        if (rc != RC_OK || !*idle) {
            return rc;
        }

        c->next = p->next;
    }

    *found = win;

    return RC_OK;
}


rc_t
close_due(links_t *l, partition_t *p, rows_t *rows, int64_t wall_ms,
    int64_t now_ms, err_t *err)
{
    lane_window_t  *win;
    closing_t       c;
    size_t          nrows = 0;
    int             idle = 0;
    rc_t            rc;

    p->work_in_ms = -1;

    if (l->closing.p == p && l->closing.next != PARTITION_NONE
        && l->closing.next != p->next)
    {
        close_abandon(l, p);           /* more has come: it begins again */
    }

    if (l->closing.p == p) {
        return close_turn(l, p, rows, err);
    }

    while (nrows <= CLOSE_AT_ONCE) {
        rc = close_find(l, p, wall_ms, now_ms, &idle, &win, &c, err);

        if (rc != RC_OK || win == NULL
            || (close_is_large(win->size) && l->closing.p != NULL))
        {
            return rc;
        }

        rc = close_begin(l, p, win, rows, &c, err);

        if (rc != RC_OK || p->closed_ms != c.start_ms) {
            p->work_in_ms = l->closing.p == p ? CLOSE_LOOK_MS : -1;
            return rc;                           /* goes on later, or waits */
        }

        nrows += c.size;
    }

    p->work_in_ms = 0;

    return RC_OK;
}
