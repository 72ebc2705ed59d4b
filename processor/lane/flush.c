/*
 * flush.c: what a reader of the summary sees before a window closes.
 *
 * Owns the order: read counts and next in one snapshot, then upsert.  Does not
 * count; a flush that is lost is made up for by the next one or by the close.
 *
 * A row says through which offset its count holds.  Counts read one by one
 * from a moving state could claim an offset they don't include, and a later
 * true count would then be refused; hence the script that answers all of them
 * at once, or nothing.
 */

#include "lane/flush.h"
#include "lane/state.h"

#define FLUSH_PAGE   500             /* members, of one script */
#define FLUSH_PAGES  8               /* in one call */


/* Another page's rows; as many as one statement takes are written. */
static rc_t
flush_page(links_t *l, partition_t *p, lane_window_t *win, rows_t *rows,
    const redis_value_t *triples, size_t ntriples, err_t *err)
{
    rc_t rc = rows_add(rows, l, p, win->start_ms, triples, ntriples, err);

    if (rc == RC_OK && rows_waiting(rows) >= ROWS_STATEMENT) {
        rc = rows_write(rows, l, p, win->start_ms, err);
    }

    return rc;
}


static rc_t
flush_dirty(links_t *l, partition_t *p, lane_window_t *win, rows_t *rows,
    int *pages, err_t *err)
{
    const members_t      *m = &win->flushing;
    const redis_value_t  *triples;
    size_t                n, ntriples;
    rc_t                  rc;

    while (win->flushed < m->n && *pages > 0) {
        n = m->n - win->flushed;
        n = n < FLUSH_PAGE ? n : FLUSH_PAGE;

        rc = state_rows(l, p, win,
                        (const char *const *) &m->texts[win->flushed],
                        &m->lens[win->flushed], n, &triples, &ntriples, err);
        if (rc == RC_OK) {
            rc = flush_page(l, p, win, rows, triples, ntriples, err);
        }

        if (rc != RC_OK) {
            return rc;
        }

        win->flushed += n;
        (*pages)--;
    }

    return RC_OK;
}


static rc_t
flush_sweep(links_t *l, partition_t *p, lane_window_t *win, rows_t *rows,
    int *pages, err_t *err)
{
    const redis_value_t  *triples;
    size_t                ntriples;
    rc_t                  rc;

    while (win->sweep && *pages > 0) {
        rc = state_page(l, p, win, &triples, &ntriples, &win->size, err);
        if (rc == RC_OK) {
            rc = flush_page(l, p, win, rows, triples, ntriples, err);
        }

        if (rc != RC_OK) {
            return rc;
        }

        win->sweep = !(win->cursor[0] == '0' && win->cursor[1] == '\0');
        (*pages)--;
    }

    return RC_OK;
}


/*
 * What is counted from here on is for the next flush: a row that never rests
 * would else be written at every turn, and the flush have no end.
 */
static void
flush_begin(partition_t *p)
{
    for (size_t i = 0; i < p->nwindows; i++) {
        lane_window_t *win = &p->windows[i];

        if (win->flushed == win->flushing.n) {
            members_t spare = win->flushing;

            members_reset(&spare);
            win->flushing = win->dirty;
            win->flushed = 0;
            win->dirty = spare;
        }
    }

    p->flushing = 1;
}


rc_t
flush_rows(links_t *l, partition_t *p, rows_t *rows, err_t *err)
{
    int   pages = FLUSH_PAGES, more = 0;
    rc_t  rc;

    rows_reset(rows);

    if (!p->flushing) {
        flush_begin(p);
    }

    for (size_t i = 0; i < p->nwindows; i++) {
        lane_window_t *win = &p->windows[i];

        /* Of a window that is being closed all rows are written anyway, in a
         * transaction that holds off whoever writes them too. */
        if (win->closing || (win->flushed == win->flushing.n && !win->sweep)) {
            continue;
        }

        if (pages == 0) {
            more = 1;
            break;
        }

        rc = rows_ensure_day(l, win->start_ms, err);
        if (rc == RC_OK) {
            rc = flush_dirty(l, p, win, rows, &pages, err);
        }

        if (rc == RC_OK) {
            rc = flush_sweep(l, p, win, rows, &pages, err);
        }

        if (rc == RC_OK) {
            rc = rows_write(rows, l, p, win->start_ms, err);
        }

        if (rc != RC_OK) {
            return rc;
        }

        more = more || win->flushed < win->flushing.n || win->sweep;
    }

    p->flushing = more;

    return RC_OK;
}
