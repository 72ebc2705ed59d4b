/*
 * take.c: a lane takes a partition, at first or again.
 *
 * Owns the decision where to begin, whether the log is still the one that was
 * read, and what becomes of a state that can't be built on.  Does not apply
 * anything.
 *
 * The committed offset has no part in it: it is there for lag monitors and
 * may be lost.  With Redis' state the lane goes on at its `next`; without, at
 * the first record that is not in PostgreSQL's final rows.
 */

#include <inttypes.h>
#include <string.h>

#include "base/log.h"
#include "base/metrics.h"
#include "base/now.h"
#include "lane/rows.h"
#include "lane/state.h"
#include "lane/take.h"

#define TAKE_LOG_MS  10000           /* between two looks at a log being read */


static rc_t
take_drop(links_t *l, partition_t *p, state_t *state, const char *why,
    err_t *err)
{
    rc_t rc = state_drop(l, p, state, err);

    if (rc != RC_OK) {
        return rc;
    }

    metrics_add(METRIC_DROPPED, 0, 1);
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

    if (state->ledger_next > p->ledger_next) {
        return take_drop(l, p, state, "PostgreSQL lost a part of the ledger",
                         err);
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


/*
 * Window and lateness are part of what the log was read with.  They belong to
 * the partition and not to the configuration, so a lane that was given others
 * stops this partition and nothing else: it may own some that are changed
 * already, and PostgreSQL, which knows, may be away when a process starts.
 */
static rc_t
take_check_conf(links_t *l, partition_t *p, const rows_progress_t *progress,
    const state_t *state, err_t *err)
{
    int64_t lateness = progress->lateness_ms;

    if (progress->window_ms != l->wc.size_ms) {
        return err_set(err, RC_REJECT, "this pipeline's rows have windows of "
                       "%" PRId64 " ms: set `window` back, change it with "
                       "`sluice-processor set-window`, or give the new size a "
                       "pipeline name of its own", progress->window_ms);
    }

    if (state->has && p->nwindows > 0
        && state->lateness_ms != l->wc.lateness_ms)
    {
        return err_set(err, RC_REJECT, "windows are open that began with "
                       "allowed_lateness %" PRId64 " ms: set it back until "
                       "they are closed", state->lateness_ms);
    }

    if (lateness == l->wc.lateness_ms) {
        return RC_OK;
    }

    /* Not known, nothing counted yet, or surely nothing open. */
    if (lateness < 0 || state->has || p->closed_ms == WINDOW_NONE) {
        return rows_lateness(l, p, err);
    }

    return err_set(err, RC_REJECT, "windows may be open that began with "
                   "allowed_lateness %" PRId64 " ms: set it back, or change "
                   "it with `sluice-processor set-window`", lateness);
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


/*
 * Is this the log that was read before?  It is when the record before the one
 * to come next still has the id that was noted.  Redis notes it with `next`,
 * PostgreSQL with each close.  What retention has deleted can't be asked, and
 * an id that could not be read was not noted.
 */
rc_t
take_same_log(links_t *l, const partition_t *p, const state_t *state,
    const rows_progress_t *progress, int64_t first, int64_t end, err_t *err)
{
    int64_t        next = state->has ? state->next : p->closed_next;
    const char    *last = state->has ? state->last : progress->last;
    kafka_seen_t   seen;
    rc_t           rc;

    if (state->has && state->older > 0) {
        return err_set(err, RC_REJECT, "the log was found to be another one "
                       "than before %" PRId64 ": it is another log, see "
                       "`sluice-processor adopt`", state->older);
    }

    if (next > end) {
        return err_set(err, RC_REJECT, "the log ends at %" PRId64 ", below "
                       "%" PRId64 " that was read before: it is another log, "
                       "see `sluice-processor adopt`", end, next);
    }

    if (last[0] == '\0' || next <= first) {
        return RC_OK;
    }

    rc = kafka_look(l->kafka, p->id, next - 1, &seen, err);
    if (rc != RC_OK) {
        return RC_RETRY;
    }

    if (seen.offset == next - 1 && strcmp(seen.id, last) == 0) {
        return RC_OK;
    }

    return err_set(err, RC_REJECT, "the record at %" PRId64 " is not the one "
                   "that was read there: it is another log, see "
                   "`sluice-processor adopt`", next - 1);
}


void
take_anchor(partition_t *p)
{
    if (p->anchor != PARTITION_NONE && p->anchor < p->next
        && p->anchor_generation == p->generation)
    {
        return;
    }

    p->anchor = PARTITION_NONE;

    if (p->next > 0 && p->last[0] != '\0') {
        p->anchor = p->next - 1;
        p->anchor_generation = p->generation;
        memcpy(p->anchor_id, p->last, sizeof(p->anchor_id));
    }
}


rc_t
take_check_log(links_t *l, partition_t *p, int64_t now_ms, int reading,
    err_t *err)
{
    state_t  was = { .has = 1 };
    int64_t  first, end;
    rc_t     rc;

    take_anchor(p);

    if (now_ms < p->log_at_ms || p->anchor == PARTITION_NONE
        || (!reading && p->anchor == p->next - 1))
    {
        return RC_OK;
    }

    p->log_at_ms = now_ms + TAKE_LOG_MS;
    was.next = p->anchor + 1;
    memcpy(was.last, p->anchor_id, sizeof(was.last));

    rc = kafka_bounds(l->kafka, p->id, &first, &end, err);
    if (rc == RC_OK) {
        rc = take_same_log(l, p, &was, NULL, first, end, err);
    }

    if (rc == RC_OK) {
        p->anchor = PARTITION_NONE;
        take_anchor(p);
        return RC_OK;
    }

    if (rc != RC_REJECT) {
        return RC_OK;
    }

    /* What was applied since is of the new log. */
    if (p->anchor < p->next - 1) {
        err_t  why;

        rc = state_spoil(l, p, p->anchor + 1, &why);
        if (rc != RC_OK) {
            *err = why;
            return rc;
        }
    }

    return RC_REJECT;
}


/*
 * Records from need on were deleted before they were read.  They were of no
 * closed window, and older than what now comes first, give or take what the
 * topic lets times differ: that is what lateness is made for.
 */
static rc_t
take_gap(links_t *l, partition_t *p, const state_t *state, int64_t need,
    int64_t first, int64_t end, err_t *err)
{
    rows_gap_t    gap = { need, first - 1, WINDOW_NONE, WINDOW_NONE };
    int64_t       last_ms = now_wall_ms(), reach;
    kafka_seen_t  seen;
    rc_t          rc;

    if (first < end) {
        rc = kafka_look(l->kafka, p->id, first, &seen, err);
        if (rc != RC_OK) {
            return RC_RETRY;
        }
        last_ms = seen.offset >= 0 ? seen.ts_ms : last_ms;
    }

    reach = l->wc.lateness_ms + l->wc.size_ms;
    gap.last_window_ms = window_start(&l->wc, last_ms + l->wc.lateness_ms);

    if (p->closed_ms != WINDOW_NONE) {
        gap.first_window_ms = p->closed_ms + l->wc.size_ms;

    } else if (state->has && state->watermark_ms != WINDOW_NONE) {
        gap.first_window_ms = window_start(&l->wc,
                                           state->watermark_ms - reach);
    }

    rc = rows_gap(l, p, &gap, err);
    if (rc != RC_OK) {
        return rc;
    }

    metrics_add(METRIC_LOST, 0, first - need);
    if (gap.first_window_ms != WINDOW_NONE) {
        metrics_add(METRIC_INCOMPLETE, 0,
                    (gap.last_window_ms - gap.first_window_ms) / l->wc.size_ms
                    + 1);
    }

    log_error("lane", "retention has overtaken this partition",
              LI("lane", l->number), LI("part", p->id), LI("from", need),
              LI("first", first), LI("lost", first - need));

    return RC_OK;
}


static rc_t
take_start(links_t *l, partition_t *p, const state_t *state,
    const rows_progress_t *progress, err_t *err)
{
    int64_t  first, end, offset, need;
    rc_t     rc;

    rc = kafka_bounds(l->kafka, p->id, &first, &end, err);
    if (rc != RC_OK) {
        return RC_RETRY;
    }

    rc = take_same_log(l, p, state, progress, first, end, err);
    if (rc != RC_OK) {
        return rc;
    }

    offset = state->next;
    need = offset;

    if (!state->has) {
        rc = take_offset(l, p, first, &offset, err);
        if (rc != RC_OK) {
            return RC_RETRY;
        }

        need = offset;
        if (p->closed_ms != WINDOW_NONE && progress->low >= 0
            && progress->low < need)
        {
            need = progress->low;
        }
    }

    if (need < first) {
        rc = take_gap(l, p, state, need, first, end, err);
        if (rc != RC_OK) {
            return rc;
        }
        offset = offset > first ? offset : first;
    }

    rc = kafka_start(l->kafka, p->id, offset, err);
    if (rc != RC_OK) {
        return RC_RETRY;
    }

    metrics_add(METRIC_TAKEN, state->has ? METRICS_KEPT_YES : METRICS_KEPT_NO,
                1);
    log_info("lane", "taken", LI("lane", l->number), LI("part", p->id),
             LI("offset", offset), LS("state", state->has ? "kept" : "none"),
             LI("open", p->nwindows), LI("generation", p->generation));

    return RC_OK;
}


rc_t
take_partition(links_t *l, partition_t *p, err_t *err)
{
    rows_progress_t  progress;
    state_t          state = { 0 };
    rc_t             rc;

    partition_reset(p);

    rc = rows_progress(l, p, &progress, err);
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

    rc = take_check_conf(l, p, &progress, &state, err);
    if (rc != RC_OK) {
        return rc;
    }

    if (state.has) {
        p->next = state.next;
        p->watermark_ms = state.watermark_ms;
        memcpy(p->last, state.last, sizeof(p->last));

        for (size_t i = 0; i < p->nwindows; i++) {
            p->windows[i].sweep = 1;
        }

    } else {
        while (p->nwindows > 0) {          /* left without their progress */
            partition_forget(p, &p->windows[0]);
        }
    }

    rc = take_start(l, p, &state, &progress, err);
    if (rc == RC_OK) {
        p->state = PARTITION_ACTIVE;
    }

    return rc;
}
