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

#define FLUSH_CHUNK  500
#define FLUSH_PAGES  20              /* of a sweep, in one call */


static rc_t
flush_dirty(links_t *l, partition_t *p, lane_window_t *win, rows_t *rows,
    err_t *err)
{
    const redis_value_t  *triples;
    size_t                n, ntriples;
    rc_t                  rc;

    for (size_t at = 0; at < win->dirty.n; at += n) {
        n = win->dirty.n - at;
        n = n < FLUSH_CHUNK ? n : FLUSH_CHUNK;

        rc = state_rows(l, p, win, (const char *const *) &win->dirty.texts[at],
                        &win->dirty.lens[at], n, &triples, &ntriples, err);
        if (rc != RC_OK) {
            return rc;
        }

        rc = rows_write(rows, l, p, win->start_ms, triples, ntriples, err);
        if (rc != RC_OK) {
            return rc;
        }
    }

    members_reset(&win->dirty);

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
        rc = state_page(l, p, win, &triples, &ntriples, err);
        if (rc != RC_OK) {
            return rc;
        }

        rc = rows_write(rows, l, p, win->start_ms, triples, ntriples, err);
        if (rc != RC_OK) {
            return rc;
        }

        win->sweep = !(win->cursor[0] == '0' && win->cursor[1] == '\0');
        (*pages)--;
    }

    return RC_OK;
}


rc_t
flush_rows(links_t *l, partition_t *p, rows_t *rows, err_t *err)
{
    int   pages = FLUSH_PAGES;
    rc_t  rc;

    for (size_t i = 0; i < p->nwindows; i++) {
        lane_window_t *win = &p->windows[i];

        if (win->dirty.n == 0 && !win->sweep) {
            continue;
        }

        rc = rows_ensure_day(l, win->start_ms, err);
        if (rc == RC_OK) {
            rc = flush_dirty(l, p, win, rows, err);
        }

        if (rc == RC_OK) {
            rc = flush_sweep(l, p, win, rows, &pages, err);
        }

        if (rc != RC_OK) {
            return rc;
        }
    }

    return RC_OK;
}
