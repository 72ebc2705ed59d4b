/*
 * take.c: a lane takes a partition, at first or again.
 *
 * Owns the decision where to begin, and what becomes of a state that can't be
 * built on.  Does not apply anything.
 *
 * The committed offset has no part in it: it is there for lag monitors and
 * may be lost.  With Redis' state the lane goes on at its `next`; without, at
 * the first record that is not in PostgreSQL's final rows.
 */

#include <inttypes.h>

#include "base/log.h"
#include "lane/rows.h"
#include "lane/state.h"
#include "lane/take.h"


static rc_t
take_drop(links_t *l, partition_t *p, state_t *state, const char *why,
    err_t *err)
{
    rc_t rc = state_drop(l, p, state, err);

    if (rc != RC_OK) {
        return rc;
    }

    log_warn("lane", "state dropped, the log is read again",
             LI("lane", l->number), LI("part", p->id), LI("next", state->next),
             LS("why", why));

    state->has = 0;
    p->broken = 0;

    while (p->nwindows > 0) {
        partition_forget(p, &p->windows[0]);
    }

    return RC_OK;
}


/*
 * Redis' state and PostgreSQL's closed_through belong together unless one of
 * them lost something, or a close was cut in the middle.
 */
static rc_t
take_settle(links_t *l, partition_t *p, state_t *state, err_t *err)
{
    int64_t closed = p->closed_ms;

    if (p->broken) {
        return take_drop(l, p, state, "Redis lost a part of it", err);
    }

    if (!state->has) {
        return RC_OK;
    }

    if (state->version != STATE_VERSION) {
        return take_drop(l, p, state, "another version made it", err);
    }

    /* WINDOW_NONE is less than any window. */
    if (state->closed_ms > closed) {
        return take_drop(l, p, state, "PostgreSQL lost a close", err);
    }

    if (state->closed_ms == closed
        && (p->nwindows == 0 || p->windows[0].start_ms > closed))
    {
        return RC_OK;
    }

    /*
     * The close did not reach Redis.  If someone applied more since, perhaps
     * into the closed window, the final rows don't have it: read it again, so
     * that it is late.
     */
    if (state->closed_ms < closed && state->next > p->closed_next) {
        return take_drop(l, p, state, "it does not know of a close", err);
    }

    p->next = state->next;

    return state_close(l, p, state->closed_ms, closed, err);
}


static rc_t
take_check_conf(const links_t *l, const partition_t *p, int64_t window_ms,
    const state_t *state, err_t *err)
{
    if (window_ms != l->wc.size_ms) {
        return err_set(err, RC_REJECT, "this pipeline's rows have windows of "
                       "%" PRId64 " ms: set `window` back, or give the new "
                       "size a pipeline name of its own", window_ms);
    }

    if (state->has && p->nwindows > 0
        && state->lateness_ms != l->wc.lateness_ms)
    {
        return err_set(err, RC_REJECT, "windows are open that began with "
                       "allowed_lateness %" PRId64 " ms: set it back until "
                       "they are closed", state->lateness_ms);
    }

    return RC_OK;
}


/*
 * Without state: all records that are in no final row come again.  That is
 * those of windows after closed_through, and those the close did not see,
 * whatever their window: they are late and must be sent on.
 *
 * One millisecond earlier than needed: the broker's time index may pass over
 * records whose time equals the one asked for.
 */
static rc_t
take_offset(links_t *l, partition_t *p, int64_t first, int64_t *offset,
    err_t *err)
{
    rc_t rc;

    if (p->closed_ms == WINDOW_NONE) {
        *offset = first;
        return RC_OK;
    }

    rc = kafka_offset_at(l->kafka, p->id, p->closed_ms + l->wc.size_ms - 1,
                         offset, err);

    if (rc == RC_OK && *offset > p->closed_next) {
        *offset = p->closed_next;
    }

    return rc;
}


static rc_t
take_start(links_t *l, partition_t *p, const state_t *state, err_t *err)
{
    int64_t  first, end, offset;
    rc_t     rc;

    rc = kafka_bounds(l->kafka, p->id, &first, &end, err);
    if (rc != RC_OK) {
        return RC_RETRY;
    }

    if (state->has) {
        offset = state->next;

    } else {
        rc = take_offset(l, p, first, &offset, err);
        if (rc != RC_OK) {
            return RC_RETRY;
        }
    }

    if (offset > end) {
        return err_set(err, RC_REJECT, "the log ends at %" PRId64 ", below "
                       "%" PRId64 " that was read before: it is another log",
                       end, offset);
    }

    if (offset < first) {
        log_error("lane", "retention has overtaken this partition",
                  LI("lane", l->number), LI("part", p->id),
                  LI("from", offset), LI("first", first));
        offset = first;
    }

    rc = kafka_start(l->kafka, p->id, offset, err);
    if (rc != RC_OK) {
        return RC_RETRY;
    }

    log_info("lane", "taken", LI("lane", l->number), LI("part", p->id),
             LI("offset", offset), LS("state", state->has ? "kept" : "none"),
             LI("open", p->nwindows));

    return RC_OK;
}


rc_t
take_partition(links_t *l, partition_t *p, err_t *err)
{
    int64_t  window_ms;
    state_t  state = { 0 };
    rc_t     rc;

    partition_reset(p);

    rc = rows_progress(l, p, &window_ms, err);
    if (rc != RC_OK) {
        return rc;
    }

    rc = state_read(l, p, &state, err);
    if (rc != RC_OK && !p->broken) {
        return rc;
    }

    rc = take_settle(l, p, &state, err);
    if (rc != RC_OK) {
        return rc;
    }

    rc = take_check_conf(l, p, window_ms, &state, err);
    if (rc != RC_OK) {
        return rc;
    }

    if (state.has) {
        p->next = state.next;
        p->watermark_ms = state.watermark_ms;

        for (size_t i = 0; i < p->nwindows; i++) {
            p->windows[i].sweep = 1;
        }

    } else {
        while (p->nwindows > 0) {          /* left without their progress */
            partition_forget(p, &p->windows[0]);
        }
    }

    rc = take_start(l, p, &state, err);
    if (rc == RC_OK) {
        p->state = PARTITION_ACTIVE;
    }

    return rc;
}
